import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from playhead.db.errors import DatabaseUnavailable
from playhead.db.job_queue import install_queue
from playhead.db.logins import ensure_logins
from playhead.db.migrate import Connection, MigrationError, exclusive, migrate, owner_connection, read_migrations
from playhead.db.pool import open_database


@pytest.fixture
async def empty(postgres_url: str) -> AsyncIterator[Connection]:
    """The owner's connection to a database in which nothing was done yet."""
    async with owner_connection(postgres_url) as connection:
        yield connection


def write(folder: Path, name: str, sql: str) -> Path:
    path = folder / name
    path.write_text(sql)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations, the second of which builds an index without a transaction."""
    write(
        tmp_path,
        "20261123000100_notes.sql",
        """
        create table notes (id int primary key, body text);
        create function shout(body text) returns text language plpgsql as $$
        begin
            return upper(body) || '; not the end of a statement';
        end $$;
        insert into notes select n, shout('x') from generate_series(1, 1000) n;
        """,
    )
    write(
        tmp_path,
        "20261123000200_index.sql",
        "-- no-transaction\ncreate index concurrently if not exists notes_body on notes (body)",
    )
    return tmp_path


async def test_an_empty_database_gets_every_file_once(postgres_url: str) -> None:
    names = [migration.name for migration in read_migrations()]
    assert await migrate(postgres_url) == names
    assert await migrate(postgres_url) == []


async def test_four_runners_at_once_apply_each_file_once(postgres_url: str) -> None:
    applied = await asyncio.gather(*(migrate(postgres_url) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(read_migrations())]


async def test_runners_at_once_do_not_lock_up_over_an_index_built_concurrently(postgres_url: str, folder: Path) -> None:
    runs = (migrate(postgres_url, folder=folder, after=()) for _ in range(4))
    applied = await asyncio.wait_for(asyncio.gather(*runs), 30)
    assert sorted(map(len, applied)) == [0, 0, 0, 2]


async def test_a_new_file_is_applied_to_a_database_that_has_the_earlier_ones(
    postgres_url: str, folder: Path, empty: Connection
) -> None:
    await migrate(postgres_url, folder=folder, after=())
    write(folder, "20261123000300_more.sql", "insert into notes values (0, 'more')")
    assert await migrate(postgres_url, folder=folder, after=()) == ["20261123000300_more.sql"]
    assert await empty.fetchval("select count(*) from notes") == 1001


async def test_a_file_edited_after_it_was_applied_is_refused_by_its_name(postgres_url: str, folder: Path) -> None:
    await migrate(postgres_url, folder=folder, after=())
    write(folder, "20261123000100_notes.sql", "create table notes (id bigint)")
    write(folder, "20261123000300_more.sql", "create table more ()")
    with pytest.raises(MigrationError, match=r"20261123000100_notes\.sql has been edited"):
        await migrate(postgres_url, folder=folder, after=())


async def test_other_line_endings_are_no_edit(postgres_url: str, folder: Path) -> None:
    await migrate(postgres_url, folder=folder, after=())
    path = folder / "20261123000100_notes.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert await migrate(postgres_url, folder=folder, after=()) == []


async def test_a_database_of_a_newer_playhead_is_refused(postgres_url: str, folder: Path) -> None:
    await migrate(postgres_url, folder=folder, after=())
    (folder / "20261123000200_index.sql").unlink()
    with pytest.raises(MigrationError, match=r"20261123000200.*newer"):
        await migrate(postgres_url, folder=folder, after=())


async def test_a_file_that_fails_leaves_nothing_and_those_before_it_stay(
    postgres_url: str, folder: Path, empty: Connection
) -> None:
    write(folder, "20261123000300_broken.sql", "create table half_made (); select 1 / 0; create table never ()")
    with pytest.raises(MigrationError, match=r"20261123000300_broken\.sql failed: division by zero"):
        await migrate(postgres_url, folder=folder, after=())
    assert await empty.fetchval("select to_regclass('half_made')") is None
    assert await empty.fetchval("select count(*) from playhead.migrations") == 2
    write(folder, "20261123000300_broken.sql", "create table half_made ()")
    assert await migrate(postgres_url, folder=folder, after=()) == ["20261123000300_broken.sql"]


async def test_a_file_that_cannot_be_recorded_leaves_nothing_either(
    postgres_url: str, folder: Path, empty: Connection
) -> None:
    taken = "insert into playhead.migrations values ('20261123000300', 'taken', ''); create table half_made ()"
    write(folder, "20261123000300_taken.sql", taken)
    with pytest.raises(MigrationError, match="duplicate key"):
        await migrate(postgres_url, folder=folder, after=())
    assert await empty.fetchval("select to_regclass('half_made')") is None
    assert await empty.fetchval("select count(*) from playhead.migrations") == 2


async def test_a_lock_that_is_held_too_long_is_told(postgres_url: str, folder: Path, empty: Connection) -> None:
    async with exclusive(empty):
        with pytest.raises(MigrationError, match="Another process"):
            await migrate(postgres_url, folder=folder, after=(), lock_wait_s=0)
    assert len(await migrate(postgres_url, folder=folder, after=())) == 2


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as refusal:
        await migrate(f"postgresql://postgres@/postgres?host={tmp_path}&port=5432")
    assert isinstance(refusal.value.__cause__, OSError)


async def test_roles_that_another_database_has_made_are_taken_as_they_are(postgres_url: str, owner: Connection) -> None:
    assert await owner.fetchval("select to_regrole('authenticated')") is not None
    await migrate(postgres_url)


SUPABASE = """
create schema auth;
create function auth.uid() returns uuid language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    )::uuid
$$;
create function auth.role() returns text language sql stable as $$ select 'theirs' $$;
grant usage on schema auth to anon, authenticated, service_role, {owner};
grant all on schema public to {owner};
grant usage on schema public to anon, authenticated, service_role;
grant create on database {database} to {owner};
alter default privileges for role {owner} in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role {owner} in schema public grant all on functions to anon, authenticated, service_role;
"""


@pytest.fixture
async def supabase_url(postgres_url: str, empty: Connection, owner: Connection) -> AsyncIterator[str]:
    """A database as Supabase gives it: an owner who is no superuser, an `auth`, generous default privileges."""
    name = "like_supabase"
    await empty.execute(f"create role {name} login createrole noinherit")
    await empty.execute(f"grant anon, authenticated, service_role to {name} with admin option")
    database = await empty.fetchval("select current_database()")
    await empty.execute(SUPABASE.format(owner=name, database=database))
    yield postgres_url.replace("//postgres@", f"//{name}@")
    await empty.execute(f"drop owned by {name} cascade")
    for login in ("anon", "authenticated", "service_role"):
        await empty.execute(f"revoke {login} from {name} cascade")
    await empty.execute(f"drop role {name}")


async def test_supabase_keeps_its_own_and_its_default_privileges_give_nothing_away(
    supabase_url: str, empty: Connection
) -> None:
    await migrate(supabase_url)
    assert await empty.fetchval("select auth.role()") == "theirs"
    rows = await empty.fetch(
        """
        select grantee, table_name, string_agg(privilege_type, ' ' order by privilege_type) as privileges
        from information_schema.role_table_grants
        where table_schema = 'public' and grantee in ('anon', 'authenticated', 'service_role') group by 1, 2
        """
    )
    assert {(row["grantee"], row["table_name"]): row["privileges"] for row in rows} == {
        ("authenticated", "audio_scripts"): "SELECT",
        ("authenticated", "audio_sessions"): "SELECT",
        ("authenticated", "audio_bookmarks"): "DELETE SELECT",
        ("authenticated", "audio_position_history"): "SELECT",
        ("authenticated", "audio_listening"): "SELECT",
        ("authenticated", "audio_offline_intervals"): "SELECT",
        ("service_role", "audio_scripts"): "DELETE INSERT SELECT UPDATE",
        ("service_role", "audio_former_versions"): "DELETE INSERT SELECT",
        ("service_role", "audio_sessions"): "INSERT SELECT UPDATE",
        ("service_role", "audio_position_history"): "DELETE INSERT SELECT UPDATE",
        ("service_role", "audio_listening"): "INSERT SELECT UPDATE",
        ("service_role", "audio_offline_intervals"): "INSERT SELECT UPDATE",
        ("service_role", "audio_store_lease"): "INSERT SELECT UPDATE",
    }


async def test_an_owner_who_is_no_superuser_is_bound_by_the_policies_too(supabase_url: str, empty: Connection) -> None:
    await migrate(supabase_url)
    await empty.execute(
        "insert into audio_scripts (owner_id, title, status, error) values (gen_random_uuid(), 'x', 'failed', 'x')"
    )
    connection = await asyncpg.connect(supabase_url)
    try:
        assert await connection.fetchval("select count(*) from audio_scripts") == 0
    finally:
        await connection.close()


async def test_the_queue_is_installed_again_without_harm(postgres_url: str, empty: Connection) -> None:
    await migrate(postgres_url)
    await empty.execute("insert into playhead_queue.pgqueuer (priority, status, entrypoint) values (0, 'queued', 'x')")
    await install_queue(empty)
    assert await empty.fetchval("select count(*) from playhead_queue.pgqueuer") == 1


async def test_the_queues_names_do_not_come_from_the_environment(
    postgres_url: str, empty: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGQUEUER_PREFIX", "PGQUEUER_SCHEMA", "QUEUE_TABLE", "CHANNEL", "FUNCTION", "PGQUEUER_CHANNEL"):
        monkeypatch.setenv(name, "elsewhere")
    await migrate(postgres_url)
    assert await empty.fetchval("select to_regclass('playhead_queue.pgqueuer')") is not None
    assert await empty.fetchval("select to_regnamespace('elsewhere')") is None


async def test_the_database_is_ready_once_it_is_migrated(
    postgres_url: str, logins_folder: Path, owner: Connection
) -> None:
    made = await ensure_logins(postgres_url, logins_folder)
    async with open_database(made.app_url, made.service_url) as database:
        with pytest.raises(DatabaseUnavailable, match="playhead migrate"):
            await database.check()
        await migrate(postgres_url)
        await database.check()

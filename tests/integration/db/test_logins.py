"""The logins on a server that asks for passwords (SCRAM), and on one that trusts whoever reaches its socket."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from playhead.app.embedded import EmbeddedPostgres
from playhead.db.errors import DatabaseUnavailable
from playhead.db.logins import LOGINS_FILE, LoginError, Logins, ensure_logins, stored_logins
from playhead.db.migrate import Connection, migrate
from playhead.db.pool import open_database
from tests.integration.db.rows import listener


@pytest.fixture
async def guarded_url(start_postgres: Callable[..., EmbeddedPostgres], free_port: int) -> AsyncIterator[str]:
    """The owner's URL over TCP of a migrated server that asks every login but its owner's for a password."""
    server = start_postgres(settings={"listen_addresses": "127.0.0.1", "port": str(free_port)})
    rules = [
        "local all postgres trust",
        "host all postgres 127.0.0.1/32 trust",
        "host all all 127.0.0.1/32 scram-sha-256",
    ]
    (server.data_dir / "pg_hba.conf").write_text("\n".join([*rules, "local all all scram-sha-256", ""]))
    connection = await asyncpg.connect(server.url())
    await connection.execute("select pg_reload_conf()")
    await connection.close()
    url = f"postgresql://postgres@127.0.0.1:{free_port}/postgres"
    await migrate(url)
    yield url


async def whoami(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("select current_user"))
    finally:
        await connection.close()


async def test_the_logins_work_with_passwords_and_only_with_them(guarded_url: str, tmp_path: Path) -> None:
    logins = await ensure_logins(guarded_url, tmp_path / "data")
    assert await whoami(logins.app_url) == "playhead_app"
    assert await whoami(logins.service_url) == "playhead_service"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(logins.app_url, password="guess")
    async with open_database(logins.app_url, logins.service_url) as database:
        await database.check()


async def test_a_second_run_finds_the_same_logins(guarded_url: str, tmp_path: Path) -> None:
    first = await ensure_logins(guarded_url, tmp_path)
    assert await ensure_logins(guarded_url, tmp_path) == first == stored_logins(guarded_url, tmp_path)


async def test_runs_at_once_agree(guarded_url: str, tmp_path: Path) -> None:
    found = await asyncio.gather(*(ensure_logins(guarded_url, tmp_path) for _ in range(4)))
    assert len({(logins.app_url, logins.service_url) for logins in found}) == 1
    assert await whoami(found[0].service_url) == "playhead_service"


async def test_another_data_folder_does_not_shut_the_first_one_out(guarded_url: str, tmp_path: Path) -> None:
    first = await ensure_logins(guarded_url, tmp_path / "first")
    with pytest.raises(LoginError, match="--reset-logins"):
        await ensure_logins(guarded_url, tmp_path / "second")
    assert await whoami(first.app_url) == "playhead_app"
    second = await ensure_logins(guarded_url, tmp_path / "second", reset=True)
    assert await whoami(second.app_url) == "playhead_app"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(first.app_url)


async def test_a_reset_gives_new_passwords(guarded_url: str, tmp_path: Path) -> None:
    first = await ensure_logins(guarded_url, tmp_path)
    second = await ensure_logins(guarded_url, tmp_path, reset=True)
    assert second == stored_logins(guarded_url, tmp_path)
    for before, after, name in (
        (first.app_url, second.app_url, "playhead_app"),
        (first.service_url, second.service_url, "playhead_service"),
    ):
        assert await whoami(after) == name
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(before)
    path = tmp_path / LOGINS_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [LOGINS_FILE]


async def test_a_reset_leaves_a_login_with_a_url_of_its_own_alone(guarded_url: str, tmp_path: Path) -> None:
    first = await ensure_logins(guarded_url, tmp_path)
    await ensure_logins(guarded_url, tmp_path, service_url="postgresql://b@/x", reset=True)
    second = stored_logins(guarded_url, tmp_path)
    assert await whoami(second.app_url) == "playhead_app"
    assert second.app_url != first.app_url
    assert second.service_url == first.service_url
    assert await whoami(second.service_url) == "playhead_service"


async def test_a_reset_that_is_refused_changes_nothing(guarded_url: str, tmp_path: Path) -> None:
    first = await ensure_logins(guarded_url, tmp_path)
    owner = await asyncpg.connect(guarded_url)
    await owner.execute("alter role playhead_service superuser")
    await owner.close()
    with pytest.raises(LoginError, match="row level security"):
        await ensure_logins(guarded_url, tmp_path, reset=True)
    assert stored_logins(guarded_url, tmp_path) == first
    assert await whoami(first.app_url) == "playhead_app"
    assert [entry.name for entry in tmp_path.iterdir()] == [LOGINS_FILE]


async def test_a_reset_that_breaks_off_before_it_has_kept_the_passwords_is_mended_by_another(
    guarded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ensure_logins(guarded_url, tmp_path)

    def refuse(source: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", refuse)
        with pytest.raises(LoginError, match="passwords cannot be stored"):
            await ensure_logins(guarded_url, tmp_path, reset=True)
    assert stored_logins(guarded_url, tmp_path) == first
    with pytest.raises(LoginError, match="--reset-logins"):
        await ensure_logins(guarded_url, tmp_path)
    logins = await ensure_logins(guarded_url, tmp_path, reset=True)
    assert await whoami(logins.app_url) == "playhead_app"


async def test_the_server_is_never_told_a_password(
    start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    server = start_postgres(settings={"log_statement": "all"})
    await migrate(server.url())
    await ensure_logins(server.url(), tmp_path)
    await ensure_logins(server.url(), tmp_path, reset=True)
    log = server.log_path.read_text()
    assert "create role playhead_app" in log and "alter role playhead_app password" in log
    for password in json.loads((tmp_path / LOGINS_FILE).read_text()).values():
        assert password not in log


async def test_the_passwords_lie_in_a_file_of_the_owners_alone(postgres_url: str, tmp_path: Path) -> None:
    await migrate(postgres_url)
    logins = await ensure_logins(postgres_url, tmp_path / "new" / "data")
    path = tmp_path / "new" / "data" / LOGINS_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert await ensure_logins(postgres_url, path.parent) == logins
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [LOGINS_FILE]
    for password in json.loads(path.read_text()).values():
        assert password not in repr(logins)


async def test_a_login_with_a_url_of_its_own_is_left_alone(postgres_url: str, tmp_path: Path) -> None:
    given = Logins(app_url="postgresql://a@/x", service_url="postgresql://b@/x")
    assert await ensure_logins("", tmp_path, app_url=given.app_url, service_url=given.service_url) == given
    assert stored_logins("", tmp_path, app_url=given.app_url, service_url=given.service_url) == given
    assert not list(tmp_path.iterdir())
    await migrate(postgres_url)
    half = await ensure_logins(postgres_url, tmp_path, service_url=given.service_url)
    assert half.service_url == given.service_url
    assert await whoami(half.app_url) == "playhead_app"


async def test_without_stored_logins_the_error_says_what_to_do(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(LoginError, match="playhead migrate"):
        stored_logins(postgres_url, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"playhead_app": "x"}'])
async def test_a_damaged_file_is_told_by_its_name(postgres_url: str, tmp_path: Path, content: str) -> None:
    (tmp_path / LOGINS_FILE).write_text(content)
    with pytest.raises(LoginError, match=LOGINS_FILE):
        await ensure_logins(postgres_url, tmp_path)


async def test_a_data_folder_that_cannot_be_used_is_told(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LoginError, match="passwords"):
        await ensure_logins(postgres_url, tmp_path / "file" / "data")


async def test_the_logins_have_what_they_need_and_no_more(owner: Connection, logins: Logins) -> None:
    rows = await owner.fetch(
        """
        select rolname, rolinherit, rolconfig,
            rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as more,
            array(select roleid::regrole::text from pg_auth_members where member = login.oid order by 1) as groups
        from pg_roles as login where rolname like 'playhead%' order by 1
        """
    )
    assert [tuple(row) for row in rows] == [
        ("playhead_app", False, ["synchronous_commit=on"], False, ["anon", "authenticated"]),
        ("playhead_service", True, ["synchronous_commit=on"], False, ["service_role"]),
    ]


async def test_a_commit_is_durable_even_where_the_servers_default_is_not(
    start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    server = start_postgres(settings={"synchronous_commit": "off"})
    await migrate(server.url())
    logins = await ensure_logins(server.url(), tmp_path)
    async with open_database(logins.app_url, logins.service_url) as database:
        async with database.as_service() as connection:
            assert await connection.fetchval("show synchronous_commit") == "on"
        async with database.as_user(listener()) as connection:
            assert await connection.fetchval("show synchronous_commit") == "on"


@pytest.mark.parametrize(
    ("grant", "revoke"),
    [
        ("alter role playhead_app bypassrls", "alter role playhead_app nobypassrls"),
        ("grant service_role to playhead_app", "revoke service_role from playhead_app"),
        ("alter role playhead_service superuser", "alter role playhead_service nosuperuser"),
    ],
)
async def test_a_login_that_goes_round_row_level_security_is_refused(
    postgres_url: str, owner: Connection, logins_folder: Path, grant: str, revoke: str
) -> None:
    await migrate(postgres_url)
    await owner.execute(grant)
    try:
        with pytest.raises(LoginError, match="row level security"):
            await ensure_logins(postgres_url, logins_folder)
    finally:
        await owner.execute(revoke)
    await ensure_logins(postgres_url, logins_folder)


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        await ensure_logins(f"postgresql://postgres@/postgres?host={tmp_path}&port=5432", tmp_path)

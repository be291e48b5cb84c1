"""Listeners are kept apart by PostgreSQL itself: hand-written SQL through the app's login gets no further than ours."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from playhead.db.bookmarks import Bookmark, BookmarkRepository
from playhead.db.journal import JournalRepository
from playhead.db.migrate import Connection
from playhead.db.pool import Claims, Database, begin_as
from playhead.db.script_rows import Script
from playhead.db.scripts import ScriptRepository
from playhead.playback.state import SessionState
from tests.integration.db.rows import entry, listener, move, session, stretch, uploaded

LISTENER_OF = {
    "audio_scripts": "owner_id",
    "audio_sessions": "listener_id",
    "audio_bookmarks": "listener_id",
    "audio_position_history": "(select listener_id from audio_sessions where id = session_id)",
    "audio_listening": "listener_id",
    "audio_offline_intervals": "listener_id",
}
"""Each table, and whose a row of it is."""
TABLES = tuple(LISTENER_OF)
OF_NO_LISTENER = ("audio_store_lease", "audio_former_versions")
REFUSED = asyncpg.InsufficientPrivilegeError


@asynccontextmanager
async def acting_as(app: Connection, claims: Claims) -> AsyncIterator[Connection]:
    """The app's login in the middle of a listener's transaction, which is rolled back."""
    await app.execute(begin_as(claims))
    try:
        yield app
    finally:
        await app.execute("rollback")


class Alice:
    """A listener with one of everything, all of it private."""

    def __init__(self, claims: Claims, script: Script, state: SessionState, bookmark: Bookmark) -> None:
        self.claims, self.script, self.state, self.bookmark = claims, script, state, bookmark


@pytest.fixture
async def alice(scripts: ScriptRepository, journal: JournalRepository, bookmarks: BookmarkRepository) -> Alice:
    claims = listener()
    script = await uploaded(scripts, claims, visibility="private")
    state = session(script.script_id, listener_id=claims["sub"], played_slots=((1, 5),))
    await journal.store([entry(state, moves=(move(),), offline=(stretch(),))])
    bookmark = await bookmarks.create(claims, script.script_id, 5_000, title="Here")
    assert isinstance(bookmark, Bookmark)
    return Alice(claims, script, state, bookmark)


async def test_a_listener_sees_own_rows(app: Connection, alice: Alice) -> None:
    async with acting_as(app, alice.claims):
        for table in TABLES:
            assert await app.fetchval(f"select count(*) from {table}") >= 1


async def test_a_listener_sees_no_row_of_another(app: Connection, alice: Alice) -> None:
    async with acting_as(app, listener()):
        for table in TABLES:
            assert await app.fetch(f"select from {table} where {LISTENER_OF[table]} = $1", alice.claims["sub"]) == []


@pytest.mark.parametrize(
    "statement",
    [
        "update audio_bookmarks set note = 'mine now'",
        "delete from audio_bookmarks",
        "update audio_bookmarks set note = 'mine now' where id = (select id from audio_bookmarks limit 1)",
    ],
)
async def test_a_listener_changes_no_bookmark_of_another(app: Connection, alice: Alice, statement: str) -> None:
    async with acting_as(app, listener()):
        assert (await app.execute(statement)).endswith(" 0")


async def test_a_bookmark_is_not_made_in_the_name_of_another(app: Connection, scripts: ScriptRepository) -> None:
    shared = await uploaded(scripts)
    async with acting_as(app, listener()):
        with pytest.raises(REFUSED, match="row-level security"):
            await app.execute(
                "insert into audio_bookmarks (listener_id, script_id, position_ms) values ($1, $2, 0)",
                uuid.uuid4(),
                shared.script_id,
            )


async def test_a_bookmark_is_not_made_in_a_script_that_may_not_be_heard(app: Connection, alice: Alice) -> None:
    mallory = listener()
    async with acting_as(app, mallory):
        with pytest.raises(REFUSED, match="row-level security"):
            await app.execute(
                "insert into audio_bookmarks (listener_id, script_id, position_ms) values ($1, $2, 0)",
                mallory["sub"],
                alice.script.script_id,
            )


async def test_bookmarks_vanish_with_the_right_to_hear_the_script_and_come_back_with_it(
    scripts: ScriptRepository, bookmarks: BookmarkRepository, owner: Connection
) -> None:
    shared, claims = await uploaded(scripts), listener()
    made = await bookmarks.create(claims, shared.script_id, 1_000)
    assert isinstance(made, Bookmark)
    visibility = "update audio_scripts set visibility = $2 where id = $1"
    await owner.execute(visibility, shared.script_id, "private")
    assert (await bookmarks.list_of(claims, shared.script_id)).items == ()
    assert await bookmarks.update(claims, made.bookmark_id, note="still here?") is None
    await owner.execute(visibility, shared.script_id, "listeners")
    assert (await bookmarks.list_of(claims, shared.script_id)).items == (made,)


@pytest.mark.parametrize(
    "statement",
    [
        "update audio_scripts set status = 'ready'",
        "update audio_scripts set title = 'x'",
        "delete from audio_scripts",
        "insert into audio_scripts (owner_id, title) values (auth.uid(), 'x')",
        "update audio_sessions set position_ms = 0",
        "delete from audio_sessions",
        "update audio_position_history set to_ms = 0",
        "delete from audio_position_history",
        "update audio_listening set played_ms = 0",
        "insert into audio_listening values (gen_random_uuid(), 1, auth.uid(), gen_random_uuid(), 1)",
        "delete from audio_offline_intervals",
        "update audio_bookmarks set listener_id = gen_random_uuid()",
        "update audio_bookmarks set created_at = now()",
        "truncate audio_bookmarks",
        "select * from audio_store_lease",
        "update audio_store_lease set expires_at = now()",
        "select * from playhead.migrations",
        "select * from playhead_queue.pgqueuer",
    ],
)
async def test_what_listeners_have_no_right_to_is_refused_even_for_own_rows(
    app: Connection, alice: Alice, statement: str
) -> None:
    async with acting_as(app, alice.claims):
        with pytest.raises(REFUSED, match="permission denied"):
            await app.execute(statement)


@pytest.mark.parametrize("role", ["service_role", "postgres", "playhead_service"])
async def test_the_app_login_cannot_become_somebody_more_powerful(app: Connection, role: str) -> None:
    for statement in (f"set role {role}", f"set session authorization {role}"):
        with pytest.raises(REFUSED):
            await app.execute(statement)
    async with acting_as(app, listener()):
        with pytest.raises(REFUSED):
            await app.execute(f"set local role {role}")


async def test_the_app_login_can_do_nothing_outside_of_a_listeners_transaction(app: Connection) -> None:
    for table in TABLES:
        with pytest.raises(REFUSED):
            await app.fetch(f"select * from {table}")


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_claims_and_role_end_with_the_transaction(app: Connection, end: str) -> None:
    claims = listener()
    await app.execute(begin_as(claims))
    assert str(await app.fetchval("select auth.uid()")) == claims["sub"]
    assert await app.fetchval("select auth.role()") == "authenticated"
    assert await app.fetchval("select current_user") == "authenticated"
    await app.execute(end)
    assert await app.fetchval("select current_user") == "playhead_app"
    assert not await app.fetchval("select current_setting('request.jwt.claims', true)")


async def test_anon_and_a_transaction_without_claims_see_nothing(app: Connection, alice: Alice) -> None:
    for table in TABLES:
        await app.execute("begin; set local role anon")
        with pytest.raises(REFUSED):
            await app.fetch(f"select * from {table}")
        await app.execute("rollback; begin; set local role authenticated")
        assert await app.fetch(f"select from {table} where {LISTENER_OF[table]} = $1", alice.claims["sub"]) == []
        await app.execute("rollback")


async def test_only_the_subject_of_the_claims_counts(database: Database, alice: Alice) -> None:
    mallory = {**listener(), "role": "service_role"}
    async with database.as_user(mallory) as connection:
        assert await connection.fetchval("select auth.role()") == "authenticated"
        assert await connection.fetchval("select count(*) from audio_sessions") == 0


@pytest.mark.parametrize("subject", ["", "nobody", "' or true --", "0'; reset role; select '"])
async def test_claims_without_a_uuid_are_refused_before_anything_is_sent(database: Database, subject: str) -> None:
    with pytest.raises(ValueError):
        async with database.as_user({"sub": subject}):
            raise AssertionError("not reached")


async def test_security_is_forced_on_every_table_of_ours(owner: Connection) -> None:
    rows = await owner.fetch(
        "select relname, relrowsecurity, relforcerowsecurity from pg_class "
        "where relnamespace = 'public'::regnamespace and relkind = 'r'"
    )
    assert {row["relname"] for row in rows} == {*TABLES, *OF_NO_LISTENER}
    assert all(row["relrowsecurity"] and row["relforcerowsecurity"] for row in rows)


async def test_the_service_cannot_delete_and_has_no_part_in_bookmarks(database: Database, alice: Alice) -> None:
    for statement in (
        "delete from audio_sessions",
        "delete from audio_listening",
        "delete from audio_offline_intervals",
        "delete from audio_store_lease",
        "update audio_former_versions set kept_until = now()",
        "select * from audio_bookmarks",
        "create table public.mine (id int)",
    ):
        with pytest.raises(REFUSED):
            async with database.as_service() as connection:
                await connection.execute(statement)

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest

from playhead.app.embedded import EmbeddedPostgres
from playhead.db.errors import DatabaseUnavailable, InvalidValue
from playhead.db.logins import Logins, ensure_logins
from playhead.db.migrate import migrate
from playhead.db.pool import Database, open_database
from playhead.db.scripts import ScriptRepository
from playhead.db.sessions import SessionRepository
from tests.integration.db.rows import listener, session, stored, uploaded


async def test_opening_asks_no_server_and_the_first_use_says_that_it_is_away(tmp_path: Path) -> None:
    url = f"postgresql://playhead_app@/postgres?host={tmp_path}&port=5432"
    async with open_database(url, url) as database:
        with pytest.raises(DatabaseUnavailable) as refusal:
            await ScriptRepository(database).get(listener(), listener()["sub"])
        assert isinstance(refusal.value.__cause__, OSError)
        with pytest.raises(DatabaseUnavailable):
            await SessionRepository(database).get(listener()["sub"])


async def test_a_server_that_comes_back_serves_again(
    start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    server = start_postgres()
    await migrate(server.url())
    logins = await ensure_logins(server.url(), tmp_path)
    async with open_database(logins.app_url, logins.service_url) as database:
        scripts = ScriptRepository(database)
        script = await uploaded(scripts)
        server.kill()
        async with asyncio.timeout(10):
            # the process behind our connection outlives its parent for a moment, and may still answer
            with pytest.raises(DatabaseUnavailable):
                while True:
                    await scripts.stored(script.script_id)
        with pytest.raises(DatabaseUnavailable):
            await scripts.get(listener(), script.script_id)
        server.start()
        assert await scripts.stored(script.script_id) == script, "what was acknowledged is still there"
        assert await scripts.get(listener(), script.script_id) == script


async def test_a_connection_cut_in_the_middle_is_unavailable_and_the_pool_goes_on(
    logins: Logins, owner: asyncpg.Connection
) -> None:
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as database:
        for opened in (database.as_service, lambda: database.as_user(listener())):
            with pytest.raises(DatabaseUnavailable) as refusal:
                async with opened() as connection:
                    process = await connection.fetchval("select pg_backend_pid()")
                    await owner.fetchval("select pg_terminate_backend($1, 5000)", process)
                    await connection.fetchval("select 1")
            assert refusal.value.__cause__ is not None
            async with opened() as connection:
                assert await connection.fetchval("select 1") == 1


FATAL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0"


class EndingServer:
    """Stands between the driver and PostgreSQL, and can say on all connections that the server ends, and not end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket = folder / ".s.PGSQL.5432"
        self._clients: list[asyncio.StreamWriter] = []

    async def serve(self, behind: Path) -> asyncio.Server:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_unix_connection(behind)
            self._clients.append(writer)
            await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))

        return await asyncio.start_unix_server(accept, self._socket)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def end(self) -> None:
        """Returns when it has been heard on every connection that is open."""
        for writer in self._clients:
            if writer.is_closing():
                continue
            writer.write(b"E" + (len(FATAL) + 4).to_bytes(4) + FATAL)
            while unread(writer):
                await asyncio.sleep(0)


def unread(writer: asyncio.StreamWriter) -> int:
    """Bytes that the other end has not taken yet."""
    waiting = fcntl.ioctl(writer.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(waiting, sys.byteorder)


async def test_a_connection_whose_server_says_that_it_ends_is_unavailable_and_not_used_again(
    logins: Logins, run_folder: Path
) -> None:
    between = EndingServer(run_folder)
    query = parse_qs(urlsplit(logins.app_url).query)
    behind = Path(query["host"][0], f".s.PGSQL.{query['port'][0]}")
    app_url, service_url = (
        url.replace(quote(str(behind.parent), safe="/"), str(between.folder))
        for url in (logins.app_url, logins.service_url)
    )
    async with (
        await between.serve(behind),
        open_database(app_url, service_url, connections_max=1) as database,
    ):
        for opened in (database.as_service, lambda: database.as_user(listener())):
            async with opened() as connection:
                await connection.fetchval("select 1")
            await between.end()
            with pytest.raises(DatabaseUnavailable) as refusal:
                async with opened() as connection:
                    await connection.fetchval("select 1")
            assert refusal.value.__cause__ is not None
            async with opened() as connection:
                assert await connection.fetchval("select 1") == 1


async def test_a_pool_that_is_used_up_says_so_after_a_time(logins: Logins) -> None:
    async with open_database(logins.app_url, logins.service_url, connections_max=1, acquire_timeout_s=0.05) as database:
        async with database.as_service():
            with pytest.raises(DatabaseUnavailable) as refusal:
                async with database.as_service():
                    raise AssertionError("not reached")
            assert isinstance(refusal.value.__cause__, TimeoutError)
        async with database.as_service() as connection:
            assert await connection.fetchval("select 1") == 1


async def test_a_server_out_of_connections_is_unavailable(
    start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    server = start_postgres(settings={"max_connections": "6", "superuser_reserved_connections": "4"})
    await migrate(server.url())
    logins = await ensure_logins(server.url(), tmp_path)
    async with open_database(logins.app_url, logins.service_url) as database:
        async with database.as_service(), database.as_service():
            with pytest.raises(DatabaseUnavailable) as refusal:
                await database.check()
            assert isinstance(refusal.value.__cause__, asyncpg.TooManyConnectionsError)


async def test_an_exception_in_the_body_rolls_back_and_is_raised_as_it_is(database: Database) -> None:
    claims = listener()
    script = await uploaded(ScriptRepository(database))
    with pytest.raises(ZeroDivisionError):
        async with database.as_user(claims) as connection:
            await connection.execute(
                "insert into audio_bookmarks (listener_id, script_id, position_ms) values ($1, $2, 1)",
                claims["sub"],
                script.script_id,
            )
            raise ZeroDivisionError
    async with database.as_user(claims) as connection:
        assert await connection.fetchval("select count(*) from audio_bookmarks") == 0


async def test_a_statement_error_that_was_swallowed_is_not_taken_for_a_commit(database: Database) -> None:
    with pytest.raises(AssertionError, match="failed transaction"):
        async with database.as_user(listener()) as connection:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetchval("select 1 / 0")


async def test_a_cancelled_request_gives_its_connection_back_clean(logins: Logins) -> None:
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as database:
        begun = asyncio.Event()

        async def slow() -> None:
            async with database.as_user(listener()) as connection:
                begun.set()
                await connection.execute("select pg_sleep(30)")

        request = asyncio.create_task(slow())
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        async with database.as_user(listener()) as connection:
            assert await connection.fetchval("select count(*) from audio_bookmarks") == 0


async def test_without_a_statement_cache_nothing_is_prepared_by_name(logins: Logins) -> None:
    """A pooler in transaction mode gives each transaction another server process, which knows no earlier statement."""
    async with open_database(logins.app_url, logins.service_url, statement_cache_size=0) as database:
        script = await uploaded(ScriptRepository(database))
        sessions = SessionRepository(database)
        state = session(script.script_id)
        await stored(database, [state])
        assert await sessions.get(state.session_id) == state
        async with database.as_service() as connection:
            assert await connection.fetchval("select count(*) from pg_prepared_statements where name <> ''") == 0


async def test_a_request_of_one_query_takes_three_round_trips(database: Database, logins: Logins) -> None:
    """Begin with role and claims; the query, prepared before; commit."""
    claims = listener()
    script = await uploaded(ScriptRepository(database), claims, visibility="private")
    sent: list[str] = []
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as quiet:
        scripts = ScriptRepository(quiet)
        await scripts.get(claims, script.script_id)
        async with quiet.as_user(claims) as connection:
            connection.add_query_logger(lambda record: sent.append(record.query))
        await scripts.get(claims, script.script_id)
    assert [query.split()[0] for query in sent][-3:] == ["begin;", "select", "commit"]


async def test_a_wrong_value_is_not_taken_for_an_outage(database: Database) -> None:
    with pytest.raises(InvalidValue):
        async with database.as_service() as connection:
            await connection.fetchval("select $1::uuid", "nonsense")
    with pytest.raises(asyncpg.InterfaceError, match="expects 0 arguments"):
        async with database.as_service() as connection:
            await connection.fetchval("select 1", "too much")

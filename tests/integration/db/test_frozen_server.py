"""A PostgreSQL that neither answers nor refuses, as on a machine that swaps, or past a network that loses packets."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest

from playhead.app.embedded import EmbeddedPostgres
from playhead.db.errors import DatabaseUnavailable
from playhead.db.limits import ACQUIRE_TIMEOUT_S, CANCEL_TIMEOUT_S, COMMAND_TIMEOUT_S
from playhead.db.logins import ensure_logins
from playhead.db.migrate import migrate, owner_connection
from playhead.db.pool import Connection, Database, open_database
from playhead.db.scripts import ScriptRepository
from tests.integration.db.rows import listener, uploaded

MARGIN_S = 1.5
"""What a busy machine may add."""
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"


@pytest.fixture
def server(start_postgres: Callable[..., EmbeddedPostgres]) -> EmbeddedPostgres:
    return start_postgres()


@pytest.fixture
async def database(server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Database]:
    await migrate(server.url())
    logins = await ensure_logins(server.url(), tmp_path)
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as opened:
        yield opened


@contextmanager
def frozen(server: EmbeddedPostgres, *backends: int) -> Iterator[None]:
    """Stops the server and these of its processes; they go on at the end."""
    processes = [server.pid, *backends]
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


@contextmanager
def unavailable_within(limit_s: float) -> Iterator[None]:
    began_s = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        yield
    assert time.monotonic() - began_s < limit_s + MARGIN_S


async def warmed(database: Database) -> tuple[int, int]:
    """A connection of each pool; answers the server's processes behind them."""
    async with database.as_user(listener()) as user, database.as_service() as service:
        return await user.fetchval("select pg_backend_pid()"), await service.fetchval("select pg_backend_pid()")


async def test_a_server_that_freezes_costs_a_listeners_call_one_timeout_and_then_it_works_again(
    server: EmbeddedPostgres, database: Database
) -> None:
    backends = await warmed(database)
    with frozen(server, *backends):
        with unavailable_within(COMMAND_TIMEOUT_S):
            async with database.as_user(listener()):
                raise AssertionError("not reached")
        with unavailable_within(ACQUIRE_TIMEOUT_S):
            async with database.as_user(listener()):
                raise AssertionError("not reached")
    async with database.as_user(listener()) as connection:
        assert await connection.fetchval("select 1") == 1


async def test_a_server_that_freezes_costs_the_services_call_one_timeout_and_then_it_works_again(
    server: EmbeddedPostgres, database: Database
) -> None:
    script = await uploaded(ScriptRepository(database))
    backends = await warmed(database)
    with frozen(server, *backends):
        with unavailable_within(COMMAND_TIMEOUT_S + CANCEL_TIMEOUT_S):
            await ScriptRepository(database).stored(script.script_id)
        with unavailable_within(ACQUIRE_TIMEOUT_S):
            await ScriptRepository(database).stored(script.script_id)
    assert await ScriptRepository(database).stored(script.script_id) == script


async def test_a_server_that_freezes_in_the_middle_of_an_upload_costs_one_timeout(
    server: EmbeddedPostgres, database: Database
) -> None:
    scripts = ScriptRepository(database)
    backends = await warmed(database)
    async with owner_connection(server.url()) as owner:
        async with owner.transaction():
            await owner.execute("lock table audio_scripts")
            upload = asyncio.create_task(uploaded(scripts))
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                while not await owner.fetchval(WAITING):
                    pass
            with frozen(server, *backends), unavailable_within(COMMAND_TIMEOUT_S):
                await upload
    await uploaded(scripts)


@pytest.mark.parametrize(("as_whom", "limit_s"), [("listener", 0.0), ("service", CANCEL_TIMEOUT_S)])
async def test_a_call_that_is_cancelled_meanwhile_ends_cancelled_and_soon(
    server: EmbeddedPostgres, database: Database, as_whom: str, limit_s: float
) -> None:
    backends = await warmed(database)
    begun, go_on = asyncio.Event(), asyncio.Event()

    def opened() -> AbstractAsyncContextManager[Connection]:
        return database.as_service() if as_whom == "service" else database.as_user(listener())

    async def ask() -> None:
        async with opened() as connection:
            begun.set()
            await go_on.wait()
            await connection.fetchval("select 1")

    request = asyncio.create_task(ask())
    await begun.wait()
    with frozen(server, *backends):
        go_on.set()
        await asyncio.sleep(0)  # the statement goes out
        began_s = time.monotonic()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert time.monotonic() - began_s < limit_s + MARGIN_S
    async with opened() as connection:
        assert await connection.fetchval("select 1") == 1


async def test_a_listeners_statement_that_is_merely_slow_is_ended_by_the_server_and_its_connection_kept(
    server: EmbeddedPostgres, database: Database
) -> None:
    (process, _) = await warmed(database)
    with unavailable_within(COMMAND_TIMEOUT_S):
        async with database.as_user(listener()) as connection:
            await connection.fetchval("select pg_sleep(60)")
    assert (await warmed(database))[0] == process


async def test_a_statement_of_the_service_that_waits_for_a_lock_too_long_does_not_go_on_waiting(
    server: EmbeddedPostgres, database: Database
) -> None:
    """Else a long migration would fill the server with statements whose callers are gone."""
    async with owner_connection(server.url()) as owner, owner.transaction():
        await owner.execute("lock table audio_scripts")
        with unavailable_within(COMMAND_TIMEOUT_S + CANCEL_TIMEOUT_S):
            await ScriptRepository(database).stored(listener()["sub"])
        assert await owner.fetchval(WAITING) == 0

"""A server that takes no writes, as after a failover that went to the wrong place, is unavailable until it does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from playhead.app.embedded import EmbeddedPostgres
from playhead.db.errors import DatabaseUnavailable
from playhead.db.logins import Logins, ensure_logins
from playhead.db.migrate import migrate
from playhead.db.pool import Database, open_database
from playhead.db.scripts import ScriptRepository
from playhead.transcode import PrepareQueue
from tests.integration.db.rows import listener, uploaded


@pytest.fixture
def primary(start_postgres: Callable[..., EmbeddedPostgres]) -> EmbeddedPostgres:
    return start_postgres(settings={"wal_level": "replica"})


@pytest.fixture
async def its_logins(primary: EmbeddedPostgres, tmp_path: Path) -> Logins:
    await migrate(primary.url())
    return await ensure_logins(primary.url(), tmp_path)


def restart_as_standby(server: EmbeddedPostgres) -> None:
    server.stop()
    (server.data_dir / "standby.signal").touch()
    server.start()


@asynccontextmanager
async def superuser(server: EmbeddedPostgres) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(server.url())
    yield connection
    await connection.close()


def uses(database: Database) -> dict[str, Callable[[], Awaitable[object]]]:
    """Each by a way of its own into a pool."""
    return {
        "readiness": database.check,
        "the queue": PrepareQueue(database.jobs()).take,
        "the service": ScriptRepository(database).unfinished,
        "a listener": lambda: ScriptRepository(database).get(listener(), listener()["sub"]),
    }


async def test_a_standby_is_unavailable_until_it_is_promoted(primary: EmbeddedPostgres, its_logins: Logins) -> None:
    async with open_database(its_logins.app_url, its_logins.service_url, connections_max=1) as database:
        await database.check()
        restart_as_standby(primary)
        for use in uses(database).values():
            with pytest.raises(DatabaseUnavailable):
                await use()  # the connections of before were cut
        for name, use in uses(database).items():
            with pytest.raises(DatabaseUnavailable, match="takes no writes"):
                await use()
                raise AssertionError(f"{name} was served")
        async with superuser(primary) as connection:
            assert await connection.fetchval("select pg_promote()")
        for use in uses(database).values():
            await use()


async def test_one_that_was_told_to_take_no_writes_is_unavailable_until_it_does_again(
    primary: EmbeddedPostgres, its_logins: Logins
) -> None:
    """On connections that were open before, too."""
    async with (
        superuser(primary) as owner,
        open_database(its_logins.app_url, its_logins.service_url, connections_max=1) as database,
    ):
        for use in uses(database).values():
            await use()
        await owner.execute("alter system set default_transaction_read_only = on")
        await reloaded(owner, "on")
        with pytest.raises(DatabaseUnavailable, match="takes no writes"):
            await database.check()
        for use in uses(database).values():
            with pytest.raises(DatabaseUnavailable):
                await use()
                await use()  # who only reads may be served once
        await owner.execute("set default_transaction_read_only = off")
        await owner.execute("alter system reset default_transaction_read_only")
        await owner.execute("select pg_reload_conf()")
        async with superuser(primary) as another:
            await reloaded(another, "off")
        for use in uses(database).values():
            await use()


async def reloaded(connection: "asyncpg.Connection[asyncpg.Record]", value: str) -> None:
    while await connection.fetchval("show default_transaction_read_only") != value:
        await connection.execute("select pg_reload_conf()")


async def test_a_connection_on_which_a_write_was_refused_is_not_used_again(logins: Logins) -> None:
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as database:
        script = await uploaded(ScriptRepository(database))
        with pytest.raises(DatabaseUnavailable):
            async with database.as_service_at_once() as connection:
                process = await connection.fetchval("select pg_backend_pid()")
                await connection.execute("set local transaction_read_only = on")
                await connection.execute("update audio_scripts set error = null where id = $1", script.script_id)
        async with database.as_service() as connection:
            assert await connection.fetchval("select pg_backend_pid()") != process


async def test_an_address_none_of_whose_servers_is_as_it_asks_for_is_unavailable(
    logins: Logins, owner_url: str
) -> None:
    with pytest.raises(DatabaseUnavailable, match="target_session_attrs"):
        await migrate(f"{owner_url}&target_session_attrs=standby")
    with pytest.raises(DatabaseUnavailable, match="port numbers"):
        await migrate("postgresql://postgres@/postgres?host=/tmp,/tmp&port=1,2,3")
    service_url = f"{logins.service_url}&target_session_attrs=standby"
    async with open_database(logins.app_url, service_url) as database:
        for use in (database.check, PrepareQueue(database.jobs()).take):
            with pytest.raises(DatabaseUnavailable, match="target_session_attrs"):
                await use()

"""Connections for requests and for the service, and as whom their statements run.

| pool    | login            | statements run                                                                        |
| ------- | ---------------- | ------------------------------------------------------------------------------------- |
| app     | playhead_app     | in `as_user`: one transaction as `authenticated` with one listener's claims            |
| service | playhead_service | in `as_service`: each by itself, with what the login inherits from service_role        |

Neither leaves anything behind in its connection (role and claims end with the transaction), so connections go back to
the pool without the driver's reset, and both work behind a pooler in transaction mode (`statement_cache_size=0`).
Pools connect when first used: a server may start while PostgreSQL is away, and says so in its readiness. A server that
stops answering costs a caller one timeout: the connection is cut, for a rollback would wait as long again. One that
takes no writes, as a standby, is as good as away: connections to it are not kept, so that the next one may lead to the
primary.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from playhead.db.errors import READ_ONLY, DatabaseUnavailable, translated
from playhead.db.hosts import connect
from playhead.db.limits import (
    ACQUIRE_TIMEOUT_S,
    BATCH_STATEMENT_TIMEOUT_S,
    CANCEL_TIMEOUT_S,
    CLOSE_TIMEOUT_S,
    COMMAND_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    POOL_CONNECTIONS_MAX,
    STATEMENT_CACHE_SIZE,
    STATEMENT_TIMEOUT_S,
)
from playhead.db.migrate import read_migrations

if TYPE_CHECKING:
    from pgqueuer.adapters.persistence.queries import Queries

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
NOT_MIGRATED = (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)
"""What a database answers that has not been migrated."""
READ_ONLY_SETTINGS = ("in_hot_standby", "default_transaction_read_only")
"""What PostgreSQL tells by itself on every connection, and again when it changes (from 14 on)."""
IS_READ_ONLY = "select current_setting('transaction_read_only')::boolean"
Claims = Mapping[str, str]
"""The verified claims of a token, of which `sub` counts: the listener's id. Other claims give no rights here."""


def _limited(statement_timeout_s: float) -> str:
    return (
        f"set local statement_timeout = {round(statement_timeout_s * 1_000)}; "
        f"set local idle_in_transaction_session_timeout = {round(IDLE_TIMEOUT_S * 1_000)}"
    )


_LIMITED = _limited(STATEMENT_TIMEOUT_S)
_BATCH_LIMITED = _limited(BATCH_STATEMENT_TIMEOUT_S)


def begin_as(claims: Claims) -> str:
    """The message that begins a listener's transaction, in one round trip.

    Nothing of the claims gets in but a UUID in canonical form, so nothing can end the quotes. Raises ValueError.
    """
    listener_id = uuid.UUID(claims["sub"])
    told = json.dumps({"sub": str(listener_id), "role": "authenticated"})
    return f"begin; set local role authenticated; {_LIMITED}; select set_config('request.jwt.claims', '{told}', true)"


class ServiceDatabase:
    """The service's pool alone: for a process that acts for no listener. Made by `open_service_database`."""

    def __init__(self, service: Pool, acquire_timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        self._service = service
        self._acquire_timeout_s = acquire_timeout_s

    @asynccontextmanager
    async def as_service(self) -> AsyncIterator[Connection]:
        """A connection that sees and writes sessions, scripts and jobs of everybody; each statement commits by itself.

        Who may ask for what is checked by the caller. Raises DatabaseUnavailable and InvalidValue.
        """
        async with self._lent(self._service) as connection:
            yield connection

    @asynccontextmanager
    async def as_service_at_once(self) -> AsyncIterator[Connection]:
        """`as_service`, all statements in one transaction: committed at the end, rolled back by an exception."""
        async with self._lent(self._service) as connection, _transaction(connection, f"begin; {_LIMITED}"):
            yield connection

    @asynccontextmanager
    async def as_service_batch(self) -> AsyncIterator[Connection]:
        """`as_service_at_once` for a batch that nobody waits for: its statements may take `BATCH_TIMEOUT_S` each."""
        async with self._lent(self._service) as connection, _transaction(connection, f"begin; {_BATCH_LIMITED}"):
            yield connection

    @asynccontextmanager
    async def _lent(self, pool: Pool) -> AsyncIterator[Connection]:
        with translated():
            connection = await pool.acquire(timeout=self._acquire_timeout_s)
            try:
                yield connection
            except (asyncpg.InternalClientError, asyncpg.ReadOnlySQLTransactionError):
                # The driver does not know where in the conversation it is: nobody may go on with it. Or its server
                # takes no writes: the next connection may lead to another one.
                connection.terminate()
                raise
            finally:
                # Where a statement is still under way, the driver asks PostgreSQL to cancel it, so that none piles up
                # behind a lock, and cuts the connection when the time is over: nothing is left to be told.
                with suppress(TimeoutError):
                    await pool.release(connection, timeout=CANCEL_TIMEOUT_S)


class Database(ServiceDatabase):
    """Both pools. Made by `open_database`."""

    def __init__(self, app: Pool, service: Pool, acquire_timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        super().__init__(service, acquire_timeout_s)
        self._app = app
        self._newest = read_migrations()[-1]

    @asynccontextmanager
    async def as_user(self, claims: Claims) -> AsyncIterator[Connection]:
        """A transaction in which row level security lets see and change what the listener of `claims` may.

        Committed at the end, rolled back by an exception. The body holds database calls alone. Raises
        DatabaseUnavailable and InvalidValue.
        """
        async with self._lent(self._app) as connection, _transaction(connection, begin_as(claims)):
            yield connection

    def jobs(self) -> "Queries":
        """pgqueuer's queries over the service's pool; a worker that listens keeps one of its connections.

        The first call loads pgqueuer, which takes a tenth of a second: servers start without it.
        """
        from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver

        from playhead.db.job_queue import queue_queries

        return queue_queries(AsyncpgPoolDriver(self._service))

    async def check(self) -> None:
        """Returns when both logins work, on a server that takes writes, and the database is migrated.

        Else raises DatabaseUnavailable.
        """
        try:
            async with self.as_service() as connection:
                if await connection.fetchval(IS_READ_ONLY):
                    raise DatabaseUnavailable(READ_ONLY)
                applied = await connection.fetchval(
                    "select exists (select from playhead.migrations where version = $1)", self._newest.version
                )
        except NOT_MIGRATED:
            applied = False
        if not applied:
            raise DatabaseUnavailable(f"The database lacks {self._newest.name}. Run `playhead migrate`.")
        async with self.as_user({"sub": str(uuid.UUID(int=0))}) as connection:
            await connection.execute("select from audio_scripts limit 0")


@asynccontextmanager
async def _transaction(connection: Connection, begin: str) -> AsyncIterator[None]:
    try:
        await connection.execute(begin)
        yield
        ended = await connection.execute("commit")
    except (TimeoutError, asyncio.CancelledError, GeneratorExit):
        # no answer is to be had, or nobody waits for one; PostgreSQL rolls back what loses its connection
        connection.terminate()
        raise
    except BaseException:
        await _roll_back(connection)
        raise
    if ended != "COMMIT":
        # PostgreSQL answers ROLLBACK when a statement has failed and its error was swallowed
        raise AssertionError("a failed transaction was to be committed")


_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises when a connection cannot be used any more."""


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("rollback")
    except (*_LOST, asyncio.CancelledError) as error:
        connection.terminate()
        if isinstance(error, asyncio.CancelledError):
            raise


@asynccontextmanager
async def open_database(
    app_url: str,
    service_url: str,
    *,
    connections_max: int = POOL_CONNECTIONS_MAX,
    statement_cache_size: int = STATEMENT_CACHE_SIZE,
    acquire_timeout_s: float = ACQUIRE_TIMEOUT_S,
) -> AsyncIterator[Database]:
    """Two pools of at most `connections_max` connections each, closed at the end. Asks no server yet."""
    async with _pools((app_url, service_url), connections_max, statement_cache_size) as (app, service):
        yield Database(app, service, acquire_timeout_s)


@asynccontextmanager
async def open_service_database(
    service_url: str,
    *,
    connections_max: int = POOL_CONNECTIONS_MAX,
    statement_cache_size: int = STATEMENT_CACHE_SIZE,
) -> AsyncIterator[ServiceDatabase]:
    """The service's pool alone, closed at the end. Asks no server yet."""
    async with _pools((service_url,), connections_max, statement_cache_size) as (service,):
        yield ServiceDatabase(service)


@asynccontextmanager
async def _pools(urls: Sequence[str], connections_max: int, statement_cache_size: int) -> AsyncIterator[list[Pool]]:
    pools = [_pool(url, connections_max, statement_cache_size) for url in urls]
    try:
        for pool in pools:
            await pool
        yield pools
    finally:
        await asyncio.gather(*(_close(pool) for pool in pools))


def _pool(url: str, connections_max: int, statement_cache_size: int) -> Pool:
    return asyncpg.create_pool(
        url,
        connect=connect,
        min_size=0,
        max_size=connections_max,
        statement_cache_size=statement_cache_size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        init=_check_writable,
        reset=_leave_as_it_is,
    )


async def _leave_as_it_is(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Instead of `RESET ALL` and the like at each release: nothing was set. An open transaction is ended anyway."""
    try:
        await _check_writable(connection)
    except DatabaseUnavailable:
        connection.terminate()


async def _check_writable(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raises DatabaseUnavailable when the server has told that it takes no writes.

    Only then it is asked once more, for a pooler tells what was so when it connected itself.
    """
    told = connection.get_settings()
    is_told = any(getattr(told, name, None) == "on" for name in READ_ONLY_SETTINGS)
    if is_told and await connection.fetchval(IS_READ_ONLY):
        raise DatabaseUnavailable(READ_ONLY)


async def _close(pool: Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_S)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        pool.terminate()

"""Connections to Valkey or Redis: how they are opened, and what must happen on each new one before it is used.

Only a primary is talked to. After a failover the address, or a sentinel, may lead to a replica for a while: it refuses
what is written, and what it tells may be old.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import MasterDownError, ReadOnlyError, RedisError

from playhead.runtime.redis_urls import sentinel_url
from playhead.runtime.sentinel import Led, LedSecurely, Sentinels

CONNECTIONS_MAX = 32
"""Connections of one process for commands; a call waits for a free one."""
POOL_WAIT_S = 2.0
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 2.0

REFUSED_BY_REPLICA = (ReadOnlyError, MasterDownError)
"""What a server answers that was demoted since it was connected to. Leave it: see `leave_server`."""

OnConnect = Callable[[AbstractConnection], Awaitable[None]]


class NotPrimary(LostConnection):
    """The address leads to a replica. Lead it to the primary; whatever was connected before is used no more."""


def connect(url: str, on_connect: OnConnect | None = None) -> Redis:
    """A client over a pool of its own. Commands are not retried: the caller knows which may be sent twice.

    `url`: see `redis_urls`. Where it names sentinels, each new connection leads to whom they call the primary then.
    A new connection to a replica fails with NotPrimary. `on_connect` runs on each new one after that, before any
    command; a RedisError there fails the connection. The pool is closed by `client.aclose()`.
    """

    async def greet(connection: AbstractConnection) -> None:
        await connection.on_connect()
        await refuse_replica(connection)
        if on_connect is not None:
            await on_connect(connection)

    options: dict[str, Any] = {
        "max_connections": CONNECTIONS_MAX,
        "timeout": POOL_WAIT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        **_connection_options(url),
        "redis_connect_func": greet,
    }
    return Redis.from_pool(BlockingConnectionPool(**options))


def _connection_options(url: str) -> dict[str, Any]:
    """redis-py's, for each connection. Raises ValueError for a URL that is none."""
    led = sentinel_url(url)
    options: dict[str, Any] = dict(parse_url(url if led is None else led.server_url))
    if not url.startswith("unix:"):
        # a connection over a Unix socket knows no such option
        options["socket_keepalive"] = True
    if (sentinels := sentinels_of(url)) is not None:
        secure = options.get("connection_class") is SSLConnection
        options |= {"connection_class": LedSecurely if secure else Led, "sentinels": sentinels}
    return options


def sentinels_of(url: str) -> Sentinels | None:
    """Those that the URL names; with TLS where the servers have it."""
    led = sentinel_url(url)
    if led is None:
        return None
    options: dict[str, Any] = dict(parse_url(led.server_url))
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return Sentinels(led, options.get("connection_class", Connection), tls)


async def leave_server(client: Redis) -> None:
    """Whoever has the address by now is asked from here on: no open connection is used again.

    After a failover connections from before stay with the server that was demoted, which has no reason to close them.
    """
    pool = client.connection_pool
    await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
    for connection in list(pool._available_connections):
        # without a wait, in which somebody else could take it
        await connection.disconnect(nowait=True)


async def take_over(client: Redis, protocol: asyncio.Protocol) -> asyncio.StreamWriter:
    """A new connection, opened as each of the client's is, whose bytes from here on are the protocol's alone.

    Keep the writer: the transport is closed with it. redis-py has no public way to it, so that a new release may need
    another one here.
    """
    connection: Any = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.connect()
        reader, writer = connection._reader, connection._writer
        if reader._buffer or reader.at_eof() or connection._parser._reader.has_data():
            raise LostConnection("The server closed the connection, or sent what nobody had asked for.")
        connection._reader = connection._writer = None
        writer.transport.set_protocol(protocol)
        assert isinstance(writer, asyncio.StreamWriter)
        return writer
    finally:
        await connection.disconnect(nowait=True)


async def refuse_replica(connection: AbstractConnection) -> None:
    """Raises NotPrimary when whoever answers is a replica."""
    if info_field(await ask(connection, "INFO", "replication"), "role") != "master":
        raise NotPrimary("The address leads to a replica. Lead it to the primary.")


def info_field(info: bytes | str, name: str) -> str:
    """A field of what INFO answers."""
    text = info.decode() if isinstance(info, bytes) else info
    return next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(f"{name}:"))


async def ask(connection: AbstractConnection, *command: str | bytes | int) -> Any:
    """One command on a connection that is being opened. Raises RedisError when the server refuses it."""
    await connection.send_command(*command, check_health=False)
    answer = await connection.read_response()
    if isinstance(answer, RedisError):
        raise answer
    return answer

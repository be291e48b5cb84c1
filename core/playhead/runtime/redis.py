"""Connections to Valkey or Redis: how they are opened, and what must happen on each new one before it is used."""

from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CONNECTIONS_MAX = 32
"""Connections of one process for commands; a call waits for a free one."""
POOL_WAIT_S = 2.0
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 2.0

OnConnect = Callable[[AbstractConnection], Awaitable[None]]


def connect(url: str, on_connect: OnConnect | None = None) -> Redis:
    """A client over a pool of its own. Commands are not retried: the caller knows which may be sent twice.

    `on_connect` runs on each new connection after the greeting, before any command; a RedisError there fails the
    connection. The pool is closed by `client.aclose()`.
    """
    # a connection over a Unix socket knows no such option
    options: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
    if on_connect is not None:
        hook = on_connect

        async def greet(connection: AbstractConnection) -> None:
            await connection.on_connect()
            await hook(connection)

        options["redis_connect_func"] = greet
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        timeout=POOL_WAIT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    return Redis.from_pool(pool)


async def ask(connection: AbstractConnection, *command: str | bytes | int) -> Any:
    """One command on a connection that is being opened. Raises RedisError when the server refuses it."""
    await connection.send_command(*command, check_health=False)
    answer = await connection.read_response()
    if isinstance(answer, RedisError):
        raise answer
    return answer

"""What it means that the state store does not answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from playhead.runtime.redis import REFUSED_BY_REPLICA, leave_server
from playhead.sessions.store import StoreUnavailable

FAILURES = (RedisError, OSError, TimeoutError)


@asynccontextmanager
async def unavailable_when_down(client: Redis) -> AsyncIterator[None]:
    """Turns every failure to talk to the store into StoreUnavailable."""
    try:
        yield
    except REFUSED_BY_REPLICA as error:
        await leave_server(client)
        raise StoreUnavailable(str(error)) from error
    except FAILURES as error:
        raise StoreUnavailable(str(error)) from error

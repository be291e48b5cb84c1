"""Values in Valkey or Redis, shared by all processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil

from redis.asyncio import Redis
from redis.exceptions import RedisError

from playhead.cache.backend import VALUE_BYTES_MAX, CacheUnavailable

ANSWER_TIMEOUT_S = 0.25
"""A cache that is slower than this is no help."""


class RedisBackend:
    """Backend on `client`, which its owner closes. A key's time to live is Redis' own (`PX`)."""

    def __init__(self, client: Redis, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def get(self, key: str) -> bytes | None:
        async with answered_in_time(self._timeout_s):
            value = await self._client.get(key)
        assert not isinstance(value, str), "the client must not decode answers"
        return value

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        if len(value) > VALUE_BYTES_MAX:
            return
        async with answered_in_time(self._timeout_s):
            await self._client.set(key, value, px=max(1, ceil(ttl_s * 1000)))

    async def drop(self, key: str) -> None:
        async with answered_in_time(self._timeout_s):
            await self._client.delete(key)


@asynccontextmanager
async def answered_in_time(timeout_s: float) -> AsyncIterator[None]:
    """Raises CacheUnavailable where Redis in the block does not answer, or not within `timeout_s`."""
    task = asyncio.current_task()
    assert task is not None
    cancelled = task.cancelling()
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise CacheUnavailable(f"Redis does not answer: {type(error).__name__}.") from error
    finally:
        if task.cancelling() > cancelled:
            # redis-py sends in `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes as it ends
            raise asyncio.CancelledError

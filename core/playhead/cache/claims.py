"""Who of several processes makes something: the first who claims it, for a while. The others wait for what it makes.

A claim is a courtesy, not a lock: where Redis is away, or a claim has run out, two may make the same thing, which must
do no harm.
"""

from math import ceil
from typing import Protocol

from redis.asyncio import Redis

from playhead.cache.redis_backend import ANSWER_TIMEOUT_S, answered_in_time


class Claims(Protocol):
    """Claims by key. The value is for the others to read. Every method may raise CacheUnavailable."""

    async def take(self, key: str, value: bytes, ttl_s: float) -> bool:
        """False: another process has it."""
        ...

    async def value(self, key: str) -> bytes | None:
        """What its holder wrote; None when nobody holds it."""
        ...

    async def give_up(self, key: str) -> None:
        """To be called by its holder alone, and only within the claim's time."""
        ...


class OwnClaims:
    """Of a process that has no other beside it: it knows itself what it makes."""

    async def take(self, key: str, value: bytes, ttl_s: float) -> bool:
        return True

    async def value(self, key: str) -> bytes | None:
        return None

    async def give_up(self, key: str) -> None:
        return None


class RedisClaims:
    """Claims on `client`, which its owner closes."""

    def __init__(self, client: Redis, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def take(self, key: str, value: bytes, ttl_s: float) -> bool:
        async with answered_in_time(self._timeout_s):
            return bool(await self._client.set(key, value, nx=True, px=ceil(ttl_s * 1000)))

    async def value(self, key: str) -> bytes | None:
        async with answered_in_time(self._timeout_s):
            value = await self._client.get(key)
        assert not isinstance(value, str), "the client must not decode answers"
        return value

    async def give_up(self, key: str) -> None:
        async with answered_in_time(self._timeout_s):
            await self._client.delete(key)

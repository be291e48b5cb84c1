"""Who of several processes makes something: the first who claims it, for a while. The others wait for what it makes.

A claim is a courtesy, not a lock: where Redis is away, or a claim has run out, two may make the same thing, which must
do no harm. Redis may do what it was asked for and answer too late, so a claim says whose it is: who asks for it again
has it, and gives up no other one's.
"""

import uuid
from math import ceil
from typing import Protocol

from redis.asyncio import Redis

from playhead.cache.redis_backend import answered_in_time

CLAIM_TIMEOUT_S = 1.0
"""Longer than for a cached value: a late event loop is late by less, and what is made twice costs as much."""
_OWNER_BYTES = 16

_TAKE = f"""
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, {_OWNER_BYTES}) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
"""
_GIVE_UP = f"""
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, {_OWNER_BYTES}) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Claims(Protocol):
    """One process's claims, by key. The value is for the others to read.

    Every method may raise CacheUnavailable; then it is not known whether it was done.
    """

    async def take(self, key: str, value: bytes, ttl_s: float) -> bool:
        """For `ttl_s` from now, also where this process has it already. False: another one has it."""
        ...

    async def value(self, key: str) -> bytes | None:
        """What its holder wrote; None when nobody holds it."""
        ...

    async def give_up(self, key: str) -> None:
        """Changes nothing where another process has it."""
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

    def __init__(self, client: Redis, timeout_s: float = CLAIM_TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._owner = uuid.uuid4().bytes

    async def take(self, key: str, value: bytes, ttl_s: float) -> bool:
        async with answered_in_time(self._timeout_s):
            return bool(await self._client.eval(_TAKE, 1, key, self._owner, value, ceil(ttl_s * 1000)))

    async def value(self, key: str) -> bytes | None:
        async with answered_in_time(self._timeout_s):
            held = await self._client.get(key)
        assert not isinstance(held, str), "the client must not decode answers"
        return None if held is None else held[_OWNER_BYTES:]

    async def give_up(self, key: str) -> None:
        async with answered_in_time(self._timeout_s):
            await self._client.eval(_GIVE_UP, 1, key, self._owner)

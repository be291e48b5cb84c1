"""Redis first, memory when Redis is away.

    get   own copy (at most 1 s old) → Redis → nothing
    away  after a failure Redis is left alone for 1 s at a time, and values live in memory for their whole time;
          when it is back, memory is emptied, so that what others dropped meanwhile is not served

Two processes may make the same value at the same time; within one process a value is made once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from playhead.cache.backend import Backend, CacheUnavailable
from playhead.cache.flights import Flights
from playhead.cache.memory import MemoryBackend

log = structlog.get_logger(__name__)

LOCAL_COPY_S = 1.0
"""How long a process may answer from its own copy of what is in Redis."""
AWAY_S = 1.0
"""How long Redis is left alone after it did not answer."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A value, and whether it was there already."""

    value: bytes
    cached: bool


class Cache:
    """`shared` None: a single process, memory alone. `on_away` hears True when Redis goes away, False when back."""

    def __init__(
        self,
        shared: Backend | None,
        now_s: Callable[[], float],
        on_away: Callable[[bool], None] = lambda _away: None,
    ) -> None:
        self._shared = shared
        self._now_s = now_s
        self._on_away = on_away
        self._own = MemoryBackend(now_s)
        self._flights: Flights[Kept] = Flights()
        self._away = False
        self._ask_again_s = 0.0

    @property
    def away(self) -> bool:
        """Whether Redis was away when it was last asked."""
        return self._away

    async def get(self, key: str) -> bytes | None:
        own = self._own.at_once(key)
        if self._alone or (own is not None and self._may_answer_alone):
            return own
        assert self._shared is not None
        try:
            value = await self._shared.get(key)
        except CacheUnavailable as error:
            self._lost(error)
            return own
        self._found()
        if value is not None:
            await self._own.put(key, value, LOCAL_COPY_S)
        return value

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        if not self._alone:
            assert self._shared is not None
            try:
                await self._shared.put(key, value, ttl_s)
                self._found()
                ttl_s = min(ttl_s, LOCAL_COPY_S)
            except CacheUnavailable as error:
                self._lost(error)
        await self._own.put(key, value, ttl_s)

    async def drop(self, key: str) -> None:
        """Forgets the value here and in Redis; other processes may answer it for LOCAL_COPY_S more."""
        await self._own.drop(key)
        if self._alone:
            return
        assert self._shared is not None
        try:
            await self._shared.drop(key)
            self._found()
        except CacheUnavailable as error:
            self._lost(error)

    async def get_or_make(self, key: str, ttl_s: float, make: Callable[[], Awaitable[bytes]]) -> Kept:
        """The value that is kept, else what `make` answers, kept from now on. What `make` raises is not kept."""
        own = self._own.at_once(key)
        if own is not None and self._may_answer_alone:
            return Kept(own, cached=True)

        async def find() -> Kept:
            kept = await self.get(key)
            if kept is not None:
                return Kept(kept, cached=True)
            made = await make()
            await self.put(key, made, ttl_s)
            return Kept(made, cached=False)

        return await self._flights.join(key, find)

    @property
    def _alone(self) -> bool:
        """Whether memory is all there is at this moment."""
        return self._shared is None or (self._away and self._now_s() < self._ask_again_s)

    @property
    def _may_answer_alone(self) -> bool:
        """Whether an own copy will do. A Redis that was away is asked before, when that is due."""
        return self._alone or not self._away

    def _lost(self, error: CacheUnavailable) -> None:
        self._ask_again_s = self._now_s() + AWAY_S
        if not self._away:
            self._away = True
            log.warning("The cache is kept in memory: Redis is away.", action="cache_away", error=str(error))
            self._on_away(True)

    def _found(self) -> None:
        if self._away:
            self._away = False
            self._own.clear()
            log.info("The cache is in Redis again.", action="cache_back")
            self._on_away(False)

"""Server time: the clock of the state store, which every process follows on its own monotonic clock.

Eight questions at the start, then one every SAMPLE_INTERVAL_S, on a connection that nothing else waits for. While the
store is away the clock runs on as it was, less certain every second. What it answers is decided in `slewed_clock.py`;
here is when and how the store is asked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from playhead.playback.clock_offset import SAMPLES_MAX, RoundTrip
from playhead.runtime.redis import NotPrimary, ask, refuse_replica
from playhead.runtime.redis_clients import client_of, primary_of
from playhead.runtime.slewed_clock import NS_PER_MS, SlewedClock
from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

SAMPLE_INTERVAL_S = 10.0
RETRY_INTERVAL_S = 1.0
"""While the store does not answer, and while the clock is not certain enough."""
START_WAIT_S = 2.0
"""How long a start waits for the first samples; without them the process serves nobody yet, as `/readyz` says."""
TIME_KEY = "{0}"
"""Whoever has this key of a cluster has server time: the primary of partition 0."""
UNCERTAINTY_MS_MAX = 50
"""A process whose clock may be further off than this shall serve nobody."""


class TimeUnavailable(Exception):
    """The store does not tell the time now. The clock goes on without it; ask again later."""


class TimeSource(Protocol):
    """Whoever has server time."""

    async def ask(self, local_ms: Callable[[], float]) -> RoundTrip:
        """One round trip, timed with `local_ms`. Raises TimeUnavailable."""
        ...

    async def stop(self) -> None:
        """Lets go of what it holds."""
        ...


class RedisTime:
    """TIME of the Valkey or Redis at `url`; in a cluster that of the primary of partition 0."""

    def __init__(self, url: str) -> None:
        self._client = client_of(url)

    async def ask(self, local_ms: Callable[[], float]) -> RoundTrip:
        try:
            async with primary_of(self._client, TIME_KEY) as server:
                return await self._ask(server, local_ms)
        except (RedisError, OSError, TimeoutError) as error:
            raise TimeUnavailable(f"{type(error).__name__}: {error}") from error

    async def _ask(self, server: Redis, local_ms: Callable[[], float]) -> RoundTrip:
        pool = server.connection_pool
        # opened first: the time that this takes is none of the question's
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            # its own clock may be another one than that of the primary by now
            await self._refuse_replica(connection)
            asked_ms = local_ms()
            seconds, microseconds = await ask(connection, "TIME")
            answered_ms = local_ms()
        finally:
            # after a failure or a cancellation it is closed already, so that no answer is taken for the next one
            await pool.release(connection)
        store_ms = int(seconds) * 1000 + int(microseconds) / 1000
        return RoundTrip(t0_ms=asked_ms, t1_ms=store_ms, t2_ms=store_ms, t3_ms=answered_ms)

    async def _refuse_replica(self, connection: AbstractConnection) -> None:
        try:
            await refuse_replica(connection)
        except NotPrimary:
            # the next question goes to whoever has the address by then
            await connection.disconnect(nowait=True)
            raise

    async def stop(self) -> None:
        await self._client.aclose()


class WallTime:
    """The machine's own wall clock, for a process that shares its sessions with no other."""

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._wall_ns = wall_ns

    async def ask(self, local_ms: Callable[[], float]) -> RoundTrip:
        asked_ms = local_ms()
        wall_ms = self._wall_ns() / NS_PER_MS
        return RoundTrip(t0_ms=asked_ms, t1_ms=wall_ms, t2_ms=wall_ms, t3_ms=local_ms())

    async def stop(self) -> None:
        pass


class StoreClock:
    """Clock of a process that serves. Run it with `start`, end it with `stop`; `sample` is one round of questions."""

    def __init__(
        self,
        source: TimeSource,
        *,
        local_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._clock = SlewedClock(local_ns, wall_ns)
        self.now_ms = self._clock.now_ms
        self._sleep = sleep
        self._answered = True
        self._task: asyncio.Task[None] | None = None

    @property
    def uncertainty_ms(self) -> float:
        """How far from server time an answer may be, before it is cut to whole ms; infinite before the first sample."""
        return self._clock.uncertainty_ms

    @property
    def correction_ms(self) -> float:
        """How far the clock still has to go to what it knows to be right; negative: it is ahead."""
        return self._clock.correction_ms

    @property
    def wall_offset_ms(self) -> float:
        """The machine's wall clock less server time."""
        return self._clock.wall_offset_ms

    @property
    def certain(self) -> bool:
        """Whether this process may serve with it."""
        return self.uncertainty_ms <= UNCERTAINTY_MS_MAX

    async def start(self) -> None:
        """Takes the first samples, for START_WAIT_S at most, and goes on by itself; also while the store is away."""
        try:
            async with asyncio.timeout(START_WAIT_S):
                await self.sample()
        except TimeoutError:
            self._missed("no answer in time")
        self._task = asyncio.create_task(self._follow(), name="store-clock")

    async def stop(self) -> None:
        await cancelled(self._task)
        await self._source.stop()

    async def sample(self) -> None:
        """Asks once, and on until eight samples are kept: at the start, and when a clock has jumped."""
        for _ in range(SAMPLES_MAX):
            try:
                trip = await self._source.ask(self._clock.local_ms)
            except TimeUnavailable as error:
                return self._missed(str(error))
            self._take(trip)
            if self._clock.sample_count == SAMPLES_MAX:
                break

    async def _follow(self) -> None:
        while True:
            await self._sleep(SAMPLE_INTERVAL_S if self._answered and self.certain else RETRY_INTERVAL_S)
            try:
                await self.sample()
            except Exception:
                log.exception("The time was not asked for.", action="server_time_failed")

    def _take(self, trip: RoundTrip) -> None:
        if not self._answered:
            log.info("The state store tells the time again.", action="server_time_back")
        self._answered = True
        jumped_ms = self._clock.take(trip)
        if jumped_ms:
            log.warning(
                "The store's clock or this one has jumped.", action="server_time_jumped", by_ms=round(jumped_ms)
            )

    def _missed(self, error: str) -> None:
        if self._answered:
            log.warning("The state store does not tell the time.", action="server_time_away", error=error)
        self._answered = False

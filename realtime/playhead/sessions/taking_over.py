"""What a store in memory takes over at its start from the process that kept the sessions before it.

| a session without an end | then                                                                                     |
| ------------------------ | ---------------------------------------------------------------------------------------- |
| playing                  | put back; its device, whose connection went with the process, has OUTAGE_GRACE_MS to come |
| paused                   | its deadline is noted; it comes back from its row when it is due or somebody asks        |
| over for long (idle)     | the same, a few a second: they must not keep the others waiting                          |

The media addresses of sessions that have an end stay revoked.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

import structlog

from playhead.auth.media_paths import VALID_BEYOND_DURATION_S
from playhead.auth.revocations import REVOKED_MAX, ended
from playhead.db import DatabaseUnavailable, Ending
from playhead.playback.deadlines import IDLE_END_MS, next_due_ms
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.service import SessionService
from playhead.sessions.store import OUTAGE_GRACE_MS, DueSession, StoreUnavailable

log = structlog.get_logger(__name__)

SESSIONS_MAX = 100_000
"""Sessions that are taken over. What is beyond comes back when somebody asks for it, but without its deadlines."""
LONG_OVER_PER_S = 50
RETRY_INTERVAL_S = 1.0
AT_ONCE = 32
"""Sessions whose devices are given time at once: as many share a transaction."""


class Rows(Protocol):
    """Of sessions. May raise DatabaseUnavailable."""

    def unended(self, limit: int) -> AsyncGenerator[SessionState, None]: ...

    async def endings(self, heard_out_after_ms: int, limit: int) -> Sequence[Ending]: ...


class TakingOver:
    """`read` before the store is open, `give_time` beside it."""

    def __init__(self, store: MemoryStore, rows: Rows, service: SessionService, clock: Clock) -> None:
        self._store = store
        self._rows = rows
        self._service = service
        self._clock = clock
        self._playing: list[SessionState] = []
        self._was_read = asyncio.Event()

    async def read(self, epoch: int) -> None:
        """Fills the store. Raises DatabaseUnavailable; then it can be read again."""
        self._store.raise_epoch(epoch)
        self._playing.clear()
        now_ms = self._clock.now_ms()
        await self._revoke(now_ms)
        count = over = 0
        async with aclosing(self._rows.unended(SESSIONS_MAX)) as states:
            async for state in states:
                count += 1
                if now_ms - state.changed_at_ms >= IDLE_END_MS:
                    self._expect(state, now_ms + over * 1000 // LONG_OVER_PER_S)
                    over += 1
                elif state.playing:
                    self._store.put_back(state)
                    self._playing.append(state)
                else:
                    self._expect(state, next_due_ms(state) or now_ms)
        log.info(
            "Sessions were taken over.", action="taken_over", sessions=count, playing=len(self._playing), over=over
        )
        if count == SESSIONS_MAX:
            log.warning("There are more sessions than are taken over.", action="taken_over_in_part", limit=SESSIONS_MAX)
        self._was_read.set()

    async def _revoke(self, now_ms: int) -> None:
        """What has ended stays revoked. That must not keep the sessions that live: without it addresses open again."""
        try:
            endings = await self._rows.endings(now_ms - VALID_BEYOND_DURATION_S * 1_000, REVOKED_MAX)
        except DatabaseUnavailable as error:
            log.warning("Ended sessions were not read.", action="revocations_unknown", error=str(error))
        else:
            self._store.revocations.add([ended(*ending) for ending in endings], now_ms)

    def _expect(self, state: SessionState, at_ms: int) -> None:
        self._store.expect(DueSession(listener_id=state.listener_id, session_id=state.session_id), at_ms)

    async def give_time(self) -> None:
        """Begins the grace of every sounding device, once the store has been read."""
        await self._was_read.wait()
        until_ms = self._clock.now_ms() + OUTAGE_GRACE_MS
        rest = iter(self._playing)

        async def some() -> None:
            for state in rest:
                await self._excused(state, until_ms)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    async def _excused(self, state: SessionState, until_ms: int) -> None:
        """Tried until it is done: a device that nobody waits for would sound for ever."""
        while True:
            try:
                return await self._service.excuse(state, until_ms)
            except (StoreUnavailable, DatabaseUnavailable):
                await asyncio.sleep(RETRY_INTERVAL_S)
            except Exception:
                # one that cannot be given time must not cost the others theirs
                log.exception("A device was not given time.", action="grace_failed", session_id=state.session_id)
                return

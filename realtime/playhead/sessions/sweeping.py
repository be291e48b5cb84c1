"""Looks for what is due, once a second: deadlines of sessions, leases of connections whose node is gone or ended them.

Every process sweeps. What one of them takes is held back from the others for a few seconds; whoever dies with it in
hand leaves it to the next. Doing it twice does no harm: it is a command like any other, and it is due only once.
After an outage of the store nobody is blamed for being away: devices could not come back, nor nodes renew their leases.
While PostgreSQL is away, what needs it waits behind everything else.
"""

import asyncio
from collections.abc import Sequence

import structlog

from playhead.db import DatabaseUnavailable
from playhead.runtime.clock import Clock
from playhead.runtime.tasks import cancelled
from playhead.sessions.finding import Contended
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.store import (
    DUE_CLAIM_MS,
    LEASE_ENDED_MS,
    OUTAGE_GRACE_MS,
    Connection,
    DueSession,
    LapsedConnection,
    SessionStore,
    StoreUnavailable,
)

log = structlog.get_logger(__name__)

SWEEP_INTERVAL_S = 1.0
SWEEP_LIMIT = 200
"""What one look takes in all; where there may be more, the next one is at once."""
LOOK_S = (DUE_CLAIM_MS - 1_000) / 1000
"""A look ends then: others take up what it has not come to, and what is due by now need not wait for all of it."""
LOOKED_AT_ONCE = 16
UNREAD_MAX = 10_000
"""Deadlines of which a process remembers that PostgreSQL has kept it from meeting them."""

Deadline = DueSession | LapsedConnection


class Sweeper:
    """Run it with `start`; `sweep` is one look."""

    def __init__(
        self,
        store: SessionStore,
        service: SessionService,
        presence: Presence,
        clock: Clock,
        interval_s: float = SWEEP_INTERVAL_S,
    ) -> None:
        self._store = store
        self._service = service
        self._presence = presence
        self._clock = clock
        self._interval_s = interval_s
        self._away = False
        self._excused_until_ms = 0
        self._unread: set[Deadline] = set()
        """Deadlines that wait for PostgreSQL."""
        self._database_away = False
        """Whether this look, or the one right before, has found that it is away still."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._sweep_for_ever(), name="sweeper")

    async def stop(self) -> None:
        await cancelled(self._task)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                again = False
                while await self.sweep(again) >= SWEEP_LIMIT:
                    again = True
            except StoreUnavailable as error:
                log.warning("Deadlines wait for the store.", action="sweep_unavailable", error=str(error))
            except Exception:
                log.exception("A look for deadlines failed.", action="sweep_failed")

    def excuse(self) -> None:
        """The servers or their store were away until now: for a while nobody is blamed for being away."""
        self._excused_until_ms = self._clock.now_ms() + OUTAGE_GRACE_MS

    async def sweep(self, again: bool = False) -> int:
        """One look; answers how much it took. `again`: right after another one. Raises StoreUnavailable."""
        self._database_away = self._database_away and again
        until_s = asyncio.get_running_loop().time() + LOOK_S
        try:
            items = await self._store.due(self._clock.now_ms(), SWEEP_LIMIT)
            if self._away:
                self._away = False
                self.excuse()
            await self._look_at_all(items, until_s)
        except StoreUnavailable:
            self._away = True
            raise
        return len(items)

    async def _look_at_all(self, items: Sequence[Deadline], until_s: float) -> None:
        """One that fails must not keep the others waiting; it comes up again, as does what is left at `until_s`.

        What waited for PostgreSQL before is last: the look ends when it is away still, as each may cost a timeout.
        """
        ordered = sorted(items, key=self._unread.__contains__)
        if self._database_away:
            ordered = [item for item in items if item not in self._unread]
        unread: set[Deadline] = set()
        now_s = asyncio.get_running_loop().time
        for first in range(0, len(ordered), LOOKED_AT_ONCE):
            batch = ordered[first : first + LOOKED_AT_ONCE]
            late = await self._unread_of(batch)
            unread |= late
            if not late.isdisjoint(self._unread):
                self._database_away = True
                break
            self._unread.difference_update(batch)
            if now_s() >= until_s:
                break
        if unread:
            log.warning("Deadlines wait for PostgreSQL.", action="deadlines_unread", deadlines=len(unread))
        if len(self._unread) + len(unread) > UNREAD_MAX:
            self._unread.clear()
        self._unread |= unread

    async def _unread_of(self, items: Sequence[Deadline]) -> set[Deadline]:
        """Looks at these; answers those that PostgreSQL, which is away, has kept it from."""
        results = await asyncio.gather(*(self._look_at(item) for item in items), return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        for error in errors:
            if not isinstance(error, StoreUnavailable | DatabaseUnavailable):
                log.error("A deadline could not be met.", action="deadline_failed", exc_info=error)
        for error in errors:
            # sessions that others keep changing say nothing of the store
            if isinstance(error, StoreUnavailable) and not isinstance(error, Contended):
                raise error
        return {item for item, result in zip(items, results, strict=True) if isinstance(result, DatabaseUnavailable)}

    async def _look_at(self, item: Deadline) -> None:
        excused = self._clock.now_ms() < self._excused_until_ms
        if isinstance(item, DueSession):
            await self._service.due(item, self._excused_until_ms if excused else None)
            return
        row = await self._presence.known(item.listener_id, item.connection_id)
        seen_ms = self._clock.now_ms()
        renewed = row is not None and row.expires_at_ms > seen_ms
        ended = row is not None and row.expires_at_ms == LEASE_ENDED_MS
        # what was renewed after it was taken has its new time already: that must not be forgotten
        if not renewed and (ended or not excused):
            await self._gone(item, row, seen_ms)

    async def _gone(self, item: LapsedConnection, row: Connection | None, seen_ms: int) -> None:
        """A connection whose node is gone, or has ended it. After a long outage the store has forgotten whose it was.

        It counts for nobody any more: what is decided from now on needs no further look.
        """
        if row is None:
            await self._service.connection_lost(item.listener_id, item.connection_id)
        else:
            # who was not let in comes again, and is not to blame for how long that takes
            grace_ms = OUTAGE_GRACE_MS if row.expires_at_ms == LEASE_ENDED_MS else 0
            await self._service.device_lost(item.listener_id, row.device_id, row.connection_id, None, grace_ms)
        # told in either case: lists that others have seen still name it. But it may have been renewed meanwhile
        await self._presence.drop(item.listener_id, item.connection_id, lapsed_by_ms=seen_ms)

"""Looks for what is due, once a second: deadlines of sessions, leases of connections whose node is gone.

Every process sweeps. What one of them takes is held back from the others for a few seconds; whoever dies with it in
hand leaves it to the next. Doing it twice does no harm: it is a command like any other, and it is due only once.
After an outage of the store nobody is blamed for being away: devices could not come back, nor nodes renew their leases.
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
"""What one look takes from a partition; the rest comes with the next."""
LOOKED_AT_ONCE = 16


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
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._sweep_for_ever(), name="sweeper")

    async def stop(self) -> None:
        await cancelled(self._task)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.sweep()
            except (StoreUnavailable, DatabaseUnavailable) as error:
                log.warning("Deadlines wait for a store.", action="sweep_unavailable", error=str(error))
            except Exception:
                log.exception("A look for deadlines failed.", action="sweep_failed")

    def excuse(self) -> None:
        """The servers or their store were away until now: for a while nobody is blamed for being away."""
        self._excused_until_ms = self._clock.now_ms() + OUTAGE_GRACE_MS

    async def sweep(self) -> int:
        """One look; answers how much was due. Raises StoreUnavailable and DatabaseUnavailable."""
        try:
            items = await self._store.due(self._clock.now_ms(), SWEEP_LIMIT)
            if self._away:
                self._away = False
                self.excuse()
            for first in range(0, len(items), LOOKED_AT_ONCE):
                await self._look_at_all(items[first : first + LOOKED_AT_ONCE])
        except StoreUnavailable:
            self._away = True
            raise
        return len(items)

    async def _look_at_all(self, items: Sequence[DueSession | LapsedConnection]) -> None:
        """One that fails must not keep the others waiting; it comes up again."""
        results = await asyncio.gather(*(self._look_at(item) for item in items), return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        for error in errors:
            if not isinstance(error, StoreUnavailable | DatabaseUnavailable):
                log.error("A deadline could not be met.", action="deadline_failed", exc_info=error)
        # sessions that others keep changing say nothing of the store
        away = [
            error
            for error in errors
            if isinstance(error, StoreUnavailable | DatabaseUnavailable) and not isinstance(error, Contended)
        ]
        if away:
            raise away[0]

    async def _look_at(self, item: DueSession | LapsedConnection) -> None:
        excused = self._clock.now_ms() < self._excused_until_ms
        if isinstance(item, DueSession):
            await self._service.due(item, self._excused_until_ms if excused else None)
            return
        row = await self._presence.known(item.listener_id, item.connection_id)
        renewed = row is not None and row.expires_at_ms > self._clock.now_ms()
        # what was renewed after it was taken has its new time already: that must not be forgotten
        if not renewed and not excused:
            await self._gone(item, row)

    async def _gone(self, item: LapsedConnection, row: Connection | None) -> None:
        """A connection whose node is gone. After a long outage the store itself has forgotten whose it was."""
        if row is None:
            await self._service.connection_lost(item.listener_id, item.connection_id)
        else:
            await self._service.device_lost(item.listener_id, row.device_id, row.connection_id, None, grace_ms=0)
        # told in either case: lists that others have seen still name it
        await self._presence.drop(item.listener_id, item.connection_id)

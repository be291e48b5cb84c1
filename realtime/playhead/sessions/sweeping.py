"""Looks for what is due, once a second: deadlines of sessions, leases of connections whose node is gone.

Every process sweeps. What one of them takes is held back from the others for a few seconds; whoever dies with it in
hand leaves it to the next. Doing it twice does no harm: it is a command like any other, and it is due only once.
"""

import asyncio

import structlog

from playhead.db import DatabaseUnavailable
from playhead.runtime.clock import Clock
from playhead.runtime.tasks import cancelled
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.store import DueSession, LapsedConnection, SessionStore, StoreUnavailable

log = structlog.get_logger(__name__)

SWEEP_INTERVAL_S = 1.0
SWEEP_LIMIT = 200
"""What one look takes from a partition; the rest comes with the next."""


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

    async def sweep(self) -> int:
        """One look; answers how much was due. Raises StoreUnavailable and DatabaseUnavailable."""
        items = await self._store.due(self._clock.now_ms(), SWEEP_LIMIT)
        for item in items:
            try:
                await self._look_at(item)
            except (StoreUnavailable, DatabaseUnavailable):
                raise
            except Exception:
                # one that fails must not keep the others waiting; it comes up again
                log.exception("A deadline could not be met.", action="deadline_failed")
        return len(items)

    async def _look_at(self, item: DueSession | LapsedConnection) -> None:
        if isinstance(item, DueSession):
            await self._service.due(item)
            return
        row = await self._presence.lapsed(item.listener_id, item.connection_id)
        if row is None:
            await self._store.forget_due(item)
            return
        await self._service.device_lost(item.listener_id, row.device_id, row.connection_id, None, grace_ms=0)
        await self._presence.drop(item.listener_id, item.connection_id)

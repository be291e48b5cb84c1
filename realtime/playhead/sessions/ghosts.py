"""Connections that were not let in though the store may have noted them, as it did not answer in time.

Each would take a place of its listener's until its lease runs out, so that a device that comes again and again locks
its listener out. And while it counts, its device is taken for connected: whoever notices that the device's other
connection has gone leaves its sound alone. So their leases are ended as soon as the store answers, and whoever sweeps
sees to the rest: that is still to be done when this process dies.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from playhead.runtime.tasks import cancelled
from playhead.sessions.store import PRESENCE_LEASE_MS, StoreUnavailable

log = structlog.get_logger(__name__)

GHOSTS_MAX = 2_000
"""That one process has in mind; beyond, a lease runs out by itself."""
GHOST_INTERVAL_S = 3.0
"""Between two attempts, and at least before the first: what was on its way to the store has arrived by then."""
ENDED_AT_ONCE = 50


class Ghosts:
    """`end` gets a listener's and a connection's id; it may raise StoreUnavailable. Stop it with `stop`."""

    def __init__(self, end: Callable[[str, str], Awaitable[None]]) -> None:
        self._end = end
        self._added_s: dict[tuple[str, str], float] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def add(self, listener_id: str, connection_id: str) -> None:
        """Its lease, if it has one, begins now at the latest."""
        if self._stopped or len(self._added_s) >= GHOSTS_MAX:
            return
        loop = asyncio.get_running_loop()
        self._added_s[listener_id, connection_id] = loop.time()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._end_all(), name="ghosts")

    async def stop(self) -> None:
        self._stopped = True
        await cancelled(self._task)

    async def _end_all(self) -> None:
        now_s = asyncio.get_running_loop().time
        while self._added_s:
            await asyncio.sleep(GHOST_INTERVAL_S)
            for ghost, added_s in tuple(self._added_s.items()):
                if now_s() - added_s >= PRESENCE_LEASE_MS / 1000:
                    del self._added_s[ghost]
            settled = [ghost for ghost, added_s in self._added_s.items() if now_s() - added_s >= GHOST_INTERVAL_S]
            for first in range(0, len(settled), ENDED_AT_ONCE):
                await asyncio.gather(*(self._try(*ghost) for ghost in settled[first : first + ENDED_AT_ONCE]))

    async def _try(self, listener_id: str, connection_id: str) -> None:
        try:
            await self._end(listener_id, connection_id)
        except StoreUnavailable:
            return
        except Exception:
            log.exception("A connection that was not let in could not be ended.", action="ghost_failed")
        del self._added_s[listener_id, connection_id]

"""Connections that were not let in though the store may have noted them, as it did not answer in time.

Each would take a place of its listener's until its lease runs out, so that a device that comes again and again locks
its listener out. And while it counts, its device is taken for connected: whoever notices that the device's other
connection has gone leaves its sound alone. So their leases are ended as soon as the store answers, and whoever sweeps
sees to the rest: that is still to be done when this process dies.

It is the same with connections that were removed, where the last look at what sounds on their devices failed.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from playhead.runtime.tasks import cancelled
from playhead.sessions.store import PRESENCE_LEASE_MS, Connection, StoreUnavailable

log = structlog.get_logger(__name__)

GHOSTS_MAX = 2_000
"""That one process has in mind; beyond, a lease runs out by itself."""
GHOST_INTERVAL_S = 3.0
"""Between two attempts, and at least before the first: what was on its way to the store has arrived by then."""
ENDED_AT_ONCE = 50


class Ghosts:
    """`end` gets a listener's and a connection's id, and the connection where it was added with it; it may raise
    StoreUnavailable. Stop it with `stop`."""

    def __init__(self, end: Callable[[str, str, Connection | None], Awaitable[None]]) -> None:
        self._end = end
        self._ghosts: dict[tuple[str, str], tuple[float, Connection | None]] = {}
        """By listener and connection: since when it is known, and what it was added with."""
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def add(self, listener_id: str, connection_id: str, row: Connection | None = None) -> None:
        """Its lease, if it has one, begins now at the latest. With `row` it has none, and is tried until it is done."""
        if self._stopped or len(self._ghosts) >= GHOSTS_MAX:
            return
        loop = asyncio.get_running_loop()
        self._ghosts[listener_id, connection_id] = loop.time(), row
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._end_all(), name="ghosts")

    async def stop(self) -> None:
        self._stopped = True
        await cancelled(self._task)

    async def _end_all(self) -> None:
        now_s = asyncio.get_running_loop().time
        while self._ghosts:
            await asyncio.sleep(GHOST_INTERVAL_S)
            for ghost, (added_s, row) in tuple(self._ghosts.items()):
                if row is None and now_s() - added_s >= PRESENCE_LEASE_MS / 1000:
                    del self._ghosts[ghost]
            settled = [ghost for ghost, (added_s, _) in self._ghosts.items() if now_s() - added_s >= GHOST_INTERVAL_S]
            for first in range(0, len(settled), ENDED_AT_ONCE):
                await asyncio.gather(*(self._try(*ghost) for ghost in settled[first : first + ENDED_AT_ONCE]))

    async def _try(self, listener_id: str, connection_id: str) -> None:
        try:
            await self._end(listener_id, connection_id, self._ghosts[listener_id, connection_id][1])
        except StoreUnavailable:
            return
        except Exception:
            log.exception("A connection could not be ended.", action="ghost_failed")
        del self._ghosts[listener_id, connection_id]

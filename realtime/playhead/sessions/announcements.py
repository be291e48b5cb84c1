"""Events about what is no part of a session (bookmarks), told to all devices of a listener after it was stored.

The row in PostgreSQL is the truth, and a device that misses the event finds it there: so nobody waits long for the
telling, and its failure fails nothing.
"""

import asyncio
from typing import Any

import structlog

from playhead.runtime.clock import Clock
from playhead.runtime.metrics import Metrics
from playhead.runtime.seldom import Seldom
from playhead.sessions.codec import Packet, encode_packet
from playhead.sessions.store import SessionStore, StoreUnavailable

log = structlog.get_logger(__name__)

TELL_TIMEOUT_S = 1.0
"""How long the answer of what is told of may wait for the telling."""


class Announcements:
    """Tells listeners' devices, wherever in the cluster they are connected."""

    def __init__(self, store: SessionStore, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._lost = Seldom()

    async def tell(self, listener_id: str, event: str, data: dict[str, Any]) -> None:
        """Publishes the event; when that fails it is counted and now and then logged, and nothing else."""
        packet = Packet(event=event, data=data, published_at_ms=self._clock.now_ms())
        try:
            async with asyncio.timeout(TELL_TIMEOUT_S):
                await self._store.publish(listener_id, encode_packet(packet))
        except (StoreUnavailable, TimeoutError) as error:
            self._metrics.announcements.labels(event, "lost").inc()
            if times := self._lost.take():
                fields = {"event_name": event, "times": times, "error": str(error)}
                log.warning("Devices were not told.", action="announcement_lost", **fields)
        else:
            self._metrics.announcements.labels(event, "told").inc()

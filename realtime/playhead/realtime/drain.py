"""A process that goes away lets its clients go first: each is told when to reconnect, and served until it does.

    nobody else is let in → every socket is told `draining {retry_after_ms}`, spread out → over when the last one has
    left, or the time is up: what is left is closed by its transport, so that it reconnects

Devices of a process that goes away go on elsewhere: for none of them a grace begins.
"""

import asyncio
import random
from collections.abc import Callable

import structlog

from playhead.engine.strain import SHARE_MIN
from playhead.realtime.connections import Connections
from playhead.realtime.outbox import Outbox

log = structlog.get_logger(__name__)

RECONNECT_SHARE = 0.5
"""Clients are asked to be gone after this share of the time at the latest: the rest is for slow ones."""
HANDOVER_SHARE = SHARE_MIN
"""Of the sockets that a process lets in a second, so many go to it from one that it replaces: what it takes however
busy it is."""
HANDOVER_S_MAX = 300.0
TOLD_AT_ONCE = 100
"""Sockets that are told before everything else on this process has its turn."""


def handover_s(sockets: int, admitted_per_s: float) -> float:
    """How long a drain takes after which nobody had to wait: letting a socket in costs more than serving it.

    `admitted_per_s`: how many sockets a process takes that are there to come.
    """
    return min(HANDOVER_S_MAX, sockets / (admitted_per_s * HANDOVER_SHARE) / RECONNECT_SHARE)


class Drain:
    """Run it with `run`; once more, with less time, where that is over before it was."""

    def __init__(
        self, connections: Connections, outbox: Outbox, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._connections = connections
        self._outbox = outbox
        self._uniform = uniform
        self.begun = False

    def begin(self) -> None:
        """From now on nobody is let in."""
        self.begun = True

    async def run(self, drain_s: float) -> None:
        """Returns when every socket has left by itself, after `drain_s` at the latest."""
        self.begin()
        await self._tell(drain_s)
        try:
            async with asyncio.timeout(drain_s):
                await self._connections.emptied()
        except TimeoutError:
            log.info("Some sockets did not leave.", action="drain_over", sockets=len(self._connections))

    async def _tell(self, drain_s: float) -> None:
        for number, connection_id in enumerate(self._connections.ids()):
            retry_after_ms = round(self._uniform(0, drain_s * RECONNECT_SHARE) * 1000)
            await self._outbox.send(connection_id, "draining", {"retry_after_ms": retry_after_ms})
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

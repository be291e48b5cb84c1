"""How long a process takes to hand its sockets over."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from playhead.app.serving import _drained

SETTINGS: Any = SimpleNamespace(drain_s=0.0, shutdown_grace_s=0.0, process_sockets_per_s=1.0)


class Sockets:
    """Some that take an hour to let go at the pace of the process that takes over."""

    def __init__(self) -> None:
        self.drained_s: list[float] = []

    def handover_s(self, _pace: float) -> float:
        return 3_600.0

    async def drain(self, seconds: float) -> None:
        self.drained_s.append(seconds)
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("why", ["hurried", "lost"])
async def test_a_handover_ends_when_it_is_hurried_or_the_sessions_are_lost(why: str) -> None:
    stop: Any = SimpleNamespace(replaced=True, hurried=asyncio.Event())
    lost, sockets = asyncio.Event(), Sockets()
    realtime: Any = sockets
    draining = asyncio.create_task(_drained(SETTINGS, realtime, stop, lost))
    await asyncio.wait({draining}, timeout=0.05)
    assert sockets.drained_s == [3_600.0] and not draining.done()
    (lost if why == "lost" else stop.hurried).set()
    await asyncio.wait_for(draining, 5)
    assert sockets.drained_s == [3_600.0, 0.0]

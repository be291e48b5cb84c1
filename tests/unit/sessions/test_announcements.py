"""What is told beside sessions: to the listener's devices, and a store that does not answer costs nobody much."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from playhead.runtime.metrics import create_metrics
from playhead.sessions import announcements
from playhead.sessions.announcements import Announcements
from playhead.sessions.codec import Packet, decode_packet
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.store import StoreUnavailable
from tests.support.sessions import SetClock
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID


class Store(MemoryStore):
    """A store whose publishing fails, or hangs, as the test says."""

    failure: Exception | None = None
    hangs = False

    async def publish(self, listener_id: str, packet: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        if self.hangs:
            await asyncio.Event().wait()
        await super().publish(listener_id, packet)


class Desk:
    """Announcements on that store, and what its listeners were sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Packet]] = []
        self.registry = CollectorRegistry()
        clock = SetClock()
        self.store = Store(clock, self._take)
        self.announcements = Announcements(self.store, clock, create_metrics(self.registry))

    async def _take(self, listener_id: str, raw: bytes) -> None:
        self.sent.append((listener_id, decode_packet(raw)))

    def counted(self, result: str) -> float:
        labels = {"event": "bookmark", "result": result}
        return self.registry.get_sample_value("playhead_announcements_total", labels) or 0.0


async def test_the_listener_s_devices_are_told_and_nobody_else_s() -> None:
    desk = Desk()
    for listener_id in (LISTENER_ID, OTHER_LISTENER_ID):
        await desk.store.subscribe(listener_id)
    await desk.announcements.tell(LISTENER_ID, "bookmark", {"action": "created"})
    packet = Packet(event="bookmark", data={"action": "created"}, published_at_ms=NOW_MS)
    assert desk.sent == [(LISTENER_ID, packet)]
    assert (desk.counted("told"), desk.counted("lost")) == (1, 0)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_store_that_fails_or_hangs_is_counted_and_fails_nothing(
    hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "TELL_TIMEOUT_S", 0.01)
    desk = Desk()
    desk.store.hangs, desk.store.failure = hangs, None if hangs else StoreUnavailable("away")
    with capture_logs() as logs:
        for _ in range(3):
            await desk.announcements.tell(LISTENER_ID, "bookmark", {})
    assert (desk.sent, desk.counted("told"), desk.counted("lost")) == ([], 0, 3)
    assert [line["times"] for line in logs] == [1], "the log is not flooded"

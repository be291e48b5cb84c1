"""Who is told to go, and when: everybody, spread over the first half of the time."""

from typing import Any

import pytest

from playhead.realtime.connections import Connection, Connections
from playhead.realtime.drain import HANDOVER_S_MAX, RECONNECT_SHARE, TOLD_AT_ONCE, Drain, handover_s
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.requests import Device
from tests.support.sessions import SetClock, make_principal
from tests.support.states import NOW_MS

DRAIN_S = 4.0


class Told:
    """An outbox that keeps what it is given; the sockets leave as soon as the last one is told, if the test says so."""

    def __init__(self, connections: Connections, leave: bool) -> None:
        self.said: dict[str, dict[str, Any]] = {}
        self._connections = connections
        self._leave = leave

    async def send(self, connection_id: str, event: str, data: dict[str, Any]) -> None:
        assert event == "draining" and connection_id not in self.said
        self.said[connection_id] = data
        if self._leave and len(self.said) == len(self._connections):
            for gone in self._connections.ids():
                await self._connections.leave(gone)


async def drained(count: int, drain_s: float, *, leave: bool, **options: Any) -> Told:
    connections = Connections(MemoryStore(SetClock()))
    for number in range(count):
        device = Device(id="phone", name="n", kind="phone")
        await connections.enter(
            Connection(connection_id=f"c{number}", principal=make_principal(), device=device, last_packet_at_ms=NOW_MS)
        )
    told = Told(connections, leave)
    drain = Drain(connections, told, **options)  # type: ignore[arg-type]
    assert not drain.begun
    await drain.run(drain_s)
    assert drain.begun
    return told


async def test_everybody_is_told_a_time_of_its_own_within_the_first_half() -> None:
    told = await drained(3 * TOLD_AT_ONCE + 1, DRAIN_S, leave=True)
    waits_ms = [data["retry_after_ms"] for data in told.said.values()]
    assert len(waits_ms) == 3 * TOLD_AT_ONCE + 1
    assert all(0 <= wait_ms <= DRAIN_S * RECONNECT_SHARE * 1000 for wait_ms in waits_ms)
    assert len(set(waits_ms)) > len(waits_ms) // 2


def test_a_handover_takes_as_long_as_others_need_to_take_the_sockets_and_not_for_ever() -> None:
    assert handover_s(0, 500.0) == 0.0
    assert handover_s(10_000, 500.0) == 10_000 / 125 / RECONNECT_SHARE
    assert handover_s(10_000_000, 500.0) == HANDOVER_S_MAX


async def test_the_times_are_those_of_the_given_randomness() -> None:
    told = await drained(1, DRAIN_S, leave=True, uniform=lambda least, most: least + (most - least) / 4)
    assert told.said == {"c0": {"retry_after_ms": DRAIN_S * RECONNECT_SHARE * 250}}


@pytest.mark.parametrize("count", [0, 2])
async def test_without_sockets_and_without_time_it_is_over_at_once(count: int) -> None:
    told = await drained(count, 600.0 if count == 0 else 0.0, leave=False)
    assert len(told.said) == count

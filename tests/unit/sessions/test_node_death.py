"""A node dies right before it renews a lease: the device that sounds has its time to come back all the same."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import pytest

from playhead.playback.commands import Play
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.presence import RENEW_INTERVAL_S, Presence
from playhead.sessions.service import SessionService
from playhead.sessions.store import NODE_GONE_GRACE_MS, PRESENCE_LEASE_MS, PRESENCE_RENEWAL_MS, Connection
from playhead.sessions.sweeping import SWEEP_INTERVAL_S, Sweeper
from tests.simulation.loop import VirtualLoop
from tests.support.sessions import HeldRows, HeldScripts, make_principal, new_id
from tests.support.states import LISTENER_ID, NOW_MS, SCRIPT_ID
from tests.unit.sessions.world import PHONE, accepted

OTHERS = 60
STEP_MS = 50
LOOKS_MS = round(2 * SWEEP_INTERVAL_S * 1000)
"""A look finds that the lease has run out, and another one pauses the session."""


class LoopClock:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return NOW_MS + self._loop.now_ms


class LastStore(MemoryStore):
    """A memory store that one of the listener's renewals never reaches: its node dies in that moment."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.renewals_left: int | None = None
        self.died_ms: int | None = None

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        if listener_id == LISTENER_ID and self.renewals_left is not None:
            if self.renewals_left == 0:
                self.died_ms = self.clock.now_ms()
                await asyncio.Event().wait()
            self.renewals_left -= 1
        await super().hold_connections(listener_id, connections)


class Cluster:
    """A node that dies, and one that lives, in a time that jumps."""

    def __init__(self) -> None:
        self.errors: list[dict[str, Any]] = []
        self.loop = VirtualLoop(self.errors.append)
        self.clock = LoopClock(self.loop)
        self.store = LastStore(self.clock)
        self.dying = Presence(self.store, self.clock, connections_max=2)
        self.living = Presence(self.store, self.clock, connections_max=2)
        self.service = SessionService(self.store, HeldRows(), HeldScripts(), self.living, self.clock, new_id)
        self.sweeper = Sweeper(self.store, self.service, self.living, self.clock)
        self.others = [new_id() for _ in range(OTHERS)]

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        task = self.loop.create_task(call)
        self.pass_ms(0)
        return task.result()

    def pass_ms(self, elapsed_ms: int) -> None:
        self.loop.advance(self.loop.now_ms + elapsed_ms)
        assert self.errors == []

    def pass_until(self, at_ms: int) -> None:
        self.pass_ms(at_ms - self.clock.now_ms())

    async def start(self) -> None:
        for number, listener_id in enumerate(self.others):
            await self.dying.attach(listener_id, f"other-{number}", "phone", "Theirs", "phone")
        self.dying.start()
        self.sweeper.start()

    def play(self, after_ms: int) -> None:
        """The phone comes so long after a round of renewals has begun."""
        self.pass_ms(after_ms)
        assert self.run(self.dying.attach(LISTENER_ID, "phone-1", "phone", "My phone", "phone"))
        accepted(self.run(self.service.play(make_principal(), SCRIPT_ID, Play(), PHONE)))

    def die_before_renewal(self, number: int, others_leave: bool) -> int:
        """Answers when. What else it does from then on is of no account."""
        self.store.renewals_left = number
        while self.store.died_ms is None:
            self.pass_ms(STEP_MS)
            if others_leave and self.store.renewals_left == 0:
                for other, listener_id in enumerate(self.others):
                    self.run(self.dying.detach(listener_id, f"other-{other}"))
                self.others = []
        return self.store.died_ms

    @property
    def plays(self) -> bool:
        (state,) = self.run(self.service.live_states(LISTENER_ID))
        return bool(state.playing)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    cluster.run(cluster.start())
    yield cluster
    cluster.loop.cancel_everything()
    cluster.loop.close()


@pytest.mark.parametrize("others_leave", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("after_ms", [1, 150, 7_000, 29_999])
def test_a_device_whose_node_dies_right_before_a_renewal_has_ninety_seconds_to_come_back(
    cluster: Cluster, after_ms: int, number: int, others_leave: bool
) -> None:
    cluster.play(after_ms)
    died_ms = cluster.die_before_renewal(number, others_leave)
    cluster.pass_until(died_ms + 90_000 - 1)
    assert cluster.plays and cluster.run(cluster.living.devices(LISTENER_ID)) != []
    # the first renewal may be sooner than the interval: so much of the first lease is left
    cluster.pass_until(died_ms + LOOKS_MS + (PRESENCE_LEASE_MS if number == 0 else NODE_GONE_GRACE_MS))
    assert not cluster.plays and cluster.run(cluster.living.devices(LISTENER_ID)) == []


def test_a_lease_is_what_its_parts_say() -> None:
    assert (NODE_GONE_GRACE_MS, PRESENCE_RENEWAL_MS, PRESENCE_LEASE_MS) == (90_000, 30_000, 120_000)
    assert RENEW_INTERVAL_S * 1000 == PRESENCE_RENEWAL_MS

"""Connections that were not let in though the store has noted them: nobody is locked out, no sound runs on for them."""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from playhead.playback.commands import Play
from playhead.playback.state import SessionState
from playhead.sessions import ghosts as ghosts_module
from playhead.sessions.codec import Packet, decode_packet
from playhead.sessions.ghosts import GHOST_INTERVAL_S, Ghosts
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.store import (
    LEASE_ENDED_MS,
    OUTAGE_GRACE_MS,
    PRESENCE_LEASE_MS,
    Connection,
    Present,
    StoreUnavailable,
)
from playhead.sessions.sweeping import Sweeper
from tests.simulation.loop import VirtualLoop
from tests.support.sessions import HeldRows, HeldScripts, SetClock, make_principal, new_id
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID, SCRIPT_ID
from tests.unit.sessions.world import PHONE, accepted

INTERVAL_MS = round(GHOST_INTERVAL_S * 1000)


class LateStore(MemoryStore):
    """A memory store whose calls of some names are carried out, and not answered."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__(clock, self.take)
        self.sent: list[Packet] = []
        self.late: set[str] = set()
        self.ends = 0
        """Attempts to end a lease."""
        self.step_in: dict[str, Callable[[], Awaitable[None]]] = {}
        """What happens right before leases are renewed or ended."""

    async def take(self, _listener_id: str, packet: bytes) -> None:
        self.sent.append(decode_packet(packet))

    async def enter(self, listener_id: str, connection: Connection, now_ms: int) -> Present:
        present = await super().enter(listener_id, connection, now_ms)
        self._answer("enter")
        return present

    async def publish(self, listener_id: str, packet: bytes) -> None:
        await super().publish(listener_id, packet)
        self._answer("publish")

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        ended = [row for row in connections if row.expires_at_ms == LEASE_ENDED_MS]
        self.ends += len(ended)
        if (step_in := self.step_in.pop("end" if ended else "renew", None)) is not None:
            await step_in()
        if ended:
            self._answer("end")
        await super().hold_connections(listener_id, connections)

    def _answer(self, name: str) -> None:
        if name in self.late:
            raise StoreUnavailable("late")


class Node:
    """A node on that store, in a time that jumps. It sweeps when it is told to."""

    def __init__(self) -> None:
        self.errors: list[dict[str, Any]] = []
        self.loop, self.clock = VirtualLoop(self.errors.append), SetClock()
        self.store = LateStore(self.clock)
        self.presence = Presence(self.store, self.clock, connections_max=2)
        self.service = SessionService(self.store, HeldRows(), HeldScripts(), self.presence, self.clock, new_id)
        self.sweeper = Sweeper(self.store, self.service, self.presence, self.clock)
        self.run(self.store.subscribe(LISTENER_ID))

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        task = self.loop.create_task(call)
        self.pass_ms(0)
        return task.result()

    def pass_ms(self, elapsed_ms: int) -> None:
        self.clock.advance(elapsed_ms)
        self.loop.advance(self.loop.now_ms + elapsed_ms)
        assert self.errors == []

    def attach(self, number: int, listener_id: str = LISTENER_ID) -> bool:
        call = self.presence.attach(listener_id, f"phone-{number}", "phone", "My phone", "phone")
        return bool(self.run(call))

    def sweep(self) -> None:
        self.run(self.sweeper.sweep())

    async def go(self, number: int) -> None:
        """As when a connection ends."""
        for _ in range(2):
            await self.service.device_lost(LISTENER_ID, "phone", f"phone-{number}", None, grace_ms=0)
            await self.presence.detach(LISTENER_ID, f"phone-{number}")

    def play(self) -> None:
        accepted(self.run(self.service.play(make_principal(), SCRIPT_ID, Play(), PHONE)))

    @property
    def state(self) -> SessionState:
        (state,) = self.run(self.service.live_states(LISTENER_ID))
        assert isinstance(state, SessionState)
        return state

    @property
    def there(self) -> list[str]:
        rows = self.run(self.store.connections(LISTENER_ID, self.clock.now_ms()))
        return [row.connection_id for row in rows]


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.loop.cancel_everything()
    node.loop.close()


@pytest.mark.parametrize("call", ["enter", "publish"])
def test_a_connection_that_could_not_be_let_in_is_removed_and_devices_are_told(node: Node, call: str) -> None:
    node.attach(1)
    node.store.late = {call}
    with pytest.raises(StoreUnavailable):
        node.attach(2)
    node.store.late = set()
    node.store.sent.clear()
    node.pass_ms(INTERVAL_MS - 1)
    assert node.there == ["phone-1", "phone-2"], "it may be on its way still"
    node.pass_ms(1)
    assert node.there == ["phone-1"]
    # the store was away a moment ago, which is no reason to wait with this
    node.sweeper.excuse()
    node.sweep()
    (told,) = node.store.sent
    assert told.data == node.run(node.presence.present(LISTENER_ID))
    assert node.run(node.presence.known(LISTENER_ID, "phone-2")) is None
    node.pass_ms(PRESENCE_LEASE_MS)
    assert node.store.ends == 1


def test_one_that_the_store_never_got_leaves_nothing_to_do(node: Node) -> None:
    node.attach(1)
    node.store.late = {"enter"}
    with pytest.raises(StoreUnavailable):
        node.attach(2)
    node.run(node.store.drop_connection(LISTENER_ID, "phone-2", node.clock.now_ms()))
    node.store.sent.clear()
    node.pass_ms(INTERVAL_MS)
    node.sweep()
    assert (node.store.ends, node.store.sent) == (0, [])


def stops_in_the_end(node: Node) -> bool:
    """Whether nobody missed the device as yet, and whoever sweeps does: it has time to come back, and not for ever."""
    assert node.state.playing and node.state.absent_until_ms is None
    node.sweep()
    assert node.state.absent_until_ms == node.clock.now_ms() + OUTAGE_GRACE_MS
    node.pass_ms(OUTAGE_GRACE_MS)
    node.sweep()
    return not node.state.playing and node.there == []


def test_a_device_that_goes_while_it_is_not_let_in_over_another_connection_is_missed(node: Node) -> None:
    """That other one counts for a while, so that nobody misses the device when its own connection ends."""
    node.attach(1)
    node.play()
    node.store.late = {"enter"}
    with pytest.raises(StoreUnavailable):
        node.attach(2)
    node.store.late = set()
    node.run(node.go(1))
    node.pass_ms(INTERVAL_MS)
    # whoever ended that one may die before anybody has looked
    node.run(node.presence.stop())
    assert stops_in_the_end(node)


def test_a_device_that_goes_while_it_comes_again_beyond_the_limit_is_missed(node: Node) -> None:
    assert node.attach(1) and node.attach(2)
    node.play()

    async def both_go() -> None:
        await node.go(1)
        await node.go(2)

    node.store.step_in = {"end": both_go}
    assert not node.attach(3)
    assert stops_in_the_end(node)


def test_a_device_that_goes_while_the_lease_of_another_connection_is_renewed_is_missed(node: Node) -> None:
    assert node.attach(1) and node.attach(2)
    node.play()
    node.store.step_in = {"renew": lambda: node.go(1), "end": lambda: node.go(2)}
    node.run(node.presence.renew())
    assert node.there == []
    assert stops_in_the_end(node)


def test_a_look_that_failed_after_a_connection_was_removed_is_made_up_for_however_long_the_store_is_away(
    node: Node,
) -> None:
    node.attach(1)
    node.play()
    row = node.run(node.presence.detach(LISTENER_ID, "phone-1"))
    node.store.late = {"end"}

    async def look_again() -> None:
        node.presence.look_again(LISTENER_ID, row)

    node.run(look_again())
    node.pass_ms(2 * PRESENCE_LEASE_MS)
    node.sweep()
    assert node.state.absent_until_ms is None
    node.store.late = set()
    node.pass_ms(INTERVAL_MS)
    assert stops_in_the_end(node)
    ends = node.store.ends
    node.pass_ms(INTERVAL_MS)
    assert node.store.ends == ends, "once"


def test_a_device_that_came_back_sounds_on(node: Node) -> None:
    node.attach(1)
    node.play()
    node.store.late = {"enter"}
    with pytest.raises(StoreUnavailable):
        node.attach(2)
    node.store.late = set()
    node.run(node.go(1))
    assert node.attach(3)
    node.pass_ms(INTERVAL_MS)
    node.sweep()
    assert node.state.playing and node.state.absent_until_ms is None and node.there == ["phone-3"]


def test_one_beyond_the_limit_that_could_not_be_ended_at_once_is_ended_later(node: Node) -> None:
    assert node.attach(1) and node.attach(2)
    node.store.late = {"end"}
    with pytest.raises(StoreUnavailable):
        node.attach(3)
    node.store.late = set()
    node.pass_ms(INTERVAL_MS)
    assert node.there == ["phone-1", "phone-2"]


def test_a_device_that_comes_again_and_again_does_not_lock_its_listener_out(node: Node) -> None:
    node.store.late = {"enter"}
    for number in range(8):
        with pytest.raises(StoreUnavailable):
            node.attach(number)
        node.pass_ms(8_000)
    node.store.late = set()
    assert node.attach(8)
    assert node.there == ["phone-8"]


def test_it_is_tried_while_the_store_is_away_until_the_lease_would_be_over(node: Node) -> None:
    node.store.late = {"enter", "end"}
    with pytest.raises(StoreUnavailable):
        node.attach(1)
    node.pass_ms(PRESENCE_LEASE_MS - INTERVAL_MS)
    tried = node.store.ends
    assert tried == PRESENCE_LEASE_MS // INTERVAL_MS - 1
    with pytest.raises(StoreUnavailable):
        node.attach(2)
    node.pass_ms(INTERVAL_MS)
    assert node.store.ends == tried + 1, "of the first no more, of the second the first time"
    node.pass_ms(PRESENCE_LEASE_MS)
    before = node.store.ends
    node.pass_ms(PRESENCE_LEASE_MS)
    assert node.store.ends == before


def test_a_call_that_was_given_up_a_moment_ago_is_on_its_way_still(node: Node) -> None:
    node.store.late = {"enter"}
    for number in (1, 2):
        with pytest.raises(StoreUnavailable):
            node.attach(number)
        node.pass_ms(INTERVAL_MS - 1)
    assert node.there == ["phone-2"]
    node.pass_ms(INTERVAL_MS)
    assert node.there == []


def test_one_that_fails_keeps_no_other_waiting_and_no_more_are_kept_than_can_be(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ghosts_module, "GHOSTS_MAX", 3)
    ended: list[str] = []

    async def end(_listener_id: str, connection_id: str, _row: Connection | None) -> None:
        if connection_id == "broken":
            raise ValueError("a bug")
        ended.append(connection_id)

    async def add() -> None:
        for connection_id in ("broken", "a", "b", "one too many"):
            ghosts.add(OTHER_LISTENER_ID, connection_id)

    ghosts = Ghosts(end)
    node.run(add())
    node.pass_ms(PRESENCE_LEASE_MS)
    assert ended == ["a", "b"]
    node.run(add())
    node.pass_ms(INTERVAL_MS)
    assert ended == ["a", "b"] * 2, "there is room again"


def test_a_presence_that_ends_tries_no_more(node: Node) -> None:
    node.store.late = {"enter"}
    with pytest.raises(StoreUnavailable):
        node.attach(1)
    node.run(node.presence.stop())
    with pytest.raises(StoreUnavailable):
        node.attach(2)
    node.pass_ms(PRESENCE_LEASE_MS)
    assert node.store.ends == 0

"""Connections that were not let in though the store has noted them: removed before they lock their listener out."""

from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from playhead.sessions import ghosts as ghosts_module
from playhead.sessions.codec import Packet, decode_packet
from playhead.sessions.ghosts import GHOST_INTERVAL_S, Ghosts
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.presence import Presence
from playhead.sessions.store import PRESENCE_LEASE_MS, Connection, Present, StoreUnavailable
from tests.simulation.loop import VirtualLoop
from tests.support.sessions import SetClock
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID

INTERVAL_MS = round(GHOST_INTERVAL_S * 1000)


class LateStore(MemoryStore):
    """A memory store whose calls of some names are carried out, and not answered."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__(clock, self.take)
        self.sent: list[Packet] = []
        self.late: set[str] = set()
        self.drops = 0

    async def take(self, _listener_id: str, packet: bytes) -> None:
        self.sent.append(decode_packet(packet))

    async def enter(self, listener_id: str, connection: Connection, now_ms: int) -> Present:
        present = await super().enter(listener_id, connection, now_ms)
        self._answer("enter")
        return present

    async def publish(self, listener_id: str, packet: bytes) -> None:
        await super().publish(listener_id, packet)
        self._answer("publish")

    async def drop_connection(
        self, listener_id: str, connection_id: str, now_ms: int, lapsed_by_ms: int | None = None
    ) -> bool:
        self.drops += 1
        self._answer("drop_connection")
        return await super().drop_connection(listener_id, connection_id, now_ms, lapsed_by_ms)

    def _answer(self, name: str) -> None:
        if name in self.late:
            raise StoreUnavailable("late")


class Node:
    """A node's presence on that store, in a time that jumps."""

    def __init__(self) -> None:
        self.errors: list[dict[str, Any]] = []
        self.loop, self.clock = VirtualLoop(self.errors.append), SetClock()
        self.store = LateStore(self.clock)
        self.presence = Presence(self.store, self.clock, connections_max=2)
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
    assert node.store.drops == 0, "it may be on its way still"
    node.pass_ms(1)
    assert node.there == ["phone-1"]
    (told,) = node.store.sent
    assert told.data == node.run(node.presence.present(LISTENER_ID))
    node.pass_ms(PRESENCE_LEASE_MS)
    assert node.store.drops == 1


def test_one_beyond_the_limit_that_could_not_be_removed_at_once_is_removed_later(node: Node) -> None:
    assert node.attach(1) and node.attach(2)
    node.store.late = {"drop_connection"}
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
    node.store.late = {"enter", "drop_connection"}
    with pytest.raises(StoreUnavailable):
        node.attach(1)
    node.pass_ms(PRESENCE_LEASE_MS - INTERVAL_MS)
    tried = node.store.drops
    assert tried == PRESENCE_LEASE_MS // INTERVAL_MS - 1
    with pytest.raises(StoreUnavailable):
        node.attach(2)
    node.pass_ms(INTERVAL_MS)
    assert node.store.drops == tried + 1, "of the first no more, of the second the first time"
    node.pass_ms(PRESENCE_LEASE_MS)
    before = node.store.drops
    node.pass_ms(PRESENCE_LEASE_MS)
    assert node.store.drops == before


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
    removed: list[str] = []

    async def remove(_listener_id: str, connection_id: str) -> None:
        if connection_id == "broken":
            raise ValueError("a bug")
        removed.append(connection_id)

    async def add() -> None:
        for connection_id in ("broken", "a", "b", "one too many"):
            ghosts.add(OTHER_LISTENER_ID, connection_id)

    ghosts = Ghosts(remove)
    node.run(add())
    node.pass_ms(PRESENCE_LEASE_MS)
    assert removed == ["a", "b"]
    node.run(add())
    node.pass_ms(INTERVAL_MS)
    assert removed == ["a", "b"] * 2, "there is room again"


def test_a_presence_that_ends_tries_no_more(node: Node) -> None:
    node.store.late = {"enter"}
    with pytest.raises(StoreUnavailable):
        node.attach(1)
    node.run(node.presence.stop())
    with pytest.raises(StoreUnavailable):
        node.attach(2)
    node.pass_ms(PRESENCE_LEASE_MS)
    assert node.store.drops == 0

"""Leases of many listeners when the store is slow, loses calls, or is away: none runs out while it can be renewed."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import pytest

from playhead.sessions import presence as presence_module
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.presence import PARTS_PER_PLACE, PARTS_UNDER_WAY_MIN, RENEW_INTERVAL_S, Presence
from playhead.sessions.store import PRESENCE_LEASE_MS, Connection, StoreUnavailable
from tests.simulation.loop import VirtualLoop
from tests.support.sessions import SetClock

MANY = 600
"""Listeners, each a part of its own here."""
PLACES = MANY // PARTS_PER_PLACE


class WireStore(MemoryStore):
    """A memory store behind a wire that takes its time, and may be lost with all that is under way."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__(clock)
        self.call_s: float | None = None
        self.away = False
        self.broken: set[str] = set()
        """Listeners whose renewals fail."""
        self.under_way: dict[asyncio.Future[None], None] = {}
        self.most_at_once = 0
        self.tried: Counter[str] = Counter()
        self.renewed_s: dict[str, float] = {}
        self.longest_s = 0.0
        """Between two renewals of a listener."""

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        self.tried[listener_id] += 1
        if self.call_s is not None:
            await self._way(self.call_s)
        if self.away or listener_id in self.broken:
            raise StoreUnavailable("away")
        now_s = asyncio.get_running_loop().time()
        self.longest_s = max(self.longest_s, now_s - self.renewed_s.get(listener_id, now_s))
        self.renewed_s[listener_id] = now_s
        await super().hold_connections(listener_id, connections)

    async def _way(self, call_s: float) -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        self.under_way[answer] = None
        self.most_at_once = max(self.most_at_once, len(self.under_way))
        timer = loop.call_later(call_s, answer.set_result, None)
        try:
            await answer
        finally:
            timer.cancel()
            self.under_way.pop(answer, None)

    def lose(self) -> None:
        """Whatever waits for an answer gets none."""
        for answer in self.under_way:
            answer.set_exception(StoreUnavailable("lost"))
        self.under_way.clear()


class Node:
    """A node that holds `MANY` connections, in a time that jumps."""

    def __init__(self) -> None:
        self.errors: list[dict[str, Any]] = []
        self.loop, self.clock = VirtualLoop(self.errors.append), SetClock()
        self.store = WireStore(self.clock)
        self.presence = Presence(self.store, self.clock, connections_max=1)
        self.listeners = [str(uuid.UUID(int=number)) for number in range(MANY)]
        for listener_id in self.listeners:
            self.run(self.presence.attach(listener_id, f"{listener_id}-1", "phone", "My phone", "phone"))
        self.store.tried.clear()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        task = self.loop.create_task(call)
        self.pass_s(0)
        return task.result()

    async def renew_for_ever(self) -> None:
        self.presence.start()

    def pass_s(self, elapsed_s: float) -> None:
        self.clock.advance(round(elapsed_s * 1000))
        self.loop.advance(self.loop.now_ms + round(elapsed_s * 1000))
        assert self.errors == []


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(presence_module, "RENEWED_AT_ONCE", 1)
    node = Node()
    yield node
    node.loop.cancel_everything()
    node.loop.close()


def test_one_that_fails_keeps_nobody_else_from_being_renewed(node: Node) -> None:
    node.store.broken = {node.listeners[3]}
    with pytest.raises(StoreUnavailable):
        node.run(node.presence.renew())
    assert node.store.tried == dict.fromkeys(node.listeners, 1)


@pytest.mark.parametrize("call_s", [0.0, 1.0, 1.9])
def test_the_more_listeners_there_are_the_more_may_wait_for_a_slow_store(node: Node, call_s: float) -> None:
    assert PLACES > PARTS_UNDER_WAY_MIN
    node.store.call_s = call_s
    renewal = node.loop.create_task(node.presence.renew(RENEW_INTERVAL_S))
    node.pass_s(RENEW_INTERVAL_S + call_s + 0.1)
    assert renewal.done() and renewal.exception() is None
    assert node.store.tried == dict.fromkeys(node.listeners, 1)
    assert node.store.most_at_once <= PLACES


@pytest.mark.parametrize(("call_s", "lost_every_s"), [(1.0, 7), (1.9, 11), (1.0, 3)])
def test_no_lease_runs_out_though_the_wire_is_lost_more_often_than_a_round_takes(
    node: Node, call_s: float, lost_every_s: int
) -> None:
    node.store.call_s = call_s
    node.run(node.renew_for_ever())
    for _ in range(300 // lost_every_s):
        node.pass_s(lost_every_s)
        node.store.lose()
    assert node.store.renewed_s.keys() == set(node.listeners)
    assert node.store.longest_s < PRESENCE_LEASE_MS / 1000
    assert min(node.store.renewed_s.values()) > node.loop.time() - PRESENCE_LEASE_MS / 1000
    assert node.store.most_at_once <= 2 * PLACES, "of a round, and of what is tried again beside it"


def test_while_the_store_is_away_a_few_are_tried_and_when_it_is_back_all_are_renewed_soon(node: Node) -> None:
    node.store.away = True
    node.run(node.renew_for_ever())
    node.pass_s(10)
    node.store.tried.clear()
    node.pass_s(10)
    assert 10 <= node.store.tried.total() <= 10 * 3 * PLACES
    node.pass_s(20)
    assert node.store.tried.keys() == set(node.listeners), "each in its turn"
    node.store.away = False
    node.store.renewed_s.clear()
    node.pass_s(2)
    assert node.store.renewed_s.keys() == set(node.listeners)


def test_where_one_fails_again_and_again_the_others_are_renewed_no_more_often_than_they_need(node: Node) -> None:
    node.store.broken = {node.listeners[3]}
    node.run(node.renew_for_ever())
    node.pass_s(300)
    assert node.store.tried.pop(node.listeners[3]) > 100
    assert max(node.store.tried.values()) <= 11
    assert node.store.longest_s == pytest.approx(RENEW_INTERVAL_S), "a turn is always the same"


def test_those_that_fail_on_and_on_are_tried_again_in_turn(node: Node) -> None:
    node.store.broken = set(node.listeners[:320])
    node.run(node.renew_for_ever())
    node.pass_s(RENEW_INTERVAL_S)
    node.store.tried.clear()
    node.pass_s(RENEW_INTERVAL_S)
    tried = [node.store.tried[listener_id] for listener_id in node.store.broken]
    assert 4 <= min(tried) <= max(tried) <= min(tried) + 2

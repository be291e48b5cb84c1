"""What this node's devices were not told is found and sent, once; where it cannot be, they are told to ask."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from playhead.playback.state import SessionState
from playhead.realtime import convergence
from playhead.realtime.connections import Connection, Connections
from playhead.realtime.convergence import BATCH_LISTENERS_MAX, Convergence
from playhead.runtime.metrics import create_metrics
from playhead.sessions.codec import state_payload
from playhead.sessions.keys import partition_of
from playhead.sessions.presence import Presence
from playhead.sessions.requests import Device
from playhead.sessions.service import SessionService
from playhead.sessions.store import Change, Committed, StoreUnavailable
from tests.support.sessions import HeldRows, HeldScripts, SetClock, make_principal, new_id
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID, OTHER_SCRIPT_ID, OTHER_SESSION_ID, make_state
from tests.unit.sessions.world import CountingStore

FIRST = make_state(epoch=NOW_MS, revision=1, version=1)
SECOND = replace(FIRST, session_id=OTHER_SESSION_ID, script_id=OTHER_SCRIPT_ID)


class Store(CountingStore):
    """A memory store that can be away, counts what it is asked, and lets a test step in between two questions."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.down = False
        self.asked: list[tuple[str, ...]] = []
        self.meanwhile: SessionState | None = None

    async def live(self, *arguments: Any) -> Any:
        if self.down:
            raise StoreUnavailable("away")
        return await super().live(*arguments)

    async def orders(self, listener_ids: Any) -> Any:
        self.asked.append(tuple(listener_ids))
        return await super().orders(listener_ids)


class Desk:
    """The listener's phone on this node, and what is sent to all of the listener's sockets."""

    def __init__(self) -> None:
        self.registry, clock = CollectorRegistry(), SetClock()
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.store = Store(clock, epoch=NOW_MS)
        presence = Presence(self.store, clock, connections_max=8)
        service = SessionService(self.store, HeldRows(), HeldScripts(), presence, clock, new_id)
        self.connections = Connections(self.store)
        metrics = create_metrics(self.registry)
        self.convergence = Convergence(self.connections, service, presence, self, metrics)  # type: ignore[arg-type]

    async def tell(self, listener_id: str, event: str, data: dict[str, Any]) -> None:
        self.sent.append((listener_id, event, data))
        await asyncio.sleep(0)

    async def connect(self, connection_id: str = "c1", listener_id: str = LISTENER_ID) -> Connection:
        connection = Connection(
            connection_id=connection_id,
            principal=make_principal(listener_id),
            device=Device(id="phone", name="n", kind="phone"),
            last_packet_at_ms=NOW_MS,
        )
        await self.connections.enter(connection)
        return connection

    async def quietly(self, state: SessionState, expected_version: int | None = None) -> SessionState:
        """Commits it, and its packet is lost."""
        change = Change(after=state, expected_version=expected_version)
        assert await self.store.commit(state.listener_id, NOW_MS, [change], []) is Committed.DONE
        return state

    async def told(self, state: SessionState, expected_version: int | None = None) -> SessionState:
        """Commits it, and its packet arrives."""
        await self.quietly(state, expected_version)
        self.convergence.delivered(state.listener_id, state_payload(state))
        return state

    async def compare(self) -> list[tuple[str, str, int]]:
        """Who was sent which state then: listener, session, revision; or what else."""
        self.sent.clear()
        await self.convergence.compare([LISTENER_ID, OTHER_LISTENER_ID])
        return [
            (listener_id, data["session_id"], data["revision"]) if event == "state" else (listener_id, event, 0)
            for listener_id, event, data in self.sent
        ]

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"playhead_{name}_total", labels) or 0.0


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.connect()
    yield desk
    await desk.convergence.stop()


def following(state: SessionState, **fields: Any) -> SessionState:
    return replace(state, revision=state.revision + 1, version=state.version + 1, **fields)


# comparison


async def test_what_was_told_is_not_sent_again(desk: Desk) -> None:
    await desk.told(FIRST)
    assert await desk.compare() == []
    assert await desk.compare() == []


async def test_a_lost_last_event_is_found_and_sent_once(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.told(SECOND)
    lost = await desk.quietly(following(FIRST, position_ms=5), 1)
    assert await desk.compare() == [(LISTENER_ID, FIRST.session_id, 2)]
    assert desk.sent[0][2] == state_payload(lost)
    assert desk.counted("states_caught_up", cause="missed") == 1
    assert await desk.compare() == []


async def test_a_session_that_nobody_here_was_told_of_is_sent(desk: Desk) -> None:
    await desk.quietly(FIRST)
    assert await desk.compare() == [(LISTENER_ID, FIRST.session_id, 1)]
    assert desk.counted("states_caught_up", cause="untold") == 1


async def test_who_is_not_connected_here_is_sent_nothing_and_nothing_is_kept_of_them(desk: Desk) -> None:
    await desk.told(replace(FIRST, session_id=new_id(), listener_id=OTHER_LISTENER_ID))
    assert desk.connections.told(OTHER_LISTENER_ID) == {}
    await desk.told(FIRST)
    await desk.connections.leave("c1")
    assert desk.connections.told(LISTENER_ID) == {} and desk.connections.listeners() == ()
    await desk.connect("c2")
    assert await desk.compare() == [(LISTENER_ID, FIRST.session_id, 1)], "the next one begins anew"


async def test_an_event_that_comes_late_takes_nothing_back(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.told(following(FIRST), 1)
    desk.convergence.delivered(LISTENER_ID, state_payload(FIRST))
    assert await desk.compare() == []


@pytest.mark.parametrize("alone", [True, False])
async def test_a_snapshot_is_known_to_all_only_where_one_is_all(desk: Desk, alone: bool) -> None:
    phone = desk.connections.get("c1")
    assert phone is not None
    if not alone:
        await desk.connect("c2")
    await desk.quietly(FIRST)
    desk.connections.note_snapshot(phone, FIRST.session_id, FIRST.order)
    assert await desk.compare() == ([] if alone else [(LISTENER_ID, FIRST.session_id, 1)])


async def test_an_end_that_was_told_is_over(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.told(following(FIRST, ended_at_ms=NOW_MS, playing=False), 1)
    assert desk.connections.told(LISTENER_ID) == {}
    assert await desk.compare() == []


async def test_an_end_that_was_lost_lets_the_devices_ask_once(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.quietly(following(FIRST, ended_at_ms=NOW_MS, playing=False), 1)
    assert await desk.compare() == [(LISTENER_ID, "resync", 0)]
    assert desk.sent[0][2] == {"reason": "missed"} and desk.counted("resyncs", reason="missed") == 1
    assert await desk.compare() == []


async def test_a_store_that_lost_what_was_told_lets_the_devices_ask_once(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.told(following(FIRST), 1)
    desk.store.go_back(FIRST)
    assert await desk.compare() == [(LISTENER_ID, "resync", 0)]
    assert desk.sent[0][2] == {"reason": "store_behind"} and desk.counted("resyncs", reason="store_behind") == 1
    assert await desk.compare() == []
    await desk.quietly(replace(following(FIRST), epoch=NOW_MS), 1)
    assert await desk.compare() == [(LISTENER_ID, FIRST.session_id, 2)]


async def test_what_arrives_while_the_store_is_asked_is_neither_behind_nor_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.told(FIRST)
    await desk.told(SECOND)
    asked = desk.store.orders

    async def orders(listener_ids: Any) -> Any:
        """Its answer is older than what has been delivered by the time it comes."""
        found = await asked(listener_ids)
        await desk.told(following(FIRST), 1)
        await desk.told(following(SECOND, ended_at_ms=NOW_MS, playing=False), 1)
        await desk.told(replace(SECOND, session_id=new_id()))
        return {**found, LISTENER_ID: {FIRST.session_id: FIRST.order}}

    monkeypatch.setattr(desk.store, "orders", orders)
    assert await desk.compare() == []


async def test_a_store_that_is_away_is_asked_again_and_nobody_else_is_bothered(desk: Desk) -> None:
    await desk.quietly(FIRST)
    desk.store.down = True
    with pytest.raises(StoreUnavailable):
        await desk.compare()
    assert desk.sent == []
    desk.store.down = False
    assert await desk.compare() == [(LISTENER_ID, FIRST.session_id, 1)]


# how often, and how many at once


async def test_every_listener_is_compared_in_each_round_and_a_batch_has_one_partition_and_a_limit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convergence, "COMPARE_INTERVAL_S", 0.0)
    partition = partition_of(LISTENER_ID)
    same = [listener_id for listener_id in (new_id() for _ in range(40_000)) if partition_of(listener_id) == partition]
    others = [new_id() for _ in range(100)]
    for number, listener_id in enumerate([*same[: BATCH_LISTENERS_MAX + 1], *others]):
        await desk.connect(f"m{number}", listener_id)
    everybody = set(desk.connections.listeners())
    assert len(everybody) == BATCH_LISTENERS_MAX + 102
    desk.convergence.start()
    while sum(map(len, desk.store.asked)) < len(everybody):
        await asyncio.sleep(0)
    assert {listener_id for batch in desk.store.asked for listener_id in batch} == everybody
    assert all(len({partition_of(listener_id) for listener_id in batch}) == 1 for batch in desk.store.asked)
    assert max(map(len, desk.store.asked)) == BATCH_LISTENERS_MAX


async def test_the_rounds_go_on_after_a_failure(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "COMPARE_INTERVAL_S", 0.0)
    await desk.quietly(FIRST)
    desk.store.down = True
    desk.convergence.start()
    while len(desk.store.asked) < 3:
        await asyncio.sleep(0)
    assert desk.sent == []
    desk.store.down = False
    async with asyncio.timeout(5):
        while not desk.sent:
            await asyncio.sleep(0)


# gaps


async def events(desk: Desk, count: int) -> list[str]:
    """The events sent once there are so many."""
    async with asyncio.timeout(5):
        while len(desk.sent) < count:
            await asyncio.sleep(0)
    return [event for _, event, _ in desk.sent]


async def test_after_a_gap_states_and_devices_are_sent_whatever_was_told(desk: Desk) -> None:
    await desk.told(FIRST)
    desk.convergence.start()
    desk.convergence.suspect(LISTENER_ID)
    assert await events(desk, 2) == ["state", "devices"]
    assert desk.counted("states_caught_up", cause="gap") == 1
    await desk.quietly(following(FIRST, ended_at_ms=NOW_MS, playing=False), 1)
    desk.sent.clear()
    desk.convergence.suspect(LISTENER_ID)
    assert await events(desk, 2) == ["devices", "resync"]


async def test_a_gap_that_cannot_be_closed_is_told_once(desk: Desk) -> None:
    await desk.connect("c2", OTHER_LISTENER_ID)
    desk.store.down = True
    desk.convergence.start()
    for _ in range(3):
        desk.convergence.suspect(LISTENER_ID)
    desk.convergence.suspect(OTHER_LISTENER_ID)
    assert await events(desk, 2) == ["resync", "resync"]
    assert [(listener_id, data) for listener_id, _, data in desk.sent] == [
        (LISTENER_ID, {"reason": "gap"}),
        (OTHER_LISTENER_ID, {"reason": "gap"}),
    ]
    assert desk.counted("resyncs", reason="gap") == 2


async def test_a_gap_is_closed_when_the_store_answers_again_without_another_word_to_the_devices(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convergence, "RETRY_INTERVAL_S", 0.001)
    await desk.told(FIRST)
    desk.store.down = True
    desk.convergence.start()
    desk.convergence.suspect(LISTENER_ID)
    assert await events(desk, 1) == ["resync"]
    desk.store.down = False
    assert await events(desk, 3) == ["resync", "state", "devices"]
    desk.store.down = True
    desk.convergence.suspect(LISTENER_ID)
    assert (await events(desk, 4))[3:] == ["resync"], "another gap is told again"


async def test_of_many_open_gaps_one_is_tried_while_the_store_is_away_and_then_all(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convergence, "RETRY_INTERVAL_S", 0.001)
    listeners = [new_id() for _ in range(20)]
    for number, listener_id in enumerate(listeners):
        await desk.connect(f"m{number}", listener_id)
    desk.store.down = True
    desk.convergence.start()
    for listener_id in listeners:
        desk.convergence.suspect(listener_id)
    assert len(await events(desk, 20)) == 20
    tried: list[str] = []
    catch_up = desk.convergence.catch_up

    async def counting(listener_id: str) -> bool:
        tried.append(listener_id)
        return await catch_up(listener_id)

    monkeypatch.setattr(desk.convergence, "catch_up", counting)
    async with asyncio.timeout(5):
        while len(tried) < 5:
            await asyncio.sleep(0.001)
    assert set(tried) == {listeners[0]}
    desk.store.down = False
    assert (await events(desk, 40))[20:] == ["devices"] * 20


async def test_a_gap_that_fails_keeps_no_other_one_open(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    catch_up = desk.convergence.catch_up

    async def broken(listener_id: str) -> bool:
        if listener_id == OTHER_LISTENER_ID:
            raise ValueError("a bug")
        return await catch_up(listener_id)

    monkeypatch.setattr(desk.convergence, "catch_up", broken)
    await desk.connect("c2", OTHER_LISTENER_ID)
    desk.convergence.start()
    desk.convergence.suspect(OTHER_LISTENER_ID)
    desk.convergence.suspect(LISTENER_ID)
    assert await events(desk, 1) == ["devices"]


async def test_an_open_gap_of_a_listener_who_has_gone_is_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "RETRY_INTERVAL_S", 0.001)
    await desk.connect("c2", OTHER_LISTENER_ID)
    desk.store.down = True
    desk.convergence.start()
    desk.convergence.suspect(OTHER_LISTENER_ID)
    assert await events(desk, 1) == ["resync"]
    await desk.connections.leave("c2")
    desk.convergence.suspect(LISTENER_ID)
    assert await events(desk, 2) == ["resync", "resync"]
    desk.store.down = False
    await events(desk, 3)
    assert [row[:2] for row in desk.sent[2:]] == [(LISTENER_ID, "devices")]

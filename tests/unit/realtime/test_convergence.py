"""What this node's devices were not told is found and sent, once; where it cannot be, they are told to ask."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from playhead.realtime import convergence
from playhead.realtime.convergence import BATCH_LISTENERS_MAX
from playhead.realtime.told import Told
from playhead.sessions.codec import state_payload, told_devices, told_state
from playhead.sessions.keys import partition_of
from playhead.sessions.store import PRESENCE_LEASE_MS, Orders, StoreUnavailable
from tests.support.sessions import new_id
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID
from tests.unit.realtime.world import FIRST, SECOND, Desk, following


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.connect()
    yield desk
    await desk.convergence.stop()


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
    assert desk.connections.told(OTHER_LISTENER_ID) == Told()
    await desk.told(FIRST)
    await desk.connections.leave("c1")
    assert desk.connections.told(LISTENER_ID) == Told() and desk.connections.listeners() == ()
    await desk.connect("c2")
    assert await desk.compare() == [(LISTENER_ID, FIRST.session_id, 1)], "the next one begins anew"


async def test_an_event_that_comes_late_takes_nothing_back(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.told(following(FIRST), 1)
    desk.convergence.delivered(LISTENER_ID, told_state(FIRST))
    assert await desk.compare() == []


@pytest.mark.parametrize(("alone", "joined"), [(True, True), (True, False), (False, True)])
async def test_an_answer_is_known_to_all_only_where_it_is_a_snapshot_and_one_is_all(
    desk: Desk, alone: bool, joined: bool
) -> None:
    """A client may pay no heed to the state in a refusal, or in an answer that it has not waited for."""
    phone = desk.connections.get("c1")
    assert phone is not None
    if not alone:
        await desk.connect("c2")
    await desk.quietly(FIRST)
    desk.connections.answered(phone, FIRST.session_id, FIRST.order, ended=False, joined=joined)
    assert await desk.compare() == ([] if alone and joined else [(LISTENER_ID, FIRST.session_id, 1)])


async def test_an_end_that_was_told_is_over(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.told(following(FIRST, ended_at_ms=NOW_MS, playing=False), 1)
    assert desk.connections.told(LISTENER_ID) == Told(ended_epoch=NOW_MS)
    assert await desk.compare() == []


async def test_an_end_that_was_lost_lets_the_devices_ask_once(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.quietly(following(FIRST, ended_at_ms=NOW_MS, playing=False), 1)
    assert await desk.compare() == [(LISTENER_ID, "resync", 0)]
    assert desk.sent[0][2] == {"reason": "missed"} and desk.counted("resyncs", reason="missed") == 1
    assert await desk.compare() == []


async def test_an_end_that_was_lost_is_found_though_only_one_device_had_heard_of_the_session(desk: Desk) -> None:
    await desk.answered(FIRST)
    await desk.quietly(FIRST)
    await desk.quietly(following(FIRST, ended_at_ms=NOW_MS, playing=False), 1)
    assert await desk.compare() == [(LISTENER_ID, "resync", 0)] and desk.sent[0][2] == {"reason": "missed"}
    assert await desk.compare() == []


async def test_a_store_that_lost_what_one_device_was_answered_lets_the_devices_ask(desk: Desk) -> None:
    await desk.told(FIRST)
    await desk.answered(following(FIRST))
    assert await desk.compare() == [(LISTENER_ID, "resync", 0)] and desk.sent[0][2] == {"reason": "store_behind"}
    assert await desk.compare() == []


@pytest.mark.parametrize("to_all", [True, False])
async def test_an_end_that_a_new_life_of_the_store_may_have_lost_lets_the_devices_ask_once(
    desk: Desk, to_all: bool
) -> None:
    """Its row may be live all the same: then whoever asks brings it back."""
    await desk.told(FIRST)
    over = following(FIRST, ended_at_ms=NOW_MS, playing=False)
    if to_all:
        await desk.told(over, 1)
    else:
        await desk.quietly(over, 1)
        await desk.answered(over)
        assert await desk.compare() == [(LISTENER_ID, "resync", 0)], "the other one was not told"
    assert await desk.compare() == []
    desk.store.raise_epoch(NOW_MS + 1)
    assert await desk.compare() == [(LISTENER_ID, "resync", 0)] and desk.sent[0][2] == {"reason": "store_behind"}
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
        orders = Orders(sessions={FIRST.session_id: FIRST.order}, present=found[LISTENER_ID].present)
        return {**found, LISTENER_ID: orders}

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


# lists of devices


async def test_a_lost_last_list_of_devices_is_found_and_sent_once(desk: Desk) -> None:
    await desk.comes("phone", told=True)
    assert await desk.compare_devices() == []
    devices = await desk.comes("tablet", told=False)
    assert await desk.compare_devices() == [devices]
    assert desk.counted("devices_caught_up") == 1
    assert await desk.compare_devices() == []


async def test_a_list_of_devices_that_comes_late_takes_nothing_back(desk: Desk) -> None:
    early = await desk.comes("phone", told=False)
    await desk.comes("tablet", told=True)
    desk.convergence.delivered(LISTENER_ID, None, told_devices(early))
    assert await desk.compare_devices() == []


async def test_who_is_only_renewed_is_told_to_nobody_and_who_is_back_after_a_lapse_is(desk: Desk) -> None:
    await desk.comes("phone", told=True)
    await desk.presence.renew()
    assert await desk.compare_devices() == []
    desk.clock.advance(PRESENCE_LEASE_MS)
    await desk.presence.renew()
    assert await desk.compare_devices() == [await desk.presence.present(LISTENER_ID)]


async def test_in_a_new_life_of_the_store_lists_of_devices_are_sent_once(desk: Desk) -> None:
    await desk.comes("phone", told=True)
    desk.store.raise_epoch(0)
    assert await desk.compare_devices() == [await desk.presence.present(LISTENER_ID)]
    assert await desk.compare_devices() == []


async def test_who_listens_elsewhere_alone_is_not_looked_after_here(desk: Desk) -> None:
    await desk.connections.leave("c1")
    await desk.comes("phone", told=False)
    assert await desk.compare_devices() == []


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

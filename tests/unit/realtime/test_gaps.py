"""After a gap a listener's devices are sent what the store has, however long it does not answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from playhead.realtime import convergence
from tests.support.sessions import new_id
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID
from tests.unit.realtime.world import FIRST, Desk, following


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.connect()
    yield desk
    await desk.convergence.stop()


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


async def test_after_a_gap_an_end_is_found_though_only_one_device_had_heard_of_the_session(desk: Desk) -> None:
    await desk.answered(FIRST)
    desk.convergence.start()
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

"""Looks that take long: what they have not come to is left to others, and what was done or renewed meanwhile counts."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from playhead.db import DatabaseUnavailable
from playhead.sessions.store import DUE_CLAIM_MS, PRESENCE_LEASE_MS, DueSession, LapsedConnection
from playhead.sessions.sweeping import LOOK_S, LOOKED_AT_ONCE, SWEEP_INTERVAL_S, SWEEP_LIMIT, Sweeper
from tests.simulation.loop import VirtualLoop
from tests.support.sessions import new_id
from tests.support.states import LISTENER_ID
from tests.unit.sessions.world import World, make_world

SLOW_S = 1.5


async def lapse(world: World, listeners: int) -> None:
    """So many connections of a node that is dead."""
    for _ in range(listeners):
        await world.connect("phone", listener_id=new_id())
    world.clock.advance(PRESENCE_LEASE_MS)


def slow(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Looking at a lease takes its time; whose were looked at."""
    looked_at: list[str] = []
    known = world.presence.known

    async def slowly(listener_id: str, connection_id: str) -> Any:
        looked_at.append(listener_id)
        await asyncio.sleep(SLOW_S)
        return await known(listener_id, connection_id)

    monkeypatch.setattr(world.presence, "known", slowly)
    return looked_at


def test_a_look_ends_before_its_claim_does_and_what_it_left_comes_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[dict[str, Any]] = []
    loop = VirtualLoop(errors.append)
    taken: list[tuple[int, float]] = []

    async def look() -> None:
        world = await make_world()
        await lapse(world, SWEEP_LIMIT)
        looked_at = slow(world, monkeypatch)
        for _ in range(2):
            begun_s = loop.time()
            taken.append((await world.sweeper.sweep(), loop.time() - begun_s))
            world.clock.advance(DUE_CLAIM_MS)
        assert len(looked_at) == len(set(looked_at)) == sum(LOOKED_AT_ONCE for _ in range(2 * 3))

    looking = loop.create_task(look())
    loop.advance(60_000)
    assert looking.done() and looking.exception() is None and errors == []
    (first, first_s), (second, _) = taken
    assert (first, second) == (SWEEP_LIMIT, SWEEP_LIMIT - 3 * LOOKED_AT_ONCE)
    assert LOOK_S <= first_s < LOOK_S + SLOW_S and LOOK_S < DUE_CLAIM_MS / 1000
    loop.close()


def test_where_there_is_more_than_a_look_takes_the_next_one_does_not_wait() -> None:
    errors: list[dict[str, Any]] = []
    loop = VirtualLoop(errors.append)
    found: list[World] = []

    async def begin() -> None:
        world = await make_world()
        await lapse(world, 2 * SWEEP_LIMIT + 1)
        world.sweeper.start()
        found.append(world)

    loop.create_task(begin())
    loop.advance(1_500)
    (world,) = found
    assert sum(isinstance(item, LapsedConnection) for item in world.store._due._at_ms) == 0
    loop.cancel_everything()
    assert errors == []
    loop.close()


def test_what_waits_for_postgresql_holds_up_one_look_and_not_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[dict[str, Any]] = []
    loop = VirtualLoop(errors.append)
    waiting = [DueSession(listener_id=LISTENER_ID, session_id=f"waiting-{n}") for n in range(2 * SWEEP_LIMIT)]
    tried: Counter[str] = Counter()

    async def due(item: DueSession, *_arguments: Any) -> None:
        tried[item.session_id] += 1
        if item in waiting:
            await asyncio.sleep(SLOW_S)
            raise DatabaseUnavailable("away")

    async def begin() -> None:
        world = await make_world()
        monkeypatch.setattr(world.service, "due", due)
        for item in (*waiting, DueSession(listener_id=LISTENER_ID, session_id="quick")):
            world.store.expect(item, world.clock.time_ms)
        world.sweeper._unread = set(waiting)
        world.sweeper.start()

    loop.create_task(begin())
    loop.advance(round((SWEEP_INTERVAL_S + SLOW_S) * 1000) + 1)
    assert tried.pop("quick") == 1
    assert tried.total() == LOOKED_AT_ONCE
    loop.cancel_everything()
    assert errors == []
    loop.close()


async def test_a_connection_that_is_renewed_while_its_loss_is_told_stays_and_plays_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await make_world()
    await world.connect("phone")
    await world.play(position_ms=100_000)
    world.clock.advance(PRESENCE_LEASE_MS)
    before = await world.presence.present(LISTENER_ID)
    lost = world.service.device_lost

    async def renewed(*arguments: Any, **options: Any) -> None:
        await lost(*arguments, **options)
        await world.presence.renew()

    monkeypatch.setattr(world.service, "device_lost", renewed)
    world.sent.clear()
    await world.sweeper.sweep()
    assert [row["id"] for row in await world.presence.devices(LISTENER_ID)] == ["phone"]
    assert "devices" not in world.events()
    assert before["devices"] == [], "who looked while it had run out"
    await world.sweeper.sweep()
    (state,) = await world.service.live_states(LISTENER_ID)
    assert (state.playing, state.absent_until_ms) == (True, None)
    world.clock.advance(PRESENCE_LEASE_MS)
    monkeypatch.undo()
    await world.sweeper.sweep()
    assert await world.presence.devices(LISTENER_ID) == [], "it is looked at when its new lease is over"


async def test_what_two_take_one_after_the_other_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await make_world()
    await world.connect("phone")
    world.clock.advance(PRESENCE_LEASE_MS)
    other = Sweeper(world.store, world.service, world.presence, world.clock)
    drop = world.presence.drop

    async def late(*arguments: Any, **options: Any) -> None:
        monkeypatch.undo()
        world.clock.advance(DUE_CLAIM_MS)
        assert await other.sweep() == 1
        orders.append(await world.presence.present(LISTENER_ID))
        await drop(*arguments, **options)

    orders: list[dict[str, Any]] = []
    monkeypatch.setattr(world.presence, "drop", late)
    assert await world.sweeper.sweep() == 1
    assert world.events() == ["devices"]
    assert orders == [await world.presence.present(LISTENER_ID)]

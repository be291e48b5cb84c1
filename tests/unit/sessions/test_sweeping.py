"""Deadlines: whoever looks carries them out, once, also for a node that is gone."""

import asyncio
from typing import Any

import pytest

from playhead.playback.commands import Pause, SetLoop, SetMode, SetSleep
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.rejections import Code
from playhead.playback.state import SessionState
from playhead.sessions.finding import TAKE_OVER_ATTEMPTS_MAX, Contended
from playhead.sessions.store import (
    DUE_CLAIM_MS,
    OUTAGE_GRACE_MS,
    PRESENCE_LEASE_MS,
    DueSession,
    StoreUnavailable,
)
from playhead.sessions.sweeping import Sweeper
from tests.support.states import DURATION_MS, LISTENER_ID, OTHER_LISTENER_ID
from tests.unit.sessions.world import DESK, World, make_world, refused


@pytest.fixture
async def world() -> World:
    """The phone plays from 100 s on, the desk looks on."""
    made = await make_world()
    await made.connect("phone", "desk")
    await made.play(position_ms=100_000)
    made.sent.clear()
    return made


async def live(world: World) -> SessionState:
    (state,) = await world.service.live_states(LISTENER_ID)
    return state


async def lose(world: World, device_id: str = "phone", grace_ms: int = 10_000, **options: Any) -> None:
    seen_ms = options.get("last_seen_at_ms", world.clock.time_ms)
    await world.service.device_lost(LISTENER_ID, device_id, f"{device_id}-1", seen_ms, grace_ms)
    await world.presence.detach(LISTENER_ID, f"{device_id}-1")


async def test_a_device_that_stays_away_is_paused_where_it_was_last_heard_of(world: World) -> None:
    world.clock.advance(14_000)
    await lose(world, last_seen_at_ms=world.clock.time_ms - 10_000)
    world.clock.advance(9_999)
    assert await world.sweeper.sweep() == 0 and (await live(world)).playing
    world.clock.advance(1)
    assert await world.sweeper.sweep() == 1
    state = await live(world)
    assert (state.playing, state.position_ms, state.active_device_id) == (False, 104_000, "phone")
    event = next(packet for _, packet in world.sent if packet.event == "state")
    assert event.data["cause"] == {"command": "absence", "device_id": None, "command_id": None}
    assert event.skip_connection_id is None


async def test_a_device_that_is_back_in_time_plays_on(world: World) -> None:
    await lose(world)
    await world.presence.attach(LISTENER_ID, "phone-2", "phone", "phone", "phone")
    world.clock.advance(10_000)
    await world.sweeper.sweep()
    state = await live(world)
    assert (state.playing, state.absent_until_ms) == (True, None)


async def test_a_device_with_another_connection_is_not_lost(world: World) -> None:
    await world.presence.attach(LISTENER_ID, "phone-2", "phone", "phone", "phone")
    await lose(world)
    assert (await live(world)).absent_until_ms is None


async def test_a_remote_that_goes_stops_nobody(world: World) -> None:
    await lose(world, "desk")
    assert (await live(world)).absent_until_ms is None


async def test_when_its_node_is_gone_the_lease_runs_out_and_the_session_pauses(world: World) -> None:
    world.clock.advance(PRESENCE_LEASE_MS)
    assert await world.sweeper.sweep() == 2
    assert await world.presence.devices(LISTENER_ID) == []
    await world.sweeper.sweep()
    state = await live(world)
    assert (state.playing, state.position_ms) == (False, 100_000)
    assert await world.store.left_at_ms(LISTENER_ID) == world.clock.time_ms


async def test_devices_are_told_of_a_connection_that_the_store_itself_has_forgotten(world: World) -> None:
    world.store.forget_connections()
    world.clock.advance(PRESENCE_LEASE_MS)
    assert await world.sweeper.sweep() == 2
    last = [packet for _, packet in world.sent if packet.event == "devices"][-1]
    assert last.data == await world.presence.present(LISTENER_ID) and last.data["devices"] == []


async def test_a_lease_that_was_renewed_meanwhile_counts(world: World) -> None:
    world.clock.advance(PRESENCE_LEASE_MS - 1)
    await world.presence.renew()
    world.clock.advance(1)
    assert await world.sweeper.sweep() == 0
    assert len(await world.presence.devices(LISTENER_ID)) == 2


async def test_a_lease_that_is_renewed_while_somebody_looks_comes_up_when_it_runs_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.advance(PRESENCE_LEASE_MS)
    known = world.presence.known

    async def renewed(listener_id: str, connection_id: str) -> Any:
        await world.presence.renew()
        return await known(listener_id, connection_id)

    with monkeypatch.context() as patched:
        patched.setattr(world.presence, "known", renewed)
        assert await world.sweeper.sweep() == 2
    world.clock.advance(PRESENCE_LEASE_MS)
    await world.sweeper.sweep()
    assert await world.presence.devices(LISTENER_ID) == []


async def test_together_another_device_takes_over(world: World) -> None:
    await world.apply((await live(world)).session_id, SetMode(mode="together"), DESK)
    await lose(world)
    world.clock.advance(10_000)
    await world.sweeper.sweep()
    state = await live(world)
    assert (state.playing, state.active_device_id, state.active_connection_id) == (True, "desk", "desk-1")


async def test_the_end_of_the_script_is_told_when_it_comes(world: World) -> None:
    world.clock.advance(DURATION_MS - 100_000)
    await world.presence.renew()
    await world.sweeper.sweep()
    state = await live(world)
    assert (state.playing, state.finished, state.position_ms) == (False, True, DURATION_MS)


async def full_journal(reserve: int) -> World:
    """As `world`, and then the journal takes nothing any more that a device asks for."""
    made = await make_world(journal_length_max=2, journal_reserve=reserve)
    await made.connect("phone", "desk")
    await made.play(position_ms=100_000)
    await made.apply((await live(made)).session_id, SetSleep(after_ms=5_000), DESK)
    made.sent.clear()
    made.clock.advance(5_000)
    return made


async def test_sleep_fires_in_time_though_the_journal_is_full() -> None:
    world = await full_journal(reserve=1)
    session_id = (await live(world)).session_id
    assert refused(await world.service.apply(LISTENER_ID, session_id, Pause(), DESK)) is Code.OVERLOADED
    await world.sweeper.sweep()
    state = await live(world)
    assert (state.playing, state.position_ms, state.sleep_at_ms) == (False, 105_000, None)


async def test_what_finds_no_room_in_the_reserve_either_is_done_as_soon_as_there_is_some() -> None:
    world = await full_journal(reserve=0)
    await world.sweeper.sweep()
    assert (await live(world)).playing
    world.flush()
    world.clock.advance(DUE_CLAIM_MS)
    await world.sweeper.sweep()
    state = await live(world)
    assert (state.playing, state.position_ms) == (False, 105_000)


async def test_a_device_is_missed_though_the_journal_is_full() -> None:
    world = await full_journal(reserve=1)
    await lose(world)
    assert (await live(world)).absent_until_ms == world.clock.time_ms + 10_000


async def test_a_connection_whose_absence_finds_no_room_comes_up_again() -> None:
    world = await full_journal(reserve=0)
    with pytest.raises(Contended):
        await world.service.device_lost(LISTENER_ID, "phone", "phone-1", world.clock.time_ms, 0)
    world.clock.advance(PRESENCE_LEASE_MS)
    await world.sweeper.sweep()
    assert (await live(world)).playing
    world.flush()
    for _ in range(2):
        world.clock.advance(DUE_CLAIM_MS)
        await world.sweeper.sweep()
    assert not (await live(world)).playing


async def test_sleep_fires_once_whoever_sweeps(world: World) -> None:
    await world.apply((await live(world)).session_id, SetSleep(after_ms=5_000), DESK)
    world.sent.clear()
    world.clock.advance(5_000)
    others = [Sweeper(world.store, world.service, world.presence, world.clock) for _ in range(3)]
    await asyncio.gather(*(sweeper.sweep() for sweeper in others))
    assert world.events() == ["state"]
    assert (await live(world)).position_ms == 105_000


async def test_what_a_dead_process_took_comes_up_again(world: World) -> None:
    await world.apply((await live(world)).session_id, SetSleep(after_ms=5_000), DESK)
    world.clock.advance(5_000)
    assert len(await world.store.due(world.clock.time_ms, 10)) == 1
    assert await world.sweeper.sweep() == 0
    world.clock.advance(DUE_CLAIM_MS)
    await world.sweeper.sweep()
    assert (await live(world)).position_ms == 105_000


async def test_a_session_that_nobody_needs_ends_by_itself_and_tells_it(world: World) -> None:
    await world.apply((await live(world)).session_id, Pause(), DESK)
    for device_id in ("phone", "desk"):
        await lose(world, device_id)
    world.sent.clear()
    world.clock.advance(IDLE_END_MS)
    await world.sweeper.sweep()
    assert await world.service.live_states(LISTENER_ID) == ()
    assert world.events() == ["state", "session_ended"]
    assert world.sent[1][1].data["reason"] == "idle"


async def test_a_device_that_looks_on_keeps_it_alive_for_two_hours_after_it_went(world: World) -> None:
    await world.apply((await live(world)).session_id, Pause(), DESK)
    world.clock.advance(IDLE_END_MS)
    await world.presence.renew()
    assert await world.sweeper.sweep() == 1
    world.clock.advance(60_000)
    assert await world.sweeper.sweep() == 0, "it is not looked at again until it could end"
    for device_id in ("phone", "desk"):
        await lose(world, device_id)
    left_ms = world.clock.time_ms
    world.clock.advance(IDLE_END_MS - 60_000)
    await world.sweeper.sweep()
    assert await world.service.live_states(LISTENER_ID) != ()
    world.clock.time_ms = left_ms + IDLE_END_MS
    await world.sweeper.sweep()
    assert await world.service.live_states(LISTENER_ID) == ()


async def test_a_timer_of_three_hours_fires_in_time_where_devices_only_look_on(world: World) -> None:
    session_id = (await live(world)).session_id
    await world.apply(session_id, SetLoop(start_ms=0, end_ms=200_000, enabled=True))
    await world.apply(session_id, SetSleep(after_ms=3 * 3_600_000))
    for _ in range(3):
        world.clock.advance(3_600_000)
        await world.presence.renew()
        await world.sweeper.sweep()
    assert not (await live(world)).playing


async def test_a_session_that_is_gone_is_forgotten(world: World) -> None:
    world.store.begin_another_life(emptied=True)
    world.clock.advance(DURATION_MS)
    await world.presence.renew()
    assert await world.sweeper.sweep() == 1
    world.clock.advance(DUE_CLAIM_MS)
    await world.presence.renew()
    assert await world.sweeper.sweep() == 0


# after an outage of the store


async def outage(world: World, monkeypatch: pytest.MonkeyPatch, elapsed_ms: int) -> None:
    """The store is away for so long, and every process that looks notices."""

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "due", away)
        with pytest.raises(StoreUnavailable):
            await world.sweeper.sweep()
    world.clock.advance(elapsed_ms)


async def test_leases_that_could_not_be_renewed_in_an_outage_cost_nobody_the_sound(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await outage(world, monkeypatch, PRESENCE_LEASE_MS + 60_000)
    await world.sweeper.sweep()
    assert (await live(world)).playing
    assert world.events() == [], "no list says that anybody has gone"
    world.clock.advance(1_000)
    await world.presence.renew()
    world.clock.advance(OUTAGE_GRACE_MS - 1_000 - 1)
    await world.sweeper.sweep()
    assert (await live(world)).playing and len(await world.presence.devices(LISTENER_ID)) == 2


async def test_a_device_that_does_not_come_back_after_an_outage_is_paused_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await outage(world, monkeypatch, PRESENCE_LEASE_MS + 60_000)
    await world.sweeper.sweep()
    world.clock.advance(OUTAGE_GRACE_MS)
    for _ in range(2):
        await world.sweeper.sweep()
    state = await live(world)
    assert (state.playing, state.position_ms) == (False, 100_000)


async def test_a_grace_that_ran_out_in_an_outage_lasts_on_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.advance(4_000)
    await lose(world)
    await outage(world, monkeypatch, 60_000)
    await world.presence.renew()
    await world.sweeper.sweep()
    assert (await live(world)).playing
    world.clock.advance(OUTAGE_GRACE_MS - 1)
    await world.presence.renew()
    assert await world.sweeper.sweep() == 0
    world.clock.advance(1)
    await world.sweeper.sweep()
    state = await live(world)
    assert (state.playing, state.position_ms) == (False, 104_000)


async def test_an_idle_session_that_somebody_looks_on_does_not_end_because_of_an_outage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = (await live(world)).session_id
    await world.apply(session_id, Pause(), DESK)
    await outage(world, monkeypatch, IDLE_END_MS)
    for _ in range(2):
        await world.sweeper.sweep()
    await world.presence.renew()
    world.clock.advance(OUTAGE_GRACE_MS)
    await world.presence.renew()
    await world.sweeper.sweep()
    assert (await live(world)).session_id == session_id


async def test_a_look_that_works_again_asks_for_no_more_patience(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await outage(world, monkeypatch, 0)
    await world.sweeper.sweep()
    world.clock.advance(OUTAGE_GRACE_MS)
    await world.presence.renew()
    await lose(world)
    world.clock.advance(10_000)
    await world.sweeper.sweep()
    assert not (await live(world)).playing


async def test_one_deadline_that_fails_keeps_no_other_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.apply((await live(world)).session_id, SetSleep(after_ms=5_000), DESK)
    broken = DueSession(listener_id=OTHER_LISTENER_ID, session_id="broken")
    world.store.expect(broken, world.clock.time_ms)
    due = world.service.due

    async def sometimes(item: DueSession, *arguments: Any) -> None:
        if item == broken:
            raise ValueError("a bug")
        await due(item, *arguments)

    monkeypatch.setattr(world.service, "due", sometimes)
    world.clock.advance(5_000)
    assert await world.sweeper.sweep() == 2
    assert not (await live(world)).playing


async def test_a_store_that_is_away_leaves_everything_for_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.apply((await live(world)).session_id, SetSleep(after_ms=5_000), DESK)
    world.clock.advance(5_000)

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "commit", away)
        with pytest.raises(StoreUnavailable):
            await world.sweeper.sweep()
    world.clock.advance(DUE_CLAIM_MS)
    await world.sweeper.sweep()
    assert not (await live(world)).playing


async def test_sessions_that_others_keep_changing_neither_hold_up_the_look_nor_excuse_anybody(world: World) -> None:
    await lose(world)
    world.store.begin_another_life(emptied=False)
    world.clock.advance(10_000)
    world.store.losses_to_come = TAKE_OVER_ATTEMPTS_MAX
    assert await world.sweeper.sweep() == 1, "it goes on as if nothing were"
    (state,) = (await world.store.live(LISTENER_ID)).states
    assert state.playing
    world.clock.advance(DUE_CLAIM_MS)
    assert await world.sweeper.sweep() == 1
    assert not (await live(world)).playing, "nobody was excused: the store was not away"

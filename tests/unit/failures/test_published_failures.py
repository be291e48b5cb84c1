"""Failures that other products have published, replayed on our session layer.

The number in each name is the row in docs/published_failures.md, which also says what is tested elsewhere and what does
not apply to us, and why. A test there compares the two.
"""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from playhead.playback.commands import (
    Command,
    End,
    Leave,
    Offline,
    Origin,
    Pause,
    Play,
    Report,
    Seek,
    SetLoop,
    SetRate,
    Transfer,
)
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.listened import total_ms
from playhead.playback.rejections import Code
from playhead.playback.state import SessionState, position_at
from playhead.sessions.service import Snapshot
from tests.support.sessions import make_principal
from tests.support.states import DURATION_MS, LISTENER_ID, OTHER_LISTENER_ID, OTHER_SCRIPT_ID, SCRIPT_ID
from tests.unit.sessions.world import DESK, PHONE, REST, World, accepted, make_world, refused


@pytest.fixture
async def world() -> World:
    """Nothing plays yet; a phone and a desk are connected."""
    made = await make_world()
    await made.connect("phone", "desk")
    return made


async def only(world: World, listener_id: str = LISTENER_ID) -> SessionState:
    (state,) = await world.service.live_states(listener_id)
    return state


async def refusal(world: World, session_id: str, command: Command, origin: Origin = PHONE) -> Code:
    return refused(await world.service.apply(LISTENER_ID, session_id, command, origin))


async def report(world: World, position_ms: int, origin: Origin = PHONE, **fields: Any) -> SessionState:
    state = await only(world)
    command = Report(position_ms=position_ms, **{"revision": state.revision, **fields})
    return (await world.apply(state.session_id, command, origin)).state


async def test_01_a_late_start_does_not_bring_an_old_place_back(world: World) -> None:
    late = replace(PHONE, command_id="11111111-0000-4000-8000-000000000001")
    state = (await world.play(origin=late, position_ms=0)).state
    await world.apply(state.session_id, Seek(position_ms=50_000), DESK)
    await world.play(origin=late, position_ms=0)
    assert (await only(world)).position_ms == 50_000


async def test_01_twenty_starts_at_once_are_one_session(world: World) -> None:
    outcomes = await asyncio.gather(*(world.play() for _ in range(20)), world.play(origin=DESK))
    assert {outcome.state.session_id for outcome in outcomes} == {(await only(world)).session_id}
    assert sum(outcome.created for outcome in outcomes) == 1


async def test_02_a_late_stop_of_another_script_stops_nothing_and_still_counts(world: World) -> None:
    first = (await world.play(position_ms=0)).state
    world.clock.advance(10_000)
    await report(world, 10_000)
    current = (await world.play(OTHER_SCRIPT_ID, origin=DESK, device_id="desk")).state
    await world.apply(first.session_id, Leave(), PHONE)
    ended = (await world.apply(first.session_id, End(), PHONE)).state
    assert total_ms(ended.listened) == 10_000
    assert (await only(world)).session_id == current.session_id and (await only(world)).playing


@pytest.mark.parametrize(("rate", "expected_ms"), [(1.0, 110_000), (2.0, 120_000), (0.25, 102_500)])
async def test_03_a_place_is_extrapolated_only_while_it_plays(world: World, rate: float, expected_ms: int) -> None:
    session_id = (await world.play(position_ms=100_000)).state.session_id
    await world.apply(session_id, SetRate(rate=rate))
    world.clock.advance(10_000)
    assert position_at(await only(world), world.clock.time_ms) == expected_ms
    await world.apply(session_id, Pause())
    world.clock.advance(10_000)
    assert position_at(await only(world), world.clock.time_ms) == expected_ms
    await world.apply(session_id, Play(position_ms=DURATION_MS - 1_000))
    world.clock.advance(10_000)
    assert position_at(await only(world), world.clock.time_ms) == DURATION_MS


async def test_04_a_play_needs_no_join_and_what_was_never_started_is_not_there(world: World) -> None:
    for command in (Pause(), Seek(position_ms=1), Report(position_ms=1)):
        assert await refusal(world, "77777777-7777-4777-8777-777777777777", command) is Code.NOT_FOUND
    assert (await world.play()).created
    batch = Offline(intervals=((0, 5_000),), position_ms=5_000, base=None)
    assert accepted(await world.service.offline(make_principal(), OTHER_SCRIPT_ID, batch, PHONE)).created


async def test_05_hearing_a_script_twice_counts_twice_as_played_and_once_as_listened(world: World) -> None:
    for _ in range(2):
        session_id = (await world.play(position_ms=0)).state.session_id
        world.clock.advance(10_000)
        await report(world, 10_000)
        world.clock.advance(10)
        await world.apply(session_id, Seek(position_ms=0))
    state = await only(world)
    assert (total_ms(state.listened), state.played_ms) == (10_000, 20_000)


async def test_05_two_listeners_are_independent(world: World) -> None:
    await world.play(position_ms=0)
    theirs = await world.service.play(make_principal(OTHER_LISTENER_ID), SCRIPT_ID, Play(position_ms=7_000), PHONE)
    assert accepted(theirs).created
    assert (await only(world)).position_ms == 0
    assert (await only(world, OTHER_LISTENER_ID)).position_ms == 7_000


async def test_06_an_idle_session_says_goodbye_once(world: World) -> None:
    session_id = (await world.play(position_ms=5_000)).state.session_id
    await world.apply(session_id, Pause())
    for device_id in ("phone", "desk"):
        await world.presence.detach(LISTENER_ID, f"{device_id}-1")
    world.sent.clear()
    for _ in range(3):
        world.clock.advance(IDLE_END_MS)
        await world.sweeper.sweep()
    assert world.events().count("session_ended") == 1


async def test_07_a_new_place_keeps_everything_else(world: World) -> None:
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, SetRate(rate=1.5))
    await world.apply(session_id, SetLoop(start_ms=10_000, end_ms=60_000, enabled=True))
    before = await only(world)
    after = (await world.apply(session_id, Seek(position_ms=20_000), DESK)).state
    kept = ("rate", "loop", "mode", "active_device_id", "playing", "listened")
    assert all(getattr(after, name) == getattr(before, name) for name in kept)


async def test_08_an_older_report_is_a_conflict_a_newer_one_is_taken_and_one_out_of_range_refused(world: World) -> None:
    session_id = (await world.play(position_ms=0)).state.session_id
    await world.apply(session_id, Seek(position_ms=60_000))
    assert await refusal(world, session_id, Report(position_ms=1_000, revision=1)) is Code.CONFLICT
    assert await refusal(world, session_id, Report(position_ms=DURATION_MS + 1, revision=2)) is Code.OUT_OF_BOUNDS
    world.clock.advance(5_000)
    assert (await report(world, 65_000)).heard_ms == 65_000


async def test_09_a_device_that_fell_silent_holds_nobody_up_and_is_given_up_in_time(world: World) -> None:
    session_id = (await world.play(position_ms=0)).state.session_id
    assert (await world.apply(session_id, Transfer(device_id="desk"), DESK)).state.active_device_id == "desk"
    await world.apply(session_id, Transfer(device_id="phone"), DESK)
    await world.service.device_lost(LISTENER_ID, "phone", "phone-1", world.clock.time_ms, grace_ms=10_000)
    await world.presence.detach(LISTENER_ID, "phone-1")
    assert (await world.apply(session_id, Seek(position_ms=9_000), DESK)).state.position_ms == 9_000
    world.clock.advance(10_000)
    await world.sweeper.sweep()
    assert not (await only(world)).playing


async def test_10_what_ends_by_itself_stays_at_the_last_place_that_was_heard(world: World) -> None:
    await world.play(position_ms=0)
    world.clock.advance(10_000)
    await report(world, 9_800)
    await world.service.device_lost(LISTENER_ID, "phone", "phone-1", None, grace_ms=0)
    for device_id in ("phone", "desk"):
        await world.presence.detach(LISTENER_ID, f"{device_id}-1")
    world.clock.advance(IDLE_END_MS)
    await world.sweeper.sweep()
    world.flush()
    world.clock.advance(IDLE_END_MS)
    assert await world.service.live_states(LISTENER_ID) == ()
    assert (await world.play(origin=DESK)).state.position_ms == 10_000


async def test_12_a_seek_by_hand_is_exact_and_one_without_a_place_is_refused(world: World) -> None:
    session_id = (await world.play(position_ms=0)).state.session_id
    for place_ms in (0, 1, 59_999, DURATION_MS - 1):
        assert (await world.apply(session_id, Seek(position_ms=place_ms))).state.position_ms == place_ms
    for place_ms in (-1, DURATION_MS + 1):
        assert await refusal(world, session_id, Seek(position_ms=place_ms)) is Code.OUT_OF_BOUNDS


async def test_15_a_handoff_carries_everything_and_an_impossible_one_touches_nothing(world: World) -> None:
    session_id = (await world.play(position_ms=50_000)).state.session_id
    await world.apply(session_id, SetRate(rate=1.5))
    await world.apply(session_id, SetLoop(start_ms=40_000, end_ms=90_000, enabled=True))
    before = await only(world)
    assert await refusal(world, session_id, Transfer(device_id="speaker")) is Code.DEVICE_NOT_CONNECTED
    assert await only(world) == before
    world.clock.advance(10_000)
    after = (await world.apply(session_id, Transfer(device_id="desk"), PHONE)).state
    assert (after.active_device_id, after.rate, after.loop, after.playing) == ("desk", 1.5, before.loop, True)
    assert position_at(after, world.clock.time_ms) == 65_000


async def test_16_a_report_that_comes_twice_is_counted_once_also_after_a_restart(world: World) -> None:
    await world.play(position_ms=0)
    world.clock.advance(10_000)
    first = await report(world, 10_000, seq=1)
    world.flush()
    world.store.begin_another_life(emptied=True)
    again = await world.apply(first.session_id, Report(position_ms=10_000, revision=first.revision, seq=1))
    assert (total_ms(again.state.listened), again.state.played_ms) == (10_000, 10_000)
    world.clock.advance(10_000)
    later = await world.apply(first.session_id, Report(position_ms=20_000, revision=again.state.revision, seq=2))
    assert total_ms(later.state.listened) == 20_000


async def test_17_nobody_resumes_where_somebody_else_stopped(world: World) -> None:
    theirs = make_principal(OTHER_LISTENER_ID)
    accepted(await world.service.play(theirs, SCRIPT_ID, Play(position_ms=900_000), PHONE))
    world.flush()
    snapshot = await world.service.join_script(make_principal(), SCRIPT_ID)
    assert isinstance(snapshot, Snapshot) and (snapshot.state, snapshot.place) == (None, None)
    assert (await world.play()).state.position_ms == 0


async def test_18_a_pause_is_known_at_once_with_the_place_that_was_heard(world: World) -> None:
    session_id = (await world.play(position_ms=0)).state.session_id
    world.clock.advance(10_000)
    paused = (await world.apply(session_id, Pause(position_ms=9_400), PHONE)).state
    assert (paused.position_ms, total_ms(paused.listened)) == (9_400, 9_400)
    assert [packet.data["position"] for _, packet in world.sent if packet.event == "state"][-1] == 9.4


async def test_21_who_missed_events_gets_the_whole_state_and_drops_what_comes_late(world: World) -> None:
    session_id = (await world.play(position_ms=0)).state.session_id
    for place_ms in (10_000, 20_000, 30_000):
        await world.apply(session_id, Seek(position_ms=place_ms), DESK)
    snapshot = await world.service.join_session(LISTENER_ID, session_id)
    assert isinstance(snapshot, Snapshot) and snapshot.state is not None
    orders = [(packet.data["epoch"], packet.data["revision"]) for _, packet in world.sent if packet.event == "state"]
    assert orders == sorted(orders) and snapshot.state.order == orders[-1]


async def test_22_a_place_near_the_start_from_another_session_does_not_overwrite_hours(world: World) -> None:
    await world.play(position_ms=DURATION_MS - 600_000)
    world.clock.advance(12_000)
    stale = Report(position_ms=1_588, revision=0, seq=1)
    session_id = (await only(world)).session_id
    assert await refusal(world, session_id, stale, DESK) is Code.CONFLICT
    assert await refusal(world, session_id, replace(stale, revision=None), REST) is Code.CONFLICT
    assert (await only(world)).position_ms == DURATION_MS - 600_000


async def test_23_a_place_beyond_the_end_is_refused_and_finishes_nothing(world: World) -> None:
    session_id = (await world.play(position_ms=0)).state.session_id
    beyond_ms = round(DURATION_MS * 1.06)
    for command in (
        Report(position_ms=beyond_ms, revision=1),
        Seek(position_ms=beyond_ms),
        Pause(position_ms=beyond_ms),
    ):
        assert await refusal(world, session_id, command) is Code.OUT_OF_BOUNDS
    state = await only(world)
    assert (state.finished, state.position_ms, state.revision) == (False, 0, 1)


async def test_24_a_minute_without_the_server_costs_no_more_than_one_report(world: World) -> None:
    await world.play(position_ms=0)
    for second in range(10, 130, 10):
        world.clock.advance(10_000)
        if not 30 < second <= 90:
            # every report that came while the server was away is sent again, as an impatient client does
            for _ in range(3):
                await report(world, second * 1_000, seq=second)
    state = await only(world)
    assert abs(total_ms(state.listened) - 120_000) <= 10_000
    assert state.played_ms <= 120_000

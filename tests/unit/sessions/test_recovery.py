"""Where playback goes on: the live session, the stored one, the place left; also when the store has lost something."""

import asyncio
from dataclasses import replace

import pytest

from playhead.db import DatabaseUnavailable
from playhead.playback.commands import End, Pause, Play, Report, Seek
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.rejections import Code
from playhead.playback.state import SessionState
from playhead.sessions.service import Snapshot
from tests.support.sessions import make_principal, make_script, new_id
from tests.support.states import (
    DURATION_MS,
    LISTENER_ID,
    NOW_MS,
    OTHER_LISTENER_ID,
    OTHER_SCRIPT_ID,
    OTHER_SESSION_ID,
    SCRIPT_ID,
    make_state,
)
from tests.unit.sessions.world import DESK, PHONE, World, make_world, refused


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


def row(**fields: object) -> SessionState:
    """A session that somebody paused at 100 s, as PostgreSQL has it."""
    return make_state(**{"playing": False, "epoch": NOW_MS - 1, **fields})


async def joined(world: World, script_id: str = SCRIPT_ID) -> Snapshot:
    snapshot = await world.service.join_script(make_principal(), script_id)
    assert isinstance(snapshot, Snapshot), snapshot
    return snapshot


def taken_over(state: SessionState, world: World) -> SessionState:
    """The same state as the store's present life has written it."""
    return replace(state, epoch=world.store.epoch, version=state.version + 1)


# where a new session begins


async def test_a_script_never_played_begins_at_its_start(world: World) -> None:
    snapshot = await joined(world)
    assert (snapshot.state, snapshot.place) == (None, None)
    outcome = await world.play()
    assert (outcome.created, outcome.state.position_ms, outcome.state.rate) == (True, 0, 1.0)


@pytest.mark.parametrize(
    ("fields", "place_ms", "finished"),
    [
        ({"ended_at_ms": NOW_MS}, 100_000, False),
        ({"ended_at_ms": NOW_MS, "finished": True}, 0, True),
        ({"changed_at_ms": NOW_MS - IDLE_END_MS}, 100_000, False),
        ({"changed_at_ms": NOW_MS - IDLE_END_MS, "playing": True, "heard_ms": 90_000}, 90_000, False),
        ({"changed_at_ms": NOW_MS - IDLE_END_MS, "position_ms": DURATION_MS - 5_000}, 0, True),
        ({"ended_at_ms": NOW_MS, "listener_id": OTHER_LISTENER_ID}, 0, None),
        ({"ended_at_ms": NOW_MS, "script_id": OTHER_SCRIPT_ID}, 0, None),
    ],
)
async def test_a_new_session_begins_where_the_last_one_of_this_listener_and_script_was_left(
    world: World, fields: dict[str, object], place_ms: int, finished: bool | None
) -> None:
    world.rows.keep(row(**fields))
    place = (await joined(world)).place
    assert (place is None) is (finished is None)
    if place is not None:
        assert (place.position_ms, place.finished) == (place_ms, finished)
    outcome = await world.play()
    assert outcome.created and outcome.state.session_id != row().session_id
    assert (outcome.state.position_ms, outcome.state.playing) == (place_ms, True)


async def test_the_position_of_a_play_comes_before_the_place_left(world: World) -> None:
    world.rows.keep(row(ended_at_ms=NOW_MS))
    assert (await world.play(position_ms=3_000)).state.position_ms == 3_000


async def test_a_place_behind_the_end_of_a_shorter_upload_begins_anew(world: World) -> None:
    world.rows.keep(row(ended_at_ms=NOW_MS))
    world.scripts.by_id[SCRIPT_ID] = make_script(duration_ms=100_000)
    state = (await world.play()).state
    assert (state.position_ms, state.playing, state.duration_ms) == (0, True, 100_000)


async def test_the_place_of_a_session_that_has_just_ended_is_known_before_it_is_a_row(world: World) -> None:
    first = (await world.play(position_ms=500_000)).state
    await world.apply(first.session_id, End())
    assert world.rows.rows == {}
    place = (await joined(world)).place
    assert place is not None and place.position_ms == 500_000
    again = await world.play()
    assert (again.created, again.state.position_ms) == (True, 500_000)


async def test_a_session_that_has_just_ended_does_not_come_back_from_an_older_row(world: World) -> None:
    first = (await world.play(position_ms=500_000)).state
    world.flush()
    world.clock.advance(10_000)
    await world.apply(first.session_id, End())
    assert world.rows.rows[first.session_id].ended_at_ms is None
    again = await world.play()
    assert (again.created, again.state.position_ms) == (True, 510_000)
    assert again.state.session_id != first.session_id


# a live session


async def test_a_device_that_joins_sees_the_live_session(world: World) -> None:
    state = (await world.play()).state
    assert (await joined(world)).state == state
    snapshot = await world.service.join_session(LISTENER_ID, state.session_id)
    assert isinstance(snapshot, Snapshot) and (snapshot.state, snapshot.place) == (state, None)
    assert snapshot.server_time_ms == world.clock.time_ms


async def test_joining_changes_and_tells_nothing(world: World) -> None:
    await world.play()
    world.sent.clear()
    commits = world.store.commits
    await joined(world)
    await joined(world, OTHER_SCRIPT_ID)
    assert (world.store.commits, world.sent) == (commits, [])


# the store has lost everything


async def test_an_emptied_store_gets_its_session_back_from_postgresql(world: World) -> None:
    state = (await world.play(position_ms=100_000)).state
    world.flush()
    world.store.begin_another_life(emptied=True)
    snapshot = await world.service.join_session(LISTENER_ID, state.session_id)
    assert isinstance(snapshot, Snapshot) and snapshot.state == taken_over(state, world)
    assert (await joined(world)).state == taken_over(state, world)
    outcome = await world.apply(state.session_id, Seek(position_ms=7_000), DESK)
    assert (outcome.state.revision, outcome.state.version) == (state.revision + 1, state.version + 2)
    assert outcome.state.epoch > state.epoch and not outcome.created
    assert await world.service.live_states(LISTENER_ID) == (outcome.state,)


async def test_play_by_script_takes_up_the_session_that_the_store_has_lost(world: World) -> None:
    state = (await world.play(position_ms=100_000)).state
    await world.apply(state.session_id, Pause())
    world.flush()
    world.store.begin_another_life(emptied=True)
    outcome = await world.play(origin=DESK)
    assert (outcome.created, outcome.state.session_id, outcome.state.revision) == (False, state.session_id, 3)
    assert "session_started" not in world.events()[2:]


async def test_a_lost_session_comes_back_once_however_many_ask(world: World) -> None:
    state = (await world.play()).state
    world.flush()
    world.store.begin_another_life(emptied=True)
    await world.play(origin=DESK)
    await world.apply(state.session_id, Seek(position_ms=1))
    (live,) = await world.service.live_states(LISTENER_ID)
    assert (live.session_id, live.position_ms) == (state.session_id, 1)


@pytest.mark.parametrize("fields", [{"changed_at_ms": NOW_MS - IDLE_END_MS}, {"ended_at_ms": NOW_MS}])
async def test_a_row_of_a_session_that_is_over_does_not_come_back_to_life(
    world: World, fields: dict[str, object]
) -> None:
    world.rows.keep(row(**fields))
    answer = await world.service.apply(LISTENER_ID, row().session_id, Play(), PHONE)
    assert refused(answer) is Code.NOT_FOUND
    assert refused(await world.service.join_session(LISTENER_ID, row().session_id)) is Code.NOT_FOUND


async def test_a_row_one_moment_before_its_idle_end_still_lives(world: World) -> None:
    world.rows.keep(row(changed_at_ms=NOW_MS - IDLE_END_MS + 1))
    assert (await joined(world)).state is not None


async def test_a_row_of_another_session_does_not_push_the_live_one_of_the_script_aside(world: World) -> None:
    live = (await world.play()).state
    world.rows.keep(row())
    assert refused(await world.service.apply(LISTENER_ID, row().session_id, Play(), PHONE)) is Code.NOT_FOUND
    assert await world.service.live_states(LISTENER_ID) == (live,)


# the store has lost its last writes


async def test_in_a_new_epoch_the_later_of_store_and_row_wins(world: World) -> None:
    early = (await world.play(position_ms=1_000)).state
    late = (await world.apply(early.session_id, Seek(position_ms=9_000))).state
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    snapshot = await world.service.join_session(LISTENER_ID, early.session_id)
    assert isinstance(snapshot, Snapshot) and snapshot.state == taken_over(late, world)
    outcome = await world.apply(early.session_id, Pause())
    assert (outcome.state.position_ms, outcome.state.revision) == (9_000, late.revision + 1)
    assert outcome.state.epoch > late.epoch


async def test_devices_that_were_shown_what_the_store_has_lost_are_told_where_it_goes_on(world: World) -> None:
    early = (await world.play(position_ms=1_000)).state
    world.flush()
    lost = (await world.apply(early.session_id, Seek(position_ms=9_000))).state
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    world.sent.clear()
    (live,) = await world.service.live_states(LISTENER_ID)
    assert live == taken_over(early, world) and live.order > lost.order
    (told,) = [packet for _, packet in world.sent if packet.event == "state"]
    assert (told.data["epoch"], told.data["revision"], told.data["position"]) == (*live.order, 1.0)
    # once: whoever looks next finds it done
    assert await world.service.live_states(LISTENER_ID) == (live,)
    assert [packet.event for _, packet in world.sent] == ["state"]


async def test_devices_that_were_shown_what_the_row_does_not_have_are_told_when_it_comes_back(world: World) -> None:
    early = (await world.play(position_ms=1_000)).state
    world.flush()
    lost = (await world.apply(early.session_id, Seek(position_ms=9_000))).state
    world.store.begin_another_life(emptied=True)
    world.sent.clear()
    snapshot = await world.service.join_session(LISTENER_ID, early.session_id)
    assert isinstance(snapshot, Snapshot) and snapshot.state is not None and snapshot.state.order > lost.order
    assert [packet.data["position"] for _, packet in world.sent if packet.event == "state"] == [1.0]


async def test_who_is_slower_to_take_a_session_over_finds_it_done(world: World) -> None:
    early = (await world.play(position_ms=1_000)).state
    world.flush()
    world.store.begin_another_life(emptied=False)
    looks = await asyncio.gather(*(world.service.live_states(LISTENER_ID) for _ in range(3)))
    assert {live.revision for (live,) in looks} == {early.revision}
    assert await world.service.live_states(LISTENER_ID) == (taken_over(early, world),)
    outcome = await world.apply(early.session_id, Seek(position_ms=9_000))
    assert (outcome.state.revision, outcome.state.version) == (early.revision + 1, early.version + 2)


async def test_in_a_new_epoch_an_older_row_does_not_win(world: World) -> None:
    early = (await world.play(position_ms=1_000)).state
    world.flush()
    late = (await world.apply(early.session_id, Seek(position_ms=9_000))).state
    world.store.begin_another_life(emptied=False)
    assert (await joined(world)).state == taken_over(late, world)
    outcome = await world.apply(early.session_id, Pause())
    assert (outcome.state.position_ms, outcome.state.revision) == (9_000, 3)


async def test_reports_count_when_states_are_compared(world: World) -> None:
    early = (await world.play()).state
    world.clock.advance(10_000)
    late = (await world.apply(early.session_id, Report(position_ms=10_000, revision=1, seq=1))).state
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    outcome = await world.apply(early.session_id, Pause())
    assert outcome.state.listened == late.listened == ((0, 10_000),)


async def test_within_an_epoch_rows_are_not_even_read(world: World) -> None:
    state = (await world.play()).state
    world.rows.keep(replace(state, epoch=state.epoch + 5, position_ms=1))
    world.rows.down = True
    assert (await world.apply(state.session_id, Pause())).state.position_ms == 0


async def test_a_silenced_session_is_compared_with_its_row_as_well(world: World) -> None:
    early = (await world.play(position_ms=1_000)).state
    late = (await world.apply(early.session_id, Seek(position_ms=9_000))).state
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    await world.play(OTHER_SCRIPT_ID)
    silent = next(state for state in await world.service.live_states(LISTENER_ID) if state.script_id == SCRIPT_ID)
    assert (silent.playing, silent.position_ms, silent.revision) == (False, 9_000, late.revision + 1)


async def test_an_end_that_the_store_has_lost_does_not_block_the_script(world: World) -> None:
    early = (await world.play(position_ms=1_000)).state
    await world.apply(early.session_id, Seek(position_ms=9_000))
    await world.apply(early.session_id, End())
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    place = (await joined(world)).place
    assert place is not None and place.position_ms == 9_000
    again = await world.play()
    assert (again.created, again.state.position_ms) == (True, 9_000)
    answer = await world.service.apply(LISTENER_ID, early.session_id, Pause(), PHONE)
    assert refused(answer) is Code.SESSION_ENDED


async def test_a_session_whose_end_the_store_has_lost_has_ended(world: World) -> None:
    early = (await world.play()).state
    await world.apply(early.session_id, End())
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    assert refused(await world.service.apply(LISTENER_ID, early.session_id, Pause(), PHONE)) is Code.SESSION_ENDED
    assert refused(await world.service.join_session(LISTENER_ID, early.session_id)) is Code.SESSION_ENDED


# PostgreSQL is away


async def test_while_postgresql_is_away_live_sessions_go_on_even_in_a_new_epoch(world: World) -> None:
    state = (await world.play()).state
    world.rows.down = True
    world.store.begin_another_life(emptied=False)
    outcome = await world.apply(state.session_id, Seek(position_ms=5_000))
    assert (outcome.state.position_ms, outcome.state.revision) == (5_000, 2)
    assert (await world.play(origin=DESK)).state.session_id == state.session_id


async def test_while_postgresql_is_away_no_session_is_taken_over_that_may_be_later_there(world: World) -> None:
    early = (await world.play(position_ms=1_000)).state
    late = (await world.apply(early.session_id, Seek(position_ms=9_000))).state
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    world.rows.down = True
    assert await world.service.live_states(LISTENER_ID) == (early,)
    world.rows.down = False
    assert await world.service.live_states(LISTENER_ID) == (taken_over(late, world),)


async def test_while_postgresql_is_away_a_live_session_is_joined_and_played_by_its_script(world: World) -> None:
    state = (await world.play(position_ms=1_000)).state
    world.rows.down = world.scripts.down = True
    snapshot = await joined(world)
    assert (snapshot.state, snapshot.place) == (state, None)
    outcome = await world.play(origin=DESK, device_id="desk")
    assert (outcome.state.session_id, outcome.state.active_device_id) == (state.session_id, "desk")
    with pytest.raises(DatabaseUnavailable):
        await joined(world, OTHER_SCRIPT_ID)
    with pytest.raises(DatabaseUnavailable):
        await world.play(OTHER_SCRIPT_ID)


async def test_a_play_by_script_that_is_sent_again_while_postgresql_is_away_is_answered_as_the_first_time(
    world: World,
) -> None:
    origin = replace(PHONE, command_id=new_id())
    first = await world.play(origin=origin, position_ms=1_000)
    world.rows.down = world.scripts.down = True
    again = await world.play(origin=origin, position_ms=1_000)
    assert again.created and again.state.order == first.state.order


async def test_while_postgresql_is_away_a_lost_session_is_unavailable_and_no_new_one_begins(world: World) -> None:
    world.rows.keep(row(session_id=OTHER_SESSION_ID))
    world.rows.down = True
    with pytest.raises(DatabaseUnavailable):
        await world.service.play(make_principal(), SCRIPT_ID, Play(), PHONE)
    with pytest.raises(DatabaseUnavailable):
        await world.service.apply(LISTENER_ID, OTHER_SESSION_ID, Pause(), PHONE)
    assert await world.service.live_states(LISTENER_ID) == ()

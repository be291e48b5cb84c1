"""Where playback goes on when the store has lost something, or PostgreSQL is away."""

import asyncio
from copy import copy

import pytest
from msgspec import structs

from playhead.db import DatabaseUnavailable
from playhead.playback.commands import End, Pause, Play, Report, Seek
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.rejections import Code
from playhead.playback.state import SessionState
from playhead.sessions.service import Snapshot
from playhead.sessions.store import OUTAGE_GRACE_MS
from tests.support.sessions import make_principal, new_id
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_SCRIPT_ID, OTHER_SESSION_ID, SCRIPT_ID, make_state
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
    return structs.replace(state, epoch=world.store.epoch, version=state.version + 1)


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
    world.rows.keep(structs.replace(state, epoch=state.epoch + 5, position_ms=1))
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


async def test_at_the_limit_of_the_journal_sessions_are_taken_over_all_the_same() -> None:
    world = await make_world(journal_length_max=2)
    await world.connect("phone")
    early = (await world.play()).state
    late = (await world.apply(early.session_id, Seek(position_ms=9_000))).state
    world.rows.take(copy(world.store.journal))
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    assert (await world.service.live_states(LISTENER_ID)) == (taken_over(late, world),)
    assert refused(await world.service.apply(LISTENER_ID, early.session_id, Pause(), PHONE)) is Code.OVERLOADED


async def test_at_the_limit_of_the_journal_a_lost_session_comes_back_all_the_same() -> None:
    world = await make_world(journal_length_max=1)
    await world.connect("phone")
    state = (await world.play()).state
    world.rows.take(copy(world.store.journal))
    world.store.begin_another_life(emptied=True)
    assert (await joined(world)).state == taken_over(state, world)


async def test_where_the_journals_reserve_is_full_too_sessions_are_told_as_they_were() -> None:
    world = await make_world(journal_length_max=2, journal_reserve=0)
    await world.connect("phone")
    early = (await world.play()).state
    await world.apply(early.session_id, Seek(position_ms=9_000))
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    assert (await world.service.live_states(LISTENER_ID)) == (early,)


# how a session that plays comes back


async def lost_while_playing(world: World) -> SessionState:
    """A session that has played for ten seconds on the phone, before the store lost it and everything else."""
    state = (await world.play()).state
    world.clock.advance(10_000)
    state = (await world.apply(state.session_id, Report(position_ms=10_000, revision=1, seq=1))).state
    world.flush()
    world.clock.advance(60_000)
    world.store.begin_another_life(emptied=True)
    world.store.forget_connections()
    return state


async def test_a_session_whose_device_is_there_plays_on(world: World) -> None:
    state = await lost_while_playing(world)
    await world.connect("phone")
    back = (await joined(world)).state
    assert back == taken_over(state, world) and back.playing and back.absent_until_ms is None


async def test_a_session_whose_device_does_not_come_back_pauses_where_it_was_last_heard_of(world: World) -> None:
    state = await lost_while_playing(world)
    back = (await joined(world)).state
    assert back is not None and back.playing and back.revision == state.revision
    world.clock.advance(OUTAGE_GRACE_MS)
    await world.sweeper.sweep()
    (live,) = await world.service.live_states(LISTENER_ID)
    assert (live.playing, live.position_ms) == (False, 10_000)


async def test_a_session_whose_device_has_played_something_else_since_comes_back_paused(world: World) -> None:
    state = await lost_while_playing(world)
    await world.connect("phone")
    other = (await world.play(OTHER_SCRIPT_ID)).state
    back = (await joined(world)).state
    assert back is not None and (back.playing, back.position_ms, back.revision) == (False, 10_000, state.revision + 1)
    playing = {live.session_id: live.playing for live in await world.service.live_states(LISTENER_ID)}
    assert playing == {state.session_id: False, other.session_id: True}


async def test_of_two_sessions_that_come_back_with_the_same_device_the_later_one_sounds(world: World) -> None:
    earlier = (await world.play()).state
    world.rows.keep(structs.replace(earlier, position_ms=5_000, heard_ms=5_000))
    world.clock.advance(10_000)
    await world.apply(earlier.session_id, Pause())
    later = (await world.play(OTHER_SCRIPT_ID)).state
    world.rows.keep(later)
    world.store.begin_another_life(emptied=True)
    assert (await joined(world)).state is not None
    back = (await joined(world, OTHER_SCRIPT_ID)).state
    assert back is not None and back.playing
    found = {live.session_id: live for live in await world.service.live_states(LISTENER_ID)}
    silent = found[earlier.session_id]
    assert (silent.playing, silent.position_ms, silent.revision) == (False, 5_000, earlier.revision + 1)
    told = [packet.data for _, packet in world.sent if packet.data.get("session_id") == silent.session_id]
    assert (told[-1]["playing"], told[-1]["revision"]) == (False, silent.revision)


async def test_a_session_does_not_come_back_beside_what_began_to_sound_meanwhile(world: World) -> None:
    lost = (await world.play()).state
    other = (await world.play(OTHER_SCRIPT_ID)).state
    lost = (await world.apply(lost.session_id, Play())).state
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.forget_session(lost.session_id)
    await world.service.live_states(LISTENER_ID)
    world.clock.advance(1_000)

    async def begins_to_sound() -> None:
        await world.play(OTHER_SCRIPT_ID)

    world.store.step_in = begins_to_sound
    await joined(world)
    assert world.store.step_in is None
    playing = [live.session_id for live in await world.service.live_states(LISTENER_ID) if live.playing]
    assert playing == [other.session_id]


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


async def test_who_comes_back_to_a_live_session_asks_nothing_of_postgresql(world: World) -> None:
    state = (await world.play()).state
    asked = world.scripts.fetched
    assert (await joined(world)).state == state
    assert world.scripts.fetched == asked
    await joined(world, OTHER_SCRIPT_ID)
    assert world.scripts.fetched == asked + 1


async def test_a_play_by_script_that_is_sent_again_while_postgresql_is_away_is_answered_as_the_first_time(
    world: World,
) -> None:
    origin = structs.replace(PHONE, command_id=new_id())
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

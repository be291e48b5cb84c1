"""The history of a session: its moves, what was refused, and the way back to any of both."""

from collections.abc import Sequence

import pytest

from playhead.playback.commands import End, Offline, Pause, Report, Seek
from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX, Move
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.journal import OfflineInterval
from tests.support.sessions import make_principal
from tests.support.states import DURATION_MS, LISTENER_ID, NOW_MS, OTHER_LISTENER_ID, SCRIPT_ID
from tests.unit.sessions.world import DESK, PHONE, World, accepted, make_world, refused


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


async def history(world: World, session_id: str) -> Sequence[Move]:
    entries = await world.service.history(LISTENER_ID, session_id)
    assert not isinstance(entries, Rejection)
    return entries


async def test_moves_are_told_newest_first_whether_stored_or_not(world: World) -> None:
    session_id = (await world.play()).state.session_id
    for place_ms in (5_000, 6_000, 7_000):
        world.clock.advance(1)
        await world.apply(session_id, Seek(position_ms=place_ms), DESK)
        if place_ms == 5_000:
            world.flush()
    assert [entry.to_ms for entry in await history(world, session_id)] == [7_000, 6_000, 5_000]
    world.flush()
    assert [entry.to_ms for entry in await history(world, session_id)] == [7_000, 6_000, 5_000]


async def test_a_refused_report_can_be_found_and_restored(world: World) -> None:
    session_id = (await world.play(position_ms=27_599_053 % DURATION_MS)).state.session_id
    world.clock.advance(12_000)
    stale = Report(position_ms=1_588, revision=1, seq=1)
    assert refused(await world.service.apply(LISTENER_ID, session_id, stale, DESK)) is Code.CONFLICT
    (entry,) = [entry for entry in await history(world, session_id) if entry.refused]
    assert (entry.device_id, entry.to_ms) == ("desk", 1_588)
    outcome = accepted(await world.service.restore(LISTENER_ID, session_id, entry.entry_id, PHONE))
    assert (outcome.state.position_ms, outcome.cause.command) == (1_588, "restore")


async def test_a_refused_place_that_finds_no_room_is_not_said_to_be_kept() -> None:
    world = await make_world(journal_length_max=1)
    session_id = (await world.play()).state.session_id
    stale = Report(position_ms=1_588, revision=7, seq=1)
    assert refused(await world.service.apply(LISTENER_ID, session_id, stale, DESK)) is Code.OVERLOADED
    world.flush()
    assert refused(await world.service.apply(LISTENER_ID, session_id, stale, DESK)) is Code.CONFLICT
    assert [entry.to_ms for entry in await history(world, session_id)] == [1_588]


async def test_a_place_that_is_refused_of_a_session_that_the_store_has_lost_is_kept(world: World) -> None:
    session_id = (await world.play()).state.session_id
    world.flush()
    world.store.begin_another_life(emptied=True)
    stale = Report(position_ms=1_588, revision=7, seq=1)
    assert refused(await world.service.apply(LISTENER_ID, session_id, stale, DESK)) is Code.CONFLICT
    assert [entry.to_ms for entry in await history(world, session_id)] == [1_588]


async def test_a_device_that_insists_fills_one_entry(world: World) -> None:
    session_id = (await world.play()).state.session_id
    for place_ms in range(20):
        await world.service.apply(LISTENER_ID, session_id, Report(position_ms=place_ms, revision=1), DESK)
    (entry,) = await history(world, session_id)
    assert entry.to_ms == 19


async def test_a_place_that_was_left_is_come_back_to(world: World) -> None:
    session_id = (await world.play(position_ms=100_000)).state.session_id
    await world.apply(session_id, Seek(position_ms=0), DESK)
    entry = (await history(world, session_id))[0]
    back = accepted(await world.service.restore(LISTENER_ID, session_id, entry.entry_id, PHONE))
    assert back.state.position_ms == 100_000
    assert (await history(world, session_id))[0].cause == "restore"


async def test_there_is_no_way_to_another_listeners_history(world: World) -> None:
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, Seek(position_ms=5_000), DESK)
    entry = (await history(world, session_id))[0]
    world.flush()
    assert refused(await world.service.history(OTHER_LISTENER_ID, session_id)) is Code.NOT_FOUND
    answer = await world.service.restore(OTHER_LISTENER_ID, session_id, entry.entry_id, PHONE)
    assert refused(answer) is Code.NOT_FOUND
    assert refused(await world.service.restore(LISTENER_ID, session_id, "1-1", PHONE)) is Code.NOT_FOUND


async def test_only_so_many_moves_and_conflicts_are_told(world: World) -> None:
    session_id = (await world.play()).state.session_id
    for number in range(MOVES_MAX + 5):
        world.clock.advance(1)
        world.flush()
        await world.apply(session_id, Seek(position_ms=7 * number), DESK)
    for number in range(CONFLICTS_MAX + 5):
        await world.service.apply(LISTENER_ID, session_id, Report(position_ms=1, revision=number), DESK)
        world.flush()
    entries = await history(world, session_id)
    assert sum(not entry.refused for entry in entries) == MOVES_MAX
    assert sum(entry.refused for entry in entries) == CONFLICTS_MAX


async def test_an_ended_session_still_tells_its_history(world: World) -> None:
    session_id = (await world.play(position_ms=9_000)).state.session_id
    await world.apply(session_id, End())
    assert (await history(world, session_id))[0].cause == "end"


async def test_where_a_finished_script_was_left_is_in_the_history_of_the_next_session(world: World) -> None:
    session_id = (await world.play(position_ms=DURATION_MS - 1_000)).state.session_id
    await world.apply(session_id, End())
    again = await world.play()
    assert again.state.position_ms == 0
    (entry,) = await history(world, again.state.session_id)
    assert (entry.from_ms, entry.to_ms) == (DURATION_MS - 1_000, 0)


# offline


def batch(**fields: object) -> Offline:
    return Offline(**{"intervals": ((0, 60_000),), "position_ms": 60_000, "base": None, **fields})  # type: ignore[arg-type]


INTERVAL = OfflineInterval(
    device_id="phone", start_ms=0, end_ms=60_000, told_at_ms=NOW_MS, started_at_ms=NOW_MS, ended_at_ms=NOW_MS
)


async def test_an_offline_batch_moves_the_session_that_nobody_moved(world: World) -> None:
    state = (await world.play()).state
    paused = (await world.apply(state.session_id, Pause())).state
    command = batch(base=paused.order)
    outcome = accepted(
        await world.service.offline(make_principal(), SCRIPT_ID, command, PHONE, [INTERVAL], state.session_id)
    )
    assert (outcome.state.session_id, outcome.state.position_ms) == (state.session_id, 60_000)
    assert world.store.journal[-1].offline == (INTERVAL,)


async def test_a_conflict_tells_both_places_and_credits_what_was_heard(world: World) -> None:
    state = (await world.play()).state
    await world.apply(state.session_id, Seek(position_ms=5_000), DESK)
    answer = await world.service.offline(
        make_principal(), SCRIPT_ID, batch(base=state.order), PHONE, [INTERVAL], state.session_id
    )
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.reported_ms) == (Code.CONFLICT, 60_000)
    (live,) = await world.service.live_states(LISTENER_ID)
    assert (live.position_ms, live.listened) == (5_000, ((0, 60_000),))
    assert any(entry.refused and entry.to_ms == 60_000 for entry in await history(world, state.session_id))


async def test_a_batch_outlives_its_session(world: World) -> None:
    state = (await world.play()).state
    ended = (await world.apply(state.session_id, End())).state
    outcome = accepted(
        await world.service.offline(make_principal(), SCRIPT_ID, batch(base=ended.order), PHONE, (), state.session_id)
    )
    assert outcome.created and not outcome.state.playing
    assert (outcome.state.position_ms, outcome.state.listened) == (60_000, ((0, 60_000),))


async def test_a_refused_batch_leaves_its_place_though_all_of_it_was_listened_to_before(world: World) -> None:
    state = (await world.play()).state
    base = state.order
    batch = Offline(intervals=((0, 5_000),), position_ms=5_000, base=base)
    world.clock.advance(10_000)
    await world.apply(state.session_id, Report(position_ms=10_000, revision=1, seq=1))
    await world.apply(state.session_id, Seek(position_ms=100_000), DESK)
    answer = await world.service.offline(make_principal(), SCRIPT_ID, batch, PHONE, (), state.session_id)
    assert isinstance(answer, Rejection) and (answer.code, answer.reported_ms) == (Code.CONFLICT, 5_000)
    (entry,) = [entry for entry in await history(world, state.session_id) if entry.refused]
    assert (entry.to_ms, entry.device_id) == (5_000, "phone")


async def test_the_state_in_a_conflict_is_the_one_that_everybody_is_told(world: World) -> None:
    """Of a session that began with the refused batch, too."""
    first = (await world.play()).state
    await world.apply(first.session_id, Seek(position_ms=50_000), DESK)
    await world.apply(first.session_id, End())
    batch = Offline(intervals=((0, 5_000),), position_ms=5_000, base=first.order)
    answer = await world.service.offline(make_principal(), SCRIPT_ID, batch, PHONE, (), first.session_id)
    assert isinstance(answer, Rejection) and answer.state is not None
    (live,) = await world.service.live_states(LISTENER_ID)
    assert answer.state == live and live.session_id != first.session_id


async def test_a_batch_of_an_older_session_is_a_conflict_in_the_newer_one(world: World) -> None:
    first = (await world.play()).state
    await world.apply(first.session_id, Seek(position_ms=1_000))
    ended = (await world.apply(first.session_id, End())).state
    await world.play(position_ms=7_000)
    answer = await world.service.offline(
        make_principal(), SCRIPT_ID, batch(base=ended.order), PHONE, (), first.session_id
    )
    assert refused(answer) is Code.CONFLICT

"""Where a session begins that is not live: at the place left; and where a device joins one that is."""

import pytest

from playhead.playback.commands import End, Seek, SetRate
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.rejections import Code
from playhead.playback.state import SessionState
from playhead.sessions.service import Snapshot
from tests.support.sessions import make_principal, make_script
from tests.support.states import (
    DURATION_MS,
    LISTENER_ID,
    NOW_MS,
    OTHER_LISTENER_ID,
    OTHER_SCRIPT_ID,
    SCRIPT_ID,
    make_state,
)
from tests.unit.sessions.world import PHONE, World, make_world, refused


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


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({}, 1.5),
        ({"finished": True}, 1.5),
        ({"listener_id": OTHER_LISTENER_ID}, 1.0),
        ({"script_id": OTHER_SCRIPT_ID}, 1.0),
    ],
)
async def test_the_rate_of_a_listener_is_remembered_for_each_script(
    world: World, fields: dict[str, object], rate: float
) -> None:
    world.rows.keep(row(**{"ended_at_ms": NOW_MS, "rate": 1.5, **fields}))
    assert (await world.play()).state.rate == rate


async def test_the_rate_outlives_a_session_that_was_ended_a_moment_ago(world: World) -> None:
    state = (await world.play()).state
    await world.apply(state.session_id, SetRate(rate=0.75))
    await world.apply(state.session_id, End())
    assert (await world.play()).state.rate == 0.75


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


# what the store has lost


async def followed(world: World) -> tuple[SessionState, SessionState]:
    """A session that has ended, and the one that followed it, which a store that went back has lost: it is a row."""
    first = (await world.play()).state
    world.clock.advance(10_000)
    ended = (await world.apply(first.session_id, End())).state
    world.clock.advance(10_000)
    second = (await world.play(position_ms=200_000)).state
    assert second.session_id != first.session_id
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(ended)
    return ended, second


async def test_a_session_that_the_store_has_lost_comes_back_though_it_knows_of_an_end_before(world: World) -> None:
    _, second = await followed(world)
    snapshot = await joined(world)
    assert snapshot.state is not None
    assert (snapshot.state.session_id, snapshot.state.position_ms) == (second.session_id, 200_000)
    assert not (await world.play()).created


async def test_an_end_that_is_not_yet_a_row_counts_beside_older_rows(world: World) -> None:
    first = (await world.play()).state
    world.flush()
    await world.apply(first.session_id, End())
    world.clock.advance(10_000)
    second = (await world.play(position_ms=200_000)).state
    await world.apply(second.session_id, End())
    snapshot = await joined(world)
    assert snapshot.state is None and snapshot.place is not None and snapshot.place.position_ms == 200_000


async def test_a_row_without_its_end_that_another_session_has_followed_does_not_come_back(world: World) -> None:
    first = (await world.play()).state
    world.flush()
    await world.apply(first.session_id, End())
    world.store.journal.clear()
    world.clock.advance(10_000)
    second = (await world.play(position_ms=200_000)).state
    await world.apply(second.session_id, End())
    world.flush()
    world.store.begin_another_life(emptied=True)
    assert (
        refused(await world.service.apply(LISTENER_ID, first.session_id, Seek(position_ms=1), PHONE)) is Code.NOT_FOUND
    )
    assert refused(await world.service.join_session(LISTENER_ID, first.session_id)) is Code.NOT_FOUND

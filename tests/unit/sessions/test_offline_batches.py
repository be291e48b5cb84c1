"""Offline batches that change nothing of the session that they meet, or begin: what they tell is kept all the same."""

from dataclasses import replace

import pytest
from msgspec import structs

from playhead.playback.commands import End, Offline, Pause, Report, Seek, SetMode
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState, position_at
from playhead.sessions.answers import Outcome
from playhead.sessions.journal import OfflineInterval
from tests.support.sessions import make_principal, make_script, new_id
from tests.support.states import DURATION_MS, LISTENER_ID, NOW_MS, SCRIPT_ID
from tests.unit.sessions.world import DESK, PHONE, World, accepted, make_world

MINUTE = OfflineInterval(
    device_id="phone", start_ms=0, end_ms=60_000, told_at_ms=NOW_MS, started_at_ms=NOW_MS, ended_at_ms=NOW_MS
)
COMMAND_ID = "11111111-0000-4000-8000-000000000000"


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


async def tell(
    world: World, base: SessionState | None, position_ms: int, command_id: str | None, *told: OfflineInterval
) -> Outcome | Rejection:
    batch = Offline(
        intervals=tuple((row.start_ms, row.end_ms) for row in told),
        position_ms=position_ms,
        base=None if base is None else base.order,
    )
    origin = structs.replace(PHONE, command_id=command_id)
    session_id = None if base is None else base.session_id
    return await world.service.offline(make_principal(), SCRIPT_ID, batch, origin, told, session_id)


async def idled_out(world: World) -> SessionState:
    """A session that was paused at 101 s, as the phone has seen it last, and that is over since."""
    await world.play(position_ms=100_000)
    world.clock.advance(1_000)
    (state,) = await world.service.live_states(LISTENER_ID)
    paused = (await world.apply(state.session_id, Pause())).state
    for device_id in ("phone", "desk"):
        await world.presence.detach(LISTENER_ID, f"{device_id}-1")
    world.clock.advance(IDLE_END_MS)
    await world.sweeper.sweep()
    assert await world.service.live_states(LISTENER_ID) == ()
    world.flush()
    await world.connect("phone")
    return paused


@pytest.mark.parametrize("command_id", [None, COMMAND_ID])
async def test_a_device_that_comes_back_where_it_went_to_a_session_that_is_over_begins_another_one(
    world: World, command_id: str | None
) -> None:
    paused = await idled_out(world)
    first = accepted(await tell(world, paused, 101_000, command_id))
    assert first.created and first.state.session_id != paused.session_id
    assert (first.state.revision, first.state.epoch) == (1, world.store.epoch)
    assert await world.service.live_states(LISTENER_ID) == (first.state,)
    assert world.events() == ["session_started", "state"]
    world.flush()
    assert world.rows.rows[first.state.session_id] == first.state
    again = accepted(await tell(world, paused, 101_000, command_id))
    assert again.state.session_id == first.state.session_id and again.created == (command_id is not None)
    assert (await world.apply(first.state.session_id, Seek(position_ms=7_000))).state.revision == 2


async def test_a_place_that_is_refused_in_a_new_session_is_kept_in_one_that_there_is(world: World) -> None:
    base = (await world.play(position_ms=100_000)).state
    await world.apply(base.session_id, Seek(position_ms=50_000), DESK)
    await world.apply(base.session_id, End(), DESK)
    refusal = await tell(world, base, 101_000, new_id())
    assert isinstance(refusal, Rejection) and (refusal.code, refusal.reported_ms) == (Code.CONFLICT, 101_000)
    assert refusal.state is not None and await world.service.live_states(LISTENER_ID) == (refusal.state,)
    history = await world.service.history(LISTENER_ID, refusal.state.session_id)
    assert not isinstance(history, Rejection)
    assert [entry.to_ms for entry in history if entry.refused] == [101_000]


async def test_a_session_that_an_empty_batch_begins_after_a_finished_one_begins_at_the_start(world: World) -> None:
    base = (await world.play(position_ms=DURATION_MS - 1_000)).state
    await world.apply(base.session_id, End())
    outcome = accepted(await tell(world, None, 0, None))
    history = await world.service.history(LISTENER_ID, outcome.state.session_id)
    assert not isinstance(history, Rejection)
    assert [(entry.from_ms, entry.to_ms, entry.revision) for entry in history] == [(DURATION_MS - 1_000, 0, 1)]


async def test_a_stretch_that_was_heard_before_is_stored_whether_or_not_the_batch_has_an_id(world: World) -> None:
    state = (await world.play()).state
    world.clock.advance(60_000)
    await world.apply(state.session_id, Report(position_ms=60_000, revision=1, seq=1))
    paused = (await world.apply(state.session_id, Pause(position_ms=60_000))).state
    for command_id in (None, new_id()):
        world.flush()
        outcome = accepted(await tell(world, paused, 60_000, command_id, MINUTE))
        assert outcome.state == paused
        assert [entry.offline for entry in world.store.journal] == [(MINUTE,)]


async def test_a_batch_that_tells_nothing_new_writes_nothing(world: World) -> None:
    state = (await world.play()).state
    paused = (await world.apply(state.session_id, Pause())).state
    commits = world.store.commits
    assert accepted(await tell(world, paused, paused.position_ms, None)).state == paused
    assert world.store.commits == commits


async def test_a_batch_that_comes_late_leaves_the_device_alone_to_which_the_role_was_passed(world: World) -> None:
    """In `together`: what the desk goes on with makes no revision but that of the server, which passed the role on."""
    session_id = (await world.play(position_ms=100_000)).state.session_id
    base = (await world.apply(session_id, SetMode(mode="together"))).state
    await world.service.device_lost(LISTENER_ID, "phone", "phone-1", world.clock.now_ms(), 10_000)
    await world.presence.detach(LISTENER_ID, "phone-1")
    for seq in range(1, 7):
        world.clock.advance(10_000)
        await world.sweeper.sweep()
        report = Report(position_ms=100_000 + seq * 10_000, revision=base.revision + 1, seq=seq)
        state = (await world.apply(session_id, report, DESK)).state
    assert (state.active_device_id, state.revision) == ("desk", base.revision + 1) and state.moved <= base.order
    refusal = await tell(world, base, 103_000, new_id(), replace(MINUTE, start_ms=100_000, end_ms=103_000))
    assert isinstance(refusal, Rejection) and (refusal.code, refusal.reported_ms) == (Code.CONFLICT, 103_000)
    (state,) = await world.service.live_states(LISTENER_ID)
    assert (position_at(state, world.clock.now_ms()), state.listened) == (160_000, ((100_000, 160_000),))


async def test_what_was_played_of_a_file_that_was_longer_is_kept(world: World) -> None:
    """The script has got a shorter one meanwhile, and the session is over. The listener then wants that place."""
    base = (await world.play(position_ms=3_000_000)).state
    await world.apply(base.session_id, End(), DESK)
    world.scripts.by_id[SCRIPT_ID] = make_script(duration_ms=3_100_000, media_version="f" * 16)
    told = replace(MINUTE, start_ms=3_050_000, end_ms=3_200_000)
    refusal = await tell(world, base, 3_200_000, new_id(), told)
    assert isinstance(refusal, Rejection) and (refusal.code, refusal.reported_ms) == (Code.CONFLICT, 3_100_000)
    state = accepted(await tell(world, None, 3_200_000, new_id(), told)).state
    assert (state.position_ms, state.listened, state.played_ms) == (3_100_000, ((3_050_000, 3_100_000),), 50_000)
    assert [entry.offline for entry in world.store.journal][-2:] == [(told,), (told,)]

"""A device sounds in one session, and no place is lost, when sessions come into a new epoch one after the other."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs

from playhead.playback.commands import Pause, Play, Report, Seek, SetRate
from playhead.playback.state import SessionState
from playhead.sessions.service import SessionService, Snapshot
from tests.support.sessions import make_principal
from tests.support.states import LISTENER_ID, OTHER_SCRIPT_ID
from tests.unit.sessions.world import PHONE, World, make_world

Touch = Callable[[World, str], Awaitable[object]]


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


async def live(world: World) -> dict[str, SessionState]:
    return {state.session_id: state for state in await world.service.live_states(LISTENER_ID)}


async def sounding(world: World) -> list[str]:
    return [session_id for session_id, state in (await live(world)).items() if state.playing]


async def left_behind(world: World) -> tuple[SessionState, SessionState]:
    """Two sessions of the phone. The first plays in its row, and rests in a store that could not ask PostgreSQL.

    The second plays in the store: the listener went on with it in the new epoch.
    """
    first = (await world.play()).state
    second = (await world.play(OTHER_SCRIPT_ID)).state
    first = (await live(world))[first.session_id]
    world.flush()
    world.clock.advance(10_000)
    lost = (await world.apply(first.session_id, Play())).state
    world.clock.advance(5_000)
    lost = (await world.apply(first.session_id, Report(position_ms=5_000, revision=lost.revision, seq=1))).state
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(first, second)
    world.rows.down = True
    world.clock.advance(20_000)
    second = (await world.apply(second.session_id, Seek(position_ms=60_000))).state
    assert second.epoch > lost.epoch and lost.playing and second.playing
    assert lost.active_device_id == second.active_device_id == "phone"
    world.rows.down = False
    world.sent.clear()
    return lost, second


async def test_a_session_that_comes_back_beside_another_takes_it_over_from_its_row(world: World) -> None:
    early = (await world.play()).state
    world.clock.advance(10_000)
    lost = (await world.play(OTHER_SCRIPT_ID)).state
    paused = (await live(world))[early.session_id]
    assert (paused.playing, paused.position_ms) == (False, 10_000)
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    back = (await world.apply(lost.session_id, SetRate(rate=2.0))).state
    assert back.playing and back.epoch == world.store.epoch
    beside = (await live(world))[early.session_id]
    assert beside == structs.replace(paused, epoch=world.store.epoch, version=paused.version + 1)


async def test_a_session_that_has_stayed_in_its_epoch_is_not_written_beside_one_that_comes_back(world: World) -> None:
    early = (await world.play()).state
    world.clock.advance(10_000)
    lost = (await world.play(OTHER_SCRIPT_ID)).state
    paused = (await live(world))[early.session_id]
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(early)
    world.rows.unread.add(early.session_id)
    assert (await world.apply(lost.session_id, SetRate(rate=2.0))).state.playing
    assert (await live(world))[early.session_id] == early
    world.rows.unread.clear()
    beside = (await live(world))[early.session_id]
    assert beside == structs.replace(paused, epoch=world.store.epoch, version=paused.version + 1)
    assert await sounding(world) == [lost.session_id]


async def _join(world: World, session_id: str) -> object:
    return await world.service.join_session(LISTENER_ID, session_id)


async def _look(world: World, _session_id: str) -> object:
    return await world.service.live_states(LISTENER_ID)


async def _turn(world: World, session_id: str) -> object:
    return await world.apply(session_id, SetRate(rate=2.0))


@pytest.mark.parametrize("touch", [_join, _look, _turn])
async def test_a_session_that_is_taken_over_late_gives_way_to_what_its_device_plays_by_then(
    world: World, touch: Touch
) -> None:
    late, plays = await left_behind(world)
    await touch(world, late.session_id)
    assert await sounding(world) == [plays.session_id]
    taken = (await live(world))[late.session_id]
    # where it was last heard of
    assert (taken.position_ms, taken.epoch) == (5_000, world.store.epoch)
    assert taken.revision > late.revision and taken.listened == late.listened
    told = [packet.data for _, packet in world.sent if packet.data.get("session_id") == late.session_id]
    assert told and not any(state["playing"] for state in told)


async def test_a_session_that_is_taken_over_late_silences_what_its_device_has_played_before(world: World) -> None:
    late, plays = await left_behind(world)
    late = structs.replace(late, version=late.version + 1, changed_at_ms=world.clock.now_ms() + 1)
    world.rows.keep(late)
    assert await sounding(world) == [late.session_id]
    silent = (await live(world))[plays.session_id]
    assert (silent.revision, silent.version, silent.epoch) == (plays.revision + 1, plays.version + 1, plays.epoch)
    assert [packet.data["playing"] for _, packet in world.sent if packet.data["session_id"] == plays.session_id] == [
        False
    ]


async def test_sessions_that_sound_on_different_devices_are_taken_over_as_they_were(world: World) -> None:
    late, plays = await left_behind(world)
    world.rows.keep(structs.replace(late, version=late.version + 1, active_device_id="desk"))
    assert set(await sounding(world)) == {late.session_id, plays.session_id}


async def test_what_begins_to_sound_while_a_session_is_taken_over_is_seen(world: World) -> None:
    late, plays = await left_behind(world)
    world.rows.down = True
    await world.apply(plays.session_id, Pause())
    world.rows.down = False

    async def begins_to_sound() -> None:
        world.rows.down = True
        await world.apply(plays.session_id, Play())
        world.rows.down = False

    world.store.step_in = begins_to_sound
    assert await sounding(world) == [plays.session_id]
    assert world.store.step_in is None
    assert not (await live(world))[late.session_id].playing


async def test_a_lost_session_that_somebody_else_is_faster_to_bring_back_is_found(world: World) -> None:
    lost = (await world.play()).state
    world.flush()
    world.store.begin_another_life(emptied=True)

    async def brings_it_back() -> None:
        assert isinstance(await world.service.join_session(LISTENER_ID, lost.session_id), Snapshot)

    world.rows.step_in = brings_it_back
    outcome = await world.apply(lost.session_id, Seek(position_ms=7_000))
    assert world.rows.step_in is None
    assert (outcome.state.session_id, outcome.state.position_ms) == (lost.session_id, 7_000)


async def test_a_lost_session_does_not_come_back_unseen_by_what_has_begun_to_sound_meanwhile(world: World) -> None:
    """Its row was read and compared; then its device plays something else; then a command that moves no sound."""
    lost = (await world.play()).state
    world.flush()
    world.store.begin_another_life(emptied=True)

    # another process: one alone carries out a listener's commands one after the other
    other = SessionService(world.store, world.rows, world.scripts, world.presence, world.clock, lambda: "other")

    async def begins_to_sound() -> None:
        await other.play(make_principal(), OTHER_SCRIPT_ID, Play(), PHONE)

    world.store.step_in = begins_to_sound
    world.clock.advance(1_000)
    outcome = await world.apply(lost.session_id, SetRate(rate=1.5))
    assert world.store.step_in is None and outcome.state.rate == 1.5
    found = await live(world)
    assert len(found) == 2 and not found[lost.session_id].playing
    assert len(await sounding(world)) == 1

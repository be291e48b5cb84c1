"""A device goes while a command that lets it sound is decided: whoever is later sees what the other has done."""

import asyncio

import pytest

from playhead.playback.commands import Origin, Pause, Report, Transfer
from playhead.sessions.committing import GRACE_MS
from tests.support.states import LISTENER_ID, NOW_MS
from tests.unit.sessions.world import DESK, PHONE, World, make_world


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


async def lost(world: World, device_id: str) -> None:
    await world.service.device_lost(LISTENER_ID, device_id, f"{device_id}-1", NOW_MS, GRACE_MS)


async def gone(world: World, device_id: str) -> None:
    """As a node does when a connection ends."""
    await lost(world, device_id)
    await world.presence.detach(LISTENER_ID, f"{device_id}-1")
    await lost(world, device_id)


async def waits_until_ms(world: World) -> int | None:
    (state,) = await world.service.live_states(LISTENER_ID)
    assert state.playing
    return state.absent_until_ms


async def test_a_device_that_went_before_the_commit_that_lets_it_sound_has_its_grace(world: World) -> None:
    played = await world.play()
    await world.apply(played.state.session_id, Pause())

    async def goes() -> None:
        await gone(world, "phone")

    world.store.step_in = goes
    await world.play()
    assert await waits_until_ms(world) == NOW_MS + GRACE_MS


async def test_the_same_with_a_device_that_somebody_else_lets_sound(world: World) -> None:
    played = await world.play(origin=PHONE)

    async def goes() -> None:
        await gone(world, "desk")

    world.store.step_in = goes
    await world.apply(played.state.session_id, Transfer(device_id="desk"))
    assert await waits_until_ms(world) == NOW_MS + GRACE_MS


async def test_the_same_where_nobody_waits_for_that_command_any_more(world: World) -> None:
    played = await world.play(origin=PHONE)

    async def goes() -> None:
        await gone(world, "desk")
        asking.cancel()

    world.store.step_in = goes
    asking = asyncio.create_task(world.apply(played.state.session_id, Transfer(device_id="desk")))
    with pytest.raises(asyncio.CancelledError):
        await asking
    for _ in range(20):
        await asyncio.sleep(0)
    assert await waits_until_ms(world) == NOW_MS + GRACE_MS


async def test_a_device_that_goes_between_the_commit_and_the_look_at_its_sound_has_its_grace(world: World) -> None:
    played = await world.play()
    await world.apply(played.state.session_id, Pause())
    await lost(world, "phone")
    await world.play()
    assert await waits_until_ms(world) is None
    await world.presence.detach(LISTENER_ID, "phone-1")
    await lost(world, "phone")
    assert await waits_until_ms(world) == NOW_MS + GRACE_MS


async def test_a_device_that_is_gone_when_its_report_is_committed_is_missed_again(world: World) -> None:
    """It was missed before, came back on another connection, reported, and went while that was decided."""
    played = await world.play()
    await lost(world, "phone")
    world.clock.advance(1_000)

    async def goes() -> None:
        await gone(world, "phone")

    world.store.step_in = goes
    await world.apply(played.state.session_id, Report(position_ms=1_000, revision=played.state.revision, seq=0))
    assert await waits_until_ms(world) == NOW_MS + 1_000 + GRACE_MS


async def test_the_end_of_an_older_connection_that_was_dead_for_long_takes_back_no_report(world: World) -> None:
    """The device came back over another one, reported, and left that one first."""
    played = await world.play(position_ms=100_000)
    world.clock.advance(1_000)
    assert await world.presence.attach(LISTENER_ID, "phone-2", "phone", "phone", "browser")
    world.clock.advance(29_000)
    report = Report(position_ms=130_000, revision=played.state.revision, seq=1)
    await world.apply(played.state.session_id, report, Origin(device_id="phone", connection_id="phone-2"))
    await world.presence.detach(LISTENER_ID, "phone-2")
    world.clock.advance(3_000)
    await gone(world, "phone")
    world.clock.advance(GRACE_MS)
    await world.sweeper.sweep()
    (state,) = await world.service.live_states(LISTENER_ID)
    assert (state.playing, state.position_ms) == (False, 130_000)


async def test_told_once_more_a_grace_is_no_longer(world: World) -> None:
    await world.play()
    await lost(world, "phone")
    world.clock.advance(5_000)
    commits = world.store.commits
    await lost(world, "phone")
    assert await waits_until_ms(world) == NOW_MS + GRACE_MS
    assert world.store.commits == commits


async def test_who_is_there_is_left_alone(world: World) -> None:
    played = await world.play(origin=DESK)
    await world.apply(played.state.session_id, Transfer(device_id="phone"))
    assert await waits_until_ms(world) is None

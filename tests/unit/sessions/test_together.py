"""In unison: how far ahead a change is anchored, and who goes on when the device that reports leaves."""

import pytest

from playhead.playback.commands import Command, Leave, Pause, Play, Restore, Seek, SetMode, SetRate, Transfer
from playhead.sessions.committing import LEAD_MS_MAX, LEAD_MS_MIN
from playhead.sessions.presence import RTT_TOLD_AT_ONCE_MS, Presence
from playhead.sessions.store import PRESENCE_LEASE_MS, StoreUnavailable
from tests.support.states import LISTENER_ID, OTHER_SCRIPT_ID
from tests.unit.sessions.world import DESK, World, make_world

SLOW_MS = 300


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


async def together(world: World) -> str:
    session_id = (await world.play(device_id="phone")).state.session_id
    await world.apply(session_id, SetMode(mode="together"))
    return session_id


async def lead_ms(world: World, session_id: str, command: Command) -> int:
    outcome = await world.apply(session_id, command, DESK)
    return outcome.state.anchored_at_ms - outcome.server_time_ms


@pytest.mark.parametrize(
    ("rtts_ms", "expected_ms"),
    [
        ((), LEAD_MS_MIN),
        ((10, 20), LEAD_MS_MIN),
        ((LEAD_MS_MIN // 2, 1), LEAD_MS_MIN),
        ((LEAD_MS_MIN // 2 + 1, 1), LEAD_MS_MIN + 2),
        ((20, SLOW_MS), 2 * SLOW_MS),
        ((LEAD_MS_MAX // 2, 20), LEAD_MS_MAX),
        ((LEAD_MS_MAX, 20), LEAD_MS_MAX),
    ],
)
async def test_a_change_is_anchored_twice_the_slowest_round_trip_ahead_within_bounds(
    world: World, rtts_ms: tuple[int, ...], expected_ms: int
) -> None:
    session_id = await together(world)
    for device_id, rtt_ms in zip(("phone", "desk"), rtts_ms, strict=False):
        await world.presence.note_rtt(LISTENER_ID, f"{device_id}-1", rtt_ms)
    assert await lead_ms(world, session_id, Seek(position_ms=5_000)) == expected_ms
    await world.presence.renew()
    assert await lead_ms(world, session_id, Seek(position_ms=6_000)) == expected_ms


@pytest.mark.parametrize(
    ("rtts_ms", "known_ms"),
    [
        ((RTT_TOLD_AT_ONCE_MS,), 0),
        ((RTT_TOLD_AT_ONCE_MS + 1,), RTT_TOLD_AT_ONCE_MS + 1),
        ((SLOW_MS, SLOW_MS * 3 // 2), SLOW_MS),
        ((SLOW_MS, SLOW_MS * 3 // 2 + 1), SLOW_MS * 3 // 2 + 1),
    ],
)
async def test_other_nodes_know_a_slow_device_before_its_lease_is_renewed(
    world: World, rtts_ms: tuple[int, ...], known_ms: int
) -> None:
    for rtt_ms in rtts_ms:
        await world.presence.note_rtt(LISTENER_ID, "phone-1", rtt_ms)
    other = Presence(world.store, world.clock, connections_max=8)
    assert await other.slowest_rtt_ms(LISTENER_ID) == known_ms
    assert world.events() == []


async def test_a_slow_device_that_tells_its_round_trip_late_is_still_there_when_its_first_lease_is_over(
    world: World,
) -> None:
    for _ in range(2):
        world.clock.advance(PRESENCE_LEASE_MS // 2)
        await world.presence.renew()
    await world.presence.note_rtt(LISTENER_ID, "phone-1", SLOW_MS)
    await world.sweeper.sweep()
    assert len(await world.presence.devices(LISTENER_ID)) == 2
    world.clock.advance(PRESENCE_LEASE_MS - 1)
    assert len(await world.presence.devices(LISTENER_ID)) == 2


async def test_a_round_trip_of_a_connection_that_is_gone_or_told_while_the_store_is_away_does_no_harm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_arguments: object) -> None:
        raise StoreUnavailable("away")

    await world.presence.note_rtt(LISTENER_ID, "nobody", SLOW_MS)
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "hold_connections", away)
        await world.presence.note_rtt(LISTENER_ID, "phone-1", SLOW_MS)
    assert await world.presence.slowest_rtt_ms(LISTENER_ID) == SLOW_MS


@pytest.mark.parametrize("command", [Play(position_ms=7_000), Restore(position_ms=7_000), SetRate(rate=2.0)])
async def test_whatever_moves_the_playhead_of_all_is_anchored_ahead(world: World, command: Command) -> None:
    assert await lead_ms(world, await together(world), command) == LEAD_MS_MIN


async def test_nothing_lies_ahead_of_a_pause_or_of_one_device_alone(world: World) -> None:
    session_id = await together(world)
    world.clock.advance(10_000)
    assert await lead_ms(world, session_id, Pause()) == 0
    await world.apply(session_id, SetMode(mode="handoff"))
    assert await lead_ms(world, session_id, Play(position_ms=9_000)) == 0


async def test_the_sound_goes_on_when_its_device_leaves_but_not_on_one_that_plays_another_script(world: World) -> None:
    session_id = await together(world)
    left = (await world.apply(session_id, Leave())).state
    assert (left.playing, left.active_device_id) == (True, "desk")
    await world.apply(session_id, Transfer(device_id="phone"))
    await world.play(OTHER_SCRIPT_ID, origin=DESK, device_id="desk")
    assert not (await world.apply(session_id, Leave())).state.playing

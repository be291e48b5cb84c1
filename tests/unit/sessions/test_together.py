"""In unison: how far ahead a change is anchored, and who goes on when the device that reports leaves."""

import asyncio
from collections.abc import Sequence

import pytest

from playhead.playback.commands import Command, Leave, Pause, Play, Restore, Seek, SetMode, SetRate, Transfer
from playhead.sessions import presence as presence_module
from playhead.sessions.committing import LEAD_MS_MAX, LEAD_MS_MIN
from playhead.sessions.presence import RTT_NOTED_MS_MAX, RTT_TOLD_AT_ONCE_MS, Presence
from playhead.sessions.store import PRESENCE_LEASE_MS, Connection, StoreUnavailable
from tests.support.states import LISTENER_ID, OTHER_SCRIPT_ID
from tests.unit.sessions.world import DESK, World, make_world

SLOW_MS = 300


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


async def told_rtt(world: World, connection_id: str, rtt_ms: int) -> None:
    """Returns when the store knows it, where it is told at once."""
    world.presence.note_rtt(LISTENER_ID, connection_id, rtt_ms)
    for _ in range(3):
        await asyncio.sleep(0)


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
        await told_rtt(world, f"{device_id}-1", rtt_ms)
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
        await told_rtt(world, "phone-1", rtt_ms)
    other = Presence(world.store, world.clock, connections_max=8)
    assert await other.slowest_rtt_ms(LISTENER_ID) == known_ms
    assert world.events() == []


async def test_a_slow_device_that_tells_its_round_trip_late_is_still_there_when_its_first_lease_is_over(
    world: World,
) -> None:
    for _ in range(2):
        world.clock.advance(PRESENCE_LEASE_MS // 2)
        await world.presence.renew()
    await told_rtt(world, "phone-1", SLOW_MS)
    await world.sweeper.sweep()
    assert len(await world.presence.devices(LISTENER_ID)) == 2
    world.clock.advance(PRESENCE_LEASE_MS - 1)
    assert len(await world.presence.devices(LISTENER_ID)) == 2


async def test_a_round_trip_of_a_connection_that_is_gone_or_told_while_the_store_is_away_does_no_harm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_arguments: object) -> None:
        raise StoreUnavailable("away")

    await told_rtt(world, "nobody", SLOW_MS)
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "hold_connections", away)
        await told_rtt(world, "phone-1", SLOW_MS)
    assert await world.presence.slowest_rtt_ms(LISTENER_ID) == SLOW_MS


class Slow:
    """A store that takes its time with leases, and counts what it is told."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.may_answer = asyncio.Event()
        self._hold = world.store.hold_connections
        monkeypatch.setattr(world.store, "hold_connections", self.hold_connections)

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        self.told += [row.connection_id for row in connections]
        await self.may_answer.wait()
        await self._hold(listener_id, connections)


async def test_round_trips_that_swing_cost_the_store_one_write_until_the_next_renewal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(world, monkeypatch)
    slow.may_answer.set()
    for _ in range(10):
        await told_rtt(world, "phone-1", 100)
        await told_rtt(world, "phone-1", 800)
    assert slow.told == ["phone-1"]
    await told_rtt(world, "phone-1", 100)
    await world.presence.renew()
    slow.told.clear()
    await told_rtt(world, "phone-1", 800)
    assert slow.told == ["phone-1"], "the store was told the short one meanwhile"


async def test_a_round_trip_longer_than_matters_is_noted_as_the_longest_that_does(world: World) -> None:
    assert LEAD_MS_MAX == 2 * RTT_NOTED_MS_MAX
    await told_rtt(world, "phone-1", 60_000)
    other = Presence(world.store, world.clock, connections_max=8)
    assert await other.slowest_rtt_ms(LISTENER_ID) == RTT_NOTED_MS_MAX


async def test_while_the_store_is_slow_each_connection_tells_one_round_trip_and_only_so_many_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "RTTS_TOLD_AT_ONCE", 2)
    await world.connect("tablet")
    slow = Slow(world, monkeypatch)
    for device_id in ("phone", "desk", "tablet"):
        for rtt_ms in (130, 250, 400):
            await told_rtt(world, f"{device_id}-1", rtt_ms)
    assert slow.told == ["phone-1", "desk-1"]
    slow.may_answer.set()
    for _ in range(5):
        await asyncio.sleep(0)
    await told_rtt(world, "tablet-1", 400)
    assert slow.told == ["phone-1", "desk-1", "tablet-1"]


async def test_of_a_connection_that_is_gone_nothing_is_told_or_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told_rtt(world, "phone-1", SLOW_MS)
    await world.presence.detach(LISTENER_ID, "phone-1")
    assert world.presence._rtt_told_ms == {}
    slow = Slow(world, monkeypatch)
    world.presence.note_rtt(LISTENER_ID, "desk-1", SLOW_MS)
    world.presence.forget(LISTENER_ID, "desk-1")
    await asyncio.sleep(0)
    assert slow.told == []


async def test_what_is_being_told_of_round_trips_ends_with_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(world, monkeypatch)
    await told_rtt(world, "phone-1", SLOW_MS)
    assert slow.told == ["phone-1"]
    async with asyncio.timeout(5):
        await world.presence.stop()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "round-trip"] == []


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

"""Deadlines that need PostgreSQL: what they do while it is away, and of sessions that are nowhere but there."""

from collections.abc import Sequence
from typing import Any

import pytest

from playhead.playback.commands import Pause, Play, Report, SetSleep
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.state import SessionState
from playhead.sessions import sweeping
from playhead.sessions.store import DUE_CLAIM_MS, OUTAGE_GRACE_MS, SESSION_TTL_MS, DueSession
from playhead.sessions.sweeping import LOOKED_AT_ONCE
from tests.support.sessions import make_principal, new_id
from tests.support.states import LISTENER_ID, OTHER_SCRIPT_ID, SCRIPT_ID
from tests.unit.sessions.world import DESK, PHONE, World, accepted, make_world


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


def count_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills as rows are read by their ids."""
    read: list[str] = []
    get = world.rows.get

    async def counted(session_id: str) -> SessionState | None:
        read.append(session_id)
        return await get(session_id)

    monkeypatch.setattr(world.rows, "get", counted)
    return read


async def sweeps(world: World, elapsed_ms: int) -> None:
    """A look every five seconds, while every device stays connected."""
    for _ in range(elapsed_ms // DUE_CLAIM_MS):
        await world.presence.renew()
        await world.sweeper.sweep()
        world.clock.advance(DUE_CLAIM_MS)


# PostgreSQL is away


def need_rows(world: World, count: int) -> list[DueSession]:
    """Sessions that the store has lost, whose deadlines come before all others."""
    lost = [DueSession(listener_id=new_id(), session_id=new_id()) for _ in range(count)]
    for item in lost:
        world.store.expect(item, 0)
    return lost


async def test_while_postgresql_is_away_sessions_fall_asleep_in_time(world: World) -> None:
    state = (await world.play()).state
    await world.apply(state.session_id, SetSleep(after_ms=5_000), DESK)
    need_rows(world, 3 * LOOKED_AT_ONCE)
    world.rows.down = True
    world.clock.advance(5_000)
    await world.sweeper.sweep()
    (state,) = await world.service.live_states(LISTENER_ID)
    assert (state.playing, state.position_ms) == (False, 5_000)


async def test_what_waits_for_postgresql_is_looked_at_last_and_costs_one_timeout_a_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = (await world.play()).state
    lost = need_rows(world, 3 * LOOKED_AT_ONCE)
    looked: list[str] = []
    due = world.service.due

    async def noted(item: DueSession, *arguments: Any) -> None:
        looked.append(item.session_id)
        await due(item, *arguments)

    monkeypatch.setattr(world.service, "due", noted)
    world.rows.down = True
    await world.sweeper.sweep()
    assert len(looked) == len(lost), "as nobody knows what needs it"
    await world.apply(state.session_id, SetSleep(after_ms=DUE_CLAIM_MS), DESK)
    looked.clear()
    world.clock.advance(DUE_CLAIM_MS)
    await world.sweeper.sweep()
    assert state.session_id in looked[:LOOKED_AT_ONCE] and len(looked) == LOOKED_AT_ONCE
    world.rows.down = False
    for _ in range(2):
        world.clock.advance(DUE_CLAIM_MS)
        await world.sweeper.sweep()
    assert await world.sweeper.sweep() == 0, "they are forgotten: PostgreSQL knows none of them"
    world.clock.advance(DUE_CLAIM_MS)
    assert await world.sweeper.sweep() == 0


async def test_only_so_many_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "UNREAD_MAX", LOOKED_AT_ONCE)
    need_rows(world, LOOKED_AT_ONCE)
    world.rows.down = True
    await world.sweeper.sweep()
    need_rows(world, 1)
    await world.sweeper.sweep()
    assert len(world.sweeper._unread) == 1


# sessions that are nowhere but in PostgreSQL


async def left_alone(world: World, *, reported_ms: Sequence[int] = (), paused: bool) -> SessionState:
    """All servers were down until the store had forgotten the session; its deadline is still there."""
    state = (await world.play(position_ms=100_000)).state
    for seq, place_ms in enumerate(reported_ms):
        world.clock.time_ms = state.anchored_at_ms + place_ms - 100_000
        await world.apply(state.session_id, Report(position_ms=place_ms, revision=1, seq=seq))
    if paused:
        await world.apply(state.session_id, Pause())
    world.flush()
    (state,) = world.rows.rows.values()
    world.clock.advance(SESSION_TTL_MS)
    await world.presence.renew()
    assert await world.service.live_states(LISTENER_ID) == ()
    world.sent.clear()
    return state


@pytest.mark.parametrize("excused", [False, True])
async def test_a_session_that_nobody_can_come_back_to_ends_whoever_is_connected(
    world: World, monkeypatch: pytest.MonkeyPatch, excused: bool
) -> None:
    state = await left_alone(world, paused=True)
    read = count_reads(world, monkeypatch)
    if excused:
        world.sweeper.excuse()
    await sweeps(world, 120_000)
    assert read == [state.session_id], "once"
    world.flush()
    row = world.rows.rows[state.session_id]
    assert row.ended_at_ms is not None and row.position_ms == state.position_ms
    assert [packet.event for _, packet in world.sent if packet.event != "devices"] == ["state", "session_ended"]


async def test_the_same_where_everybody_has_just_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    state = await left_alone(world, paused=True)
    for device_id in ("phone", "desk"):
        await world.presence.detach(LISTENER_ID, f"{device_id}-1")
    read = count_reads(world, monkeypatch)
    await sweeps(world, 120_000)
    assert read == [state.session_id]


async def test_one_that_played_when_the_servers_went_ends_where_it_was_last_heard_of(world: World) -> None:
    state = await left_alone(world, reported_ms=(130_000,), paused=False)
    assert state.playing
    world.sweeper.excuse()
    await sweeps(world, DUE_CLAIM_MS)
    world.flush()
    row = world.rows.rows[state.session_id]
    assert (row.ended_at_ms is not None, row.position_ms, row.finished) == (True, 130_000, False)
    again = accepted(await world.service.play(make_principal(), SCRIPT_ID, Play(), PHONE))
    assert again.created and again.state.position_ms == 130_000


async def test_one_whose_device_was_missed_ends_where_that_went(world: World) -> None:
    state = (await world.play(position_ms=100_000)).state
    world.clock.advance(7_000)
    seen_ms = world.clock.time_ms
    await world.service.device_lost(LISTENER_ID, "phone", "phone-1", seen_ms, OUTAGE_GRACE_MS)
    world.flush()
    world.clock.advance(SESSION_TTL_MS)
    await world.presence.renew()
    await world.sweeper.sweep()
    world.flush()
    row = world.rows.rows[state.session_id]
    assert (row.ended_at_ms is not None, row.position_ms) == (True, 107_000)


async def test_one_that_the_store_has_lasts_as_long_as_somebody_is_connected(world: World) -> None:
    state = (await world.play()).state
    await world.apply(state.session_id, Pause())
    await world.play(OTHER_SCRIPT_ID)
    world.flush()
    for _ in range(4):
        world.clock.advance(IDLE_END_MS // 2)
        await world.presence.renew()
        await world.sweeper.sweep()
    assert state.session_id in {live.session_id for live in await world.service.live_states(LISTENER_ID)}


async def test_while_postgresql_is_away_its_end_waits(world: World) -> None:
    state = await left_alone(world, paused=True)
    world.rows.down = True
    await sweeps(world, 60_000)
    world.rows.down = False
    await sweeps(world, DUE_CLAIM_MS)
    world.flush()
    assert world.rows.rows[state.session_id].ended_at_ms is not None

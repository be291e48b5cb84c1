"""A device that goes away without a word: paused after the grace where it was last heard of, unless it is back."""

import asyncio

import pytest

from playhead.playback.commands import Origin, Pause
from playhead.playback.state import SessionState
from playhead.realtime.connections import Connection
from playhead.realtime.grace import Grace
from playhead.sessions.requests import Device
from playhead.sessions.store import StoreUnavailable
from tests.support.sessions import make_principal
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_SCRIPT_ID
from tests.unit.sessions.world import PHONE, World, make_world


@pytest.fixture
async def world() -> World:
    """The phone plays from 100 s on."""
    made = await make_world()
    await made.connect("phone", "desk")
    await made.play(position_ms=100_000)
    return made


def connection(number: int = 1, device_id: str = "phone", last_packet_at_ms: int = NOW_MS + 4_000) -> Connection:
    return Connection(
        connection_id=f"{device_id}-{number}",
        principal=make_principal(),
        device=Device(id=device_id, name="n", kind="phone"),
        last_packet_at_ms=last_packet_at_ms,
    )


async def over(grace: Grace) -> None:
    """Returns when nobody is waited for any more."""
    async with asyncio.timeout(5):
        while grace._waiting:
            await asyncio.gather(*(gone.task for gone in grace._waiting.values()), return_exceptions=True)
            await asyncio.sleep(0)


async def live(world: World) -> SessionState:
    (state,) = await world.service.live_states(LISTENER_ID)
    return state


def make_grace(world: World, grace_s: float = 0.0) -> Grace:
    return Grace(world.service, world.presence, grace_s)


async def leave(world: World, grace: Grace, gone: Connection) -> None:
    await world.presence.detach(LISTENER_ID, gone.connection_id)
    grace.begin(gone)


async def test_a_device_that_stays_away_is_paused_where_it_was_last_heard_of(world: World) -> None:
    grace = make_grace(world)
    world.clock.advance(14_000)
    world.sent.clear()
    await leave(world, grace, connection())
    await over(grace)
    state = await live(world)
    assert (state.playing, state.position_ms, state.revision) == (False, 104_000, 2)
    (told,) = [packet for _, packet in world.sent if packet.event == "state"]
    assert told.data["cause"] == {"command": "vanished", "device_id": None, "command_id": None}
    assert told.skip_connection_id is None


async def test_until_the_grace_is_over_it_plays_on(world: World) -> None:
    grace = make_grace(world, grace_s=3_600)
    await leave(world, grace, connection())
    await asyncio.sleep(0)
    assert (await live(world)).playing
    grace.stop()
    await over(grace)
    assert (await live(world)).playing


async def test_a_device_that_is_back_with_any_connection_plays_on(world: World) -> None:
    grace = make_grace(world)
    await world.presence.detach(LISTENER_ID, "phone-1")
    assert await world.presence.attach(LISTENER_ID, "phone-2", "phone", "n", "phone")
    grace.begin(connection())
    await over(grace)
    assert (await live(world)).playing


async def test_a_remote_that_goes_away_stops_nobody(world: World) -> None:
    grace = make_grace(world)
    await leave(world, grace, connection(device_id="desk"))
    await over(grace)
    assert (await live(world)).playing


async def test_a_device_that_was_back_and_is_gone_again_without_a_word_is_paused_all_the_same(world: World) -> None:
    grace = make_grace(world)
    await world.presence.detach(LISTENER_ID, "phone-1")
    assert await world.presence.attach(LISTENER_ID, "phone-2", "phone", "n", "phone")
    world.clock.advance(9_000)
    await leave(world, grace, connection(2, last_packet_at_ms=NOW_MS + 6_000))
    await over(grace)
    state = await live(world)
    assert (state.playing, state.position_ms) == (False, 106_000)


async def test_the_grace_begins_anew_with_every_connection_of_the_device_that_ends(world: World) -> None:
    grace = make_grace(world, grace_s=3_600)
    grace.begin(connection(1, last_packet_at_ms=NOW_MS + 8_000))
    (first,) = grace._waiting.values()
    grace.begin(connection(2, last_packet_at_ms=NOW_MS + 5_000))
    (second,) = grace._waiting.values()
    await asyncio.gather(first.task, return_exceptions=True)
    assert first.task.cancelled() and not second.task.done()
    # what the other connection said last is not forgotten
    assert second.last_seen_at_ms == NOW_MS + 8_000
    grace.begin(connection(1, device_id="desk"))
    assert len(grace._waiting) == 2
    grace.stop()
    await over(grace)


async def test_a_session_that_was_taken_over_meanwhile_plays_on(world: World) -> None:
    grace = make_grace(world)
    await world.presence.detach(LISTENER_ID, "phone-1")
    desk = Origin(device_id="desk", connection_id="desk-1")
    await world.play(origin=desk)
    grace.begin(connection())
    await over(grace)
    state = await live(world)
    assert (state.playing, state.active_device_id) == (True, "desk")


async def test_what_was_paused_before_stays_as_it_was(world: World) -> None:
    grace = make_grace(world)
    await world.apply((await live(world)).session_id, Pause(), PHONE)
    await leave(world, grace, connection())
    await over(grace)
    assert (await live(world)).revision == 2


async def test_only_the_session_that_sounds_on_the_device_is_paused(world: World) -> None:
    grace = make_grace(world)
    other = (await world.play(OTHER_SCRIPT_ID, device_id="desk")).state
    await leave(world, grace, connection())
    await over(grace)
    playing = {state.session_id: state.playing for state in await world.service.live_states(LISTENER_ID)}
    assert sorted(playing.values()) == [False, True] and playing[other.session_id]


async def test_while_the_store_is_away_the_device_is_paused_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = make_grace(world)
    failures = iter([StoreUnavailable("away"), StoreUnavailable("away")])
    original = world.store.connections

    async def connections(listener_id: str, now_ms: int) -> object:
        for failure in failures:
            raise failure
        return await original(listener_id, now_ms)

    await world.presence.detach(LISTENER_ID, "phone-1")
    monkeypatch.setattr(world.store, "connections", connections)
    grace.begin(connection())
    await over(grace)
    assert not (await live(world)).playing

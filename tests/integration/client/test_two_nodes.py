"""Clients on two server processes: in sync, whatever happens to the line between."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from playhead.app.embedded import EmbeddedValkey
from playhead.client import (
    DevicesChanged,
    FollowingSound,
    Played,
    Refused,
    Reported,
    SessionEnded,
    State,
    StateChanged,
    Status,
    StatusChanged,
)
from playhead.playback.commands import End, Origin
from tests.support.nodes import Node, make_token, start_node
from tests.support.players import Cable, Player
from tests.support.sessions import HeldRows, HeldScripts
from tests.support.states import LISTENER_ID, SCRIPT_ID

DRAIN_S = 4.0


async def played(player: Player, position: float = 100.0) -> str:
    """The id of a session that plays on that device."""
    answer = await player.play(script_id=SCRIPT_ID, position=position)
    return answer.state.session_id


def same(one: State | None, other: State | None) -> bool:
    """Whether two devices hold the same, however they learned it: a snapshot has no cause."""
    return one is not None and other is not None and replace(one, cause=None) == replace(other, cause=None)


async def test_every_device_ends_with_the_same_state(phone: Player, desk: Player) -> None:
    session_id = await played(phone)
    await desk.expect_state(session_id=session_id)
    answers = await asyncio.gather(
        *(phone.seek(session_id, float(number)) for number in range(20)),
        *(desk.seek(session_id, number + 0.5) for number in range(20)),
    )
    last = max((answer.state for answer in answers), key=lambda state: state.order)
    assert last.revision == 41
    for player in (phone, desk):
        await player.expect_state(revision=41)
        assert same(player.state(session_id), last)
        orders = [event.state.order for event in player.seen if isinstance(event, StateChanged)]
        assert orders == sorted(set(orders)), "each state once, and none after a later one"


async def test_both_devices_show_the_same_place_at_the_same_time(phone: Player, desk: Player) -> None:
    session_id = await played(phone)
    await desk.expect_state(session_id=session_id, playing=True)
    here, there = phone.position(session_id), desk.position(session_id)
    assert here is not None and there is not None and abs(here - there) < 0.05
    assert phone.server_ms is not None and desk.server_ms is not None and abs(phone.server_ms - desk.server_ms) < 50


async def test_commands_of_one_device_are_done_in_the_order_of_its_presses(phone: Player, desk: Player) -> None:
    session_id = await played(phone)
    await asyncio.gather(*(phone.seek(session_id, float(number)) for number in range(30)))
    places = [event.state.position for event in phone.seen if isinstance(event, StateChanged)]
    assert places == [100.0, *(float(number) for number in range(30))]


async def test_a_press_shows_before_it_is_answered_and_a_refused_one_is_taken_back(phone: Player) -> None:
    session_id = await played(phone)
    pressed = asyncio.ensure_future(phone.seek(session_id, 500.0, expected_revision=99))
    await asyncio.sleep(0)
    shown = phone.shown(session_id)
    assert shown is not None and shown.position == 500.0
    with pytest.raises(Refused) as refused:
        await pressed
    assert refused.value.code == "conflict" and refused.value.state is not None
    assert same(refused.value.state, phone.shown(session_id))
    assert refused.value.state.position == 100.0


# lines that break


async def test_a_command_whose_ack_was_lost_is_answered_after_the_reconnect(
    phone: Player, desk: Player, cable: Cable
) -> None:
    session_id = await played(phone)
    cable.swallows_answers = True
    pressed = asyncio.ensure_future(phone.seek(session_id, 500.0))
    done = await desk.expect_state(position=500.0)
    cable.cut()
    cable.swallows_answers = False
    answer = await pressed
    assert answer.state.position == 500.0 and done.cause is not None
    assert answer.state.cause is not None and answer.state.cause.command_id == done.cause.command_id
    assert answer.state.revision == done.revision, "sent twice, done once"
    later = await desk.seek(session_id, 501.0)
    assert later.state.revision == done.revision + 1


async def test_what_was_missed_while_away_is_there_after_the_reconnect(
    phone: Player, desk: Player, cable: Cable
) -> None:
    session_id = await played(phone)
    await desk.expect_state(session_id=session_id)
    cable.swallows_answers = True
    moved = await desk.seek(session_id, 777.0)
    paused = await desk.pause(session_id)
    assert phone.state(session_id) != paused.state
    cable.cut()
    cable.swallows_answers = False
    await phone.expect_state(revision=paused.state.revision)
    assert same(phone.state(session_id), paused.state) and moved.state.revision < paused.state.revision
    statuses = [event.status for event in phone.seen if isinstance(event, StatusChanged)]
    assert statuses == [Status.CONNECTING, Status.CONNECTED, Status.RECONNECTING, Status.CONNECTED]


async def test_a_pause_while_away_comes_after_what_was_played_until_then(
    phone: Player, desk: Player, cable: Cable
) -> None:
    session_id = await played(phone)
    log = phone.play_on(session_id)
    cable.cut()
    pausing = asyncio.ensure_future(phone.pause(session_id, position=130.0))
    await asyncio.sleep(0)
    now_ms = round(time.time() * 1_000)
    log.runs(100.0, now_ms - 30_000)
    log.stands(130.0, now_ms)
    credited = await phone.offline(log)
    assert (credited.total_listened, credited.state.playing) == (30.0, True)
    paused = (await pausing).state
    assert (paused.position, paused.playing) == (130.0, False)
    assert same(await desk.expect_state(revision=paused.revision), paused)


async def test_a_session_that_has_ended_while_away_is_gone_after_the_reconnect(
    phone: Player, desk: Player, cable: Cable, nodes: tuple[Node, Node]
) -> None:
    session_id = await played(phone)
    cable.swallows_answers = True
    await nodes[1].service.apply(LISTENER_ID, session_id, End(), Origin(device_id="rest"))
    assert (await desk.expect(SessionEnded)).session_id == session_id
    cable.cut()
    cable.swallows_answers = False
    again: Played = await phone.play(script_id=SCRIPT_ID)
    assert again.created and again.state.session_id != session_id
    live = phone.live(SCRIPT_ID)
    assert live is not None and live.session_id == again.state.session_id


async def test_a_client_goes_on_at_another_address_when_its_server_stops(
    nodes: tuple[Node, Node], desk: Player
) -> None:
    async with Player([nodes[0].url, nodes[1].url], make_token(), "phone", sound=FollowingSound()) as phone:
        session_id = await played(phone)
        await nodes[0].realtime.stop()
        answer = await phone.seek(session_id, 33.0)
        assert same(await desk.expect_state(position=33.0), answer.state)
        assert await phone.expect(Reported)


async def test_a_draining_server_is_left_for_another_one_in_time_and_no_command_waits_for_it(
    nodes: tuple[Node, Node], desk: Player
) -> None:
    async with Player([nodes[0].url, nodes[1].url], make_token(), "phone") as phone:
        session_id = await played(phone)
        draining = asyncio.create_task(nodes[0].realtime.drain(DRAIN_S))
        moved = asyncio.create_task(phone.expect(StatusChanged, status=Status.RECONNECTING))
        position = 0.0
        while not moved.done() or not phone.connected:
            position += 1.0
            answer = await phone.seek(session_id, position)
            assert answer.state.position == position
        await asyncio.wait_for(draining, DRAIN_S)
        assert same(await desk.expect_state(position=position), phone.state(session_id))
        statuses = [event.status for event in phone.seen if isinstance(event, StatusChanged)]
        assert statuses == [Status.CONNECTING, Status.CONNECTED, Status.RECONNECTING, Status.CONNECTED]


async def test_a_device_that_reports_is_believed(phone: Player, nodes: tuple[Node, Node]) -> None:
    async with Player(nodes[0].url, make_token(), "speaker", sound=FollowingSound()) as speaker:
        answer = await speaker.play(script_id=SCRIPT_ID, position=10.0)
        speaker.report()
        reported = await speaker.expect(Reported)
        assert reported.session_id == answer.state.session_id and reported.answer.state.revision == 1
        await phone.seek(answer.state.session_id, 50.0)
        await speaker.expect_state(position=50.0)


async def test_the_store_that_begins_a_new_life_leaves_both_devices_with_the_same_state(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey(append_sync="always")
    rows = HeldRows()
    async with (
        start_node(valkey.url, rows, HeldScripts()) as one,
        start_node(valkey.url, rows, HeldScripts()) as two,
        Player(one.url, make_token(), "phone") as phone,
        Player(two.url, make_token(), "desk") as desk,
    ):
        await desk.join(script_id=SCRIPT_ID)
        session_id = await played(phone)
        before = await desk.expect_state(session_id=session_id)
        valkey.kill()
        pressed = asyncio.ensure_future(phone.seek(session_id, 250.0))
        await asyncio.sleep(0)
        valkey.start()
        answer = await pressed
        assert answer.state.epoch > before.epoch and answer.state.position == 250.0
        await desk.expect_state(epoch=answer.state.epoch, revision=answer.state.revision)
        assert same(phone.state(session_id), desk.state(session_id))


async def test_devices_are_known_on_both_nodes(phone: Player, desk: Player) -> None:
    await phone.expect(DevicesChanged, devices=desk.devices)
    assert {device.id for device in phone.devices} == {"phone", "desk"}
    await phone.close()
    left = await desk.expect(DevicesChanged, devices=tuple(one for one in desk.devices if one.id == "desk"))
    assert [device.id for device in left.devices] == ["desk"]

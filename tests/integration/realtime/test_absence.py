"""Sockets that go away, and what becomes of what they played."""

import asyncio
import time
from typing import Any

import pytest

from playhead.engine.admission import CROWDED_SHARE
from playhead.realtime.server import DRAIN_GRACE_S, GRACE_S
from playhead.sessions import ghosts
from playhead.sessions.journal import decode_entry
from playhead.sessions.keys import ListenerKeys
from playhead.sessions.store import PRESENCE_LEASE_MS, StoreUnavailable
from tests.integration.sessions.lines import eventually
from tests.support.nodes import AheadClock, Node, make_token, start_node
from tests.support.sessions import HeldRows, HeldScripts
from tests.support.sockets import Client
from tests.support.states import LISTENER_ID, SCRIPT_ID


async def played(client: Client, **fields: Any) -> dict[str, Any]:
    state: dict[str, Any] = (await client.call("play", {"script_id": SCRIPT_ID, **fields}))["state"]
    return state


async def test_a_sounding_device_that_vanishes_is_paused_after_the_grace_where_it_was_last_heard(
    nodes: tuple[Node, Node],
) -> None:
    phone = await Client.open(nodes[0].url, make_token(), "phone")
    desk = await Client.open(nodes[1].url, make_token(), "desk")
    began = await played(phone, position=50.0)
    last = await phone.call("clock", {"t0": 1})
    await phone.drop()
    paused = await desk.expect_event("state", playing=False)
    after = await desk.call("clock", {"t0": 1})
    heard_s = [50.0 + (answer["t2"] - began["anchored_at"]) / 1000 for answer in (last, after)]
    assert heard_s[0] - 0.001 <= paused["position"] <= heard_s[1]
    assert paused["cause"] == {"command": "absence", "device_id": None, "command_id": None}
    await desk.close()
    await phone.ended()


@pytest.mark.parametrize("ending", ["close", "drop"])
async def test_a_device_that_said_nothing_while_it_played_loses_nothing_when_it_goes(
    valkey_url: str, ending: str
) -> None:
    clock = AheadClock()
    async with start_node(valkey_url, HeldRows(), HeldScripts(), clock=clock, grace_s=0.0) as node:
        phone = await Client.open(node.url, make_token(), "phone")
        desk = await Client.open(node.url, make_token(), "desk")
        await played(phone, position=50.0)
        clock.advance(30.0)
        await (phone.close() if ending == "close" else phone.drop())
        assert (await desk.expect_event("state", playing=False))["position"] >= 80.0
        await desk.close()


async def test_an_answered_ping_is_a_sign_of_life(valkey_url: str) -> None:
    clock = AheadClock()
    async with start_node(valkey_url, HeldRows(), HeldScripts(), clock=clock) as node:
        phone = await Client.open(node.url, make_token(), "phone")
        (connection_id,) = node.connections.of_listener(LISTENER_ID)
        connection = node.connections.get(connection_id)
        assert connection is not None
        clock.advance(30.0)
        before_ms = connection.last_packet_at_ms
        sockets, watch = node.realtime._sockets, node.realtime._watch
        (socket_id,) = sockets.ids()
        socket = node.realtime._sio.eio.sockets[socket_id]

        async def answered() -> bool:
            await watch.look()
            return connection.last_packet_at_ms > before_ms

        await watch.look()
        assert connection.last_packet_at_ms == before_ms
        socket.on_time()
        await watch.look()
        await eventually(answered)
        assert connection.last_packet_at_ms >= before_ms + 30_000
        await phone.close()


@pytest.mark.parametrize("share", [1.0, CROWDED_SHARE])
async def test_a_device_that_vanishes_while_the_server_has_little_to_spare_may_queue_for_longer(
    valkey_url: str, share: float
) -> None:
    async with start_node(valkey_url, HeldRows(), HeldScripts()) as node:
        phone = await Client.open(node.url, make_token(), "phone")
        await played(phone)
        node.realtime._sio.eio.admission.slow_to(share)
        await phone.drop()

        async def grace_s() -> float | None:
            (state,) = await node.service.live_states(LISTENER_ID)
            return None if state.absent_until_ms is None else state.absent_until_ms / 1_000 - time.time()

        async def missed() -> bool:
            return await grace_s() is not None

        await eventually(missed)
        left_s = await grace_s()
        assert left_s is not None
        wanted_s = GRACE_S if share == 1.0 else DRAIN_GRACE_S
        assert wanted_s - 5 < left_s <= wanted_s
        await phone.ended()


async def test_a_device_that_is_back_in_time_plays_on(valkey_url: str) -> None:
    clock = AheadClock()
    async with start_node(valkey_url, HeldRows(), HeldScripts(), clock=clock) as node:
        phone = await Client.open(node.url, make_token(), "phone")
        desk = await Client.open(node.url, make_token(), "desk")
        await played(phone)
        await phone.drop()

        async def waited_for() -> bool:
            (state,) = await node.service.live_states(LISTENER_ID)
            return state.absent_until_ms is not None

        async def over() -> bool:
            return not await waited_for()

        await eventually(waited_for)
        again = await Client.open(node.url, make_token(), "phone")
        clock.advance(2 * GRACE_S)
        await eventually(over)
        await desk.refute_event("state", playing=False)
        (live,) = await node.service.live_states(LISTENER_ID)
        assert live.playing
        for client in (again, desk):
            await client.close()
        await phone.ended()


async def test_a_remote_that_vanishes_stops_nobody(nodes: tuple[Node, Node]) -> None:
    phone = await Client.open(nodes[0].url, make_token(), "phone")
    desk = await Client.open(nodes[1].url, make_token(), "desk")
    await played(phone)
    await desk.drop()
    await phone.expect_event("devices", devices=[(await nodes[0].presence.devices(LISTENER_ID))[0]])
    (live,) = await nodes[0].service.live_states(LISTENER_ID)
    assert live.playing and live.absent_until_ms is None
    await phone.close()
    await desk.ended()


async def test_a_device_that_leaves_is_paused_at_once(nodes: tuple[Node, Node]) -> None:
    phone = await Client.open(nodes[0].url, make_token(), "phone")
    desk = await Client.open(nodes[1].url, make_token(), "desk")
    state = await played(phone)
    assert (await desk.call("leave", {"session_id": state["session_id"]}))["state"]["playing"]
    await phone.call("leave", {"session_id": state["session_id"]})
    paused = await desk.expect_event("state", playing=False)
    assert paused["cause"]["command"] == "leave"
    for client in (phone, desk):
        await client.close()


async def test_a_server_that_stops_pauses_nothing_and_lets_its_devices_reconnect(valkey_url: str) -> None:
    rows = HeldRows()
    async with start_node(valkey_url, rows, HeldScripts(), grace_s=0.0) as staying:
        desk = await Client.open(staying.url, make_token(), "desk")
        async with start_node(valkey_url, rows, HeldScripts(), grace_s=0.0) as leaving:
            phone = await Client.open(leaving.url, make_token(), "phone")
            await played(phone)
            await desk.expect_event("state", playing=True)
        await phone.ended()
        # "io server disconnect" would tell the official client not to come back
        assert phone.end_reason is not None and "server disconnect" not in phone.end_reason
        for _ in range(20):
            await asyncio.sleep(0)
        await desk.refute_event("state", playing=False)
        assert [row["id"] for row in await staying.presence.devices(LISTENER_ID)] == ["desk"]
        (live,) = await staying.service.live_states(LISTENER_ID)
        assert live.playing and live.active_device_id == "phone"
        again = await Client.open(staying.url, make_token(), "phone")
        assert (await again.call("join", {"script_id": SCRIPT_ID}))["state"]["playing"]
        for client in (again, desk):
            await client.close()


async def test_what_was_accepted_is_in_the_journal_when_the_server_has_stopped(valkey_url: str) -> None:
    async with start_node(valkey_url, HeldRows(), HeldScripts()) as node:
        phone = await Client.open(node.url, make_token(), "phone")
        state = await played(phone)
        answer = await phone.call("seek", {"session_id": state["session_id"], "position": 77.0})
        journal = ListenerKeys(LISTENER_ID).journal
        rows: Any = await node.store.client.xrange(journal)
    entries = [decode_entry(fields) for _, fields in rows]
    assert [entry.state.revision for entry in entries] == [1, answer["state"]["revision"]]
    assert (entries[-1].state.position_ms, entries[-1].moves[0].to_ms) == (77_000, 77_000)
    await phone.ended()


async def test_a_departure_that_fails_for_a_reason_nobody_thought_of_leaves_no_ghost(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = AheadClock()
    async with start_node(valkey_url, HeldRows(), HeldScripts(), clock=clock) as node:
        failed = asyncio.Event()

        async def fails(*_: object) -> None:
            failed.set()
            raise LookupError("a bug")

        phone = await Client.open(node.url, make_token(), "phone")
        await played(phone, position=50.0)
        with monkeypatch.context() as patched:
            patched.setattr(node.service, "device_lost", fails)
            await phone.drop()
            await asyncio.wait_for(failed.wait(), 5.0)

        async def gone() -> bool:
            clock.advance(PRESENCE_LEASE_MS / 1_000)
            await node.presence.renew()
            return await node.presence.devices(LISTENER_ID) == []

        async def silent() -> bool:
            (state,) = await node.service.live_states(LISTENER_ID)
            return not state.playing

        await eventually(gone)
        await eventually(silent)
        await phone.ended()


async def test_where_the_store_does_not_answer_the_last_look_somebody_looks_later(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look found another connection of the device, or nothing that sounded yet."""
    monkeypatch.setattr(ghosts, "GHOST_INTERVAL_S", 0.05)
    async with start_node(valkey_url, HeldRows(), HeldScripts()) as node:
        failed = asyncio.Event()
        looks = 0

        async def found_nothing_and_fails(*_: object) -> None:
            nonlocal looks
            looks += 1
            if looks == 2:
                failed.set()
                raise StoreUnavailable("away")

        phone = await Client.open(node.url, make_token(), "phone")
        await played(phone, position=50.0)
        with monkeypatch.context() as patched:
            patched.setattr(node.service, "device_lost", found_nothing_and_fails)
            await phone.drop()
            await asyncio.wait_for(failed.wait(), 5.0)

        async def missed() -> bool:
            (state,) = await node.service.live_states(LISTENER_ID)
            return state.playing and state.absent_until_ms is not None

        await eventually(missed)
        assert await node.presence.devices(LISTENER_ID) == []
        await phone.ended()

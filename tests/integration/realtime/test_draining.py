"""A server that goes away: everybody is told when to go and served until then, and what was begun is answered."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
import socketio

from playhead.realtime.server import DRAIN_GRACE_S
from tests.integration.realtime.raw import open_raw
from tests.integration.sessions.lines import eventually
from tests.support.nodes import Node, make_token
from tests.support.sockets import CONNECT_TIMEOUT_S, Client
from tests.support.states import LISTENER_ID, SCRIPT_ID

LONG_S = 600.0
"""Longer than any test: what ends before did not wait for the time."""
DONE_TIMEOUT_S = 10.0


async def refusal(url: str) -> dict[str, Any]:
    """The data of the `connect_error` that a good handshake gets."""
    client = socketio.AsyncClient(reconnection=False)
    refused: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    client.on("connect_error", refused.put)
    auth = {"token": make_token(), "device": {"id": "late", "name": "Late", "kind": "phone"}, "protocol": 1}
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(url, auth=auth, transports=["websocket"], wait_timeout=CONNECT_TIMEOUT_S)
    await client.shutdown()
    async with asyncio.timeout(DONE_TIMEOUT_S):
        data: dict[str, Any] = (await refused.get())["data"]
    return data


async def test_sockets_are_told_when_to_go_and_served_until_they_have(node: Node) -> None:
    phone = await Client.open(node.url, make_token(), "phone")
    desk = await Client.open(node.url, make_token(), "desk")
    state = (await phone.call("play", {"script_id": SCRIPT_ID}))["state"]
    draining = asyncio.create_task(node.realtime.drain(LONG_S))
    for client in (phone, desk):
        told = await client.expect_event("draining")
        assert told.keys() == {"retry_after_ms"} and 0 <= told["retry_after_ms"] <= LONG_S * 500
    assert node.realtime.draining

    sought = await phone.call("seek", {"session_id": state["session_id"], "position": 44.0})
    assert sought["ok"]
    assert (await desk.expect_event("state", position=44.0))["revision"] == sought["state"]["revision"]
    data = await refusal(node.url)
    assert (data["code"], data["retry"]) == ("unavailable", True) and "another one answers" in data["message"]
    assert [row["id"] for row in await node.presence.devices(LISTENER_ID)] == ["phone", "desk"]
    await phone.call("clock", {"t0": 0})
    seen = {row["id"] for event, data in phone.events if event == "devices" for row in data["devices"]}
    assert "late" not in seen, "it was not even there for a moment"

    await phone.close()
    assert not draining.done()
    await desk.close()
    await asyncio.wait_for(draining, DONE_TIMEOUT_S)


async def test_who_has_not_left_in_time_is_not_waited_for(node: Node) -> None:
    phone = await Client.open(node.url, make_token(), "phone")
    await node.realtime.drain(0.0)
    assert await phone.expect_event("draining") == {"retry_after_ms": 0}
    assert (await phone.call("clock", {"t0": 1}))["ok"]
    await node.realtime.stop()
    await phone.ended()
    assert phone.end_reason in ("transport close", "transport error")


async def test_a_device_that_leaves_a_draining_server_is_not_paused_for_it(nodes: tuple[Node, Node]) -> None:
    phone = await Client.open(nodes[0].url, make_token(), "phone")
    desk = await Client.open(nodes[1].url, make_token(), "desk")
    await phone.call("play", {"script_id": SCRIPT_ID})
    draining = asyncio.create_task(nodes[0].realtime.drain(LONG_S))
    await phone.expect_event("draining")
    await phone.close()
    await asyncio.wait_for(draining, DONE_TIMEOUT_S)

    async def gone() -> bool:
        return [row["id"] for row in await nodes[1].presence.devices(LISTENER_ID)] == ["desk"]

    await eventually(gone)
    (left,) = await nodes[1].service.live_states(LISTENER_ID)
    assert left.absent_until_ms is not None and left.absent_since_ms is not None
    assert left.absent_until_ms - left.absent_since_ms >= DRAIN_GRACE_S * 1000
    again = await Client.open(nodes[1].url, make_token(), "phone")
    assert (await again.call("join", {"script_id": SCRIPT_ID}))["state"]["playing"]
    await desk.refute_event("state", playing=False)
    for client in (again, desk):
        await client.close()


async def test_a_command_that_was_begun_is_answered_before_its_socket_is_closed(node: Node) -> None:
    phone = await Client.open(node.url, make_token(), "phone")
    session_id = (await phone.call("play", {"script_id": SCRIPT_ID}))["state"]["session_id"]
    # the store answers late, so that the command still runs when the server stops
    await node.store.client.client_pause(500)
    seeking = asyncio.create_task(phone.call("seek", {"session_id": session_id, "position": 77.0}))

    async def begun() -> bool:
        return bool(node.realtime._dispatcher._running)

    await eventually(begun)
    await node.realtime.stop()
    answer = await seeking
    assert answer["ok"] and answer["state"]["position"] == 77.0
    await phone.ended()
    assert phone.end_reason in ("transport close", "transport error")


async def test_a_handshake_that_is_under_way_is_sent_elsewhere(node: Node) -> None:
    async with aiohttp.ClientSession() as session:
        address = f"{node.url}/socket.io/?EIO=4&transport=polling"
        opened = json.loads((await (await session.get(address)).text())[1:])
        address = f"{address}&sid={opened['sid']}"
        auth = {"token": make_token(), "device": {"id": "late", "name": "Late", "kind": "phone"}, "protocol": 1}
        await node.store.client.client_pause(300)

        async def shake() -> None:
            async with session.post(address, data="40" + json.dumps(auth)) as answer:
                assert answer.status == 200

        async def entering() -> bool:
            return bool(node.realtime._sio.manager.pending_connect)

        shaking = asyncio.create_task(shake())
        await eventually(entering)
        draining = asyncio.create_task(node.realtime.drain(LONG_S))
        await shaking
        async with session.get(address) as answer:
            assert '"code":"unavailable"' in (await answer.text()).partition("44")[2]
        await asyncio.wait_for(draining, DONE_TIMEOUT_S)
    assert len(node.connections) == 0 and await node.presence.devices(LISTENER_ID) == []


async def test_a_raw_socket_that_ignores_it_all_is_closed_in_the_end(node: Node) -> None:
    async with open_raw(node.url) as socket:
        await node.realtime.drain(0.0)
        assert (await socket.receive()).startswith('2["draining"')
        await node.realtime.stop()
        with pytest.raises(ConnectionError):
            while True:
                await socket.receive()

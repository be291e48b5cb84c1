"""Who is let in over a real socket, and that everybody else learns why."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import socketio

from playhead.app.embedded import EmbeddedValkey
from playhead.realtime.server import DRAIN_GRACE_S
from playhead.runtime import subscriptions
from tests.integration.realtime.raw import open_raw
from tests.integration.sessions.lines import eventually
from tests.support.nodes import Node, make_token, start_node
from tests.support.sessions import HeldRows, HeldScripts
from tests.support.sockets import CONNECT_TIMEOUT_S, Client
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID, SCRIPT_ID

DEVICE = {"id": "phone", "name": "Phone", "kind": "phone"}
GOOD: dict[str, Any] = {"token": make_token(), "device": DEVICE, "protocol": 1}


@dataclass(frozen=True, slots=True)
class Polling:
    """An Engine.IO connection by long polling."""

    session: aiohttp.ClientSession
    address: str

    async def post(self, packet: str) -> None:
        async with self.session.post(self.address, data=packet) as answer:
            assert await answer.text() in ("OK", "ok")

    async def get(self) -> str:
        async with self.session.get(self.address) as answer:
            return await answer.text()


async def refusal(url: str, auth: Any) -> dict[str, Any]:
    """The data of the `connect_error` that this handshake gets."""
    client = socketio.AsyncClient(reconnection=False)
    refused: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    client.on("connect_error", refused.put)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(url, auth=auth, transports=["websocket"], wait_timeout=CONNECT_TIMEOUT_S)
    await client.shutdown()
    async with asyncio.timeout(5):
        error = await refused.get()
    data: dict[str, Any] = error["data"]
    assert error["message"] == data["message"]
    return data


@pytest.mark.parametrize(
    ("auth", "code"),
    [
        (None, "unauthorized"),
        ({}, "unauthorized"),
        ("a text", "unauthorized"),
        ({**GOOD, "token": None}, "unauthorized"),
        ({**GOOD, "token": "a.b.c"}, "unauthorized"),
        ({**GOOD, "token": make_token(expires_in_s=-60)}, "unauthorized"),
        ({**GOOD, "token": make_token(key="x" * 40)}, "unauthorized"),
        ({**GOOD, "token": make_token("no uuid")}, "unauthorized"),
        ({**GOOD, "token": "x" * 20_000}, "unauthorized"),
        ({**GOOD, "protocol": 2}, "unsupported_protocol"),
        ({**GOOD, "protocol": "1"}, "unsupported_protocol"),
        ({"token": make_token(), "device": DEVICE}, "unsupported_protocol"),
        ({**GOOD, "device": None}, "invalid"),
        ({**GOOD, "device": {**DEVICE, "id": "a b"}}, "invalid"),
        ({**GOOD, "device": {**DEVICE, "id": "rest"}}, "invalid"),
        ({**GOOD, "device": {**DEVICE, "kind": "toaster"}}, "invalid"),
        ({**GOOD, "extra": 1}, "invalid"),
    ],
)
async def test_a_handshake_that_lacks_something_is_refused_by_name(node: Node, auth: Any, code: str) -> None:
    data = await refusal(node.url, auth)
    assert (data["code"], data["retry"]) == (code, False)
    assert len(node.connections) == 0 and await node.presence.devices(LISTENER_ID) == []


async def test_who_is_let_in_is_present_and_who_leaves_is_not(node: Node) -> None:
    client = await Client.open(node.url, make_token())
    assert [row["id"] for row in await node.presence.devices(LISTENER_ID)] == ["phone"]
    assert node.registry.get_sample_value("playhead_sockets") == 1
    await client.close()

    async def gone() -> bool:
        return await node.presence.devices(LISTENER_ID) == [] and len(node.connections) == 0

    await eventually(gone)
    assert node.registry.get_sample_value("playhead_sockets") == 0


@asynccontextmanager
async def polling(url: str) -> AsyncIterator[Polling]:
    async with aiohttp.ClientSession() as session:
        address = f"{url}/socket.io/?EIO=4&transport=polling"
        opened = json.loads((await (await session.get(address)).text())[1:])
        yield Polling(session, f"{address}&sid={opened['sid']}")


async def test_a_long_polling_client_is_served_as_well(node: Node) -> None:
    async with polling(node.url) as client:
        await client.post("40" + json.dumps(GOOD))
        assert (await client.get()).startswith("40{")
        await client.post('421["clock",{"t0":1}]')
        assert (await client.get()).startswith('431[{"ok":true')
        await client.post("1")


async def test_at_the_limit_of_a_listener_no_further_socket_is_let_in(node: Node) -> None:
    clients = [await Client.open(node.url, make_token(), f"device-{number}") for number in range(4)]
    data = await refusal(node.url, GOOD)
    assert (data["code"], data["retry"]) == ("overloaded", True)
    assert len(await node.presence.devices(LISTENER_ID)) == 4
    other = await Client.open(node.url, make_token(OTHER_LISTENER_ID))
    await clients[0].close()

    async def room() -> bool:
        return len(await node.presence.devices(LISTENER_ID)) == 3

    await eventually(room)
    clients[0] = await Client.open(node.url, make_token(), "device-9")
    for client in (other, *clients):
        await client.close()


async def test_while_the_store_is_down_nobody_is_let_in_and_nothing_is_left_of_the_attempt(
    start_valkey: Callable[..., EmbeddedValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "CONFIRM_TIMEOUT_S", 0.2)
    valkey = start_valkey()
    async with start_node(valkey.url, HeldRows(), HeldScripts()) as node:
        valkey.kill()
        data = await refusal(node.url, GOOD)
        assert (data["code"], data["retry"]) == ("unavailable", True)
        assert len(node.connections) == 0
        valkey.start()

        async def back() -> bool:
            return node.bus.connected

        await eventually(back)
        client = await Client.open(node.url, make_token())
        await client.close()


async def test_a_socket_that_closes_while_it_is_let_in_leaves_no_ghost_and_has_time_to_try_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = {**GOOD, "device": {**DEVICE, "id": "ghost"}}
    graces_ms: dict[str, int] = {}
    device_lost = node.realtime._service.device_lost

    async def noted(listener_id: str, device_id: str, connection_id: str, at_ms: int | None, grace_ms: int) -> None:
        graces_ms[device_id] = grace_ms
        await device_lost(listener_id, device_id, connection_id, at_ms, grace_ms)

    monkeypatch.setattr(node.realtime._service, "device_lost", noted)

    async def entering() -> bool:
        return bool(node.realtime._sio.manager.pending_connect)

    async with open_raw(node.url, "witness") as witness, polling(node.url) as client:
        # the store answers late, so that the handshake still runs when the close arrives
        await node.store.client.client_pause(300)
        handshake = asyncio.create_task(client.post("40" + json.dumps(ghost)))
        await eventually(entering)
        await client.post("1")
        await handshake

        async def alone() -> bool:
            # a POST is answered when it has come in; the handshake goes on behind it
            answer = await witness.call("join", {"script_id": SCRIPT_ID})
            return [row["id"] for row in answer["devices"]] == ["witness"] and len(node.connections) == 1

        await eventually(alone)
    assert len(node.connections) <= 1
    assert graces_ms["ghost"] == DRAIN_GRACE_S * 1000, "it was the server that was slow"


async def test_who_leaves_is_gone_with_the_socket_and_cannot_come_and_go_on_it(node: Node) -> None:
    async with open_raw(node.url) as raw, open_raw(node.url, "witness") as witness:
        await raw.send("1")
        await raw.send("0" + json.dumps(GOOD))
        with pytest.raises(ConnectionError):
            while True:
                assert not (await raw.receive()).startswith("0{")

        async def alone() -> bool:
            answer = await witness.call("join", {"script_id": SCRIPT_ID})
            return [row["id"] for row in answer["devices"]] == ["witness"]

        await eventually(alone)

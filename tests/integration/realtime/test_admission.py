"""Who is let in, refused and counted on a node; and a listener whom nobody else can keep out."""

import asyncio
import json
from collections.abc import Callable

import aiohttp
import pytest
import socketio

from playhead.app.embedded import EmbeddedValkey
from playhead.client import Status, StatusChanged
from playhead.client.socketio_transport import SocketIoTransport
from playhead.engine.admission import RETRY_MS_MIN, Limits
from playhead.realtime.server import LISTENER_RETRY_S
from playhead.runtime import subscriptions
from tests.integration.client.test_transport import Heard, auth
from tests.integration.realtime.test_handshake import DEVICE, GOOD, refusal
from tests.integration.sessions.lines import eventually
from tests.support.nodes import Node, make_token, start_node
from tests.support.players import Player
from tests.support.sessions import HeldRows, HeldScripts
from tests.support.sockets import Client
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID, SCRIPT_ID


def refused(node: Node, reason: str) -> float:
    return node.registry.get_sample_value("playhead_sockets_refused_total", {"reason": reason}) or 0.0


def admitted(node: Node) -> float:
    return node.registry.get_sample_value("playhead_sockets_admitted_total") or 0.0


async def test_at_a_listeners_limit_the_next_device_is_told_when_to_come_back(node: Node) -> None:
    clients = [await Client.open(node.url, make_token(), f"device-{number}") for number in range(4)]
    data = await refusal(node.url, GOOD)
    assert (data["code"], data["retry"]) == ("overloaded", True)
    assert LISTENER_RETRY_S[0] * 1000 <= data["retry_after_ms"] <= LISTENER_RETRY_S[1] * 1000
    assert (admitted(node), refused(node, "listener")) == (4, 1)
    for client in clients:
        await client.close()


async def test_nobody_without_a_token_can_use_up_what_a_listener_may_have(node: Node) -> None:
    """The limit of `node` is four devices of a listener."""
    forged = {"token": make_token(LISTENER_ID, key="x" * 40), "device": DEVICE, "protocol": 1}
    async with aiohttp.ClientSession() as http:
        address = f"{node.url}/socket.io/?EIO=4&transport=websocket"
        opened = [await http.ws_connect(address) for _ in range(8)]
        for websocket in opened:
            await websocket.receive()
            await websocket.send_str("40" + json.dumps(forged))
            assert "unauthorized" in str((await websocket.receive()).data)
        client = await Client.open(node.url, make_token(LISTENER_ID))
        assert (admitted(node), refused(node, "unauthorized")) == (1, 8)
        assert node.realtime.half_open == 8
        await client.close()


async def test_who_has_shown_a_token_is_not_half_open_while_the_store_is_slow(node: Node) -> None:
    await node.store.client.client_pause(300)
    opening = asyncio.create_task(Client.open(node.url, make_token()))

    async def entering() -> bool:
        return bool(node.realtime._sio.manager.pending_connect) or bool(node.realtime._sio.manager.rooms)

    await eventually(entering)
    assert node.realtime.half_open == 0
    await (await opening).close()


async def test_our_client_is_told_how_long_to_wait_before_its_websocket_is_taken(valkey_url: str) -> None:
    async with start_node(valkey_url, HeldRows(), HeldScripts(), limits=Limits(per_s=1, burst=1)) as node:
        first = await Client.open(node.url, make_token(OTHER_LISTENER_ID))
        transport, heard = SocketIoTransport(), Heard()
        transport.open(1, node.url, auth(make_token()), heard)
        kind, _, said = await heard.next()
        assert (kind, said.code, said.retry) == ("open_failed", "overloaded", True)
        assert said.retry_after_ms >= RETRY_MS_MIN and said.retry_after_ms % 1_000 == 0
        await transport.shutdown()
        await first.close()


async def test_our_client_waits_as_long_as_it_was_told_and_is_let_in(valkey_url: str) -> None:
    async with start_node(valkey_url, HeldRows(), HeldScripts(), limits=Limits(per_s=1, burst=1)) as node:
        first = await Client.open(node.url, make_token(OTHER_LISTENER_ID))
        loop = asyncio.get_running_loop()
        async with Player(node.url, make_token()) as phone:
            told = await phone.expect(StatusChanged, status=Status.RECONNECTING)
            refused_at_s = loop.time()
            assert told.refusal is not None and told.refusal.code == "overloaded"
            await phone.expect(StatusChanged, status=Status.CONNECTED)
            assert loop.time() - refused_at_s >= RETRY_MS_MIN / 1000 * 0.9, "it was not to come back before"
            assert (await phone.join(script_id=SCRIPT_ID)).state is None
        assert admitted(node) == 2 and refused(node, "rate") >= 1
        await first.close()


async def test_while_the_store_is_away_a_refused_device_is_counted(
    start_valkey: Callable[..., EmbeddedValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "CONFIRM_TIMEOUT_S", 0.2)
    valkey = start_valkey()
    async with start_node(valkey.url, HeldRows(), HeldScripts()) as node:
        valkey.kill()
        with pytest.raises(socketio.exceptions.ConnectionError):
            await Client.open(node.url, make_token())
        assert (admitted(node), refused(node, "unavailable")) == (0, 1)

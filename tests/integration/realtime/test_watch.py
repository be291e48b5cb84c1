"""Sockets that may not stay are ended: strangers, expired tokens, readers that do not read. On a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from playhead.auth.media_paths import MediaSigner
from playhead.auth.tokens import LEEWAY_S, Principal
from playhead.db import Script
from playhead.engine.front import Site
from playhead.engine.socket_server import SocketServer
from playhead.playback.rejections import Rejection
from playhead.realtime import watch as watch_module
from playhead.realtime.connections import Connection, Connections
from playhead.realtime.outbox import Outbox
from playhead.realtime.raw_sockets import RawSockets
from playhead.realtime.stream_renewals import StreamRenewals
from playhead.realtime.watch import EXPIRING_S, Watch
from playhead.runtime.limits import COMMAND_RATE, FLOOD_FACTOR, FLOOD_S, SECOND_US
from playhead.runtime.metrics import create_metrics
from playhead.sessions.answers import Outcome
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.requests import Device
from playhead.sessions.streams import StreamLinks
from tests.support.sessions import HeldScripts, SetClock
from tests.support.states import LISTENER_ID, NOW_MS

TIMEOUT_S = 5.0
SOCKET_PATH = "/socket.io/?EIO=4&transport=websocket"


class NoSessions:
    """Nothing has another file here."""

    async def renew(self, listener_id: str, session_id: str, script: Script) -> Outcome | Rejection:
        raise AssertionError("no session is to be changed")


@dataclass
class Node:
    """A Socket.IO server that lets everybody in who asks, and its watch."""

    sio: SocketServer
    connections: Connections
    sockets: RawSockets
    registry: CollectorRegistry
    clock: SetClock
    url: str

    def watch(self, admission_timeout_s: float = TIMEOUT_S) -> Watch:
        metrics = create_metrics(self.registry)
        outbox = Outbox(self.sio, self.connections, metrics)
        links = StreamLinks(MediaSigner({"kid": "k" * 32}), "https://media.example", self.clock)
        streams = StreamRenewals(self.connections, HeldScripts(), NoSessions(), links, outbox, self.clock)
        return Watch(self.sio, self.connections, outbox, streams, metrics, self.clock, admission_timeout_s)

    def ended(self, reason: str) -> float:
        return self.registry.get_sample_value("playhead_sockets_ended_total", {"reason": reason}) or 0.0


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    sio = SocketServer(async_handlers=False)

    async def connect(_connection_id: str, _environ: dict[str, Any], _auth: object) -> None:
        """Lets everybody in."""

    sio.on("connect", connect)
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = Site(runner, sio.eio, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    clock = SetClock()
    connections = Connections(MemoryStore(clock))
    sockets = RawSockets(sio)
    yield Node(sio, connections, sockets, CollectorRegistry(), clock, f"http://{host}:{port}")
    await sockets.close_all(0)
    await sio.shutdown()
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def admitted(node: Node, http: aiohttp.ClientSession) -> tuple[aiohttp.ClientWebSocketResponse, str]:
    """A websocket that was let in, and its connection's id."""
    websocket = await http.ws_connect(node.url + SOCKET_PATH)
    await websocket.receive_str(timeout=TIMEOUT_S)
    await websocket.send_str('40{"token":"any"}')
    await websocket.receive_str(timeout=TIMEOUT_S)
    connection_id = node.sockets.connection_id(node.sockets.ids()[-1])
    assert connection_id is not None
    return websocket, connection_id


def principal(expires_in_s: int) -> Principal:
    expires_at_s = NOW_MS // 1000 + expires_in_s
    return Principal(listener_id=LISTENER_ID, role="authenticated", scopes=frozenset(), expires_at_s=expires_at_s)


async def enter(node: Node, connection_id: str, expires_in_s: int) -> Connection:
    """Holds the connection, as of a listener whose token ends then."""
    device = Device(id="phone", name="Phone", kind="phone")
    connection = Connection(
        connection_id=connection_id, principal=principal(expires_in_s), device=device, last_packet_at_ms=0
    )
    await node.connections.enter(connection)
    return connection


async def event(websocket: aiohttp.ClientWebSocketResponse) -> tuple[str, Any]:
    """The next event and its data; fails when something else comes."""
    text = await websocket.receive_str(timeout=TIMEOUT_S)
    assert text.startswith("42["), text
    name, data = json.loads(text[2:])
    return name, data


async def refute_event(node: Node, websocket: aiohttp.ClientWebSocketResponse) -> None:
    """Nothing has come: what is sent now is the next."""
    await node.sio.emit("next", {})
    assert await event(websocket) == ("next", {})


async def test_a_socket_that_is_not_let_in_is_cut_after_its_time(node: Node, http: aiohttp.ClientSession) -> None:
    websocket = await http.ws_connect(node.url + SOCKET_PATH)
    await websocket.receive_str(timeout=TIMEOUT_S)
    patient = node.watch(admission_timeout_s=60)
    await patient.look()
    await patient.look()
    assert not websocket.closed and len(node.sockets.ids()) == 1
    node.registry = CollectorRegistry()
    await node.watch(admission_timeout_s=0).look()
    assert (await websocket.receive(timeout=TIMEOUT_S)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_a_socket_that_was_let_in_stays(node: Node, http: aiohttp.ClientSession) -> None:
    websocket, connection_id = await admitted(node, http)
    await enter(node, connection_id, EXPIRING_S + 1)
    await node.watch(admission_timeout_s=0).look()
    await refute_event(node, websocket)
    await websocket.close()


async def test_more_sockets_than_are_looked_at_at_once_are_all_looked_at(
    node: Node, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LOOKED_AT_ONCE", 2)
    opened = [await admitted(node, http) for _ in range(5)]
    for _, connection_id in opened:
        (await enter(node, connection_id, -LEEWAY_S - 1)).expiring_told = True
    await node.watch().look()
    assert node.ended("token_expired") == 5
    for websocket, _ in opened:
        assert (await event(websocket))[0] == "closing"
        await websocket.close()


async def test_a_connection_is_told_and_ended_when_its_token_has_run_out(
    node: Node, http: aiohttp.ClientSession
) -> None:
    websocket, connection_id = await admitted(node, http)
    connection = await enter(node, connection_id, -LEEWAY_S)
    connection.expiring_told = True
    watch = node.watch()
    await watch.look()
    await refute_event(node, websocket)
    node.clock.advance(1)
    await watch.look()
    name, data = await event(websocket)
    assert (name, data["code"], data["retry"]) == ("closing", "token_expired", False)
    assert "Get a new one" in data["message"]
    assert await websocket.receive_str(timeout=TIMEOUT_S) == "41"
    assert (await websocket.receive(timeout=TIMEOUT_S)).type is aiohttp.WSMsgType.CLOSE
    assert node.ended("token_expired") == 1
    await websocket.close()


async def test_a_long_polling_client_hears_why_it_is_ended_as_well(node: Node, http: aiohttp.ClientSession) -> None:
    address = f"{node.url}/socket.io/?EIO=4&transport=polling"
    async with http.get(address) as opened:
        address += f"&sid={json.loads((await opened.text())[1:])['sid']}"
    async with http.post(address, data='40{"token":"any"}') as posted:
        assert posted.status == 200
    async with http.get(address) as let_in:
        assert (await let_in.text()).startswith("40")
    connection_id = node.sockets.connection_id(node.sockets.ids()[0])
    assert connection_id is not None
    await enter(node, connection_id, -LEEWAY_S - 1)
    polling = asyncio.create_task(http.get(address))
    (socket,) = node.sio.eio.sockets.values()
    while socket._poll is None:
        await asyncio.sleep(0)
    await node.watch().look()
    told, gone = (await (await polling).text()).split("\x1e")
    assert told.startswith('42["closing",{"code":"token_expired"') and gone == "41"


async def test_a_token_that_runs_out_in_a_minute_is_told_once(node: Node, http: aiohttp.ClientSession) -> None:
    websocket, connection_id = await admitted(node, http)
    connection = await enter(node, connection_id, EXPIRING_S + 1)
    watch = node.watch()
    node.clock.advance(999)
    await watch.look()
    await refute_event(node, websocket)
    node.clock.advance(1)
    await watch.look()
    assert await event(websocket) == ("expiring", {"expires_at": connection.principal.expires_at_ms})
    await watch.look()
    await refute_event(node, websocket)
    await websocket.close()


async def test_each_token_of_a_connection_is_told_of_and_a_short_one_at_once(
    node: Node, http: aiohttp.ClientSession
) -> None:
    websocket, connection_id = await admitted(node, http)
    connection = await enter(node, connection_id, 1)
    watch = node.watch()
    await watch.look()
    assert (await event(websocket))[0] == "expiring"
    connection.renew(principal(EXPIRING_S + 1))
    await watch.look()
    await refute_event(node, websocket)
    node.clock.advance(LEEWAY_S * 1000 + 1001)
    await watch.look()
    assert await event(websocket) == ("expiring", {"expires_at": connection.principal.expires_at_ms})
    await websocket.close()


async def test_a_connection_that_floods_is_told_to_come_back_later(node: Node, http: aiohttp.ClientSession) -> None:
    websocket, connection_id = await admitted(node, http)
    connection = await enter(node, connection_id, EXPIRING_S + 1)
    watch = node.watch()
    for number in range(FLOOD_S):
        await watch.look()
        for _ in range(COMMAND_RATE.per_s * FLOOD_FACTOR + 1):
            connection.pace.take(number * SECOND_US + SECOND_US)
    await refute_event(node, websocket)
    connection.pace.take((FLOOD_S + 1) * SECOND_US)
    await watch.look()
    name, data = await event(websocket)
    assert (name, data["code"], data["retry"], data["retry_after_ms"]) == ("closing", "flooding", True, 10_000)
    assert await websocket.receive_str(timeout=TIMEOUT_S) == "41"
    assert (await websocket.receive(timeout=TIMEOUT_S)).type is aiohttp.WSMsgType.CLOSE
    assert node.ended("flooding") == 1
    await websocket.close()

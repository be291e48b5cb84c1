"""Nodes whose rooms go over sharded pub/sub, and sockets in them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import socketio
from aiohttp import web

from playhead.engine.front import Site
from playhead.engine.socket_server import SocketServer
from playhead.realtime.sharded_manager import ShardedManager
from playhead.runtime.redis_clients import calls_of, client_of
from tests.support.sockets import CONNECT_TIMEOUT_S

ARRIVAL_TIMEOUT_S = 5.0
OF_ALL = ("", "")
"""The gap of the channel that reaches every node."""


@dataclass(slots=True)
class Node:
    """One server, with what a handler of it was told."""

    server: Any
    manager: ShardedManager
    url: str = ""
    gaps: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    gone: asyncio.Queue[str] = field(default_factory=asyncio.Queue)


@dataclass(slots=True)
class Socket:
    """A client that keeps what it was sent."""

    client: Any
    sid: str = ""
    events: asyncio.Queue[tuple[Any, ...]] = field(default_factory=asyncio.Queue)

    async def expect(self, *event: Any) -> None:
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            assert await self.events.get() == event


@asynccontextmanager
async def start_node(valkey_url: str, **options: Any) -> AsyncIterator[Node]:
    gaps: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def on_gap(namespace: str, room: str) -> None:
        gaps.put_nowait((namespace, room))

    client = client_of(valkey_url)
    calls = calls_of(valkey_url, client)
    manager = ShardedManager(client, calls, on_gap, **options)
    node = Node(SocketServer(client_manager=manager), manager, gaps=gaps)

    async def disconnected(sid: str, _reason: str) -> None:
        node.gone.put_nowait(sid)

    async def connected(_sid: str, _environ: Any) -> None:
        """Lets everybody in."""

    node.server.on("connect", connected)
    node.server.on("disconnect", disconnected)
    app = web.Application()
    node.server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = Site(runner, node.server.eio, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    node.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    await manager.start()
    try:
        yield node
    finally:
        await node.server.shutdown()
        await runner.cleanup()
        await manager.stop()
        await calls.aclose()
        await client.aclose()


async def join(stack: AsyncExitStack, node: Node, *rooms: str) -> Socket:
    """A socket of that node, in those rooms."""
    socket = Socket(socketio.AsyncClient(reconnection=False))

    def arrived(*event: Any) -> str:
        socket.events.put_nowait(event)
        return f"{socket.sid} has it"

    socket.client.on("*", arrived)
    await socket.client.connect(node.url, transports=["websocket"], wait_timeout=CONNECT_TIMEOUT_S)
    stack.push_async_callback(socket.client.disconnect)
    socket.sid = socket.client.get_sid("/")
    for room in rooms:
        await node.server.enter_room(socket.sid, room)
    return socket


def gaps_of_rooms(node: Node) -> list[tuple[str, str]]:
    """Those that nobody has looked at. Of the channel for all there may be one: where a server of the cluster answers
    late what was asked of another one first, it is asked again, and a second answer counts as a gap."""
    found = [node.gaps.get_nowait() for _ in range(node.gaps.qsize())]
    return [gap for gap in found if gap != OF_ALL]

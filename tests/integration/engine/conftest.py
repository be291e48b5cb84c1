"""A server as the protocols' documents have theirs for tests: short intervals, handlers that send it back."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from playhead.engine.admission import Limits, Reason
from playhead.engine.endings import Ending
from playhead.engine.front import Site
from playhead.engine.socket_server import SocketServer
from tests.integration.engine.raw import PolledSocket, Polls, RawSocket, Talk

PING_INTERVAL_S = 0.3
PING_TIMEOUT_S = 0.2
BYTES_MAX = 100_000
QUIET = {"ping_interval": 60, "ping_timeout": 60}
TRANSPORTS = ["websocket", "polling", "upgraded"]
"""`upgraded`: begun on long polling, and now on a websocket."""


@dataclass
class Engine:
    """A server that listens. `ended`: why clients were; `disconnected`: what the application was told, in order."""

    sio: SocketServer
    url: str
    http: aiohttp.ClientSession
    site: Site
    ended: list[Ending] = field(default_factory=list)
    disconnected: "asyncio.Queue[tuple[str, str]]" = field(default_factory=asyncio.Queue)

    @property
    def path(self) -> str:
        return f"{self.url}/socket.io/?EIO=4&transport="

    async def websocket(self, query: str = "", **options: Any) -> RawSocket:
        return RawSocket(await self.http.ws_connect(f"{self.path}websocket{query}", **options))

    async def opened(self, **options: Any) -> tuple[RawSocket, str]:
        """A websocket that is a session, and its sid."""
        raw = await self.websocket(**options)
        return raw, str((await raw.open())["sid"])

    async def connected(self, **options: Any) -> RawSocket:
        """A websocket on the default namespace."""
        raw, _ = await self.opened(**options)
        await raw.connect()
        return raw

    async def polls(self) -> Polls:
        """A session on long polling."""
        return await Polls.open(self.http, f"{self.path}polling")

    async def upgraded(self, polls: Polls) -> RawSocket:
        """The websocket that carries on a session of long polling."""
        raw = await self.websocket(f"&sid={polls.sid}")
        await raw.send("2probe")
        assert await raw.receive() == "3probe"
        await raw.send("5")
        return raw

    async def talk(self, transport: str) -> Talk:
        """A session on one of TRANSPORTS."""
        if transport == "websocket":
            return (await self.opened())[0]
        polls = await self.polls()
        return PolledSocket(polls) if transport == "polling" else await self.upgraded(polls)

    async def connected_by(self, transport: str) -> Talk:
        """The same on the default namespace."""
        talk = await self.talk(transport)
        await talk.connect()
        return talk

    def left(self) -> dict[str, object]:
        """What the server still holds of any client."""
        sio, rooms, eio = self.sio, self.sio.manager, self.sio.eio
        held = {
            "sessions": eio.sockets,
            "websockets": eio.websockets,
            "timers": len(eio.wheel),
            "half open": len(eio.admission.half_open),
            "admitted": len(eio.admission),
            "environ": sio.environ,
            "refused": sio._refused,
            "unfinished packets": sio._binary_packet,
            "deadlines": sio._deadlines,
            "rooms": rooms.rooms,
            "entered": rooms._entered,
            "callbacks": rooms.callbacks,
            "being let in": rooms.pending_connect,
            "leaving": rooms.pending_disconnect,
        }
        return {name: what for name, what in held.items() if what}


def _handlers(sio: SocketServer, engine: Engine) -> None:
    async def connect(sid: str, environ: Any, auth: Any) -> None:
        await sio.emit("auth", {} if auth is None else auth, to=sid)

    async def connect_custom(sid: str, environ: Any, auth: Any) -> None:
        await sio.emit("auth", {} if auth is None else auth, to=sid, namespace="/custom")

    async def message(sid: str, *data: Any) -> None:
        await sio.emit("message-back", data, to=sid)

    async def message_with_ack(sid: str, *data: Any) -> tuple[Any, ...]:
        return data

    async def disconnect(sid: str, why: str) -> None:
        engine.disconnected.put_nowait((sid, why))

    sio.on("connect", connect)
    sio.on("connect", connect_custom, namespace="/custom")
    sio.on("message", message)
    sio.on("message-with-ack", message_with_ack)
    sio.on("disconnect", disconnect)


Start = Callable[..., Awaitable[Engine]]


@asynccontextmanager
async def start_engine(*, listener: socket.socket | None = None, **options: Any) -> AsyncIterator[Engine]:
    async with aiohttp.ClientSession() as http:
        engine = Engine(None, "", http, None)  # type: ignore[arg-type]
        engine.sio = SocketServer(
            **{
                "ping_interval": PING_INTERVAL_S,
                "ping_timeout": PING_TIMEOUT_S,
                "max_http_buffer_size": BYTES_MAX,
                "namespaces": ["/custom"],
                "on_ended": engine.ended.append,
                **options,
            }
        )
        _handlers(engine.sio, engine)
        app = web.Application()
        engine.sio.attach(app)
        app.router.add_post("/echo", _echo)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        if listener is None:
            site = Site(runner, engine.sio.eio, "127.0.0.1", 0)
        else:
            site = Site(runner, engine.sio.eio, listener=listener)
        engine.site = site
        await site.start()
        engine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield engine
        finally:
            await engine.sio.eio.close_all(1.0)
            await engine.sio.shutdown()
            await runner.cleanup()


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), headers={"X-Peer": str(request.transport is not None)})


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with start_engine() as engine:
        yield engine


@pytest.fixture
async def patient() -> AsyncIterator[Engine]:
    """One that does not ping while a test runs."""
    async with start_engine(ping_interval=60, ping_timeout=60) as engine:
        yield engine


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a server with the options that it is given."""
    async with AsyncExitStack() as stack:

        async def started(**options: Any) -> Engine:
            return await stack.enter_async_context(start_engine(**options))

        yield started


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Guarded:
    """A server with limits, and why it refused whom."""

    engine: Engine
    refused: list[Reason] = field(default_factory=list)

    @property
    def half_open(self) -> int:
        return len(self.engine.sio.eio.admission.half_open)

    async def answer(self, transport: str = "websocket", headers: dict[str, str] | None = None) -> tuple[int, Any, int]:
        """How a request for another socket is refused: status, JSON, seconds to wait."""
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        more = {**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} if transport == "websocket" else {}
        async with self.engine.http.get(
            f"{self.engine.path}{transport}", headers={**more, **(headers or {})}
        ) as answer:
            return answer.status, await answer.json(), int(answer.headers["Retry-After"])


StartGuarded = Callable[..., Awaitable[Guarded]]


@pytest.fixture
async def guarded() -> AsyncIterator[StartGuarded]:
    async with AsyncExitStack() as stack:

        async def started(trusted_proxies: tuple[str, ...] = ("127.0.0.0/8",), **limits: int) -> Guarded:
            refused: list[Reason] = []
            options: dict[str, Any] = {**QUIET, "limits": Limits(**limits), "trusted_proxies": trusted_proxies}
            engine = await stack.enter_async_context(start_engine(on_refused=refused.append, **options))
            return Guarded(engine, refused)

        yield started

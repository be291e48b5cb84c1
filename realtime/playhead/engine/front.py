"""One port: a connection's first head is read here, then the connection is given to whom it belongs, with every byte.

    GET <path of the sockets> that asks for a websocket → the engine, on picows
    anything else, as soon as that shows                → aiohttp, as if it had been there from the start

Only a request to the path of the sockets is read to its end, within bounds of bytes and of time.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from aiohttp import web

from playhead.engine.heads import END, HEAD_BYTES_MAX, Head, read_head
from playhead.engine.server import EngineServer

HEAD_TIMEOUT_S = 10.0
"""For the head of a connection's first request."""


class Front(asyncio.Protocol):
    """A connection until it is known whose it is."""

    __slots__ = ("_beginning", "_engine", "_fronts", "_head", "_http", "_transport", "slot")

    def __init__(self, engine: EngineServer, http: Callable[[], asyncio.Protocol], fronts: "set[Front]") -> None:
        self._engine = engine
        self._http = http
        self._fronts = fronts
        self._beginning = f"GET {engine.path}".encode()
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self.slot = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._fronts.add(self)
        self._engine.wheel.set(self, HEAD_TIMEOUT_S)

    def connection_lost(self, _error: Exception | None) -> None:
        self._done()

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        self._head += data
        size = min(len(self._head), len(self._beginning))
        if self._head[:size] != self._beginning[:size] or len(self._head) > HEAD_BYTES_MAX:
            self._give_to_http()
        elif END in self._head:
            transport = self._transport
            assert transport is not None
            peer = transport.get_extra_info("peername")
            head = read_head(self._head, peer[0] if isinstance(peer, tuple) else "")
            if head is not None and head.asks_for_websocket:
                self._give_to_engine(transport, head)
            else:
                self._give_to_http()

    def on_time(self) -> None:
        """No head has come."""
        self.cut()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _give_to_http(self) -> None:
        transport = self._done()
        protocol = self._http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._head)

    def _give_to_engine(self, transport: asyncio.Transport, head: Head) -> None:
        self._done()
        why = self._engine.upgradable(head)
        if why is None:
            self._engine.start_websocket(head, transport, self._head.partition(END)[2])
            return
        body = self._engine.refuse(why)
        answer = f"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        transport.write(f"{answer}Connection: close\r\n\r\n".encode() + body)
        transport.close()

    def _done(self) -> asyncio.Transport:
        """It is not here any more."""
        transport = self._transport
        assert transport is not None
        self._fronts.discard(self)
        self._engine.wheel.unset(self)
        return transport


class Site(web.BaseSite):
    """Listens for both; in the place of `web.TCPSite`, or of `web.SockSite` where a bound `listener` is given."""

    __slots__ = ("_engine", "_fronts", "_host", "_listener", "_port")

    def __init__(
        self,
        runner: web.BaseRunner,
        engine: EngineServer,
        host: str | None = None,
        port: int | None = None,
        *,
        listener: socket.socket | None = None,
        backlog: int = 128,
    ) -> None:
        super().__init__(runner, backlog=backlog)
        assert engine.path is not None, "attach the server before"
        self._engine = engine
        self._host = host
        self._port = port
        self._listener = listener
        self._fronts: set[Front] = set()

    @property
    def name(self) -> str:
        if self._listener is not None:
            return str(self._listener)
        return f"http://{self._host or '0.0.0.0'}:{self._port}"

    async def start(self) -> None:
        """Raises OSError as `create_server` does."""
        await super().start()
        http = self._runner.server
        assert http is not None
        loop = asyncio.get_running_loop()

        def front() -> Front:
            return Front(self._engine, http, self._fronts)

        if self._listener is None:
            self._server = await loop.create_server(front, self._host, self._port or 0, backlog=self._backlog)
        else:
            self._server = await loop.create_server(front, sock=self._listener, backlog=self._backlog)

    def take_no_more(self) -> None:
        """Listens no more; whom it has taken already goes on."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Listens no more; who has not asked for anything yet is cut."""
        await super().stop()
        for front in list(self._fronts):
            front.cut()

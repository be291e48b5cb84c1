"""One port: a connection's first head is read here, then the connection is given to whom it belongs, with every byte.

    GET <path of the sockets> that asks for a websocket → the engine, on picows
    anything else                                       → aiohttp, as if it had been there from the start

The head is read to its end, within bounds of bytes and of time: until then a connection is half-open (`admission`), and
costs its head and nothing more. One past what the process has descriptors for is closed at once; one of aiohttp's past
what sockets leave to it is told so.
"""

import asyncio
import itertools
import os
import socket
from typing import cast

import orjson
from aiohttp import web

from playhead.engine.admission import Reason, Refusal
from playhead.engine.door import Door
from playhead.engine.heads import END, HEAD_BYTES_MAX, Head, read_head
from playhead.engine.server import EngineServer

HEAD_TIMEOUT_S = 10.0
"""For the head of a connection's first request."""
TIGHT = 64
"""So few connections before the last one, those that only wait for another request of REST are closed."""
CLOSED_AT_ONCE = 16
REST_RETRY_MS = 1_000
UNREAD_TIMEOUT_S = 40.0
"""For a client to read on of what aiohttp has answered, as long as a socket may be silent: aiohttp would wait for ever.
Linux counts it; elsewhere only the limit on their number holds."""


class Front(asyncio.Protocol):
    """A connection until it is known whose it is."""

    __slots__ = ("_engine", "_head", "_site", "_transport", "slot")

    def __init__(self, engine: EngineServer, site: "Site") -> None:
        self._engine = engine
        self._site = site
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self.slot = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._site.has_room():
            self._engine.admission.count(Reason.DESCRIPTORS)
            self._transport.abort()
            return
        self._site.fronts.add(self)
        self._engine.wheel.set(self, HEAD_TIMEOUT_S)
        self._engine.estranged(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._done()

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        self._head += data
        if 0 <= self._head.find(END) <= HEAD_BYTES_MAX:
            transport = self._done()
            peer = transport.get_extra_info("peername")
            head = read_head(self._head, peer[0] if isinstance(peer, tuple) else "")
            if head is not None and head.target.partition("?")[0] == self._engine.path and head.asks_for_websocket:
                self._give_to_engine(transport, head)
            else:
                self._give_to_http(transport)
        elif len(self._head) > HEAD_BYTES_MAX or not self._head[:1].isalpha():
            self._give_to_http(self._done())

    def on_time(self) -> None:
        """No head has come."""
        self.cut()

    def crowd_out(self) -> None:
        self._done()
        self.cut()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _give_to_http(self, transport: asyncio.Transport) -> None:
        if not self._site.has_room_for_rest():
            self._engine.admission.count(Reason.REST)
            self._turn_away(transport, Refusal(Reason.REST, REST_RETRY_MS))
            return
        _limit_unread(transport)
        protocol = self._site.http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._head)

    def _give_to_engine(self, transport: asyncio.Transport, head: Head) -> None:
        why = self._engine.upgradable(head)
        if why is not None:
            self._answer(transport, "400 Bad Request", "text/plain", self._engine.refuse(why))
            return
        full = self._engine.full(head) if head.query.get("sid") is None else None
        if full is not None:
            self._turn_away(transport, full)
            return
        self._engine.start_websocket(head, transport, self._head.partition(END)[2])

    def _turn_away(self, transport: asyncio.Transport, why: Refusal) -> None:
        body, wait = orjson.dumps(why.payload()), f"Retry-After: {why.retry_after_s}\r\n"
        self._answer(transport, "503 Service Unavailable", "application/json", body, wait)

    def _answer(self, transport: asyncio.Transport, status: str, kind: str, body: bytes, more: str = "") -> None:
        answer = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}"
        transport.write(f"{answer}Connection: close\r\n\r\n".encode() + body)
        transport.close()

    def _done(self) -> asyncio.Transport:
        """It is not here any more."""
        transport = self._transport
        assert transport is not None
        self._site.fronts.discard(self)
        self._engine.admission.half_open.remove(self)
        self._engine.wheel.unset(self)
        return transport


class Site(web.BaseSite):
    """Listens for both; in the place of `web.TCPSite`, or of `web.SockSite` where a bound `listener` is given."""

    __slots__ = ("_doors", "_engine", "_host", "_http", "_listener", "_port", "fronts")

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
        self._http: web.Server | None = None
        self._doors: list[Door] = []
        self.fronts: set[Front] = set()

    @property
    def name(self) -> str:
        if self._listener is not None:
            return str(self._listener)
        return f"http://{self._host or '0.0.0.0'}:{self._port}"

    async def start(self) -> None:
        """Raises OSError as `create_server` does."""
        await super().start()
        self._http = self._runner.server
        loop = asyncio.get_running_loop()

        # bound by asyncio, which knows hosts; who is taken when, is the door's
        if self._listener is None:
            self._server = await loop.create_server(self._front, self._host, self._port or 0, start_serving=False)
        else:
            self._server = await loop.create_server(self._front, sock=self._listener, start_serving=False)
        for bound in self._server.sockets:
            listening = socket.socket(fileno=os.dup(bound.fileno()))
            door = Door(listening, self._backlog, self._front, self._engine.room)
            self._doors.append(door)
            door.open()

    def _front(self) -> Front:
        return Front(self._engine, self)

    def http(self) -> asyncio.Protocol:
        """What aiohttp reads the next connection with."""
        assert self._http is not None
        return self._http()

    def has_room(self) -> bool:
        """Whether one more connection of any kind may stay. When few may, those of REST that are idle are closed."""
        engine, admission = self._engine, self._engine.admission
        others = len(engine.websockets) + len(admission.half_open)
        return self._room_beside(admission.limits.connections_max - others) > 0

    def has_room_for_rest(self) -> bool:
        """Whether one more of REST may stay beside those that others will need: who polls for a socket has two."""
        engine, admission = self._engine, self._engine.admission
        polling = max(0, len(admission) - len(engine.websockets))
        return self._room_beside(admission.limits.rest_max + 2 * polling) > 0

    def _room_beside(self, most: int) -> int:
        """How many more than aiohttp has now; when few, some of those that wait for another request are closed.

        The oldest first, as aiohttp has them in that order. One that is busy is left: it could not even read on.
        """
        assert self._http is not None
        room = most - len(self._http._connections)
        if room <= TIGHT:
            idle = (connection for connection in self._http.connections if _waits(connection))
            for connection in itertools.islice(idle, CLOSED_AT_ONCE):
                connection.force_close()
        return room

    def take_no_more(self) -> None:
        """Listens no more; whom it has taken already goes on."""
        for door in self._doors:
            door.close()
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Listens no more; who has not asked for anything yet is cut."""
        for door in self._doors:
            door.close()
        await super().stop()
        for front in list(self.fronts):
            front.cut()


def _limit_unread(transport: asyncio.Transport) -> None:
    made = transport.get_extra_info("socket")
    if made is not None and hasattr(socket, "TCP_USER_TIMEOUT") and made.family in (socket.AF_INET, socket.AF_INET6):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNREAD_TIMEOUT_S * 1_000))


def _waits(connection: web.RequestHandler) -> bool:
    """For another request."""
    waiter = connection._waiter
    return waiter is not None and not waiter.done()

"""The Engine.IO server that python-socketio runs on: it has python-engineio's interface, options and checks of origins.

Sessions live in `sockets`. What python-engineio does by a task, a queue and a timer per socket is done here where the
bytes come in; see `sessions` and `wheel`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import engineio
import orjson
from aiohttp import web

from playhead.engine import inline, polling, websockets
from playhead.engine.addresses import Addresses
from playhead.engine.admission import Admission, Limits, Reason, Refusal, Stranger
from playhead.engine.endings import Ending
from playhead.engine.heads import Environ, Head
from playhead.engine.packets import OPEN, Outgoing
from playhead.engine.sessions import Session, reason
from playhead.engine.strain import Strain
from playhead.engine.websockets import WebSocket
from playhead.engine.wheel import Wheel

WRITE_BYTES_MAX = 262_144
"""What may wait in this process for one client to read."""
VERSION = "4"
POLL_S = 0.02

INVALID_TRANSPORT = "Invalid transport"
UNSUPPORTED = "The client is using an unsupported version of the Socket.IO or Engine.IO protocols"
INVALID_UPGRADE = "Invalid websocket upgrade"
INVALID_SESSION = "Invalid session"
UNEXPECTED = "Unexpected HTTP request"


class Unparsable(Exception):
    """Raised by whoever handles messages: what came is nothing that its protocol knows, and the session is over."""


class EngineServer(engineio.AsyncServer):
    """python-engineio's options, but `async_mode`, `async_handlers`, `monitor_clients`, `http_compression`: for those
    there is one way here; and `json`, `jsonp`.

    `write_bytes_max`: what may wait for a client that does not read, which is then cut.
    `on_ended`: told why, whenever a session was ended for what its client did.
    `limits`, `trusted_proxies`: who may come at all; see `admission` and `addresses`. `on_refused`: told why not.
    """

    def __init__(
        self,
        *,
        write_bytes_max: int = WRITE_BYTES_MAX,
        on_ended: Callable[[Ending], None] | None = None,
        limits: Limits | None = None,
        trusted_proxies: Sequence[str] = (),
        on_refused: Callable[[Reason], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**{**options, "async_mode": "aiohttp", "http_compression": False})
        self.write_bytes_max = write_bytes_max
        self.sockets: dict[str, Session]
        self.websockets: set[WebSocket] = set()
        """Every websocket that is open, also of sessions that are over and of none yet."""
        self.wheel = Wheel(min(self.ping_interval, self.ping_timeout))
        self.path: str | None = None
        """Where it is attached."""
        self.admission = Admission(limits or Limits(), on_refused)
        self.strain = Strain(self.admission.slow_to)
        self._addresses = Addresses(trusted_proxies)
        self._on_ended = on_ended
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        """Serves long polling and websockets at `engineio_path` of `app`; best with `front.Site`."""
        self.path = f"/{engineio_path.strip('/')}/"
        app.router.add_route("*", self.path, self.handle_request)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """A request that aiohttp has read."""
        return await polling.handle(self, request)

    # who may come

    def refusal(self, environ: Mapping[str, Any], query: Mapping[str, str]) -> str | None:
        """Why a request is not for this server; None: it is."""
        origin = environ.get("HTTP_ORIGIN")
        if self.cors_allowed_origins != [] and origin:
            allowed = self._cors_allowed_origins(environ)
            if allowed is not None and origin not in allowed:
                return f"{origin} is not an accepted origin."
        if query.get("transport") not in self.transports:
            return INVALID_TRANSPORT
        if query.get("EIO") != VERSION:
            return UNSUPPORTED
        return None

    def refuse(self, why: str) -> bytes:
        """Notes it, as python-engineio does; the body of the answer."""
        self._log_error_once(why, why)
        return orjson.dumps(why)

    def full(self, head: Head) -> Refusal | None:
        """Why no session may be opened with this request now; None: `open` may follow at once."""
        self.strain.watch(self.loop)
        return self.admission.refusal(self.address(head), _now_us())

    @property
    def crowded(self) -> bool:
        """Whether who leaves now may have to wait before it is let in again."""
        return self.admission.crowded(_now_us())

    def address(self, head: Head) -> str | None:
        """Whose limits a request counts to."""
        return self._addresses.of(head.address, head.header("x-forwarded-for"))

    def open(self, environ: Any, address: str | None = None) -> Session:
        """A new session of `address`; the first packet that waits for it is OPEN."""
        sid = self.generate_id()
        self.admission.enter(address, _now_us())
        session = self.sockets[sid] = Session(self, sid, address)
        self.estranged(session)
        interval_s = self.ping_interval + self.ping_interval_grace_period
        handshake = {
            "sid": sid,
            "upgrades": [],
            "pingInterval": round(interval_s * 1000),
            "pingTimeout": round(self.ping_timeout * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        if isinstance(environ, dict) and self.allow_upgrades and "websocket" in self.transports:
            handshake["upgrades"] = ["websocket"]
        session.send_packet(OPEN + orjson.dumps(handshake).decode())
        if inline.run(self.handlers["connect"](sid, environ), self.loop) is not None:
            raise RuntimeError("The handler of `connect` may not wait: the client does not hear of it before.")
        session.begin()
        return session

    def upgradable(self, head: Head) -> str | None:
        """Why no websocket can be made of a request that asks for one; None: `start_websocket` may follow at once."""
        query = head.query
        if (why := self.refusal(head.environ(), query)) is not None:
            return why
        if query.get("transport") != "websocket" or head.key is None:
            return INVALID_UPGRADE
        sid = query.get("sid")
        if sid is None:
            return None
        session = self.sockets.get(sid)
        if session is None:
            return INVALID_SESSION
        taken = session.upgraded or session.probe is not None or not self.allow_upgrades
        return UNEXPECTED if taken else None

    def start_websocket(self, head: Head, transport: asyncio.Transport, tail: bytes) -> None:
        """Makes a websocket of the connection. `tail`: what came after the head."""
        sid, key = head.query.get("sid"), head.key
        assert key is not None
        session = self.open(Environ(head), self.address(head)) if sid is None else self.sockets[sid]
        socket = WebSocket(self, session, upgrades=sid is not None)
        websockets.start(transport, socket, key, self.max_http_buffer_size, tail)

    # what happens to sessions

    async def message(self, sid: str, data: str | bytes) -> None:
        """Handles one message. Does not raise, whatever the handler does."""
        try:
            await self.handlers["message"](sid, data)
        except Unparsable:
            if (session := self.sockets.get(sid)) is not None:
                session.end(reason.TRANSPORT_ERROR, Ending.UNREADABLE, say_so=True)
        except Exception:
            self.logger.exception("message async handler error")

    def estranged(self, stranger: Stranger) -> None:
        """Has not shown who it is, from now on until it is removed from `half_open`."""
        self.admission.half_open.add(stranger, _now_us())

    def room(self, wanted: int) -> int:
        """How many strangers of so many may be taken now."""
        return self.admission.half_open.room(wanted, _now_us())

    def known(self, sid: str) -> None:
        """The client of a session has shown who it is."""
        if (session := self.sockets.get(sid)) is not None:
            self.admission.half_open.remove(session)

    async def disconnected(self, sid: str, why: str) -> None:
        """Tells the handler that a session is over. Does not raise."""
        try:
            await self.handlers["disconnect"](sid, why)
        except Exception:
            self.logger.exception("disconnect async handler error")

    def forget(self, session: Session, ending: Ending | None) -> None:
        """The session is over."""
        self.sockets.pop(session.sid, None)
        self.admission.half_open.remove(session)
        self.admission.leave(session.address)
        self.wheel.unset(session)
        if ending is not None:
            self.logger.error("A client was cut off: %s", ending.value)
            if self._on_ended is not None:
                self._on_ended(ending)

    # what python-socketio calls

    async def send(self, sid: str, data: str | bytes) -> None:
        """A message to one client, if it is still there."""
        session = self.sockets.get(sid)
        if session is not None:
            session.send(Outgoing(data))

    async def send_packet(self, sid: str, pkt: Any) -> None:
        """The same for a packet of python-engineio that is a MESSAGE, as managers make them."""
        await self.send(sid, pkt.data)

    async def disconnect(self, sid: str | None = None) -> None:
        """Closes one session, or all."""
        for session in list(self.sockets.values()) if sid is None else filter(None, [self.sockets.get(sid)]):
            session.end(reason.SERVER_DISCONNECT, say_so=True)

    async def close_all(self, timeout_s: float) -> None:
        """Closes every session and every websocket; what has not gone after `timeout_s` is cut."""
        for session in list(self.sockets.values()):
            session.end(reason.SERVER_DISCONNECT)
        for socket in list(self.websockets):
            socket.close(None)
        deadline_s = self.loop.time() + timeout_s
        while self.websockets and self.loop.time() < deadline_s:
            await asyncio.sleep(POLL_S)
        for socket in list(self.websockets):
            socket.cut()

    async def shutdown(self) -> None:
        """Stops the timers. Sessions are closed before."""
        self.wheel.stop()
        self.strain.stop()


def _now_us() -> int:
    return time.monotonic_ns() // 1_000

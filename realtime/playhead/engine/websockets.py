"""A websocket of a client, on a transport of picows: frames become packets of its session, its messages frames.

picows answers pings, checks masks, lengths and close codes; it gets a request of our own making, for it takes only the
plainest `Connection` header and would answer with text of the client's. Its class is used directly, as its own server
uses it, because that server cannot share a port.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from picows import WSAutoPingStrategy, WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from playhead.engine.endings import CLOSE_CODES, Ending
from playhead.engine.packets import LEAD_BYTES, PING, PONG, PROBE, UPGRADE, Outgoing, Unreadable
from playhead.engine.sessions import Session, reason

if TYPE_CHECKING:
    from playhead.engine.server import EngineServer

READ_BUFFER_BYTES = 1_024
READ_BYTES_MAX = 16_384
"""Of one read: a client that sends without end must not make its buffer grow."""
CLOSE_TIMEOUT_S = 5.0
"""For a close to be answered, and for what was written before it."""
LINGER_S = 1.0
"""For a client to read why it is closed, while what it sends is thrown away."""
UPGRADE_TIMEOUT_S = 10.0
"""From the first frame of a websocket beside a polling session to the last of its probe."""
PARTS_MAX = 1_000
"""Frames of one message: each costs memory of its own, however little is in it. For how long they may come, says the
next ping: a pong has no room between them."""
NO_HEADERS: Mapping[str, str] = {}
TEXT, BINARY, CLOSE, CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CLOSE, WSMsgType.CONTINUATION


class _Silence:
    """What picows logs to: what it says of clients is counted, not written; and a logger per socket would cost 1 KB."""

    def isEnabledFor(self, _level: int) -> bool:
        return False

    def log(self, *_arguments: Any, **_named: Any) -> None:
        """Nothing."""

    debug = info = warning = error = log


class WebSocket(WSListener):
    """`session`: whose packets these are. `upgrades`: it is probed first. `is_over`: no frame counts any more."""

    __slots__ = (
        "_parts",
        "_parts_bytes",
        "_parts_type",
        "_server",
        "_session",
        "_transport",
        "_upgrades",
        "is_over",
        "slot",
    )

    def __init__(self, server: "EngineServer", session: Session, upgrades: bool) -> None:
        self._server = server
        self._session = session
        self._upgrades = upgrades
        self._transport: WSTransport | None = None
        self._parts: list[bytes] | None = None
        self._parts_type = TEXT
        self._parts_bytes = 0
        self.is_over = False
        self.slot = 0

    # what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=self._server.write_bytes_max)
        self._server.websockets.add(self)
        if self._upgrades:
            self._server.estranged(self)
            self._server.wheel.set(self, UPGRADE_TIMEOUT_S)
        else:
            self._session.carried_by(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.is_over:
            if frame.msg_type == CLOSE:
                self._disconnect()
            return
        try:
            kind = frame.msg_type
            if kind == TEXT and frame.fin and self._parts is None and not frame.rsv1:
                self._take(frame.get_payload_as_utf8_text())
            else:
                self._other(frame, kind)
        except (Unreadable, UnicodeDecodeError):
            self._refuse(Ending.UNREADABLE)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._server.websockets.discard(self)
        self._server.admission.half_open.remove(self)
        self._server.wheel.unset(self)
        if self._upgrades:
            # also of one that was cut: its session would wait for it for ever
            self._end_probe()
        elif not self.is_over:
            self._session.end(reason.TRANSPORT_CLOSE)
        self.is_over = True

    def pause_writing(self) -> None:
        """What was written and not read has become too much."""
        if self._upgrades:
            self.cut()
        else:
            self._session.end(reason.TRANSPORT_ERROR, Ending.SLOW_READER, cut=True)

    def resume_writing(self) -> None:
        """It has been cut before."""

    def on_bad_frame(self) -> None:
        """picows has sent CLOSE, for what is no frame; it cannot read on from there."""
        if self.is_over or self._transport is None:
            return
        code = self._transport.close_handshake.sent.code  # type: ignore[union-attr]
        self._refuse(Ending.TOO_LARGE if code == WSCloseCode.MESSAGE_TOO_BIG else Ending.UNREADABLE)
        self._server.wheel.set(self, LINGER_S)

    # packets

    def _take(self, packet: str) -> None:
        if not self._upgrades:
            self._session.take(packet)
        elif packet == PING + PROBE and self._session.probed(self):
            self.send_text(PONG + PROBE)
        elif packet == UPGRADE and self._session.probe is self:
            self._upgrades = False
            self._server.admission.half_open.remove(self)
            self._server.wheel.unset(self)
            self._session.carried_by(self)
        else:
            raise Unreadable

    def _other(self, frame: WSFrame, kind: WSMsgType) -> None:
        """Anything but a text in one frame."""
        if kind == CLOSE:
            self._closed_by_client()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise Unreadable
        elif kind in (TEXT, BINARY, CONTINUATION):
            self._part(frame, kind)

    def _part(self, frame: WSFrame, kind: WSMsgType) -> None:
        if (self._parts is None) == (kind == CONTINUATION):
            raise Unreadable
        if self._parts is None:
            self._parts, self._parts_type, self._parts_bytes = [], kind, 0
        self._parts_bytes += frame.payload_size
        if self._parts_bytes > self._server.max_http_buffer_size or len(self._parts) >= PARTS_MAX:
            self._refuse(Ending.TOO_LARGE)
            return
        self._parts.append(frame.get_payload_as_bytes())
        if not frame.fin:
            return
        data, self._parts = b"".join(self._parts), None
        if self._parts_type == TEXT:
            self._take(data.decode())
        elif self._upgrades:
            raise Unreadable
        else:
            self._session.take(data)

    def _closed_by_client(self) -> None:
        self.is_over = True
        if self._upgrades:
            self._end_probe()
        self.close(None)
        self._disconnect()
        if not self._upgrades:
            self._session.end(reason.TRANSPORT_CLOSE)

    def _refuse(self, ending: Ending) -> None:
        if self._upgrades:
            self.close(ending)
            self._end_probe()
        else:
            self._session.end(reason.TRANSPORT_ERROR, ending)

    def _end_probe(self) -> None:
        if self._session.probe is self:
            self._session.unprobed()

    # what a session calls

    def send(self, message: Outgoing) -> None:
        assert self._transport is not None
        self._transport.send_reuse_external_bytearray(BINARY if message.binary else TEXT, message.buffer, LEAD_BYTES)

    def send_text(self, text: str) -> None:
        assert self._transport is not None
        self._transport.send(TEXT, text)

    def pause(self, pause: bool) -> None:
        """Reads nothing more for now; or goes on."""
        assert self._transport is not None
        transport = self._transport.underlying_transport
        if transport.is_closing():
            return
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def close(self, ending: Ending | None) -> None:
        """Closes it in order: the connection ends when the other end has closed, too, or after a while."""
        self.is_over = True
        transport = self._transport
        if transport is None or transport.is_disconnected:
            return
        self.pause(False)
        transport.send_close(WSCloseCode.OK if ending is None else CLOSE_CODES[ending])
        if not self.slot:
            self._server.wheel.set(self, CLOSE_TIMEOUT_S)

    def cut(self) -> None:
        self.is_over = True
        if self._transport is not None:
            self._transport.underlying_transport.abort()

    def crowd_out(self) -> None:
        """It has not been probed yet, and others come."""
        self._server.admission.half_open.remove(self)
        self.cut()

    def _disconnect(self) -> None:
        """Ends the connection when all is written."""
        assert self._transport is not None
        self._transport.underlying_transport.end()  # type: ignore[attr-defined]

    def on_time(self) -> None:
        """A close has not been answered, or a probe not been made."""
        self._end_probe()
        self.cut()


class _Transport:
    """A transport whose end is ours: picows would close it with bytes unread, and a reset might overtake its CLOSE."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Not yet."""

    def end(self) -> None:
        self._transport.close()


class _Protocol(WSProtocol):
    """picows' own, which reads no more at once than it has to, and nothing after what is no frame."""

    __slots__ = ()

    def get_buffer(self, size_hint: int) -> memoryview:
        buffer: memoryview = super().get_buffer(size_hint)
        return buffer[:READ_BYTES_MAX]

    def buffer_updated(self, size: int) -> None:
        super().buffer_updated(size)
        transport = self.transport
        if transport.is_close_frame_sent and not self.listener.is_over:
            transport.underlying_transport.set_protocol(_Discard(self))
            self.listener.on_bad_frame()


class _Discard(asyncio.Protocol):
    """Reads and forgets."""

    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)


_SILENCE = _Silence()


def start(transport: asyncio.Transport, socket: WebSocket, key: str, packet_bytes_max: int, tail: bytes) -> None:
    """Makes a websocket of a connection whose upgrade has been asked for with `key`; `tail` came after that already."""
    protocol = _Protocol(
        None,
        None,
        False,
        lambda _request: socket,
        _SILENCE,
        True,
        None,
        False,
        0,
        0,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        True,
        packet_bytes_max,
        None,
        READ_BUFFER_BYTES,
    )
    transport.set_protocol(protocol)
    protocol.connection_made(_Transport(transport))
    request = (
        "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n"
    )
    _feed(protocol, request.encode())
    _forget_handshake(protocol.transport)
    _feed(protocol, tail)


def _forget_handshake(transport: Any) -> None:
    """picows keeps what was asked and answered with each socket: its headers alone are 1.8 KB."""
    for head in (transport.request, transport.response):
        if head is not None:
            head.headers = NO_HEADERS


def _feed(protocol: Any, data: bytes) -> None:
    while data:
        buffer = protocol.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]

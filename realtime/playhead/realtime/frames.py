"""What comes in below Socket.IO: packets of Engine.IO, looked at before the library reads them.

It fails with an exception on what is none: with a traceback in the log each time, and on a websocket without ending the
socket, which then stays as a ghost until its ping times out. Here such a client is closed in order.

| sent by anyone                    | websocket                                     | long polling                  |
| --------------------------------- | --------------------------------------------- | ----------------------------- |
| what is no packet                 | closed                                        | 400, closed                   |
| TRANSPORT_BYTES_MAX or more       | closed with 1009 (message too big, RFC 6455)  | 400, closed                   |
"""

import asyncio
import base64
import logging
from typing import Any

import socketio
from aiohttp import WSCloseCode, WSMsgType, web
from engineio.async_drivers import aiohttp as driver
from engineio.payload import Payload

from playhead.realtime.raw_sockets import RawSockets
from playhead.runtime.metrics import Metrics

BODY_TIMEOUT_S = 10.0
UNREADABLE, TOO_LARGE = "unreadable", "too_large"
"""Why a socket ended, as the metric says."""
CLIENT_PACKETS = ("1", "2", "3", "4", "5")
"""CLOSE, PING, PONG, MESSAGE, UPGRADE (Engine.IO protocol 4); OPEN and NOOP are the server's."""
PROBE = "2"
"""A client's PING: the first packet of an upgrade to a websocket, and of nothing else."""
BASE64_MARK = "b"
SEPARATOR = "\x1e"

# its filter makes one line of them, at most so often, and counts those in between (runtime.request_logs)
refusals = logging.getLogger("engineio.server")


def readable(packet: str | bytes) -> bool:
    """Whether the library can read it."""
    if isinstance(packet, bytes) or packet.startswith(CLIENT_PACKETS):
        return True
    if not packet.startswith(BASE64_MARK):
        return False
    try:
        base64.b64decode(packet[1:])
    except ValueError:
        return False
    return True


def readable_payload(body: bytes) -> bool:
    """Whether the body of a POST holds packets, and not too many."""
    try:
        packets = body.decode().split(SEPARATOR)
    except UnicodeDecodeError:
        return False
    few = len(packets) <= Payload.max_decode_packets
    return not body or (few and all(readable(packet) and not packet.startswith(PROBE) for packet in packets))


def check_frames(sio: socketio.AsyncServer, metrics: Metrics) -> None:
    """Puts the checks between `sio` and its transports."""
    eio, sockets = sio.eio, RawSockets(sio)

    def refuse(reason: str) -> None:
        metrics.sockets_ended.labels(reason).inc()
        refusals.error("A client sent what cannot be read: %s", reason)

    class CheckedSocket(driver.WebSocket):
        async def wait(self) -> str | bytes:
            """The next packet. Raises OSError when there will be none."""
            message = await self._sock.receive()
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY) and readable(message.data):
                packet: str | bytes = message.data
                return packet
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                refuse(UNREADABLE)
            elif getattr(message.data, "code", None) == WSCloseCode.MESSAGE_TOO_BIG:
                refuse(TOO_LARGE)
            raise OSError

    async def translate(request: web.Request) -> dict[str, Any]:
        environ: dict[str, Any] = driver.translate_request(request)
        socket_id = request.query.get("sid", "")
        if request.method == "POST" and socket_id in eio.sockets:
            body = await _read(request, eio.max_http_buffer_size)
            if isinstance(body, str):
                refuse(body)
                await sockets.close(socket_id)
                raise web.HTTPBadRequest(text="This is no packet of Engine.IO. Connect again.")
            environ["wsgi.input"] = _Body(body)
        return environ

    eio._async = {**eio._async, "websocket": CheckedSocket, "translate_request": translate}


class _Body:
    """A body that has come in, as the library reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, _length: int) -> bytes:
        return self._body


async def _read(request: web.Request, bytes_max: int) -> bytes | str:
    """The whole body (the library would take its first part for that), or why there is none to read."""
    length = request.content_length or 0
    if length == 0:
        return b""
    if length >= bytes_max:  # as a websocket has it
        return TOO_LARGE
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.content.readexactly(length)
    except (OSError, EOFError, web.RequestPayloadError):
        return UNREADABLE
    return body if readable_payload(body) else UNREADABLE

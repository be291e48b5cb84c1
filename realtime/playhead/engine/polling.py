"""Long polling over aiohttp; and websockets on connections that aiohttp has had: clients and proxies use them again.

| request                    | answer                                                                                |
| -------------------------- | ------------------------------------------------------------------------------------- |
| GET                        | 200, a new session: its OPEN                                                          |
| GET with a sid             | 200, the packets that wait, as soon as there are some                                 |
| … while another one waits  | 400 and the session is over: the other one gets CLOSE                                 |
| … whose client has gone    | the session is over as soon as there is something to tell                             |
| POST with a sid            | 200 `ok`, when there is room for what it held                                         |
| … that cannot be read      | 400 and the session is over                                                           |
| … while one is read        | 400 and the session is over                                                           |
| of a session on websocket  | 400                                                                                   |
| anything else              | 400                                                                                   |
| a new session, of too many | 503 and when to come back                                                             |
"""

import asyncio
from typing import TYPE_CHECKING, Any, cast

import orjson
from aiohttp import web

from playhead.engine.admission import Refusal
from playhead.engine.endings import Ending
from playhead.engine.heads import HEAD_BYTES_MAX, Head
from playhead.engine.packets import Unreadable, payload_packets
from playhead.engine.sessions import Session, reason

if TYPE_CHECKING:
    from playhead.engine.server import EngineServer

BODY_TIMEOUT_S = 10.0
ROOM_POLL_S = 0.02
INVALID_METHOD = "Invalid method"
HEAD_TOO_LARGE = "The request's head is too large"
UNREADABLE = "This is no packet of Engine.IO. Connect again."


async def handle(server: "EngineServer", request: web.Request) -> web.StreamResponse:
    """Any request to the path of the sockets."""
    head = head_of(request)
    if head.size_bytes > HEAD_BYTES_MAX:
        return _refused(server, _environ(request, head), HEAD_TOO_LARGE)
    if head.asks_for_websocket and request.method == "GET":
        return _upgrade(server, request, head)
    environ, query = _environ(request, head), head.query
    if (why := server.refusal(environ, query)) is not None:
        return _refused(server, environ, why)
    if request.method == "OPTIONS":
        return _answer(server, environ, b"ok")
    if query.get("transport") != "polling":
        return _refused(server, environ, "Invalid websocket upgrade")
    sid = query.get("sid")
    if sid is None:
        if request.method != "GET":
            return _refused(server, environ, INVALID_METHOD)
        if (full := server.full(head)) is not None:
            return _turned_away(server, environ, full)
        session = server.open(environ, server.address(head))
        return await _poll(server, environ, session, request)
    session_of_sid = server.sockets.get(sid)
    if session_of_sid is None:
        return _refused(server, environ, "Invalid session")
    if session_of_sid.upgraded:
        return _refused(server, environ, "Unexpected HTTP request")
    if request.method == "GET":
        return await _poll(server, environ, session_of_sid, request)
    if request.method == "POST":
        return await _post(server, environ, session_of_sid, request)
    return _refused(server, environ, INVALID_METHOD)


async def _poll(
    server: "EngineServer", environ: dict[str, Any], session: Session, request: web.Request
) -> web.Response:
    body = await session.poll()
    if request.transport is None:
        # what it would have been told is lost, and no later poll may seem to follow it
        session.end(reason.TRANSPORT_CLOSE)
    return _refused(server, environ, "Another poll waits") if body is None else _answer(server, environ, body)


async def _post(
    server: "EngineServer", environ: dict[str, Any], session: Session, request: web.Request
) -> web.Response:
    if session.posting:
        session.end(reason.TRANSPORT_ERROR, say_so=True)
        return _refused(server, environ, "Another POST is read")
    session.posting = True
    try:
        for packet in payload_packets(await _body(request, server.max_http_buffer_size)):
            session.take(packet)
    except Unreadable:
        session.end(reason.TRANSPORT_ERROR, Ending.UNREADABLE)
        return web.Response(status=400, text=UNREADABLE)
    except _TooLarge:
        session.end(reason.TRANSPORT_ERROR, Ending.TOO_LARGE)
        return web.Response(status=400, text=UNREADABLE)
    finally:
        session.posting = False
    while session.paused and not session.closed:
        await asyncio.sleep(ROOM_POLL_S)
    return _answer(server, environ, b"ok")


class _TooLarge(Exception):
    """More than a payload may hold."""


async def _body(request: web.Request, bytes_max: int) -> bytes:
    """The whole body. Raises Unreadable when it does not come, and for what is too large before it is read."""
    length = request.content_length
    if length is None and request.body_exists:
        raise Unreadable
    if (length or 0) > bytes_max:
        raise _TooLarge
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.content.readexactly(length or 0)
    except (OSError, EOFError, web.RequestPayloadError):
        raise Unreadable from None


def _upgrade(server: "EngineServer", request: web.Request, head: Head) -> web.StreamResponse:
    why = None if request.transport is not None else "The connection is gone"
    if why is None:
        why = server.upgradable(head)
    if why is not None:
        return _refused(server, _environ(request, head), why)
    if head.query.get("sid") is None and (full := server.full(head)) is not None:
        return _turned_away(server, _environ(request, head), full)
    transport, tail = take_over(request)
    server.start_websocket(head, transport, tail)
    return web.Response()  # to nobody: aiohttp has no connection any more


def take_over(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """The connection of a request, which aiohttp takes for lost from now on; and what came after the request."""
    protocol, transport = request.protocol, cast(asyncio.Transport, request.transport)
    tail = bytes(protocol._message_tail)
    protocol.transport = None
    protocol.connection_lost(None)
    transport.resume_reading()
    return transport, tail


def head_of(request: web.Request) -> Head:
    """The request's head, as `front` reads it."""
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.raw_headers)
    return Head(request.raw_path, headers, request.remote or "")


def _environ(request: web.Request, head: Head) -> dict[str, Any]:
    return {**head.environ(), "REQUEST_METHOD": request.method}


def _answer(server: "EngineServer", environ: dict[str, Any], body: bytes) -> web.Response:
    headers = {**dict(server._cors_headers(environ)), "Cache-Control": "no-store"}
    return web.Response(body=body, content_type="text/plain", charset="utf-8", headers=headers)


def full(server: "EngineServer", request: web.Request) -> web.Response | None:
    """The answer to a request while it may not open a session; None: it may, or is none that would."""
    head = head_of(request)
    environ = _environ(request, head)
    if head.query.get("sid") is not None or server.refusal(environ, head.query) is not None:
        return None
    found = server.full(head)
    return None if found is None else _turned_away(server, environ, found)


def _turned_away(server: "EngineServer", environ: dict[str, Any], full: Refusal) -> web.Response:
    """No session is opened for now. Pages of browsers read it here, for of a refused websocket they learn nothing."""
    headers = {**dict(server._cors_headers(environ)), "Retry-After": str(full.retry_after_s)}
    return web.Response(status=503, body=orjson.dumps(full.payload()), content_type="application/json", headers=headers)


def _refused(server: "EngineServer", environ: dict[str, Any], why: str) -> web.Response:
    headers = dict(server._cors_headers(environ))
    return web.Response(status=400, body=server.refuse(why), content_type="text/plain", headers=headers)

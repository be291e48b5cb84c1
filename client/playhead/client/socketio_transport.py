"""The transport on python-socketio's AsyncClient: one of them per connection, so that nothing of an old one lingers.

Its handlers are plain functions: the library starts a task for each message, and only what does not wait keeps the
order in which messages came. Reconnecting, timeouts and what to do are not its business: see `core/line.py`.
"""

import asyncio
import contextlib
from functools import partial
from typing import Any

import aiohttp
import socketio

from playhead.client.core.wire import Malformed, Payload, Refusal, read
from playhead.client.transport import Listener

RETRY_AFTER_S_MAX = 300
"""Whoever asks for more is not believed."""
NAMESPACE_TIMEOUT_S = 60
"""The library's own limit for the handshake; the client gives up long before."""


class SocketIoTransport:
    """Websockets only: long polling would need a balancer that keeps a client with its server."""

    def __init__(self) -> None:
        self._http: aiohttp.ClientSession | None = None
        self._connections: dict[int, _Connection] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def open(self, connection: int, url: str, auth: Payload, listener: Listener) -> None:
        if self._http is None:
            self._http = aiohttp.ClientSession()
        made = _Connection(connection, listener, self._http)
        self._connections[connection] = made
        made.begin(url, auth)

    def send(self, connection: int, request: int, event: str, payload: Payload) -> None:
        found = self._connections.get(connection)
        if found is not None:
            found.send(request, event, payload)

    def close(self, connection: int) -> None:
        found = self._connections.pop(connection, None)
        if found is not None:
            task = asyncio.create_task(found.end(), name="playhead-client-end")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def shutdown(self) -> None:
        for connection in tuple(self._connections):
            self.close(connection)
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._http is not None:
            await self._http.close()


class _Connection:
    """One connection from its beginning to its end. After `end` it tells nothing."""

    def __init__(self, number: int, listener: Listener, http: aiohttp.ClientSession) -> None:
        self._number = number
        self._listener: Listener | None = listener
        self._opened = False
        self._refusal: Refusal | None = None
        self._outbox: asyncio.Queue[tuple[int, str, Payload]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._sio = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
        self._sio.on("connect", self._connected)
        self._sio.on("connect_error", self._refused)
        self._sio.on("disconnect", self._disconnected)
        self._sio.on("*", self._received)

    def begin(self, url: str, auth: Payload) -> None:
        self._task = asyncio.create_task(self._run(url, auth), name="playhead-client-line")

    def send(self, request: int, event: str, payload: Payload) -> None:
        self._outbox.put_nowait((request, event, payload))

    async def end(self) -> None:
        self._listener = None
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._sio.disconnect()

    async def _run(self, url: str, auth: Payload) -> None:
        """Connects, then writes what is sent, in order, until the connection is over."""
        try:
            await self._sio.connect(url, auth=auth, transports=["websocket"], wait_timeout=NAMESPACE_TIMEOUT_S)
            while True:
                request, event, payload = await self._outbox.get()
                await self._sio.emit(event, payload, callback=partial(self._answered, request))
        except Exception as error:
            # whatever the library or the network raises: this connection is of no use any more
            self._refusal = self._refusal or _turned_away(error)
            self._over()

    def _connected(self) -> None:
        self._opened = True
        if self._listener is not None:
            self._listener.opened(self._number)

    def _refused(self, data: Any = None) -> None:
        """The server's refusal has the rejection as its `data`; the library's own errors are text."""
        with contextlib.suppress(Malformed):
            self._refusal = read(Refusal, data.get("data") if isinstance(data, dict) else None)

    def _disconnected(self, _reason: str) -> None:
        self._over()

    def _received(self, event: str, data: Any = None, *_rest: Any) -> None:
        if self._listener is not None:
            self._listener.received(self._number, event, data)

    def _answered(self, request: int, ack: Any = None, *_rest: Any) -> None:
        if self._listener is not None:
            self._listener.answered(self._number, request, ack)

    def _over(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if self._opened:
            listener.closed(self._number)
        else:
            listener.open_failed(self._number, self._refusal)


def _turned_away(error: BaseException | None) -> Refusal | None:
    """What a server said that takes no websocket for now: 503 and Retry-After, somewhere below the library's error."""
    while error is not None and not isinstance(error, aiohttp.WSServerHandshakeError):
        error = error.__cause__ or error.__context__
    if error is None or error.status != 503 or error.headers is None:
        return None
    wait_s = error.headers.get("Retry-After", "")
    if not wait_s.isdecimal():
        return None
    message = "The server takes no more sockets for now. It has said when to come back."
    retry_after_ms = 1_000 * min(int(wait_s[:9]), RETRY_AFTER_S_MAX)
    return Refusal(code="overloaded", message=message, retry=True, retry_after_ms=retry_after_ms)

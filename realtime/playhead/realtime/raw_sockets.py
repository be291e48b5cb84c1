"""The Engine.IO sockets under the Socket.IO server: what python-engineio leaves open, closed here.

Its `close` only queues a CLOSE packet, which some clients take for good and others do not heed. `close` here ends the
writer instead, which closes the websocket: every client then reconnects. `cut` ends the TCP connection at once.
"""

import asyncio
import time
from collections.abc import Iterator

import socketio

POLL_S = 0.02


class RawSockets:
    """Every socket of this node, also of those that have not been let in."""

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self._sio = sio

    def ids(self) -> tuple[str, ...]:
        return tuple(self._sio.eio.sockets)

    def connection_id(self, socket_id: str) -> str | None:
        """The Socket.IO connection on it; None before it was let in."""
        found: str | None = self._sio.manager.sid_from_eio_sid(socket_id, "/")
        return found if found is not None and self._sio.manager.is_connected(found, "/") else None

    def socket_id(self, connection_id: str) -> str | None:
        """The socket under a Socket.IO connection; None once it has gone."""
        found: str | None = self._sio.manager.eio_sid_from_sid(connection_id, "/")
        return found

    def awaits_pong(self, socket_id: str) -> bool:
        """Whether a ping was sent that has not been answered."""
        socket = self._sio.eio.sockets.get(socket_id)
        return socket is not None and socket.last_ping is not None

    def queued(self, socket_id: str) -> int:
        """Packets that wait to be read by the other end."""
        socket = self._sio.eio.sockets.get(socket_id)
        return 0 if socket is None else int(socket.queue.qsize())

    def is_gone(self, connection_id: str) -> bool:
        """Whether the connection has closed under us."""
        socket = self._sio.eio.sockets.get(self.socket_id(connection_id))
        return socket is None or socket.closing or socket.closed

    async def close(self, socket_id: str) -> None:
        """Closes the transport, after what is queued; clients reconnect."""
        socket = self._sio.eio.sockets.get(socket_id)
        if socket is None:
            return
        await socket.close(wait=False, abort=True, reason=self._sio.eio.reason.SERVER_DISCONNECT)
        socket.queue.put_nowait(None)

    async def cut(self, socket_id: str) -> None:
        """Ends the TCP connection without waiting for the other end."""
        socket = self._sio.eio.sockets.get(socket_id)
        if socket is None:
            return
        for transport in self._transports([socket_id]):
            transport.abort()
        await socket.close(wait=False, abort=True, reason=self._sio.eio.reason.TRANSPORT_ERROR)

    async def close_all(self, timeout_s: float) -> None:
        """Closes every socket; what has not gone after `timeout_s` is cut."""
        transports = list(self._transports(self.ids()))
        for socket_id in self.ids():
            await self.close(socket_id)
        deadline_s = time.monotonic() + timeout_s
        while any(not transport.is_closing() for transport in transports) and time.monotonic() < deadline_s:
            await asyncio.sleep(POLL_S)
        for transport in transports:
            transport.abort()

    def _transports(self, socket_ids: "tuple[str, ...] | list[str]") -> Iterator[asyncio.WriteTransport]:
        for socket_id in socket_ids:
            request = self._sio.environ.get(socket_id, {}).get("aiohttp.request")
            if request is not None and request.transport is not None:
                yield request.transport

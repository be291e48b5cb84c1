"""The sockets under the Socket.IO server, also of those that have not been let in.

`close` closes the transport after what was written: no packet says so, for clients take one for good. They reconnect.
`cut` ends the TCP connection at once.
"""

from collections.abc import Iterator

from playhead.engine.sessions import Session, reason
from playhead.engine.socket_server import SocketServer


class RawSockets:
    """Every socket of this node."""

    def __init__(self, sio: SocketServer) -> None:
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
        session = self._sio.eio.sockets.get(socket_id)
        return session is not None and session.awaits_pong

    def known(self, connection_id: str) -> None:
        """The other end of a connection has shown a valid token."""
        if (socket_id := self.socket_id(connection_id)) is not None:
            self._sio.eio.known(socket_id)

    def is_gone(self, connection_id: str) -> bool:
        """Whether the connection has closed under us."""
        return self.socket_id(connection_id) not in self._sio.eio.sockets

    def close(self, socket_id: str) -> None:
        """Closes the transport, after what was written; clients reconnect."""
        for session in self._sessions(socket_id):
            session.end(reason.SERVER_DISCONNECT)

    def cut(self, socket_id: str) -> None:
        """Ends the TCP connection without waiting for the other end."""
        for session in self._sessions(socket_id):
            session.end(reason.TRANSPORT_ERROR, cut=True)

    async def close_all(self, timeout_s: float) -> None:
        """Closes every socket; what has not gone after `timeout_s` is cut."""
        await self._sio.eio.close_all(timeout_s)

    def _sessions(self, socket_id: str) -> Iterator[Session]:
        session = self._sio.eio.sockets.get(socket_id)
        if session is not None:
            yield session

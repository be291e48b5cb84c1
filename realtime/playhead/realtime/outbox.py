"""What this node says to its sockets: to one of them, or to all of a listener's; and its last word to one."""

from functools import cache
from typing import Any

from playhead.engine.socket_server import SocketServer
from playhead.realtime.closings import CloseCode, closing_payload
from playhead.realtime.connections import Connections
from playhead.realtime.raw_sockets import RawSockets
from playhead.runtime.metrics import Metrics


class Outbox:
    """Events from the server, counted by name."""

    def __init__(self, sio: SocketServer, connections: Connections, metrics: Metrics) -> None:
        self._sio = sio
        self._sockets = RawSockets(sio)
        self._connections = connections
        self._metrics = metrics
        self._delivered = cache(lambda event: metrics.tallies.count(metrics.deliveries.labels(event)))

    async def send(self, connection_id: str, event: str, data: dict[str, Any]) -> None:
        """To one connection, if it is still there."""
        self._delivered(event).inc()
        await self._sio.emit(event, data, to=connection_id)

    async def tell(
        self, listener_id: str, event: str, data: dict[str, Any], skip_connection_id: str | None = None
    ) -> None:
        """To all connections that the listener holds here, except one."""
        self._delivered(event).inc(self._connections.count(listener_id, skip_connection_id))
        await self._sio.emit(event, data, room=listener_id, skip_sid=skip_connection_id)

    async def pass_on(self, listener_id: str, name: str, event: bytes, skip_connection_id: str | None) -> None:
        """The same, of an event that is encoded already: `[name, data]`."""
        self._delivered(name).inc(self._connections.count(listener_id, skip_connection_id))
        await self._sio.emit_encoded(event, listener_id, skip_connection_id)

    async def end(self, connection_id: str, code: CloseCode) -> None:
        """Says why, and ends the connection: clients of Socket.IO do not come back from this by themselves.

        The transport goes with it, or a client that pays no heed could go on sending.
        """
        self._metrics.sockets_ended.labels(code.value).inc()
        socket_id = self._sockets.socket_id(connection_id)
        await self.send(connection_id, "closing", closing_payload(code))
        await self._sio.disconnect(connection_id)
        if socket_id is not None:
            self._sockets.close(socket_id)

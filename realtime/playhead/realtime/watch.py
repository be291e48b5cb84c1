"""Looks at every socket of this node once a second: notes who answered a ping, and ends those that may not stay.

| which                                       | how                                                            |
| ------------------------------------------- | -------------------------------------------------------------- |
| has not been let in ADMISSION_TIMEOUT_S     | closed                                                         |
| its token runs out in EXPIRING_S            | told so, once per token: `expiring`                            |
| its token has expired                       | told so and disconnected: the same token would not help again  |
| the address of its stream runs out soon     | gets a newer one (`stream_renewals.py`)                        |
| floods (`runtime.limits`)                   | told so and disconnected, to come back later                   |

A few at a time, spread over the second: all of very many at once would hold everybody up.
"""

import asyncio
import time

import structlog

from playhead.engine.socket_server import SocketServer
from playhead.realtime.closings import CloseCode
from playhead.realtime.connections import Connection, Connections
from playhead.realtime.outbox import Outbox
from playhead.realtime.raw_sockets import RawSockets
from playhead.realtime.stream_renewals import StreamRenewals
from playhead.runtime.clock import Clock
from playhead.runtime.metrics import Metrics
from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0
LOOKED_AT_ONCE = 250
"""Sockets, some 0.4 ms, before everything else on this process has its turn."""
ADMISSION_TIMEOUT_S = 10.0
"""How long a socket may stay without an accepted handshake."""
EXPIRING_S = 60
"""How long before its token runs out a connection is told."""


class Watch:
    """Run it with `start`; `look` is one round."""

    def __init__(
        self,
        sio: SocketServer,
        connections: Connections,
        outbox: Outbox,
        streams: StreamRenewals,
        metrics: Metrics,
        clock: Clock,
        admission_timeout_s: float = ADMISSION_TIMEOUT_S,
    ) -> None:
        self._sockets = RawSockets(sio)
        self._connections = connections
        self._outbox = outbox
        self._streams = streams
        self._metrics = metrics
        self._clock = clock
        self._admission_timeout_s = admission_timeout_s
        self._strangers: dict[str, float] = {}
        self._pinged: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._look_for_ever(), name="watch")

    async def stop(self) -> None:
        if self._task is not None:
            await cancelled(self._task)

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.look(LOOK_INTERVAL_S)
            except Exception:
                log.exception("A look over the sockets failed.", action="watch_failed")
                await asyncio.sleep(LOOK_INTERVAL_S)

    async def look(self, over_s: float = 0.0) -> None:
        """One round over all sockets, spread over that time."""
        ids = self._sockets.ids()
        self._strangers = {socket_id: self._strangers[socket_id] for socket_id in ids if socket_id in self._strangers}
        parts = [ids[first : first + LOOKED_AT_ONCE] for first in range(0, len(ids), LOOKED_AT_ONCE)] or [()]
        pinged: set[str] = set()
        for part in parts:
            await asyncio.sleep(over_s / len(parts))
            now_ms = self._clock.now_ms()
            for socket_id in part:
                connection = self._look_at_socket(socket_id, pinged, now_ms)
                if connection is not None:
                    await self._see_to(connection, now_ms)
        self._pinged = pinged

    def _look_at_socket(self, socket_id: str, pinged: set[str], now_ms: int) -> Connection | None:
        """The connection on it, where something is to be done about that. With many sockets this is most of what an
        idle one costs."""
        connection_id = self._sockets.connection_id(socket_id)
        if connection_id is None:
            self._look_at_stranger(socket_id)
            return None
        if self._strangers:
            self._strangers.pop(socket_id, None)
        awaits_pong = self._sockets.awaits_pong(socket_id)
        if awaits_pong:
            pinged.add(socket_id)
        connection = self._connections.get(connection_id)
        if connection is None:
            return None
        if not awaits_pong and socket_id in self._pinged:
            connection.last_packet_at_ms = now_ms
        if connection.stream is not None:
            self._streams.look(connection, now_ms)
        expires_soon = connection.principal.expires_at_ms - now_ms <= EXPIRING_S * 1000
        return connection if expires_soon or connection.pace.flooding else None

    def _look_at_stranger(self, socket_id: str) -> None:
        since_s = self._strangers.setdefault(socket_id, time.monotonic())
        if time.monotonic() - since_s >= self._admission_timeout_s:
            self._metrics.sockets_ended.labels("not_admitted").inc()
            self._sockets.cut(socket_id)

    async def _see_to(self, connection: Connection, now_ms: int) -> None:
        principal = connection.principal
        if principal.expired(now_ms):
            await self._outbox.end(connection.connection_id, CloseCode.TOKEN_EXPIRED)
        elif connection.pace.flooding:
            await self._outbox.end(connection.connection_id, CloseCode.FLOODING)
        elif not connection.expiring_told:
            connection.expiring_told = True
            await self._outbox.send(connection.connection_id, "expiring", {"expires_at": principal.expires_at_ms})

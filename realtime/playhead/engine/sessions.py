"""A session of Engine.IO: one client, on long polling, on a websocket, or on its way from the one to the other.

    polling ──(a websocket of the same sid says 2probe)──► probed ──(it says 5)──► websocket
    opened by websocket ─────────────────────────────────────────────────────────► websocket

Without a websocket under it, what is sent waits in `_backlog` for the next poll or for the upgrade, bounded in bytes.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from engineio.base_server import BaseServer

from playhead.engine.endings import Ending
from playhead.engine.packets import CLOSE, MESSAGE, NOOP, PING, PONG, Outgoing, Unreadable, payload
from playhead.engine.turns import Turns

if TYPE_CHECKING:
    from playhead.engine.server import EngineServer
    from playhead.engine.websockets import WebSocket

reason = BaseServer.reason

USELESS_MAX = 1_000
"""Packets from one ping to the next that nothing comes of: no client of its right mind sends any."""


class Session:
    """`closed`: it is over. `upgraded`: on a websocket. `awaits_pong`: a ping has not been answered.

    `posting`: a POST of it is read. `session`: what python-socketio keeps for the application. `address`: whose limits
    it counts to, see `addresses`.
    """

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_poll",
        "_server",
        "_turns",
        "_useless",
        "address",
        "awaits_pong",
        "closed",
        "posting",
        "probe",
        "session",
        "sid",
        "slot",
        "socket",
    )

    connected = True

    def __init__(self, server: "EngineServer", sid: str, address: str | None = None) -> None:
        self._server = server
        self.sid = sid
        self.address = address
        self.session: dict[str, Any] = {}
        self.socket: WebSocket | None = None
        self.probe: WebSocket | None = None
        self.closed = False
        self.awaits_pong = False
        self.posting = False
        self.slot = 0
        self._turns: Turns | None = None
        self._useless = 0
        self._backlog: list[Outgoing | str] = []
        self._backlog_bytes = 0
        self._poll: asyncio.Future[None] | None = None

    @property
    def upgraded(self) -> bool:
        return self.socket is not None

    @property
    def closing(self) -> bool:
        return self.closed

    # from the client

    def take(self, packet: str | bytes) -> None:
        """A packet that came by either transport. Raises Unreadable."""
        if self.closed:
            return
        if isinstance(packet, bytes):
            self._message(packet)
        elif packet.startswith(MESSAGE):
            self._message(packet[1:])
        elif packet.startswith(PONG):
            if self.awaits_pong:
                self.awaits_pong = False
                self._server.wheel.set(self, self._server.ping_interval)
            else:
                self.useless()
        elif packet.startswith(CLOSE):
            self.end(reason.CLIENT_DISCONNECT)
        else:
            raise Unreadable

    def useless(self) -> None:
        """Something came that nobody asked for, and that means nothing. Whoever handles messages counts theirs, too."""
        self._useless += 1
        if self._useless > USELESS_MAX:
            self.end(reason.TRANSPORT_ERROR, Ending.OVERRUN, cut=True)

    def _message(self, data: str | bytes) -> None:
        turns = self._turns
        if turns is None:
            turns = self._turns = Turns(self._server.loop, self._pause)
        if not turns.busy:
            turns.run(self._server.message(self.sid, data))
        elif not turns.queue(lambda: self._server.message(self.sid, data)):
            self.end(reason.TRANSPORT_ERROR, Ending.OVERRUN, cut=True)

    def _pause(self, pause: bool) -> None:
        if self.socket is not None:
            self.socket.pause(pause)

    @property
    def paused(self) -> bool:
        """Whether so much waits to be handled that nothing more is read."""
        return self._turns is not None and self._turns.paused

    # to the client

    def send(self, message: Outgoing) -> None:
        """Writes a message, or keeps it until there is somebody to write to. To a session that is over: nothing."""
        if self.socket is not None:
            self.socket.send(message)
        elif not self.closed:
            self._keep(message, len(message.buffer))

    def send_packet(self, text: str) -> None:
        """A packet that is no message."""
        if self.socket is not None:
            self.socket.send_text(text)
        elif not self.closed:
            self._keep(text, len(text))

    def _keep(self, packet: Outgoing | str, size: int) -> None:
        self._backlog.append(packet)
        self._backlog_bytes += size
        if self._backlog_bytes > self._server.write_bytes_max:
            self.end(reason.TRANSPORT_ERROR, Ending.SLOW_READER, cut=True)
        elif self.probe is None:
            self._answer_poll()

    def _answer_poll(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)

    async def poll(self) -> bytes | None:
        """What there is to tell, when there is something. None: the session is over, and there is nothing.

        Who polls twice at once has lost count: the session ends, as the protocol has it.
        """
        if self._poll is not None:
            self.end(reason.TRANSPORT_ERROR, say_so=True)
            return None
        if not self._backlog and self.probe is None and not self.closed:
            self._poll = self._server.loop.create_future()
            try:
                await self._poll
            finally:
                self._poll = None
        if self.probe is not None and not self.closed:
            # what waits goes to the websocket: a client that upgrades lets its last poll come back empty
            return NOOP.encode()
        if not self._backlog:
            return NOOP.encode()
        packets = [packet.packet if isinstance(packet, Outgoing) else packet.encode() for packet in self._backlog]
        self._backlog, self._backlog_bytes = [], 0
        return payload(packets)

    # upgrading

    def probed(self, socket: "WebSocket") -> bool:
        """A websocket wants to carry the session on. False: another one does, or the session is over."""
        if self.closed or self.socket is not None or self.probe is not None:
            return False
        self.probe = socket
        self._answer_poll()
        return True

    def unprobed(self) -> None:
        """That came to nothing: polling goes on."""
        self.probe = None
        if self._backlog:
            self._answer_poll()

    def carried_by(self, socket: "WebSocket") -> None:
        """From now on on this websocket, which is told what waits."""
        self.probe, self.socket = None, socket
        backlog, self._backlog, self._backlog_bytes = self._backlog, [], 0
        self._answer_poll()
        if self.paused:
            socket.pause(True)
        for packet in backlog:
            if isinstance(packet, Outgoing):
                socket.send(packet)
            else:
                socket.send_text(packet)

    # its time

    def begin(self) -> None:
        """The first ping is due an interval from now."""
        self._server.wheel.set(self, self._server.ping_interval)

    def on_time(self) -> None:
        """A ping is due, or its answer was."""
        server = self._server
        if self.paused:
            # it is us who do not read
            server.wheel.set(self, server.ping_interval)
        elif self.awaits_pong:
            self.end(reason.PING_TIMEOUT, say_so=True)
        else:
            self.awaits_pong, self._useless = True, 0
            server.wheel.set(self, server.ping_timeout)
            self.send_packet(PING)

    # its end

    def crowd_out(self) -> None:
        """Nobody knows yet who it is, and others come."""
        self.end(reason.TRANSPORT_ERROR, cut=True)

    def end(self, why: str, ending: Ending | None = None, *, cut: bool = False, say_so: bool = False) -> None:
        """Closes it, for the application with the reason `why`; harmless when repeated.

        `ending`: what is counted. `cut`: at once, without waiting for what was written. `say_so`: a polling client is
        told CLOSE; else its next poll fails. A websocket is closed in any case.
        """
        if self.closed:
            return
        self.closed = True
        self._server.forget(self, ending)
        if cut:
            self._backlog, self._backlog_bytes = [], 0
        if say_so and self.socket is None:
            self._backlog.append(CLOSE)
        self._answer_poll()
        for socket in (self.socket, self.probe):
            if socket is not None:
                socket.cut() if cut else socket.close(ending)
        turns = self._turns
        if turns is None:
            turns = self._turns = Turns(self._server.loop, self._pause)
        turns.last(lambda: self._server.disconnected(self.sid, why))

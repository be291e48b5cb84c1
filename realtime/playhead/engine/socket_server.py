"""python-socketio's server and rooms on the engine: its interface, handlers and manager, by shorter ways.

| what                  | here                                                                                    |
| --------------------- | --------------------------------------------------------------------------------------- |
| an event              | its handler runs where the packet comes in; its ack is written at once                  |
| an emit to a room     | encoded and framed once, written to every socket; no task, and nothing waits            |
| a packet that is none | ends the connection, as does any before a CONNECT                                       |
| its attachments       | end it where they do not fit, are asked for too many, or do not come in time            |
| a CONNECT that fails  | is refused, whatever the handler raises                                                 |
"""

import asyncio
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Container, Coroutine, Iterable, Iterator, Sequence
from typing import Any

import socketio
from bidict import bidict
from socketio.async_manager import AsyncManager
from socketio.async_server import task_reference_holder
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet

from playhead.engine import inline
from playhead.engine.endings import Ending
from playhead.engine.packets import Outgoing
from playhead.engine.server import EngineServer, Unparsable

RESERVED = ("connect", "disconnect", "*")
"""What the library calls its own handlers for: no events of clients."""
ATTACHMENTS_MAX = 10
"""Of one packet of a client."""
ATTACHMENTS_TIMEOUT_S = 20.0
"""For all attachments of a packet to come."""
REFUSED_MAX = 8
"""CONNECT packets of one session that are refused; each may cost the verification of a signature."""


@functools.lru_cache(maxsize=1_024)
def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function)


def outgoing(encoded: str | list[str | bytes]) -> list[Outgoing]:
    """What a packet of Socket.IO becomes: one message, and one for each attachment."""
    return [Outgoing(part) for part in (encoded if isinstance(encoded, list) else [encoded])]


class _Deadline:
    """The time limit of one packet's attachments."""

    __slots__ = ("_missed", "slot")

    def __init__(self, missed: Callable[[], None]) -> None:
        self._missed = missed
        self.slot = 0

    def on_time(self) -> None:
        self._missed()


class _Waiting(dict[str, None]):
    """Connections in order, with as much of a list's interface as the library uses."""

    append = dict.setdefault
    remove = dict.__delitem__


class _WaitingByNamespace(dict[str, Any]):
    """The library begins a list for each namespace, and looks through it for every event of every connection."""

    def __setitem__(self, namespace: str, _none_yet: Any) -> None:
        super().__setitem__(namespace, _Waiting())


class Rooms(AsyncManager):
    """The library's rooms. An emit without a callback is one encoding, and a write per member.

    It keeps the rooms of each connection, too: the library looks through all there are whenever one leaves. Nor does it
    look through all that are being let in: in a storm these are thousands.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pending_connect = _WaitingByNamespace()
        self.pending_disconnect = _WaitingByNamespace()
        self._entered: dict[tuple[str, str], dict[str | None, None]] = {}

    def basic_enter_room(self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None) -> None:
        if eio_sid is None and namespace not in self.rooms:
            raise ValueError("sid is not connected to requested namespace")
        if sid != room and self.is_sid_room(namespace, room):
            raise ValueError("cannot enter a sid room")
        rooms = self.rooms.setdefault(namespace, {})
        if room not in rooms:
            # only that of everybody is asked in both directions; a bidict is three times as large as a dict
            rooms[room] = bidict() if room is None else {}
        rooms[room][sid] = rooms[None][sid] if eio_sid is None else eio_sid
        self._entered.setdefault((namespace, sid), {})[room] = None

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        super().basic_leave_room(sid, namespace, room)
        self._entered.get((namespace, sid), {}).pop(room, None)

    def basic_disconnect(self, sid: str, namespace: str, **_options: Any) -> None:
        for room in self._entered.pop((namespace, sid), {}):
            self.basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            if sid in pending.get(namespace, ()):
                pending[namespace].remove(sid)
                if not pending[namespace]:
                    del pending[namespace]

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        return [room for room in self._entered.get((namespace, sid), {}) if room is not None]

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: str | list[str] | None = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        **options: Any,
    ) -> None:
        if callback is not None:
            await super().emit(event, data, namespace, room, skip_sid, callback, to, **options)
            return
        room = to or room
        members = tuple(self._members(namespace, room))
        if not members:
            return
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        messages = self.server.encoded(EVENT, [event, *arguments], namespace)
        self.server.deliver(members, messages, skip_sid if isinstance(skip_sid, list) else (skip_sid,))

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        return iter(tuple(self._members(namespace, room)))

    def _members(self, namespace: str, room: Any) -> Iterable[tuple[str, str]]:
        """Who is in a room, or in one of several, as it is now: not a copy."""
        rooms = self.rooms.get(namespace, {})
        if not isinstance(room, list | tuple | set | frozenset):
            members: Iterable[tuple[str, str]] = rooms.get(room, {}).items()
            return members
        return {sid: eio_sid for name in room for sid, eio_sid in rooms.get(name, {}).items()}.items()


class SocketServer(socketio.AsyncServer):
    """`socketio.AsyncServer` with the options of `EngineServer`."""

    eio: EngineServer

    def __init__(self, client_manager: AsyncManager | None = None, **options: Any) -> None:
        super().__init__(client_manager=client_manager or Rooms(), **options)
        self._refused: Counter[str] = Counter()
        self._deadlines: dict[str, _Deadline] = {}
        json = self.packet_class.json
        self._encode: Callable[[Any], bytes] = getattr(json, "encode", None) or (
            lambda data: json.dumps(data, separators=(",", ":")).encode()
        )
        """A JSON module that has `encode` answers bytes by it, which spares two copies of each packet."""

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def encoded(self, kind: int, data: list[Any], namespace: str, ack_id: int | None = None) -> list[Outgoing]:
        """An event or an ack as messages. Whether it holds bytes shows when it cannot be written as text."""
        packet_class = self.packet_class
        if packet_class.encode is Packet.encode:
            try:
                text = self._encode(data)
            except TypeError:
                pass
            else:
                where = b"" if namespace == "/" else namespace.encode() + b","
                number = b"" if ack_id is None else b"%d" % ack_id
                return [Outgoing.of_text(b"4%d%b%b%b" % (kind, where, number, text))]
        return outgoing(packet_class(kind, namespace=namespace, id=ack_id, data=data).encode())

    async def emit_encoded(self, event: bytes, room: str, skip_sid: str | None = None, namespace: str = "/") -> None:
        """An event that is JSON already, `[name, argument, …]`, to those of a room whom this process holds."""
        where = b"" if namespace == "/" else namespace.encode() + b","
        message = Outgoing.of_text(b"4%d%s%s" % (EVENT, where, event))
        self.deliver(self.manager.get_participants(namespace, room), [message], (skip_sid,))

    def deliver(
        self, members: Iterable[tuple[str, str]], messages: Sequence[Outgoing], skipped: Container[str | None] = ()
    ) -> None:
        """Messages that are encoded and framed already, to sockets that are here (`sid`, that of its connection)."""
        sessions = self.eio.sockets
        for sid, eio_sid in members:
            if sid not in skipped and (session := sessions.get(eio_sid)) is not None:
                for message in messages:
                    session.send(message)

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        session = self.eio.sockets.get(eio_sid)
        if session is not None:
            if pkt.packet_type == CONNECT_ERROR and isinstance(pkt.data, str):
                # the protocol has an object there, and the official client reads its `message`
                pkt.data = {"message": pkt.data}
            for message in outgoing(pkt.encode()):
                session.send(message)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        try:
            await super()._handle_connect(eio_sid, namespace, data)
        except Exception:
            self.logger.exception("connect async handler error")
            await self._refuse_connect(eio_sid, namespace or "/")
        if self.manager.sid_from_eio_sid(eio_sid, namespace or "/") is not None:
            self.eio.known(eio_sid)
            return
        self._refused[eio_sid] += 1
        if self._refused[eio_sid] >= REFUSED_MAX:
            raise Unparsable(CONNECT)

    async def _refuse_connect(self, eio_sid: str, namespace: str) -> None:
        """For an error of ours: without an answer the client would wait for ever."""
        packet = self.packet_class(CONNECT_ERROR, data={"message": "Connection failed"}, namespace=namespace)
        await self._send_packet(eio_sid, packet)
        if (sid := self.manager.sid_from_eio_sid(eio_sid, namespace)) is not None:
            await self.manager.disconnect(sid, namespace, ignore_queue=True)

    def _expect_connected(self, eio_sid: str) -> None:
        """Raises Unparsable where nothing has been connected yet: a CONNECT comes first."""
        session = self.eio.sockets.get(eio_sid)
        if session is not None and session in self.eio.admission.half_open:
            raise Unparsable

    def _useless(self, eio_sid: str) -> None:
        """A packet found its namespace left, because both ends may leave it at any time; or answers nothing."""
        self._expect_connected(eio_sid)
        if (session := self.eio.sockets.get(eio_sid)) is not None:
            session.useless()

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        if eio_sid in self._binary_packet or (isinstance(data, bytes) and self.packet_class.uses_binary_events):
            await self._attachment(eio_sid, data)
            return
        try:
            packet = self.packet_class(encoded_packet=data)
        except (ValueError, RecursionError, TypeError) as error:
            raise Unparsable from error
        kind = packet.packet_type
        if kind == EVENT:
            await self._handle_event(eio_sid, packet.namespace, packet.id, packet.data)
        elif kind == CONNECT:
            await self._handle_connect(eio_sid, packet.namespace, packet.data)
        elif kind == DISCONNECT:
            await self._left(eio_sid, packet.namespace or "/")
        elif kind == ACK:
            await self._acked(eio_sid, packet)
        elif kind in (BINARY_EVENT, BINARY_ACK):
            await self._with_attachments(eio_sid, packet)
        else:
            raise Unparsable(CONNECT_ERROR)

    async def _left(self, eio_sid: str, namespace: str) -> None:
        if self.manager.is_connected(self.manager.sid_from_eio_sid(eio_sid, namespace), namespace):
            await self._handle_disconnect(eio_sid, namespace, self.reason.CLIENT_DISCONNECT)
        else:
            self._useless(eio_sid)

    async def _with_attachments(self, eio_sid: str, packet: Any) -> None:
        """The attachments follow, each in a message of its own."""
        self._expect_connected(eio_sid)
        if packet.attachment_count > ATTACHMENTS_MAX:
            raise Unparsable
        self._drop_unfinished(eio_sid)
        self._binary_packet[eio_sid] = packet
        if packet.attachment_count == 0:
            await self._complete(eio_sid)
            return
        deadline = self._deadlines[eio_sid] = _Deadline(functools.partial(self._miss_attachments, eio_sid))
        self.eio.wheel.set(deadline, ATTACHMENTS_TIMEOUT_S)

    def _drop_unfinished(self, eio_sid: str) -> Any:
        """The packet whose attachments were waited for; None: there is none."""
        if (deadline := self._deadlines.pop(eio_sid, None)) is not None:
            self.eio.wheel.unset(deadline)
        return self._binary_packet.pop(eio_sid, None)

    def _miss_attachments(self, eio_sid: str) -> None:
        session = self.eio.sockets.get(eio_sid)
        if self._drop_unfinished(eio_sid) is not None and session is not None:
            session.end(self.reason.TRANSPORT_ERROR, Ending.UNREADABLE, say_so=True)

    async def _attachment(self, eio_sid: str, data: str | bytes) -> None:
        packet = self._binary_packet.get(eio_sid)
        if packet is None or isinstance(data, str):
            self._drop_unfinished(eio_sid)
            raise Unparsable
        held_bytes = sum(map(len, packet.attachments)) + len(data)
        try:
            complete = held_bytes <= self.eio.max_http_buffer_size and packet.add_attachment(data)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            self._drop_unfinished(eio_sid)
            raise Unparsable from error
        if held_bytes > self.eio.max_http_buffer_size:
            self._drop_unfinished(eio_sid)
            raise Unparsable
        if complete:
            await self._complete(eio_sid)

    async def _complete(self, eio_sid: str) -> None:
        packet = self._drop_unfinished(eio_sid)
        if packet.packet_type == BINARY_EVENT:
            await self._handle_event(eio_sid, packet.namespace, packet.id, packet.data)
        else:
            await self._acked(eio_sid, packet)

    async def _acked(self, eio_sid: str, packet: Any) -> None:
        if not isinstance(packet.data, list):
            raise Unparsable
        sid = self.manager.sid_from_eio_sid(eio_sid, packet.namespace or "/")
        # ids begin at 1: the library keeps their counter under 0
        if not packet.id or packet.id not in self.manager.callbacks.get(sid, {}):
            self._useless(eio_sid)
            return
        await self._handle_ack(eio_sid, packet.namespace, packet.id, packet.data)

    async def _handle_event(self, eio_sid: str, namespace: str | None, ack_id: int | None, data: Any) -> None:
        if not isinstance(data, list) or not data or not isinstance(data[0], str) or data[0] in RESERVED:
            raise Unparsable
        name = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, name)
        if not self.manager.is_connected(sid, name):
            self._useless(eio_sid)
            return
        handled = self._handle_event_internal(self, sid, eio_sid, data, name, ack_id)
        if not self.async_handlers:
            await handled
        else:
            self._start(handled)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Beside whatever else the connection sends; a task of its own as soon as it waits."""
        task = inline.run(self._guarded(coroutine), asyncio.get_running_loop())
        if task is not None:
            task_reference_holder.add(task)
            task.add_done_callback(task_reference_holder.discard)

    async def _guarded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except Exception:
            self.logger.exception("message async handler error")

    async def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, ack_id: int | None
    ) -> None:
        answer = await server._trigger_event(data[0], namespace, sid, *data[1:])
        if ack_id is None or answer is self.not_handled:
            return
        arguments = [] if answer is None else list(answer) if isinstance(answer, tuple) else [answer]
        if (session := self.eio.sockets.get(eio_sid)) is not None:
            for message in self.encoded(ACK, arguments, namespace, ack_id):
                session.send(message)

    async def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        handler, arguments = self._get_event_handler(event, namespace, args)
        if handler is None or event in self.reserved_events or not _is_coroutine_function(handler):
            return await super()._trigger_event(event, namespace, *args)
        try:
            return await handler(*arguments)
        except asyncio.CancelledError:
            return None

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._drop_unfinished(eio_sid)
        self._refused.pop(eio_sid, None)
        await super()._handle_eio_disconnect(eio_sid, reason)

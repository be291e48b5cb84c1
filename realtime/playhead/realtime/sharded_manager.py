"""A client manager for python-socketio over sharded pub/sub: a node receives the messages of rooms that it has.

Owns: which channel a message goes to, and who of this node gets it. Must not know: what the server is for.

    message                                   channel
    emit to a room, or to a socket            the room's; a node subscribes with its first socket in it
    emit to everybody or to several rooms,
    disconnect, enter_room, leave_room,
    close_room                                one of all nodes
    the answer to an emit with a callback     that of the node that waits for it

The stock manager has one channel for everything, on which every node parses every message of the cluster. Here an event
is encoded once, where it is emitted, and framed once on each node. Pub/sub promises nothing: `on_gap` is told when
messages may be missing. The rooms are the engine's, so the server is its `SocketServer`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from socketio.async_manager import AsyncManager
from socketio.async_pubsub_manager import AsyncPubSubManager
from socketio.packet import EVENT
from socketio.packet import Packet as SocketPacket

from playhead.engine.socket_server import Rooms, outgoing
from playhead.runtime.metrics import VITALS_INTERVAL_S, Links
from playhead.runtime.redis_clients import Calls, subscriptions_of
from playhead.runtime.seldom import Seldom
from playhead.runtime.self_pings import PING_EVERY_S, SelfPings
from playhead.runtime.subscriptions import NotConfirmed
from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

TASKS_MAX = 1_000
"""Handlers and callbacks that run because of other nodes' messages; more of them are waited for, one by one."""

OnGap = Callable[[str, str], Awaitable[None]]
"""Namespace and room whose messages may be missing. Both empty: any of them."""


class Encoded(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An event as it is sent to sockets: the packet, a text, and its attachments, which are bytes."""

    host_id: str
    namespace: str
    room: Any
    skip_sids: list[str]
    packets: list[Any]


class Request(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What the stock manager tells others, in its own words: text or bytes, as the server's JSON module has it."""

    json: Any


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Encoded | Request).decode


class ShardedManager(Rooms, AsyncPubSubManager):
    """`SocketServer(client_manager=ShardedManager(…))`; then `start`, and `stop` at the end.

    `client` is used for the subscriptions, `calls` for what is published; their owner ends both. While the store is
    away events reach this node's sockets only. `emit` and the others do not fail then: other nodes find a gap later.
    `metrics`: gauges made by `links_of_rooms`, which are told its health twice a second.
    """

    name = "sharded"

    def __init__(
        self,
        client: Redis,
        calls: Calls,
        on_gap: OnGap,
        channel: str = "socketio",
        *,
        ping_every_s: float = PING_EVERY_S,
        metrics: Links | None = None,
    ) -> None:
        super().__init__()
        self.channel = channel
        self._calls = calls
        self._gap = on_gap
        self._places: dict[str, tuple[str, str]] = {}
        """Namespace and room of each channel that is subscribed to."""
        self._subscriptions = subscriptions_of(client, self._arrived, self._missed)
        self._pings = SelfPings(self._subscriptions, self._told_itself, f"{channel}:ping:{self.host_id}", ping_every_s)
        self._pinging: asyncio.Task[None] | None = None
        self._metrics = metrics
        self._showing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsubscribed, self._unpublished = Seldom(), Seldom()
        self._quick = {
            "emit": self._handle_emit,
            "enter_room": self._handle_enter_room,
            "leave_room": self._handle_leave_room,
            "close_room": self._handle_close_room,
        }

    @property
    def connected(self) -> bool:
        """Whether messages can arrive."""
        return self._subscriptions.connected

    @property
    def silent_s(self) -> float:
        """How long nothing has been heard, of the most silent server; infinite before the first connection."""
        return self._pings.silent_s

    @property
    def ping_s(self) -> float | None:
        """How long its last message to itself took to come back; None: none has."""
        return self._pings.ping_s

    def initialize(self) -> None:
        """By the server, with its first socket. What is listened to begins with `start`."""
        AsyncManager.initialize(self)

    async def start(self) -> None:
        """Raises NotConfirmed when the store does not answer; it listens as soon as it does."""
        self._subscriptions.start()
        self._pings.want()
        self._pinging = asyncio.create_task(self._pings.ping_for_ever(), name="sharded-ping")
        if self._metrics is not None:
            self._showing = asyncio.create_task(self._show_for_ever(self._metrics), name="sharded-metrics")
        for channel in (self._everybody, self._node(self.host_id)):
            await self._subscriptions.subscribe(channel)

    def reopen(self) -> None:
        """Another server has the messages, or will soon; a demoted one does not say so by itself."""
        self._subscriptions.reopen()

    async def stop(self) -> None:
        await cancelled(self._pinging)
        for task in list(self._tasks):
            await cancelled(task)
        await self._subscriptions.stop()
        await cancelled(self._showing)
        if self._metrics is not None:
            self._show(self._metrics)

    async def _show_for_ever(self, metrics: Links) -> None:
        while True:
            self._show(metrics)
            await asyncio.sleep(VITALS_INTERVAL_S)

    def _show(self, metrics: Links) -> None:
        metrics.connected.set(self.connected)
        metrics.silent_seconds.set(self.silent_s)
        if self.ping_s is not None:
            metrics.ping_seconds.set(self.ping_s)

    # rooms and their channels

    @property
    def _everybody(self) -> str:
        return f"{self.channel}:all"

    def _node(self, host_id: str) -> str:
        return f"{self.channel}:node:{host_id}"

    def _room(self, namespace: str, room: Any) -> str:
        """Of no two rooms the same: with its length a namespace cannot run into the room, and 5 is not "5"."""
        return f"{self.channel}:room:{len(namespace)}:{namespace}:{room!r}"

    def _channel_to(self, namespace: str, room: Any) -> str:
        """Several rooms share a message, as a socket that is in two of them gets it once."""
        return self._everybody if room is None or are_several(room) else self._room(namespace, room)

    async def pre_connect(self, eio_sid: str, namespace: str) -> Any:
        sid = await super().pre_connect(eio_sid, namespace)
        if sid is not None:
            await self._follow(namespace, sid)
        return sid

    async def enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        await super().enter_room(sid, namespace, room, eio_sid=eio_sid)
        await self._follow(namespace, room)

    async def _handle_enter_room(self, message: dict[str, Any]) -> None:
        await super()._handle_enter_room(message)
        namespace, room = message["namespace"], message["room"]
        if self._has(namespace, room):
            # without waiting: it is the task that reads who would have to read the confirmation; and whoever asked for
            # it may emit to the room before, which is told as a gap
            self._want(namespace, room, gap_before=True)

    def _has(self, namespace: str, room: str) -> bool:
        return room in self.rooms.get(namespace, {})

    async def _follow(self, namespace: str, room: str) -> None:
        """Returns when the room's messages arrive here, or when the store does not answer: then they will later."""
        if not self._has(namespace, room):
            return
        channel = self._want(namespace, room)
        if not self.connected:
            return
        try:
            await self._subscriptions.subscribe(channel)
        except NotConfirmed:
            if times := self._unsubscribed.take():
                log.warning("A room has no subscription yet.", action="room_unsubscribed", times=times)

    def _want(self, namespace: str, room: str, gap_before: bool = False) -> str:
        channel = self._room(namespace, room)
        if channel not in self._places:
            self._places[channel] = (namespace, room)
            self._subscriptions.want(channel, gap_before=gap_before)
        return channel

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        super().basic_leave_room(sid, namespace, room)
        if room is not None and not self._has(namespace, room):
            channel = self._room(namespace, room)
            if self._places.pop(channel, None) is not None:
                self._subscriptions.unsubscribe(channel)

    # what is told

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `AsyncServer.emit`. With a callback each socket gets a packet of its own, as the stock manager does it."""
        room = to or room
        if callback is not None or kwargs.get("ignore_queue"):
            await super().emit(event, data, namespace or "/", room, skip_sid=skip_sid, callback=callback, **kwargs)
            return
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        packet_class = SocketPacket if self.server is None else self.server.packet_class
        packets = packet_class(EVENT, namespace=namespace or "/", data=[event, *arguments]).encode()
        packets = packets if isinstance(packets, list) else [packets]
        skip_sids = [sid for sid in (skip_sid if isinstance(skip_sid, list) else [skip_sid]) if sid is not None]
        rooms = list(room) if are_several(room) else room
        message = Encoded(self.host_id, namespace or "/", rooms, skip_sids, packets)
        self._deliver(message)
        await self._send(self._channel_to(message.namespace, rooms), encode(message))

    async def _publish(self, data: dict[str, Any]) -> None:
        """What the stock manager tells others."""
        if data["method"] == "callback":
            channel = self._node(data["host_id"])
        elif data["method"] == "emit":
            channel = self._channel_to(data["namespace"], data["room"])
        else:
            channel = self._everybody
        await self._send(channel, encode(Request(self.json.dumps(data))))

    async def _send(self, channel: str, content: bytes) -> None:
        try:
            await self._calls.call("SPUBLISH", channel, content)
        except (RedisError, OSError, TimeoutError) as error:
            if times := self._unpublished.take():
                log.warning("Other nodes were not told.", action="room_unpublished", times=times, error=str(error))

    # what is heard

    async def _arrived(self, channel: str, content: bytes) -> None:
        if self._pings.is_own(channel):
            self._pings.take(content)
            return
        message = decode(content)
        if isinstance(message, Request):
            await self._handle(self.json.loads(message.json))
        elif message.host_id != self.host_id:
            self._deliver(message)

    async def _handle(self, request: dict[str, Any]) -> None:
        method = request["method"]
        if method == "callback":
            await self._begin(self._handle_callback(request))
        elif request["host_id"] == self.host_id:
            return
        elif method == "disconnect":
            await self._begin(self._handle_disconnect(request))
        elif method in self._quick:
            await self._quick[method](request)

    async def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Handlers of the application may wait for a subscription, which the task that reads must not."""
        task = asyncio.create_task(logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if len(self._tasks) > TASKS_MAX:
            await task

    def _deliver(self, message: Encoded) -> None:
        """To the sockets of this node."""
        if members := list(self.get_participants(message.namespace, message.room)):
            self.server.deliver(members, outgoing(message.packets), message.skip_sids)

    async def _missed(self, channel: str) -> None:
        if not self._pings.is_own(channel):
            await self._gap(*self._places.get(channel, ("", "")))

    async def _told_itself(self, channel: str, content: bytes) -> None:
        await self._calls.call("SPUBLISH", channel, content)


def are_several(room: Any) -> bool:
    """Rooms instead of one, as the stock manager tells them apart."""
    return hasattr(room, "__len__") and not isinstance(room, str)


async def logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("What another node asked for failed.", action="room_request_failed")

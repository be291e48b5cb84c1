"""Sockets between devices and nodes: in order in each direction, slow at times, closed, cut, or silently dead.

`SocketServer` stands where a node has python-socketio's server: it has the calls that RealtimeServer makes, hands
events of one connection over one after the other, and lets go of a socket when it learns that it is gone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import orjson
from socketio.exceptions import ConnectionRefusedError as Refused

from tests.simulation.chance import Chance
from tests.simulation.loop import VirtualLoop
from tests.simulation.node_store import Wire
from tests.simulation.record import ASKED, Asked

QUEUED_PACKETS_MAX = 256
"""What a node keeps for a device that does not read, before it cuts its socket."""
PING_NOTICED_MS = (20_000, 40_000)
"""How long it takes the server to see that a socket is silently dead."""
CLOSE_NOTICED_MS = (0, 1_500)


class DeviceEnd(Protocol):
    """Who holds the other end."""

    def link_opened(self, link: "Link") -> None: ...
    def link_refused(self, link: "Link", data: Any) -> None: ...
    def link_closed(self, link: "Link") -> None: ...
    def link_event(self, link: "Link", event: str, data: Any) -> None: ...
    def link_ack(self, link: "Link", request: int, answer: dict[str, Any], asked: Asked) -> None: ...


_TOLD_BY = {"opened": "link_opened", "refused": "link_refused", "event": "link_event", "ack": "link_ack"}
"""What of a DeviceEnd is called with each kind of packet."""


class Link:
    """One socket. What is on its way when it breaks is lost."""

    def __init__(
        self, loop: VirtualLoop, chance: Chance, longest_ms: int, device: DeviceEnd, number: int, ack_lost: float
    ) -> None:
        self._loop = loop
        self._chance = chance
        self._longest_ms = longest_ms
        self._device = device
        self._ack_lost = ack_lost
        self.number = number
        """As the device counts its connections."""
        self.server: SocketServer | None = None
        self.connection_id = ""
        self.device_open = True
        self.node_open = True
        self.silent = False
        """Nothing passes, and nobody is told."""
        self.reading = True
        self.on_slow: Callable[[], None] = lambda: None
        self._unread: deque[tuple[Any, ...]] = deque()
        self._up_us = self._down_us = 0

    def _delay_us(self) -> int:
        draw = self._chance.random()
        longest_ms = self._longest_ms if draw < 0.96 else 5 * self._longest_ms
        return 1_000 * self._chance.ms(1, longest_ms)

    def up(self, *packet: Any) -> None:
        """From the device to its node."""
        self._up_us = max(self._up_us, self._loop.now_us + self._delay_us())
        self._loop.at_us(self._up_us, self._arrived_up, packet)

    def _arrived_up(self, packet: tuple[Any, ...]) -> None:
        if self.node_open and not self.silent and self.server is not None:
            self.server.received(self, *packet)

    def down(self, *packet: Any) -> None:
        """From the node to its device."""
        if packet[0] == "ack" and self._ack_lost and self._chance.happens(self._ack_lost):
            self.cut()
            return
        self._down_us = max(self._down_us, self._loop.now_us + self._delay_us())
        self._loop.at_us(self._down_us, self._arrived_down, packet)

    def _arrived_down(self, packet: tuple[Any, ...]) -> None:
        if not self.device_open or self.silent:
            return
        if not self.reading:
            self._unread.append(packet)
            if len(self._unread) > QUEUED_PACKETS_MAX:
                self.cut()
            return
        self._hand_over(*packet)

    def _hand_over(self, kind: str, *said: Any) -> None:
        getattr(self._device, _TOLD_BY[kind])(self, *said)

    def read_on(self) -> None:
        """The device reads again, and finds everything that has come meanwhile."""
        self.reading = True
        while self._unread and self.device_open:
            packet = self._unread.popleft()
            self._hand_over(*packet)

    # its end

    def calm_down(self) -> None:
        self._ack_lost = 0.0

    def cut(self) -> None:
        """It breaks, and both ends see it soon."""
        self._lose_device(self._chance.ms(*CLOSE_NOTICED_MS))
        self._lose_node(self._chance.ms(*CLOSE_NOTICED_MS), "transport close")

    def go_silent(self) -> None:
        """It is dead, and only time tells."""
        self.silent = True
        self._lose_device(self._chance.ms(25_000, 45_000))
        self._lose_node(self._chance.ms(*PING_NOTICED_MS), "ping timeout")

    def close_by_device(self) -> None:
        self.device_open = False
        self._up_us = max(self._up_us, self._loop.now_us + self._delay_us())
        if self.silent:
            return
        self._loop.call_at(self._up_us / 1e6, self._closed_at_node, "transport close")

    def close_by_node(self) -> None:
        """After what is on its way; the node has let go of it already."""
        self.node_open = False
        self._down_us = max(self._down_us, self._loop.now_us + self._delay_us())
        self._loop.call_at(self._down_us / 1e6, self._closed_at_device)

    def node_died(self) -> None:
        """The machine says so, or nobody does."""
        self.node_open = False
        silent = self._chance.happens(0.3)
        self.silent = self.silent or silent
        self._lose_device(self._chance.ms(25_000, 45_000) if silent else self._chance.ms(*CLOSE_NOTICED_MS))

    def _lose_device(self, after_ms: int) -> None:
        self._loop.call_later(after_ms / 1000, self._closed_at_device)

    def _lose_node(self, after_ms: int, reason: str) -> None:
        # what is sent meanwhile goes nowhere
        self.silent = True
        self._loop.call_later(after_ms / 1000, self._closed_at_node, reason)

    def _closed_at_device(self) -> None:
        if self.device_open:
            self.device_open = False
            self._device.link_closed(self)

    def _closed_at_node(self, reason: str) -> None:
        if self.node_open:
            self.node_open = False
            if self.server is not None:
                self.server.lost(self, reason)


class Door:
    """Nobody has to queue."""

    crowded = False


class SocketServer:
    """A node's Socket.IO server. `dead`: its process is gone."""

    eio = Door()

    def __init__(self, loop: VirtualLoop, wire: Wire, on_answer: Callable[[Link, Asked, dict[str, Any]], None]) -> None:
        self._loop = loop
        self._wire = wire
        self._on_answer = on_answer
        self._handlers: dict[str, Callable[..., Awaitable[Any]]] = {}
        self._links: dict[str, Link] = {}
        self._rooms: dict[str, dict[str, None]] = {}
        self._inboxes: dict[str, deque[tuple[int, str, Any, Asked]]] = {}
        self._accepted: set[str] = set()
        self.dead = False

    # what a device does

    def accept(self, link: Link, connection_id: str, auth: Any) -> None:
        if self.dead:
            link.node_died()
            return
        link.server, link.connection_id = self, connection_id
        self._links[connection_id] = link
        self._loop.create_task(self._let_in(link, auth))

    async def _let_in(self, link: Link, auth: Any) -> None:
        connection_id = link.connection_id
        ASKED.set(Asked(connection_id, "connect"))
        try:
            await self._handlers["connect"](connection_id, {}, auth)
        except Refused as error:
            self._forget(connection_id)
            link.down("refused", error.error_args.get("data"))
            link.close_by_node()
            return
        await self._wire.hang_if_dead()
        self._accepted.add(connection_id)
        if link.node_open:
            link.down("opened")
        else:
            self.lost(link, "transport close")

    def received(self, link: Link, request: int, event: str, payload: Any, asked: Asked) -> None:
        if self.dead or link.connection_id not in self._accepted:
            return
        asked.received_us = self._loop.now_us
        inbox = self._inboxes.get(link.connection_id)
        if inbox is not None:
            inbox.append((request, event, payload, asked))
            return
        self._inboxes[link.connection_id] = deque([(request, event, payload, asked)])
        self._loop.create_task(self._serve(link))

    async def _serve(self, link: Link) -> None:
        """One event after the other, as the library does it with `async_handlers=False`."""
        inbox = self._inboxes[link.connection_id]
        while inbox:
            request, event, payload, asked = inbox[0]
            asked.begun_us = self._loop.now_us
            ASKED.set(asked)
            # as it is on the wire
            answer = orjson.loads(orjson.dumps(await self._handlers["*"](event, link.connection_id, payload)))
            await self._wire.hang_if_dead()
            self._on_answer(link, asked, answer)
            link.down("ack", request, answer, asked)
            inbox.popleft()
        del self._inboxes[link.connection_id]

    def lost(self, link: Link, reason: str) -> None:
        """The socket is gone; one that is still being let in is found out by whoever lets it in."""
        connection_id = link.connection_id
        if self.dead or connection_id not in self._accepted:
            return
        self._forget(connection_id)
        self._loop.create_task(self._disconnected(connection_id, reason))

    async def _disconnected(self, connection_id: str, reason: str) -> None:
        ASKED.set(Asked(connection_id, "disconnect"))
        await self._handlers["disconnect"](connection_id, reason)

    def _forget(self, connection_id: str) -> None:
        self._links.pop(connection_id, None)
        self._accepted.discard(connection_id)
        for room in self._rooms.values():
            room.pop(connection_id, None)

    def die(self) -> None:
        self.dead = True
        for link in self._links.values():
            link.node_died()

    # what RealtimeServer and its parts call

    def on(self, event: str, handler: Callable[..., Awaitable[Any]]) -> None:
        self._handlers[event] = handler

    async def enter_room(self, connection_id: str, room: str) -> None:
        if connection_id in self._links:
            self._rooms.setdefault(room, {})[connection_id] = None

    async def emit(
        self, event: str, data: Any, *, to: str | None = None, room: str | None = None, skip_sid: str | None = None
    ) -> None:
        await self._wire.hang_if_dead()
        members = [to] if to is not None else list(self._rooms.get(room or "", ()))
        for connection_id in members:
            if connection_id != skip_sid and (link := self._links.get(connection_id)) is not None:
                link.down("event", event, data)

    async def emit_encoded(self, event: bytes, room: str, skip_sid: str | None = None) -> None:
        name, data = orjson.loads(event)
        await self.emit(name, data, room=room, skip_sid=skip_sid)

    async def disconnect(self, connection_id: str) -> None:
        link = self._links.get(connection_id)
        if link is not None:
            link.close_by_node()
            self.lost(link, "server disconnect")

    async def shutdown(self) -> None:
        """Nothing is left to close."""

    def attach(self, _app: object) -> None:
        """There is no network to be reached by."""

    def links(self) -> list[Link]:
        return list(self._links.values())


class LinkSockets:
    """Stands where a node has RawSockets."""

    def __init__(self, server: SocketServer) -> None:
        self._server = server

    def is_gone(self, connection_id: str) -> bool:
        link = self._server._links.get(connection_id)
        return link is None or not link.node_open

    def known(self, connection_id: str) -> None:
        """Nobody is crowded out here."""

    async def close_all(self, _timeout_s: float) -> None:
        """Closed by the transport: devices come back, elsewhere."""
        for link in self._server.links():
            link.close_by_node()
            self._server.lost(link, "server disconnect")
        await asyncio.sleep(0)


class NoWatch:
    """Stands where a node watches over tokens and addresses that run out; and who does not read is cut by its link."""

    def __init__(self, *_parts: object) -> None:
        pass

    def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

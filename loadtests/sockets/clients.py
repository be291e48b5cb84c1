"""Sockets under load: clients that connect, and as many of their commands under way as are asked for.

Owns: the connections of one load process and what they see. Must not know: what kind of server it is.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from loadtests.sockets.spoken import Seat, Spoken

OPENING_AT_ONCE = 50
OPEN_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 30.0
"""For the commands that are under way when a run ends."""
ARRIVAL_TIMEOUT_S = 1.0
"""How long after the last answer an event may still arrive."""
STATE, ACK, EVENT, CONNECTED, REFUSED = b'42["state"', b"43", b"42", b"40", b"44"
FIRST = 0
"""The ack id of what a client asks first; those of commands are their numbers."""


class LoadFailed(Exception):
    """The server did not do what the load needs of it."""


@dataclass(slots=True)
class Record:
    """What the clients of one run have seen. `numbered`: deliveries are told apart, which costs the load time."""

    numbered: bool = False
    answered: int = 0
    refused: int = 0
    delivered: int = 0
    lost: int = 0
    answer_ms: list[float] = field(default_factory=list)
    delivery_ms: list[float] = field(default_factory=list)
    began_s: dict[int, float] = field(default_factory=dict)
    """By the command's number, in seconds of `perf_counter`."""
    undelivered: set[int] = field(default_factory=set)
    """Numbers of commands that were answered before their event arrived."""
    early: set[int] = field(default_factory=set)
    """And the other way round."""

    @property
    def arrived(self) -> int:
        """Commands that were answered and whose event has arrived."""
        return self.answered - self.refused - len(self.undelivered)

    def note_answer(self, number: int, refused: bool) -> None:
        self.answered += 1
        self.refused += refused
        self.answer_ms.append((time.perf_counter() - self.began_s[number]) * 1000)
        if self.numbered and not refused:
            if number in self.early:
                self.early.discard(number)
            else:
                self.undelivered.add(number)

    def note_delivery(self, number: int) -> None:
        began_s = self.began_s.get(number)
        if began_s is None:
            return
        self.delivery_ms.append((time.perf_counter() - began_s) * 1000)
        if number in self.undelivered:
            self.undelivered.discard(number)
        else:
            self.early.add(number)


class Load:
    """The clients of one server, at `ports` by their place: device by device another one, where there are several."""

    def __init__(self, ports: Sequence[int], spoken: Spoken) -> None:
        self._ports = ports
        self.spoken = spoken
        self.clients: list[Client] = []
        self.record = Record()
        self._idle: deque[Client] = deque()
        self._running = False
        self._under_way = 0
        self._number = FIRST
        self._quiet = asyncio.Event()

    async def connect(self, seats: Sequence[Seat]) -> None:
        """Returns when all of them are connected and have what they asked for first."""
        for start in range(0, len(seats), OPENING_AT_ONCE):
            batch = [Client(self, seat) for seat in seats[start : start + OPENING_AT_ONCE]]
            self.clients += batch
            await asyncio.gather(*(self._open(client) for client in batch))

    async def _open(self, client: "Client") -> None:
        port = self._ports[(client.seat.room + client.seat.place) % len(self._ports)]
        url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await ws_connect(lambda: client, url, read_buffer_init_size=1_024, enable_auto_ping=False)
            await client.ready

    async def run(self, seconds: float, under_way: int, numbered: bool = False) -> Record:
        """Sends for so long, whoever sends in turn; returns when all is answered, and what that shows."""
        self.record = Record(numbered=numbered)
        senders = [client for client in self.clients if client.seat.sends]
        rounds = -(-under_way // len(senders))
        self._idle = deque(senders * rounds)
        self._running, self._under_way = True, under_way
        self._quiet.clear()
        for _ in range(under_way):
            self._idle.popleft().send()
        await asyncio.sleep(seconds)
        self._running = False
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._quiet.wait()
        return self.record

    async def arrivals(self) -> None:
        """Returns when the events of all answered commands are there, or late."""
        until_s = time.monotonic() + ARRIVAL_TIMEOUT_S
        while self.record.undelivered and time.monotonic() < until_s:
            await asyncio.sleep(0.01)

    def next_number(self) -> int:
        self._number += 1
        self.record.began_s[self._number] = time.perf_counter()
        return self._number

    def answered(self, client: "Client", number: int, refused: bool) -> None:
        self.record.note_answer(number, refused)
        if self._running:
            self._idle.append(client)
            self._idle.popleft().send()
            return
        self._under_way -= 1
        if not self._under_way:
            self._quiet.set()

    def close(self) -> None:
        for client in self.clients:
            client.close()


class Client(WSListener):
    """One socket."""

    def __init__(self, load: Load, seat: Seat) -> None:
        self.seat = seat
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._load = load
        self._session_id = b""
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._load.record.lost += 1
        self._fail("The server has closed the connection.")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        packet = frame.get_payload_as_bytes()
        if packet.startswith(EVENT):
            if packet.startswith(STATE):
                self._delivered(packet)
        elif packet.startswith(ACK):
            start = packet.index(b"[")
            self._answered(int(packet[2:start]), packet[start:])
        elif packet == b"2":
            transport.send(WSMsgType.TEXT, b"3")
        elif packet.startswith(b"0"):
            transport.send(WSMsgType.TEXT, b"40" + self._load.spoken.auth(self.seat))
        elif packet.startswith(CONNECTED):
            self._connected(transport)
        elif packet.startswith(REFUSED):
            self._fail(packet.decode(errors="replace"))

    def _connected(self, transport: WSTransport) -> None:
        first = self._load.spoken.first(self.seat)
        if first is None:
            self.ready.set_result(None)
        else:
            transport.send(WSMsgType.TEXT, b"42%d%s" % (FIRST, first))

    def _answered(self, number: int, answer: bytes) -> None:
        refused = b'"ok":false' in answer
        if number != FIRST:
            self._load.answered(self, number, refused)
        elif refused:
            self._fail(answer.decode(errors="replace"))
        else:
            self._session_id = self._load.spoken.session_id(answer)
            self.ready.set_result(None)

    def _delivered(self, packet: bytes) -> None:
        record = self._load.record
        record.delivered += 1
        if record.numbered:
            record.note_delivery(self._load.spoken.number(packet))

    def _fail(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(LoadFailed(why))

    def send(self) -> None:
        assert self._transport is not None
        number = self._load.next_number()
        self._transport.send(WSMsgType.TEXT, b"42%d%s" % (number, self._load.spoken.command(self._session_id, number)))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

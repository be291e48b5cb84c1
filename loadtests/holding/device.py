"""One player's socket, as docs/protocol.md wants it, at as little cost as Python has.

Owns: the connection, and what it waits for. Must not know: when to report or to seek (`crowd.py`).
Acks come back to whoever asked, by their number; one that does not come in ANSWER_TIMEOUT_S means a dead line.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

ANSWER_TIMEOUT_S = 5.0
"""Rule 3 of the protocol: the connection is dead, whatever the socket says."""
KINDS = ("phone", "desktop")

Answer = dict[str, Any]
OnAnswer = Callable[["Device", Answer, float], None]
"""Told the ack, and how many seconds it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The server does not let this connection in."""

    code: str
    retry: bool
    retry_after_ms: int


class Watcher(Protocol):
    """Who owns the devices."""

    def connected(self, device: "Device", refused: Refused | None) -> None:
        """The handshake is over."""
        ...

    def event(self, device: "Device", name: str, data: Any) -> None: ...

    def closed(self, device: "Device") -> None:
        """The connection is gone, whoever ended it."""
        ...


class Device(WSListener):
    """One of a listener's players; `place` is 0 for the one that sounds, and 1 for the other."""

    __slots__ = ("_next", "_transport", "_waiting", "_watcher", "failures", "id", "joined", "pair", "place", "token")

    def __init__(self, watcher: Watcher, pair: Any, place: int, token: str) -> None:
        self.id = str(uuid.uuid4())
        self.pair = pair
        self.place = place
        self.token = token
        self.joined = False
        self.failures = 0
        self._watcher = watcher
        self._transport: WSTransport | None = None
        self._waiting: dict[int, tuple[float, OnAnswer]] = {}
        self._next = 0

    # what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if transport is not self._transport:
            return
        self._transport = None
        self._waiting.clear()
        self._watcher.closed(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code() or WSCloseCode.OK)
            transport.disconnect()
            return
        packet = frame.get_payload_as_bytes()
        kind = packet[:2]
        if kind == b"43":
            self._answered(packet)
        elif kind == b"42":
            name, data = orjson.loads(packet[2:])
            self._watcher.event(self, name, data)
        elif kind == b"2":
            transport.send(WSMsgType.TEXT, b"3")
        elif kind == b"40":
            self._watcher.connected(self, None)
        elif kind == b"44":
            self._watcher.connected(self, refusal(orjson.loads(packet[2:]).get("data")))
        elif kind[:1] == b"0":
            transport.send(WSMsgType.TEXT, b"40" + self._auth())
        elif kind == b"41":
            self.close()

    # what its owner calls

    @property
    def open(self) -> bool:
        return self._transport is not None

    def ask(self, event: str, fields: dict[str, Any], on_answer: OnAnswer) -> None:
        """Sends, and calls back with the ack; never, if the connection ends before."""
        if self._transport is None:
            return
        self._next += 1
        self._waiting[self._next] = (time.perf_counter(), on_answer)
        self._transport.send(WSMsgType.TEXT, b"42%d%s" % (self._next, orjson.dumps([event, fields])))

    def overdue(self, now_s: float) -> bool:
        """Whether an ack has not come in time. The oldest question is the first: they are answered in order."""
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and now_s - oldest[0] > ANSWER_TIMEOUT_S

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def _answered(self, packet: bytes) -> None:
        start = packet.index(b"[")
        asked = self._waiting.pop(int(packet[2:start]), None)
        if asked is not None:
            began_s, on_answer = asked
            self.failures = 0
            on_answer(self, orjson.loads(packet[start:])[0], time.perf_counter() - began_s)

    def _auth(self) -> bytes:
        kind = KINDS[self.place]
        return orjson.dumps({"token": self.token, "device": {"id": self.id, "name": kind, "kind": kind}, "protocol": 1})


def refusal(data: Any) -> Refused:
    """What a `connect_error`, or a handshake's answer over HTTP, says."""
    fields = data if isinstance(data, dict) else {}
    return Refused(
        code=str(fields.get("code", "unknown")),
        retry=bool(fields.get("retry", True)),
        retry_after_ms=int(fields.get("retry_after_ms") or 0),
    )

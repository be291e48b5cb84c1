"""Socket.IO packets as this server reads and writes them: JSON by orjson, bounded, and never a reason to lose a socket.

python-socketio drops what it cannot decode, so that the client waits for ever. Here such a packet turns into an event
whose name says what is wrong (`$too_large`, `$malformed`), which is answered like any other. Binary events are not
taken: nothing of ours is binary, and a lost attachment would swallow the packets after it.
"""

import re
from typing import Any

import orjson
from socketio.packet import ACK, BINARY_EVENT, CONNECT, DISCONNECT, EVENT, Packet

PACKET_BYTES_MAX = 16_384
"""Longest JSON text of one packet; a batch of a client never comes near it."""
TOO_LARGE_EVENT = "$too_large"
MALFORMED_EVENT = "$malformed"
RESERVED_EVENTS = ("connect", "disconnect", "*")
"""What python-socketio calls its own handlers for; sent by a client they are events that nobody knows."""

_USUAL = re.compile(r"2([0-9]{0,15})(?=\[)")
"""The head of an event without a namespace; the library reads it character by character."""


class WireJson:
    """What a packet uses as its `json`: text that cannot be read becomes an event of its own."""

    @staticmethod
    def dumps(data: Any, **_options: Any) -> str:
        return orjson.dumps(data).decode()

    encode = staticmethod(orjson.dumps)
    """The same as bytes, which go into a packet of the engine as they are."""

    @staticmethod
    def loads(text: str, **_options: Any) -> Any:
        if len(text) > PACKET_BYTES_MAX:
            return [TOO_LARGE_EVENT]
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return [MALFORMED_EVENT]


class WirePacket(Packet):
    """A packet of our clients. What is neither a connect, a disconnect nor an event is read as an ack, and ignored."""

    data: Any
    json = WireJson
    uses_binary_events = False

    def __init__(self, *fields: Any, encoded_packet: str | bytes | None = None, **named: Any) -> None:
        usual = _USUAL.match(encoded_packet) if isinstance(encoded_packet, str) else None
        if usual is not None and isinstance(encoded_packet, str):
            self.packet_type, self.namespace = EVENT, None
            self.id = int(usual[1]) if usual[1] else None
            self.data, self.attachment_count = _event(self.json.loads(encoded_packet[usual.end() :])), 0
            return
        super().__init__(*fields, encoded_packet=encoded_packet, **named)
        if encoded_packet is not None and not encoded_packet:
            self._ignore()

    def decode(self, encoded_packet: str | bytes) -> int:
        """Of anything but a usual event."""
        text = encoded_packet if isinstance(encoded_packet, str) else ""
        try:
            super().decode(text)
        except ValueError:
            self.packet_type = ACK
        if self.packet_type in (EVENT, BINARY_EVENT):
            self.data = _event(self.data) if self.packet_type == EVENT else [MALFORMED_EVENT]
            self.packet_type = EVENT
        elif self.packet_type not in (CONNECT, DISCONNECT):
            self._ignore()
        return 0

    def _ignore(self) -> None:
        self.packet_type, self.id, self.data = ACK, None, []


def _event(data: Any) -> list[Any]:
    """`[name, argument, ...]`, whatever was sent."""
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        return [MALFORMED_EVENT]
    return [f"${data[0]}", *data[1:]] if data[0] in RESERVED_EVENTS else data

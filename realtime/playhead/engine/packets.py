"""Engine.IO 4 packets, as text of a websocket or of a long-polling payload.

<type><data>       type 0 open, 1 close, 2 ping, 3 pong, 4 message, 5 upgrade, 6 noop
b<base64>          a binary message, in payloads alone; on a websocket it is a binary frame without a type
<packet>\\x1e<packet>…  a payload
"""

import base64
import binascii

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"
PROBE = "probe"
BASE64_MARK = "b"
SEPARATOR = "\x1e"
PACKETS_MAX = 16
"""Packets in one payload of a client."""
LEAD_BYTES = 14
"""What picows wants before a message, to write the frame's head into: it is then sent as it lies there."""


class Unreadable(Exception):
    """What came is no packet that a client may send here."""


class Outgoing:
    """One message to any number of sockets, encoded once."""

    __slots__ = ("binary", "buffer")

    def __init__(self, data: str | bytes | bytearray) -> None:
        self.binary = not isinstance(data, str)
        self.buffer = (
            bytearray(LEAD_BYTES) + data
            if isinstance(data, bytes | bytearray)
            else bytearray(b"\0" * LEAD_BYTES + b"4" + data.encode())
        )

    @classmethod
    def of_text(cls, data: bytes) -> "Outgoing":
        """Of text that is encoded already."""
        made = cls(data)
        made.binary = False
        return made

    @property
    def packet(self) -> bytes:
        """As a packet of a payload."""
        data = bytes(memoryview(self.buffer)[LEAD_BYTES:])
        return b"b" + base64.b64encode(data) if self.binary else data


def payload_packets(body: bytes) -> list[str | bytes]:
    """The packets of a POST's body: text with its type, or the bytes of a binary message. Raises Unreadable."""
    try:
        texts = body.decode().split(SEPARATOR) if body else []
    except UnicodeDecodeError:
        raise Unreadable from None
    if len(texts) > PACKETS_MAX:
        raise Unreadable
    return [_packet(text) for text in texts]


def _packet(text: str) -> str | bytes:
    if text[:1] in (CLOSE, PONG, MESSAGE):
        return text
    if text[:1] != BASE64_MARK:
        raise Unreadable
    try:
        return base64.b64decode(text[1:], validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable from None


def payload(packets: list[bytes]) -> bytes:
    """The body of an answer to a poll."""
    return SEPARATOR.encode().join(packets)

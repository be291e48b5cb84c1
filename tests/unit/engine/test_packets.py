"""Engine.IO's packets, heads of requests: what is read, what is refused, and that nothing else can happen."""

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playhead.engine.heads import END, HEADERS_MAX, Environ, Head, read_head
from playhead.engine.packets import LEAD_BYTES, PACKETS_MAX, SEPARATOR, Outgoing, Unreadable, payload, payload_packets


def test_a_payload_holds_text_and_bytes() -> None:
    body = f"4text{SEPARATOR}b{base64.b64encode(b'bytes').decode()}{SEPARATOR}3{SEPARATOR}1".encode()
    assert payload_packets(body) == ["4text", b"bytes", "3", "1"]
    assert payload_packets(b"") == []


@pytest.mark.parametrize(
    "body", [b"0", b"2", b"5", b"6", b"x", b"\xff", b"b!", b"bA", b"\x1e", b"4a\x1e", "4a\x1e²".encode()]
)
def test_what_no_client_may_post_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        payload_packets(body)


def test_at_the_limit_packets_are_read_and_one_past_it_none() -> None:
    assert len(payload_packets(SEPARATOR.join(["4"] * PACKETS_MAX).encode())) == PACKETS_MAX
    with pytest.raises(Unreadable):
        payload_packets(SEPARATOR.join(["4"] * (PACKETS_MAX + 1)).encode())


@given(st.binary(max_size=200))
@example(b"b" + base64.b64encode(b"x"))
def test_any_body_is_read_or_unreadable(body: bytes) -> None:
    try:
        packets = payload_packets(body)
    except Unreadable:
        return
    assert all(isinstance(packet, bytes) or packet[0] in "134" for packet in packets)


@given(st.one_of(st.text(), st.binary()))
def test_a_message_is_the_same_by_either_transport(data: str | bytes) -> None:
    message = Outgoing(data)
    frame = bytes(message.buffer[LEAD_BYTES:])
    assert frame == (data if isinstance(data, bytes) else b"4" + data.encode())
    assert message.binary is isinstance(data, bytes)
    if SEPARATOR not in str(data):
        assert payload_packets(payload([message.packet])) == [data if isinstance(data, bytes) else f"4{data}"]


HEAD = (
    b"GET /socket.io/?EIO=4&transport=websocket&EIO=3 HTTP/1.1\r\nHost: a.example\r\nUpgrade: WebSocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nX-Twice: 1\r\nx-twice: 2\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-Proto: https\r\n\r\nrest"
)


def read() -> Head:
    head = read_head(HEAD, "10.0.0.1")
    assert head is not None
    return head


def test_a_head_is_read() -> None:
    head = read()
    assert head.query == {"EIO": "4", "transport": "websocket"}
    assert head.asks_for_websocket and head.key == "dGhlIHNhbXBsZSBub25jZQ=="
    environ = Environ(head)
    assert environ["HTTP_X_TWICE"] == "1,2" and environ["REMOTE_ADDR"] == "10.0.0.1"
    assert environ["wsgi.url_scheme"] == "https" and environ.get("HTTP_ORIGIN") is None
    assert environ["PATH_INFO"] == "/socket.io/" and len(environ) == len(list(environ))
    assert json.dumps(dict(environ))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Host:", b"Host :"),
        (b"Host: a", b" a"),
        (b"Host:", b"Transfer-Encoding: chunked\r\nHost:"),
        (b"Host:", b"Content-Length: 5\r\nHost:"),
        (b"Host:", b"A: b\r\n" * HEADERS_MAX + b"Host:"),
        (b" HTTP/1.1", b""),
    ],
)
def test_a_head_that_is_not_plain_is_nobodys_websocket(old: bytes, new: bytes) -> None:
    assert read_head(HEAD.replace(old, new, 1), "") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Version: 13", b"Version: 8"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ!!"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZXh4"),
        (b"Sec-WebSocket-Key", b"X"),
    ],
)
def test_a_handshake_without_its_key_has_none(old: bytes, new: bytes) -> None:
    head = read_head(HEAD.replace(old, new), "")
    assert head is not None and head.key is None


@given(st.binary(max_size=300))
def test_any_head_is_read_or_not(data: bytes) -> None:
    head = read_head(data + END, "")
    if head is not None:
        assert isinstance(head.environ(), dict) and isinstance(head.query, dict)
        assert head.asks_for_websocket in (True, False) and (head.key is None or len(head.key) == 24)

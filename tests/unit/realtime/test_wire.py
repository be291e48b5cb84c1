"""Packets of clients: every text is read as something, and what cannot be read says so in its ack."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet

from playhead.realtime.wire import MALFORMED_EVENT, PACKET_BYTES_MAX, TOO_LARGE_EVENT, WireJson, WirePacket
from tests.unit.engine.test_fuzz import frames, scenario


def read(text: str | bytes) -> tuple[int, int | None, Any]:
    packet = WirePacket(encoded_packet=text)
    assert packet.attachment_count == 0
    return packet.packet_type, packet.id, packet.data


def of_length(length: int) -> str:
    """An event whose JSON has so many characters."""
    return json.dumps(["seek", "x" * (length - len('["seek", ""]'))])


def test_an_event_is_read_with_its_number_and_arguments() -> None:
    assert read('2["seek",{"position":1.5}]') == (EVENT, None, ["seek", {"position": 1.5}])
    assert read('217["seek"]') == (EVENT, 17, ["seek"])
    assert read('2/,3["a",1,null]') == (EVENT, 3, ["a", 1, None])


def test_a_connect_a_disconnect_and_an_ack_are_read() -> None:
    assert read('0{"token":"t"}') == (CONNECT, None, {"token": "t"})
    assert read("0") == (CONNECT, None, None)
    assert read("1") == (DISCONNECT, None, None)
    assert read("37[1]") == (ACK, None, [])


def test_at_the_limit_a_packet_is_read_and_one_character_past_it_is_not() -> None:
    assert read("25" + of_length(PACKET_BYTES_MAX))[2][0] == "seek"
    assert read("25" + of_length(PACKET_BYTES_MAX + 1)) == (EVENT, 5, [TOO_LARGE_EVENT])


@pytest.mark.parametrize(
    "json_text",
    [
        '["seek",{"position":NaN}]',
        '["seek",{"position":Infinity}]',
        '["seek",{"position":-Infinity}]',
        '["seek",{"position":1e999}]',
        '["seek"',
        "[seek]",
        '["\\ud800"]',
        "[" * 5_000,
        "{}",
        "[]",
        "[1]",
        '[null,{"a":1}]',
        '[["seek"]]',
        '[{"seek":1}]',
        '"seek"',
        "null",
        "true",
        '["a"]["b"]',
    ],
)
def test_what_is_no_event_is_malformed_and_keeps_the_number_of_its_ack(json_text: str) -> None:
    assert read(f"212{json_text}" if json_text[0] not in "0123456789" else f"212,{json_text}") == (
        EVENT,
        12,
        [MALFORMED_EVENT],
    )


@pytest.mark.parametrize("name", ["connect", "disconnect"])
def test_the_librarys_own_events_are_nobodys_when_a_client_sends_them(name: str) -> None:
    assert read(f'21["{name}",{{"a":1}}]') == (EVENT, 1, [f"${name}", {"a": 1}])


@pytest.mark.parametrize("text", ['51-["a",{"_placeholder":true,"num":0}]', '59-3["a"]', "5", '50-["a"]'])
def test_a_binary_event_is_malformed_and_waits_for_nothing(text: str) -> None:
    kind, _, data = read(text)
    assert (kind, data) == (EVENT, [MALFORMED_EVENT])


@pytest.mark.parametrize(
    "text",
    [
        "",
        b"",
        b"2",
        b"\x00\x01",
        b'2["seek"]',
        "4",
        '4{"message":"x"}',
        "6",
        '61-3[{"_placeholder":true,"num":0}]',
        "7",
        "9",
        "x",
        "ü",
        "-",
        "599999999999-x",
        "2" + "1" * 200 + '["a"]',
    ],
)
def test_everything_else_is_ignored(text: str | bytes) -> None:
    assert read(text) == (ACK, None, [])


@given(
    st.text(max_size=40)
    | st.from_regex(r"[0-9]{1,3}-?[0-9]{0,3}[\[{\"]?.{0,20}", fullmatch=True)
    | st.binary(max_size=9)
)
def test_no_text_at_all_is_a_reason_to_fail(text: str | bytes) -> None:
    kind, _, data = read(text)
    assert kind in (CONNECT, DISCONNECT, EVENT, ACK)
    if kind == EVENT:
        assert isinstance(data[0], str) and data[0] not in ("connect", "disconnect")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(min_size=1, max_size=9), values, st.none() | st.integers(0, 10**6))
def test_what_we_write_every_client_reads(name: str, value: object, number: int | None) -> None:
    ours = WirePacket(EVENT, data=[name, value], namespace="/", id=number).encode()
    theirs = Packet(encoded_packet=ours)
    assert (theirs.packet_type, theirs.id, theirs.data) == (EVENT, number, [name, value])


def test_other_users_of_the_library_in_this_process_keep_their_json() -> None:
    assert Packet.json is not WireJson and WirePacket.json is WireJson
    assert {BINARY_EVENT, BINARY_ACK, CONNECT_ERROR} == {5, 6, 4}


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(frames, max_size=8))
@example(['42["waits"]', b"x", '421["echo"]', "1", '42["echo"]'])
def test_any_frames_are_taken_or_end_their_session_alone_with_our_packets_too(sent: list[str | bytes]) -> None:
    asyncio.run(scenario(sent, WirePacket))

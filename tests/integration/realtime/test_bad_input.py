"""Whatever a socket sends is answered by name, changes nothing, and costs nobody the connection."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from playhead.realtime.wire import PACKET_BYTES_MAX
from tests.integration.realtime.raw import RawSocket, open_raw
from tests.support.nodes import Node, make_token, start_node
from tests.support.sessions import HeldRows, HeldScripts, make_script, new_id
from tests.support.sockets import Client
from tests.support.states import DURATION_MS, LISTENER_ID, OTHER_LISTENER_ID, SCRIPT_ID

DURATION_S = DURATION_MS / 1000


@pytest.fixture
async def socket(node: Node) -> AsyncIterator[RawSocket]:
    """A phone that plays."""
    async with open_raw(node.url) as socket:
        assert (await socket.call("play", {"script_id": SCRIPT_ID}))["ok"]
        yield socket


async def session_id(node: Node) -> str:
    (state,) = await node.service.live_states(LISTENER_ID)
    return state.session_id


async def unchanged(node: Node, socket: RawSocket) -> None:
    """The session is as `play` left it, and the connection works."""
    (state,) = await node.service.live_states(LISTENER_ID)
    assert (state.revision, state.version) == (1, 1)
    assert (await socket.call("clock", {"t0": 1}))["t0"] == 1
    assert (await socket.call("pause", {"session_id": state.session_id}))["state"]["revision"] == 2


def code(answer: dict[str, Any]) -> str:
    assert answer["ok"] is False and isinstance(answer["server_time"], int)
    error = answer["error"]
    assert error["message"] and isinstance(error["retry"], bool)
    return str(error["code"])


@pytest.mark.parametrize(
    ("json_text", "expected"),
    [
        ('["nonsense",{}]', "unknown_event"),
        ('["connect",{"a":1}]', "unknown_event"),
        ('["disconnect","transport close"]', "unknown_event"),
        ('["*",{}]', "unknown_event"),
        ('["state",{}]', "unknown_event"),
        ('["seek"]', "invalid"),
        ('["seek",{},{}]', "invalid"),
        ('["seek",null]', "invalid"),
        ('["seek","text"]', "invalid"),
        ('["seek",[{"session_id":"SESSION","position":1}]]', "invalid"),
        ('["seek",{"session_id":"SESSION"}]', "invalid"),
        ('["seek",{"session_id":"SESSION","position":"1"}]', "invalid"),
        ('["seek",{"session_id":"SESSION","position":NaN}]', "invalid"),
        ('["seek",{"session_id":"SESSION","position":Infinity}]', "invalid"),
        ('["seek",{"session_id":"SESSION","position":-0.001}]', "invalid"),
        ('["seek",{"session_id":"SESSION","position":3600.001}]', "out_of_bounds"),
        ('["seek",{"session_id":"SESSION","position":1e300}]', "invalid"),
        ('["seek",{"session_id":"SESSION","position":true}]', "invalid"),
        ('["seek",{"session_id":"SESSION","position":1,"positon":2}]', "invalid"),
        ('["seek",{"session_id":"no uuid","position":1}]', "invalid"),
        ('["seek",{"session_id":"00000000-0000-4000-8000-000000000000","position":1}]', "not_found"),
        ('["rate",{"session_id":"SESSION","rate":NaN}]', "invalid"),
        ('["rate",{"session_id":"SESSION","rate":5}]', "invalid"),
        ('["loop",{"session_id":"SESSION","start":5,"end":5.2,"enabled":true}]', "loop_too_short"),
        ('["loop",{"session_id":"SESSION","start":5,"end":4,"enabled":true}]', "out_of_bounds"),
        ('["transfer",{"session_id":"SESSION","device_id":"speaker"}]', "device_not_connected"),
        ('["progress",{"session_id":"SESSION","position":1,"revision":99}]', "conflict"),
        ('["progress",{"session_id":"SESSION","position":1}]', "invalid"),
        ('["pause",{"session_id":"SESSION","expected_revision":7}]', "conflict"),
        ('["play",{}]', "invalid"),
        ('["play",{"script_id":"00000000-0000-4000-8000-000000000000"}]', "not_found"),
        ('["join",{"script_id":"SCRIPT","session_id":"SESSION"}]', "invalid"),
        ('["clock",{"t0":NaN}]', "invalid"),
        ("{}", "invalid"),
        ("[]", "invalid"),
        ("[null]", "invalid"),
        ('[["seek"],{}]', "invalid"),
        ('[{"a":1}]', "invalid"),
        ('["seek",{"session_id":"SESSION","position":1', "invalid"),
        ('["\\ud800"]', "invalid"),
        ("[" * 4_000, "invalid"),
        (json.dumps(["seek", {"session_id": "x" * PACKET_BYTES_MAX}]), "too_large"),
        (json.dumps(["seek", "x" * 50_000]), "too_large"),
        (json.dumps(["seek", "x" * 99_000]), "too_large"),
    ],
)
async def test_a_wrong_event_is_answered_by_name_and_changes_nothing(
    node: Node, socket: RawSocket, json_text: str, expected: str
) -> None:
    text = json_text.replace("SESSION", await session_id(node)).replace("SCRIPT", SCRIPT_ID)
    assert code(await socket.ask(text)) == expected
    await unchanged(node, socket)


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "4",
        '4{"message":"x"}',
        "6",
        "7",
        "9",
        "x",
        "ü",
        "39999[1]",
        '2["nonsense"]',
        '2/other,["seek"]',
        "1/other,",
        '0{"token":"again"}',
        '53-1["seek"]',
        "599999999999999-",
    ],
)
async def test_a_packet_that_asks_for_no_answer_gets_none_and_does_no_harm(
    node: Node, socket: RawSocket, packet: str
) -> None:
    await socket.send(packet)
    await unchanged(node, socket)


async def test_a_binary_event_is_refused_and_its_attachments_swallow_nothing(node: Node, socket: RawSocket) -> None:
    await socket.send('52-1["seek",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    answer = await socket.receive()
    assert answer.startswith("31[") and '"invalid"' in answer
    for attachment in (b"one", b'2["disconnect"]', b"", b"\xff\xfe"):
        await socket.send_bytes(attachment)
    await unchanged(node, socket)


async def test_many_bad_packets_in_a_row_do_no_harm_either(node: Node, socket: RawSocket) -> None:
    for number in range(300):
        await socket.send(f'2["seek",{{"position":{number}NaN}}]')
    await unchanged(node, socket)


async def test_a_refusal_by_the_rules_carries_the_state_that_holds(node: Node, socket: RawSocket) -> None:
    session = await session_id(node)
    report = {"session_id": session, "position": 500.0, "revision": 1, "seq": 1}
    error = (await socket.call("progress", report))["error"]
    assert (error["code"], error["reported"], error["state"]["revision"]) == ("conflict", 500.0, 1)
    await unchanged(node, socket)


async def test_the_session_of_another_listener_does_not_exist(node: Node, socket: RawSocket) -> None:
    session = await session_id(node)
    stranger = await Client.open(node.url, make_token(OTHER_LISTENER_ID), "stranger")
    for event, fields in (
        ("join", {}),
        ("leave", {}),
        ("play", {}),
        ("pause", {}),
        ("seek", {"position": 1.0}),
        ("rate", {"rate": 2.0}),
        ("loop", {"start": 1.0, "end": 2.0, "enabled": True}),
        ("transfer", {"device_id": "stranger"}),
        ("progress", {"position": 1.0, "revision": 1}),
    ):
        theirs = await stranger.call(event, {"session_id": session, **fields})
        nobodys = await stranger.call(event, {"session_id": new_id(), **fields})
        assert code(theirs) == "not_found" and theirs["error"] == nobodys["error"]
    await stranger.close()
    await unchanged(node, socket)


@pytest.mark.parametrize(
    ("fields", "expected", "retry"),
    [
        ({"status": "failed", "error": "no audio"}, "script_failed", False),
        ({"status": "queued", "duration_ms": 0}, "script_not_ready", True),
    ],
)
async def test_a_script_that_cannot_be_played_is_refused_by_name(
    valkey_url: str, rows: HeldRows, fields: dict[str, Any], expected: str, retry: bool
) -> None:
    async with start_node(valkey_url, rows, HeldScripts(make_script(**fields))) as node:
        phone = await Client.open(node.url, make_token())
        answer = await phone.call("play", {"script_id": SCRIPT_ID})
        assert (code(answer), answer["error"]["retry"]) == (expected, retry)
        assert await node.service.live_states(LISTENER_ID) == ()
        await phone.close()


async def test_arguments_by_the_real_client_are_checked_as_well(node: Node) -> None:
    client = await Client.open(node.url, make_token())
    wrong: list[tuple[object, ...]] = [(), ({}, {}), ("text",), (None,), (b"bytes",)]
    for arguments in wrong:
        assert code(await client.call_with("seek", *arguments)) == "invalid"
    assert (await client.call("clock", {"t0": 1}))["ok"]
    assert client.connected
    await client.close()

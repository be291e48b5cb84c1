"""What packets of Socket.IO may not be, by each transport: each ends its connection for a reason, and no other one.

Nothing of it stays with the server; `Engine.left` looks everywhere where something could.
"""

import asyncio
import gc
from typing import Any

import pytest

from playhead.engine import socket_server
from playhead.engine.front import Front
from playhead.engine.sessions import Session
from playhead.engine.socket_server import ATTACHMENTS_MAX
from playhead.engine.websockets import WebSocket
from tests.integration.engine.conftest import BYTES_MAX, TRANSPORTS, Engine, Start
from tests.integration.engine.raw import WAIT_S, Talk
from tests.integration.engine.test_hostile_clients import until

BINARY = '451-["message",{"_placeholder":true,"num":0}]'
DEEP = 20_000
UNPARSABLE = [
    "4",
    "4abc",
    "47",
    "49",
    "44{}",
    "42{}",
    '42"text"',
    "42[]",
    "42[1]",
    "42[null]",
    '42["connect",{}]',
    '42["disconnect","x"]',
    '42["*"]',
    '42abc["message"]',
    '42["message"',
    "42" + "9" * 200 + '["message"]',
    '42["message",' + "9" * 5_000 + "]",
    "42" + "[" * 50_000,
    "42" + '{"a":' * 15_000,
    '42["message",' + "[" * DEEP + "]" * DEEP + "]",
    "40" + "[" * DEEP + "]" * DEEP,
    "43{}",
    "43[",
    "45",
    "46",
    f'45{ATTACHMENTS_MAX + 1}-["message"]',
    '4599999999999-["message"]',
    '45999999999-["message"]',
]
MISFITS: list[list[str | bytes]] = [
    [b"\x01"],
    ['452-["message",{"_placeholder":true,"num":0}]', b"\x01", '42["message"]'],
    [BINARY, "41"],
    [BINARY, BINARY],
    ['451-["message",{"_placeholder":true,"num":1}]', b"\x01"],
    ['451-["message",{"_placeholder":true,"num":-2}]', b"\x01"],
    ['451-["message",{"_placeholder":true,"num":"a"}]', b"\x01"],
    ['451-{"_placeholder":true,"num":0}', b"\x01"],
    ['461-{"_placeholder":true,"num":0}', b"\x01"],
    ['452-["message"]', b"x" * (BYTES_MAX // 2 + 1), b"x" * (BYTES_MAX // 2)],
]


async def check_ended(engine: Engine, talk: Talk, transport: str, other: Talk) -> None:
    """It is over as unreadable, the other one is not, and once that has gone, too, nothing is left."""
    assert await talk.closed() == (None if transport == "polling" else 1008)
    assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "transport error"
    assert engine.ended == ["unreadable"]
    await other.alive()
    await other.send("1")
    await other.closed()
    await until(lambda: not engine.left())


@pytest.mark.parametrize("packet", UNPARSABLE)
async def test_what_is_no_packet_ends_the_connection_and_no_other(patient: Engine, transport: str, packet: str) -> None:
    talk, other = await patient.connected_by(transport), await patient.connected()
    await talk.send(packet)
    await check_ended(patient, talk, transport, other)


@pytest.mark.parametrize("frames", MISFITS)
async def test_attachments_that_do_not_fit_do(patient: Engine, transport: str, frames: list[str | bytes]) -> None:
    talk, other = await patient.connected_by(transport), await patient.connected()
    for frame in frames:
        await talk.send(frame)
    await check_ended(patient, talk, transport, other)


class TestAttachmentsThatNeverCome:
    @pytest.mark.parametrize("frames", [[BINARY], ['452-["message"]', b"\x01"], ["461-1[]"]])
    async def test_they_end_the_connection_after_their_time(
        self, patient: Engine, transport: str, frames: list[str | bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(socket_server, "ATTACHMENTS_TIMEOUT_S", 0.1)
        talk, other = await patient.connected_by(transport), await patient.connected()
        for frame in frames:
            await talk.send(frame)
        await check_ended(patient, talk, transport, other)

    async def test_those_that_come_have_no_time_limit_any_more(self, patient: Engine, transport: str) -> None:
        talk = await patient.connected_by(transport)
        timers = len(patient.sio.eio.wheel)
        for _ in range(50):
            await talk.send(BINARY)
            assert await talk.ask(b"\x01") == BINARY.replace("message", "message-back")
            assert await talk.receive() == b"\x01"
        assert len(patient.sio.eio.wheel) == timers and not patient.sio._deadlines

    async def test_a_client_that_goes_before_leaves_nothing(self, patient: Engine, transport: str) -> None:
        talk = await patient.connected_by(transport)
        await talk.send(BINARY)
        await until(lambda: bool(patient.sio._binary_packet))
        await patient.sio.eio.disconnect(next(iter(patient.sio.eio.sockets)))
        await talk.closed()
        await until(lambda: not patient.left())

    async def test_a_namespace_that_the_server_leaves_before_costs_the_next_packet_nothing(
        self, patient: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(socket_server, "ATTACHMENTS_TIMEOUT_S", 0.2)
        raw, _ = await patient.opened()
        sid = await raw.connect()
        await raw.connect("/custom,")
        await raw.send(BINARY)
        await until(lambda: bool(patient.sio._binary_packet))
        await patient.sio.disconnect(sid)
        assert await raw.receive() == "41"
        await asyncio.sleep(0.3)
        assert str(await raw.ask("40")).startswith("42")
        assert patient.ended == []

    async def test_what_comes_with_them_for_a_namespace_that_was_left_is_dropped(self, patient: Engine) -> None:
        raw, _ = await patient.opened()
        await raw.connect()
        sid = await raw.connect("/custom,")
        await patient.sio.disconnect(sid, namespace="/custom")
        assert await raw.receive() == "41/custom,"
        await raw.send('451-/custom,["message",{"_placeholder":true,"num":0}]')
        await raw.send(b"\x01")
        await raw.alive()
        assert patient.ended == [] and not patient.sio._deadlines


class TestMuchAtOnce:
    async def test_a_million_element_array_is_an_event_like_others(self, start: Start, transport: str) -> None:
        engine = await start(max_http_buffer_size=4_000_000, write_bytes_max=4_000_000, ping_interval=60)
        talk, other = await engine.connected_by(transport), await engine.connected()
        assert len(await talk.ask('421["message-with-ack",[' + ",".join("1" * 1_000_000) + "]]")) > 2_000_000
        await other.alive()

    async def test_where_it_is_past_the_limit_it_is_not_even_read(self, patient: Engine, transport: str) -> None:
        talk, other = await patient.connected_by(transport), await patient.connected()
        await talk.send('421["message-with-ack",[' + ",".join("1" * 1_000_000) + "]]")
        assert await talk.closed() == (None if transport == "polling" else 1009)
        assert patient.ended == ["too_large"]
        await other.alive()

    async def test_what_is_nested_within_reason_comes_back(self, patient: Engine, transport: str) -> None:
        talk = await patient.connected_by(transport)
        nested = "[" * 100 + "]" * 100
        assert await talk.ask(f'421["message-with-ack",{nested}]') == f"431[{nested}]"

    async def test_namespaces_that_nobody_has_leave_nothing(self, patient: Engine, transport: str) -> None:
        talk = await patient.connected_by(transport)
        before = patient.left()
        for number in range(socket_server.REFUSED_MAX - 1):
            assert str(await talk.ask(f"40/{number}{'x' * 10_000},")).startswith(f"44/{number}x")
        assert patient.left().keys() - before.keys() == {"refused"}
        await talk.send("40/last,")
        await talk.closed()
        await until(lambda: not patient.left())


def living() -> int:
    """What there is of connections in this process."""
    gc.collect()
    return sum(type(found) in (Session, WebSocket, Front) for found in gc.get_objects())


BAD = [["4abc"], ["42["], ["40/nowhere,"] * 8, ["x"], *MISFITS[:4], ["4" * (BYTES_MAX + 1)]]


@pytest.mark.parametrize("bad", BAD)
async def test_however_often_it_is_done_nothing_is_left_of_it(patient: Engine, bad: list[Any]) -> None:
    async def once(transport: str) -> None:
        talk = await patient.connected_by(transport)
        for frame in bad:
            await talk.send(frame)
        await talk.closed()

    before = living()
    for _ in range(5):
        await asyncio.gather(*map(once, TRANSPORTS))
    await until(lambda: not patient.left())
    assert len(patient.ended) == 5 * len(TRANSPORTS)
    await patient.http.close()  # its connections are kept for further requests
    await until(lambda: living() <= before)

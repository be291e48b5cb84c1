"""Socket.IO 5, from the protocol document's text, against a real server; and what its packets may not be."""

import asyncio
import json
from typing import Any

import pytest
from socketio.exceptions import ConnectionRefusedError as Refused

from playhead.engine.socket_server import ATTACHMENTS_MAX
from tests.integration.engine.conftest import BYTES_MAX, Engine
from tests.integration.engine.raw import WAIT_S


class TestNamespaces:
    async def test_the_default_one_is_connected_with_and_without_what_to_show(self, engine: Engine) -> None:
        raw, eio_sid = await engine.opened()
        await raw.send('40{"token":"123"}')
        assert await raw.receive_no_ping() == '42["auth",{"token":"123"}]'
        packet = await raw.receive_no_ping()
        assert isinstance(packet, str) and packet.startswith('40{"sid":"')
        assert json.loads(packet[2:])["sid"] != eio_sid

    async def test_several_share_a_connection_and_one_may_go(self, engine: Engine) -> None:
        raw = await engine.connected()
        await raw.connect("/custom,")
        await raw.send("41/custom,")
        await raw.alive()
        assert engine.disconnected.empty(), "the other namespace has no handler for it"

    async def test_one_that_does_not_exist_is_refused_and_the_connection_stays(self, engine: Engine) -> None:
        raw = await engine.connected()
        await raw.send("40/random,")
        packet = await raw.receive_no_ping()
        assert isinstance(packet, str) and packet.startswith("44/random,")
        await raw.alive()

    async def test_a_second_connect_is_refused_and_changes_nothing(self, engine: Engine) -> None:
        raw = await engine.connected()
        await raw.send("40")
        packet = await raw.receive_no_ping()
        assert isinstance(packet, str) and packet.startswith("44")
        assert (await _echoed(raw, '421["message-with-ack",1]')) == "431[1]"

    async def test_a_disconnect_is_told_and_the_connection_stays(self, engine: Engine) -> None:
        raw = await engine.connected()
        await raw.send("41")
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "client disconnect"
        await raw.send('42["message","to nobody"]')
        await raw.connect()
        await raw.alive()

    async def test_the_server_may_disconnect(self, engine: Engine) -> None:
        raw, _ = await engine.opened()
        sid = await raw.connect()
        await engine.sio.disconnect(sid)
        assert await raw.receive_no_ping() == "41"
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S)) == (sid, "server disconnect")

    async def test_a_refusal_is_told_with_its_data(self, engine: Engine) -> None:
        async def refuses(sid: str, environ: Any, auth: Any) -> None:
            raise Refused("not you", {"code": 7})

        engine.sio.on("connect", refuses)
        raw, _ = await engine.opened()
        await raw.send("40")
        assert await raw.receive_no_ping() == '44{"message":"not you","data":{"code":7}}'


async def _echoed(raw: Any, packet: str) -> str | bytes:
    await raw.send(packet)
    frame: str | bytes = await raw.receive_no_ping()
    return frame


class TestEvents:
    @pytest.mark.parametrize("arguments", ["", ',1,"2",{"3":[true]}', ",null", ',"\\u2603"'])
    async def test_text_comes_back(self, engine: Engine, arguments: str) -> None:
        raw = await engine.connected()
        assert await _echoed(raw, f'42["message"{arguments}]') == f'42["message-back"{arguments}]'

    @pytest.mark.parametrize("arguments", ["", ',1,"2",{"3":[false]}'])
    async def test_an_ack_answers_with_what_the_handler_returns(self, engine: Engine, arguments: str) -> None:
        raw = await engine.connected()
        assert await _echoed(raw, f'42456["message-with-ack"{arguments}]') == f"43456[{arguments[1:]}]"

    async def test_binary_comes_back_as_it_was(self, engine: Engine) -> None:
        raw = await engine.connected()
        first, second = bytes([1, 2, 3]), bytes([4, 5, 6])
        await raw.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        await raw.send(first)
        await raw.send(second)
        frames = [await raw.receive_no_ping() for _ in range(3)]
        assert frames[0] == '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        assert frames[1:] == [first, second]

    async def test_binary_may_be_acknowledged(self, engine: Engine) -> None:
        raw = await engine.connected()
        await raw.send('451-789["message-with-ack",{"_placeholder":true,"num":0}]')
        await raw.send(b"\x01\x02")
        assert await raw.receive_no_ping() == '461-789[{"_placeholder":true,"num":0}]'
        assert await raw.receive_no_ping() == b"\x01\x02"

    async def test_the_server_may_ask_for_an_ack(self, engine: Engine) -> None:
        raw, _ = await engine.opened()
        sid = await raw.connect()
        asked = asyncio.create_task(engine.sio.call("question", {"a": 1}, to=sid, timeout=WAIT_S))
        assert await raw.receive_no_ping() == '421["question",{"a":1}]'
        await raw.send("431[42]")
        assert await asked == 42
        await raw.send("43999[1]")  # an ack that nobody asked for
        await raw.send("431[43]")  # and one for the second time
        await raw.alive()

    async def test_an_emit_reaches_its_room_but_for_who_is_left_out(self, engine: Engine) -> None:
        raws = [(await engine.opened())[0] for _ in range(3)]
        sids = [await raw.connect() for raw in raws]
        for sid in sids[:2]:
            await engine.sio.enter_room(sid, "here")
        await engine.sio.emit("one", {"a": b"\x01"}, room="here", skip_sid=sids[0])
        await engine.sio.emit("two", (1, 2), room=["here", "nowhere"])
        await engine.sio.leave_room(sids[1], "here")
        await engine.sio.emit("three", room="here")
        await engine.sio.emit("four")
        assert [await raws[0].receive_no_ping() for _ in range(3)] == ['42["two",1,2]', '42["three"]', '42["four"]']
        assert await raws[1].receive_no_ping() == '451-["one",{"a":{"_placeholder":true,"num":0}}]'
        assert [await raws[1].receive_no_ping() for _ in range(3)] == [b"\x01", '42["two",1,2]', '42["four"]']
        assert await raws[2].receive_no_ping() == '42["four"]'

    async def test_an_event_that_is_encoded_already_goes_out_as_it_is(self, engine: Engine) -> None:
        raws = [(await engine.opened())[0] for _ in range(3)]
        sids = [await raw.connect() for raw in raws]
        for sid in sids[:2]:
            await engine.sio.enter_room(sid, "here")
        await engine.sio.emit_encoded(b'["one",{"a":1}]', "here", sids[0])
        await engine.sio.emit_encoded(b'["two"]', "nowhere")
        custom = await raws[2].connect("/custom,")
        await engine.sio.enter_room(custom, "here", namespace="/custom")
        await engine.sio.emit_encoded(b'["three"]', "here", namespace="/custom")
        await engine.sio.emit("four")
        assert await raws[0].receive_no_ping() == '42["four"]'
        assert [await raws[1].receive_no_ping() for _ in range(2)] == ['42["one",{"a":1}]', '42["four"]']
        assert [await raws[2].receive_no_ping() for _ in range(2)] == ['42/custom,["three"]', '42["four"]']

    async def test_a_handler_that_fails_costs_nobody_the_connection(
        self, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fails(sid: str) -> None:
            raise RuntimeError("a bug")

        engine.sio.on("fails", fails)
        raw = await engine.connected()
        await raw.send('421["fails"]')
        await raw.alive()
        assert "a bug" in caplog.text


class TestUnparsable:
    @pytest.mark.parametrize(
        "packet",
        [
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
            "42" + "[" * 50_000,
            "42" + '{"a":' * 15_000,
            "43{}",
            "43[",
            "45",
            f'45{ATTACHMENTS_MAX + 1}-["message"]',
            '4599999999999-["message"]',
            '45999999999-["message"]',
            '451-/custom,["message",{"_placeholder":true,"num":0}]',
        ],
    )
    async def test_it_ends_the_connection_and_no_other(self, patient: Engine, packet: str) -> None:
        raw, other = await patient.connected(), await patient.connected()
        await raw.send(packet)
        assert await raw.closed() == 1008
        await other.alive()
        assert patient.ended == ["unreadable"]

    @pytest.mark.parametrize(
        "frames",
        [
            [b"\x01"],
            ['452-["message",{"_placeholder":true,"num":0}]', b"\x01", '42["message"]'],
            ['451-["message",{"_placeholder":true,"num":1}]', b"\x01"],
            ['451-["message",{"_placeholder":true,"num":-2}]', b"\x01"],
            ['451-["message",{"_placeholder":true,"num":"a"}]', b"\x01"],
            ['452-["message"]', b"x" * (BYTES_MAX // 2 + 1), b"x" * (BYTES_MAX // 2)],
        ],
    )
    async def test_attachments_that_do_not_fit_do(self, patient: Engine, frames: list[str | bytes]) -> None:
        raw, other = await patient.connected(), await patient.connected()
        for frame in frames:
            await raw.send(frame)
        assert await raw.closed() == 1008
        await other.alive()
        assert not patient.sio._binary_packet

    async def test_a_million_element_array_is_an_event_like_others(self, start: Any) -> None:
        engine = await start(max_http_buffer_size=4_000_000, ping_interval=60, ping_timeout=60)
        raw = await engine.connected()
        await raw.send('421["message-with-ack",[' + ",".join("1" * 1_000_000) + "]]")
        assert len(await raw.receive_no_ping()) > 2_000_000

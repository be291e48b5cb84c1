"""Socket.IO 5, from the protocol document's text, against a real server, by each transport."""

import asyncio
import json
from typing import Any

import pytest
from socketio.exceptions import ConnectionRefusedError as Refused

from tests.integration.engine.conftest import Engine
from tests.integration.engine.raw import WAIT_S


class TestNamespaces:
    async def test_the_default_one_is_connected_with_and_without_what_to_show(
        self, engine: Engine, transport: str
    ) -> None:
        raw = await engine.talk(transport)
        (eio_sid,) = engine.sio.eio.sockets
        await raw.send('40{"token":"123"}')
        assert await raw.receive_no_ping() == '42["auth",{"token":"123"}]'
        packet = await raw.receive_no_ping()
        assert isinstance(packet, str) and packet.startswith('40{"sid":"')
        assert json.loads(packet[2:])["sid"] != eio_sid

    async def test_another_one_may_be_the_only_one(self, engine: Engine, transport: str) -> None:
        raw = await engine.talk(transport)
        await raw.send('40/custom,{"token":"123"}')
        assert await raw.receive_no_ping() == '42/custom,["auth",{"token":"123"}]'
        assert str(await raw.receive_no_ping()).startswith('40/custom,{"sid":"')

    async def test_several_share_a_connection_and_one_may_go(self, engine: Engine, transport: str) -> None:
        async def echo(sid: str, *data: Any) -> tuple[Any, ...]:
            return data

        engine.sio.on("echo", echo, namespace="/custom")
        raw = await engine.connected_by(transport)
        await raw.connect("/custom,")
        assert await raw.ask('42/custom,7["echo",1]') == "43/custom,7[1]"
        await raw.send("41/custom,")
        await raw.send('42/custom,8["echo",1]')
        await raw.alive()
        assert engine.disconnected.empty(), "the other namespace has no handler for it"

    async def test_one_that_does_not_exist_is_refused_and_the_connection_stays(
        self, engine: Engine, transport: str
    ) -> None:
        raw = await engine.connected_by(transport)
        assert await raw.ask("40/random,") == '44/random,{"message":"Unable to connect"}'
        await raw.alive()

    async def test_a_second_connect_is_refused_and_changes_nothing(self, engine: Engine, transport: str) -> None:
        raw = await engine.connected_by(transport)
        for _ in range(20):
            assert await raw.ask('40{"token":"other"}') == '44{"message":"Unable to connect"}'
        assert await raw.ask('421["message-with-ack",1]') == "431[1]"

    @pytest.mark.parametrize("packet", ['42["message"]', "41", "43[1]", "431[1]", "41/custom,", '42/custom,["x"]'])
    async def test_a_connect_comes_first(self, patient: Engine, transport: str, packet: str) -> None:
        raw, other = await patient.talk(transport), await patient.connected()
        await raw.send(packet)
        assert await raw.closed() == (None if transport == "polling" else 1008)
        await other.alive()
        assert patient.ended == ["unreadable"] and patient.disconnected.empty()

    async def test_a_disconnect_is_told_and_the_connection_stays(self, engine: Engine, transport: str) -> None:
        raw = await engine.connected_by(transport)
        await raw.send("41")
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "client disconnect"
        await raw.send('42["message","to nobody"]')
        await raw.connect()
        await raw.alive()

    async def test_the_server_may_disconnect(self, engine: Engine, transport: str) -> None:
        raw = await engine.talk(transport)
        sid = await raw.connect()
        await engine.sio.disconnect(sid)
        assert await raw.receive_no_ping() == "41"
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S)) == (sid, "server disconnect")

    async def test_a_refusal_is_told_with_its_data(self, engine: Engine, transport: str) -> None:
        async def refuses(sid: str, environ: Any, auth: Any) -> None:
            raise Refused("not you", {"code": 7})

        engine.sio.on("connect", refuses)
        raw = await engine.talk(transport)
        assert await raw.ask("40") == '44{"message":"not you","data":{"code":7}}'
        assert str(await raw.ask("40/random,")).startswith("44/random,")

    async def test_a_connect_handler_that_fails_refuses_and_the_connection_stays(
        self, engine: Engine, transport: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fails(sid: str, environ: Any, auth: Any) -> None:
            if auth is None:
                raise RuntimeError("a bug")

        engine.sio.on("connect", fails)
        raw = await engine.talk(transport)
        assert await raw.ask("40") == '44{"message":"Connection failed"}'
        assert "a bug" in caplog.text and not engine.sio.manager.rooms
        assert str(await raw.ask('40{"again":true}')).startswith('40{"sid":')
        await raw.alive()


class TestEvents:
    @pytest.mark.parametrize("arguments", ["", ',1,"2",{"3":[true]}', ",null", ',"\\u2603"'])
    async def test_text_comes_back(self, engine: Engine, transport: str, arguments: str) -> None:
        raw = await engine.connected_by(transport)
        assert await raw.ask(f'42["message"{arguments}]') == f'42["message-back"{arguments}]'

    @pytest.mark.parametrize("arguments", ["", ',1,"2",{"3":[false]}'])
    async def test_an_ack_answers_with_what_the_handler_returns(
        self, engine: Engine, transport: str, arguments: str
    ) -> None:
        raw = await engine.connected_by(transport)
        assert await raw.ask(f'42456["message-with-ack"{arguments}]') == f"43456[{arguments[1:]}]"

    async def test_an_event_without_a_handler_is_answered_by_nobody(self, engine: Engine, transport: str) -> None:
        raw = await engine.connected_by(transport)
        await raw.send('421["nobody\'s"]')
        await raw.alive()

    async def test_events_are_handled_in_the_order_they_come(self, patient: Engine, transport: str) -> None:
        async def waits(sid: str, number: int) -> int:
            await asyncio.sleep(0.001 * (number % 3))
            return number

        patient.sio.async_handlers = False
        patient.sio.on("waits", waits)
        raw = await patient.connected_by(transport)
        for number in range(30):
            await raw.send(f'42{number}["waits",{number}]')
        assert [await raw.receive_no_ping() for _ in range(30)] == [f"43{number}[{number}]" for number in range(30)]

    async def test_binary_comes_back_as_it_was(self, engine: Engine, transport: str) -> None:
        raw = await engine.connected_by(transport)
        first, second = bytes([1, 2, 3]), bytes([4, 5, 6])
        await raw.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        await raw.send(first)
        await raw.send(second)
        frames = [await raw.receive_no_ping() for _ in range(3)]
        assert frames[0] == '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        assert frames[1:] == [first, second]

    async def test_binary_may_be_acknowledged(self, engine: Engine, transport: str) -> None:
        raw = await engine.connected_by(transport)
        await raw.send('451-789["message-with-ack",{"_placeholder":true,"num":0}]')
        await raw.send(b"\x01\x02")
        assert await raw.receive_no_ping() == '461-789[{"_placeholder":true,"num":0}]'
        assert await raw.receive_no_ping() == b"\x01\x02"

    async def test_the_server_may_ask_for_an_ack(self, engine: Engine, transport: str) -> None:
        raw = await engine.talk(transport)
        sid = await raw.connect()
        asked = asyncio.create_task(engine.sio.call("question", {"a": 1}, to=sid, timeout=WAIT_S))
        assert await raw.receive_no_ping() == '421["question",{"a":1}]'
        await raw.send("431[42]")
        assert await asked == 42
        await raw.send("43999[1]")  # an ack that nobody asked for
        await raw.send("431[43]")  # and one for the second time
        await raw.send("430[44]")  # and one that is never asked for
        await raw.send("43[45]")  # and one of nothing
        asked = asyncio.create_task(engine.sio.call("question", b"\x01", to=sid, timeout=WAIT_S))
        assert await raw.receive_no_ping() == '451-2["question",{"_placeholder":true,"num":0}]'
        assert await raw.receive_no_ping() == b"\x01"
        await raw.send('461-2[{"_placeholder":true,"num":0}]')
        await raw.send(b"\x02\x03")
        assert await asked == b"\x02\x03"
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

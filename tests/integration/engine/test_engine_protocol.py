"""Engine.IO 4, from the protocol document's text, against a real server: each transport, and from one to the other."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from playhead.engine.websockets import NO_HEADERS
from tests.integration.engine.conftest import BYTES_MAX, PING_INTERVAL_S, PING_TIMEOUT_S, Engine, Start
from tests.integration.engine.raw import WAIT_S, Closed, RawSocket


class TestHandshake:
    def check(self, opened: dict[str, Any], upgrades: list[str]) -> None:
        assert set(opened) == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
        assert isinstance(opened["sid"], str) and opened["upgrades"] == upgrades
        assert opened["pingInterval"] == PING_INTERVAL_S * 1000, "sub-second intervals are told as they are"
        assert opened["pingTimeout"] == PING_TIMEOUT_S * 1000
        assert opened["maxPayload"] == BYTES_MAX

    async def test_polling_opens_with_a_session_that_can_be_upgraded(self, engine: Engine) -> None:
        self.check((await engine.polls()).opened, ["websocket"])

    async def test_a_websocket_opens_with_a_session_that_cannot(self, engine: Engine) -> None:
        self.check(await (await engine.websocket()).open(), [])

    async def test_nothing_of_a_websockets_handshake_is_kept_with_it(self, engine: Engine) -> None:
        await engine.opened(headers={"X-Long": "x" * 4_096})
        (socket,) = engine.sio.eio.websockets
        transport = socket._transport
        assert transport is not None and transport.request.headers is transport.response.headers is NO_HEADERS

    @pytest.mark.parametrize(
        "query", ["transport=polling", "EIO=abc&transport=polling", "EIO=3&transport=polling", "EIO=4&transport=abc"]
    )
    async def test_a_request_for_another_protocol_is_400(self, engine: Engine, query: str) -> None:
        async with engine.http.get(f"{engine.url}/socket.io/?{query}") as answer:
            assert answer.status == 400

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    async def test_a_session_is_opened_by_get_alone(self, engine: Engine, method: str) -> None:
        async with engine.http.request(method, f"{engine.path}polling") as answer:
            assert answer.status == 400

    @pytest.mark.parametrize(
        "query",
        ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4&transport=abc", "EIO=4&transport=polling"],
    )
    async def test_a_websocket_for_another_protocol_is_refused(self, engine: Engine, query: str) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await engine.http.ws_connect(f"{engine.url}/socket.io/?{query}")
        assert refused.value.status == 400

    async def test_a_session_that_does_not_exist_is_refused(self, engine: Engine) -> None:
        async with engine.http.get(f"{engine.path}polling&sid=none") as answer:
            assert answer.status == 400
        async with engine.http.post(f"{engine.path}polling&sid=none", data="4x") as answer:
            assert answer.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await engine.websocket("&sid=none")

    async def test_a_websocket_request_without_a_handshake_is_refused(self, engine: Engine) -> None:
        async with engine.http.get(f"{engine.path}websocket") as answer:
            assert answer.status == 400
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with engine.http.get(f"{engine.path}websocket", headers=headers) as answer:
            assert answer.status == 400

    async def test_the_way_firefox_asks_is_understood(self, engine: Engine) -> None:
        raw, _ = await engine.opened(headers={"Connection": "keep-alive, Upgrade"})
        await raw.connect()


class TestPolling:
    async def test_a_message_is_answered_with_the_next_poll(self, engine: Engine) -> None:
        polls = await engine.polls()
        assert await polls.post("40") == (200, "ok")
        auth, connected = await polls.packets()
        assert auth == '42["auth",{}]' and connected.startswith('40{"sid":')

    async def test_several_packets_come_and_go_in_one_payload(self, engine: Engine) -> None:
        polls = await engine.polls()
        await polls.post('40\x1e421["message-with-ack",1]\x1e422["message-with-ack",2]')
        assert (await polls.packets())[2:] == ["431[1]", "432[2]"]

    async def test_binary_goes_as_base64(self, engine: Engine) -> None:
        polls = await engine.polls()
        await polls.post("40")
        await polls.packets()
        await polls.post('451-["message",{"_placeholder":true,"num":0}]\x1ebAQIDBA==')
        packets = await polls.packets()
        assert packets[0].startswith('451-["message-back",') and packets[1] == "bAQIDBA=="

    @pytest.mark.parametrize("body", ["abc", "x", "0{}", "2", "2probe", "5", "6", "b!", b"\xff", "4\x1e" * 20])
    async def test_what_is_no_packet_is_400_and_ends_the_session(self, engine: Engine, body: Any) -> None:
        polls = await engine.polls()
        assert (await polls.post(body))[0] == 400
        assert (await polls.get())[0] == 400
        assert engine.ended == ["unreadable"]

    async def test_at_the_limit_a_payload_is_read_and_a_byte_past_it_is_not(self, engine: Engine) -> None:
        polls = await engine.polls()
        packet = '421["message-with-ack","'
        await polls.post("40")
        await polls.packets()
        assert (await polls.post(packet + "x" * (BYTES_MAX - len(packet) - 2) + '"]'))[0] == 200
        assert len((await polls.packets())[0]) > BYTES_MAX - 100
        assert (await polls.post("4" * (BYTES_MAX + 1)))[0] == 400
        assert engine.ended == ["too_large"]

    async def test_two_polls_at_once_end_the_session(self, engine: Engine) -> None:
        polls = await engine.polls()
        first = asyncio.create_task(polls.get())
        while not engine.sio.eio.sockets[polls.sid]._poll:
            await asyncio.sleep(0.005)
        assert (await polls.get())[0] == 400
        assert await first == (200, "1")
        assert (await polls.get())[0] == 400

    async def test_close_ends_the_session_and_the_poll_under_way(self, engine: Engine) -> None:
        polls = await engine.polls()
        await polls.post("40")
        await polls.packets()
        waiting = asyncio.create_task(polls.get())
        await asyncio.sleep(0)
        assert (await polls.post("1"))[0] == 200
        assert (await waiting)[1] in ("6", "2")
        assert (await polls.get())[0] == 400
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "client disconnect"

    async def test_an_answered_ping_keeps_it_and_an_unanswered_one_does_not(self, engine: Engine) -> None:
        polls = await engine.polls()
        for _ in range(3):
            assert await polls.packets() == ["2"]
            assert (await polls.post("3"))[0] == 200
        assert await polls.packets() == ["2"]
        assert await polls.packets() == ["1"]
        assert (await polls.get())[0] == 400

    async def test_cookies_and_caches_get_nothing(self, engine: Engine) -> None:
        async with engine.http.get(f"{engine.path}polling") as answer:
            assert answer.headers["Cache-Control"] == "no-store" and "Set-Cookie" not in answer.headers


class TestWebsocket:
    async def test_a_message_is_answered(self, engine: Engine) -> None:
        raw = await engine.connected()
        await raw.alive()

    @pytest.mark.parametrize("frame", ["", "abc", "x", "0", "2", "2probe", "5", "6", "9", "bAQID", "\N{SNOWMAN}"])
    async def test_what_is_no_packet_closes_it(self, engine: Engine, frame: str) -> None:
        raw = await engine.connected()
        await raw.send(frame)
        assert await raw.closed() == 1008
        assert engine.ended == ["unreadable"]
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "transport error"

    async def test_its_end_is_told(self, engine: Engine) -> None:
        raw, other = await engine.connected(), await engine.connected()
        await raw.socket.close()
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "transport close"
        await other.send("1")
        assert await other.closed() == 1000
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "client disconnect"
        assert not engine.sio.eio.sockets and not engine.sio.environ

    async def test_at_the_limit_a_message_is_read_and_a_byte_past_it_closes(self, engine: Engine) -> None:
        raw = await engine.connected()
        packet = '421["message-with-ack","'
        await raw.send(packet + "x" * (BYTES_MAX - len(packet) - 2) + '"]')
        assert len(await raw.receive_no_ping()) > BYTES_MAX - 100
        await raw.send("4" * (BYTES_MAX + 1))
        assert await raw.closed() == 1009
        assert engine.ended == ["too_large"]

    async def test_parts_of_a_message_are_put_together_up_to_the_limit(self, patient: Engine) -> None:
        raw = await patient.connected()
        data = b'421["message-with-ack","in parts"]'
        for number, part in enumerate([data[:5], data[5:9], data[9:]]):
            transport_of(raw).write(frame(1 if number == 0 else 0, part, fin=number == 2))
        assert await raw.receive() == '431["in parts"]'
        for number in range(3):
            transport_of(raw).write(frame(1 if number == 0 else 0, b"4" * (BYTES_MAX // 2), fin=False))
        assert await raw.closed() == 1009

    async def test_pings_come_at_the_interval_and_keep_it_while_answered(self, engine: Engine) -> None:
        raw, _ = await engine.opened()
        began_s = time.monotonic()
        for _ in range(3):
            assert await raw.receive() == "2"
            await raw.send("3")
        assert time.monotonic() - began_s >= 3 * PING_INTERVAL_S
        assert await raw.receive() == "2"

    async def test_an_unanswered_ping_closes_it(self, engine: Engine) -> None:
        raw = await engine.connected()
        began_s = time.monotonic()
        assert await raw.receive() == "2"
        with pytest.raises(Closed):
            await raw.receive()
        assert time.monotonic() - began_s >= PING_INTERVAL_S + PING_TIMEOUT_S - 0.05
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "ping timeout"
        assert engine.ended == []

    async def test_a_message_whose_last_part_never_comes_leaves_no_room_for_a_pong(self, engine: Engine) -> None:
        raw = await engine.connected()
        transport_of(raw).write(frame(1, b"4" * 10, fin=False))
        with pytest.raises(Closed):
            while True:
                assert await raw.receive() == "2"
                transport_of(raw).write(frame(9, b""))
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "ping timeout"
        assert not engine.sio.eio.websockets

    async def test_pongs_that_nobody_asked_for_change_nothing(self, engine: Engine) -> None:
        raw = await engine.connected()
        for _ in range(100):
            await raw.send("3")
        await raw.alive()
        assert len(engine.sio.eio.wheel) == 1


def transport_of(raw: RawSocket) -> asyncio.Transport:
    connection = raw.socket._conn
    transport = None if connection is None else connection.transport
    assert isinstance(transport, asyncio.Transport)
    return transport


def frame(opcode: int, data: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """A frame of a client with a mask of zeros."""
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
    if len(data) > 65_535:
        size = b"\x7f" + len(data).to_bytes(8, "big")
    return bytes([fin << 7 | opcode, size[0] | masked << 7]) + size[1:] + b"\0\0\0\0" * masked + data


class TestUpgrade:
    async def test_what_was_sent_meanwhile_comes_by_the_websocket_and_polling_is_over(self, engine: Engine) -> None:
        polls = await engine.polls()
        await polls.post("40")
        await polls.packets()
        waiting = asyncio.create_task(polls.get())
        raw = await engine.websocket(f"&sid={polls.sid}")
        await raw.send("2probe")
        assert await raw.receive() == "3probe"
        assert await waiting == (200, "6"), "the poll under way comes back empty"
        await engine.sio.emit("meanwhile")
        assert await polls.get() == (200, "6")
        await raw.send("5")
        assert await raw.receive_no_ping() == '42["meanwhile"]'
        await raw.alive()
        assert (await polls.get())[0] == 400
        assert (await polls.post("4x"))[0] == 400
        await raw.alive()

    async def test_a_second_websocket_of_the_session_is_refused(self, engine: Engine) -> None:
        polls = await engine.polls()
        raw = await engine.websocket(f"&sid={polls.sid}")
        await raw.send("2probe")
        await raw.receive()
        await raw.send("5")
        await raw.connect()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await engine.websocket(f"&sid={polls.sid}")
        await raw.alive()

    @pytest.mark.parametrize("frames", [["5"], ["40"], ["2"], ["2probe", "40"], ["2probe", "2probe"], [b"2probe"]])
    async def test_another_order_closes_the_websocket_and_leaves_polling(
        self, patient: Engine, frames: list[str | bytes]
    ) -> None:
        polls = await patient.polls()
        raw = await patient.websocket(f"&sid={polls.sid}")
        for text in frames:
            await raw.send(text)
        await raw.closed()
        await polls.post("40")
        assert (await polls.packets())[0] == '42["auth",{}]'

    async def test_a_websocket_that_goes_before_it_is_upgraded_leaves_polling(self, patient: Engine) -> None:
        polls = await patient.polls()
        raw = await patient.websocket(f"&sid={polls.sid}")
        await raw.send("2probe")
        assert await raw.receive() == "3probe"
        await raw.socket.close()
        await polls.post("40")
        while (packets := await polls.packets()) == ["6"]:
            await asyncio.sleep(0.01)
        assert packets[0] == '42["auth",{}]'

    async def test_where_it_is_switched_off_it_is_not_offered(self, start: Start) -> None:
        engine = await start(allow_upgrades=False)
        polls = await engine.polls()
        assert polls.opened["upgrades"] == []
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await engine.websocket(f"&sid={polls.sid}")


class TestOnePort:
    async def test_other_requests_reach_aiohttp_byte_for_byte(self, engine: Engine) -> None:
        body = bytes(range(256)) * 4_000
        for _ in range(2):
            async with engine.http.post(f"{engine.url}/echo", data=body) as answer:
                assert await answer.read() == body

    async def test_a_websocket_may_follow_other_requests_on_one_connection(self, engine: Engine) -> None:
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as http:
            for _ in range(2):
                async with http.post(f"{engine.url}/echo", data=b"x") as answer:
                    await answer.read()
            websocket = await http.ws_connect(f"{engine.path}websocket")
            assert (await websocket.receive_str(timeout=WAIT_S)).startswith("0{")
            await websocket.send_str("40")
            assert await websocket.receive_str(timeout=WAIT_S) == '42["auth",{}]'
            await websocket.close()
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "transport close"

    @pytest.mark.parametrize("step", [1, 7, 400])
    async def test_a_head_may_come_in_pieces_and_frames_right_behind_it(self, engine: Engine, step: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(engine.url.rpartition(":")[2]))
        head = (
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        data = head.encode() + frame(1, b"40")
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            await asyncio.sleep(0)
        got = b""
        while b'42["auth",{}]' not in got:
            got += await asyncio.wait_for(reader.read(1_000), WAIT_S)
        assert got.startswith(b"HTTP/1.1 101 ")
        writer.close()

    async def test_origins_are_checked_before_anything_else(self, start: Start) -> None:
        engine = await start(cors_allowed_origins=["https://good.example"])
        bad = {"Origin": "https://bad.example"}
        async with engine.http.get(f"{engine.path}polling", headers=bad) as answer:
            assert answer.status == 400 and "not an accepted origin" in json.loads(await answer.text())
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await engine.websocket(headers=bad)
        good = {"Origin": "https://good.example"}
        async with engine.http.get(f"{engine.path}polling", headers=good) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "https://good.example"
        await (await engine.websocket(headers=good)).open()

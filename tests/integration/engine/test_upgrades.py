"""From long polling to a websocket, step by step: what may come between, what may not, and that nothing gets lost."""

import asyncio
from typing import Any

import aiohttp
import pytest

from playhead.engine import websockets
from tests.integration.engine.conftest import BYTES_MAX, Engine, Start
from tests.integration.engine.raw import WAIT_S, Polls, RawSocket
from tests.integration.engine.test_engine_protocol import frame
from tests.integration.engine.test_hostile_clients import HEAD, WRITE_BYTES_MAX, bare, until


async def connected(engine: Engine) -> Polls:
    """A session of long polling on the default namespace."""
    polls = await engine.polls()
    await polls.post("40")
    await polls.packets()
    return polls


async def probed(engine: Engine, polls: Polls) -> RawSocket:
    """A websocket beside it, that need only say 5."""
    raw = await engine.websocket(f"&sid={polls.sid}")
    await raw.send("2probe")
    assert await raw.receive() == "3probe"
    return raw


async def goes_on_polling(polls: Polls) -> None:
    assert await polls.post('42["message","here"]') == (200, "ok")
    while (packets := await polls.packets()) == ["6"]:
        await asyncio.sleep(0.005)
    assert packets == ['42["message-back","here"]']


class TestBetween:
    async def test_what_waits_comes_first_and_binary_as_it_is(self, patient: Engine) -> None:
        polls = await connected(patient)
        raw = await probed(patient, polls)
        await patient.sio.emit("first", b"\x01")
        await patient.sio.emit("second")
        await raw.send("5")
        await until(lambda: patient.sio.eio.sockets[polls.sid].upgraded)
        await patient.sio.emit("third")
        frames = [await raw.receive() for _ in range(4)]
        assert frames == ['451-["first",{"_placeholder":true,"num":0}]', b"\x01", '42["second"]', '42["third"]']

    async def test_a_post_that_was_under_way_is_handled_and_answered_by_the_websocket(self, patient: Engine) -> None:
        polls = await connected(patient)
        raw = await probed(patient, polls)
        assert await polls.post('421["message-with-ack",1]') == (200, "ok")
        await raw.send("5")
        assert await raw.receive() == "431[1]"

    async def test_a_poll_that_was_under_way_comes_back_empty(self, patient: Engine) -> None:
        polls = await connected(patient)
        raw = await patient.websocket(f"&sid={polls.sid}")
        poll = asyncio.create_task(polls.get())
        session = patient.sio.eio.sockets[polls.sid]
        await until(lambda: session._poll is not None)
        await raw.send("2probe")
        assert await poll == (200, "6")
        assert await raw.receive() == "3probe"

    async def test_a_ping_comes_by_the_websocket_and_is_answered_there(self, engine: Engine) -> None:
        polls = await connected(engine)
        raw = await probed(engine, polls)
        session = engine.sio.eio.sockets[polls.sid]
        await until(lambda: session.awaits_pong)
        await raw.send("5")
        assert await raw.receive() == "2"
        await raw.send("3")
        await until(lambda: not session.awaits_pong)
        await raw.alive()

    async def test_a_session_that_ends_meanwhile_closes_the_websocket(self, patient: Engine) -> None:
        polls = await connected(patient)
        raw = await probed(patient, polls)
        assert await polls.post("1") == (200, "ok")
        assert await raw.closed() == 1000
        assert (await asyncio.wait_for(patient.disconnected.get(), WAIT_S))[1] == "client disconnect"
        await until(lambda: not patient.left())


class TestWhatComesToNothing:
    @pytest.mark.parametrize("frames", [[], ["2probe"]], ids=["no probe", "no upgrade"])
    async def test_a_websocket_that_stops_half_way_is_closed_after_its_time(
        self, patient: Engine, monkeypatch: pytest.MonkeyPatch, frames: list[str]
    ) -> None:
        monkeypatch.setattr(websockets, "UPGRADE_TIMEOUT_S", 0.1)
        polls = await connected(patient)
        raw = await patient.websocket(f"&sid={polls.sid}")
        for text in frames:
            await raw.send(text)
        await raw.closed()
        await goes_on_polling(polls)
        assert patient.disconnected.empty()

    async def test_a_message_past_the_limit_closes_the_websocket_and_leaves_polling(self, patient: Engine) -> None:
        polls = await connected(patient)
        raw = await probed(patient, polls)
        await raw.send("4" * (BYTES_MAX + 1))
        assert await raw.closed() == 1009
        await goes_on_polling(polls)

    async def test_one_that_floods_with_pings_and_reads_nothing_is_cut_and_leaves_polling(self, start: Start) -> None:
        engine = await start(write_bytes_max=WRITE_BYTES_MAX, ping_interval=60, ping_timeout=60)
        polls = await connected(engine)
        made, loop = await bare(engine, receive_bytes=4_096)
        await loop.sock_sendall(made, HEAD.replace(b"=websocket", f"=websocket&sid={polls.sid}".encode()))
        with pytest.raises(OSError):
            async with asyncio.timeout(WAIT_S):
                while True:
                    await loop.sock_sendall(made, frame(9, b"x" * 125) * 500)
        await until(lambda: not engine.sio.eio.websockets)
        await goes_on_polling(polls)
        made.close()


class TestOneWebsocketOfASession:
    async def test_of_two_that_come_at_once_the_one_that_probes_first_carries_it_on(self, patient: Engine) -> None:
        polls = await connected(patient)
        first, second = [await patient.websocket(f"&sid={polls.sid}") for _ in range(2)]
        await first.send("2probe")
        assert await first.receive() == "3probe"
        await second.send("2probe")
        assert await second.closed() == 1008
        await first.send("5")
        await first.alive()

    async def test_while_one_is_probed_another_one_is_refused(self, patient: Engine) -> None:
        polls = await connected(patient)
        raw = await probed(patient, polls)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await patient.websocket(f"&sid={polls.sid}")
        await raw.send("5")
        await raw.alive()

    async def test_one_that_waits_while_another_one_is_upgraded_is_closed_with_its_first_word(
        self, patient: Engine
    ) -> None:
        polls = await connected(patient)
        late = await patient.websocket(f"&sid={polls.sid}")
        raw = await patient.upgraded(polls)
        await raw.alive()
        await late.send("2probe")
        assert await late.closed() == 1008
        await raw.alive()

    @pytest.mark.parametrize("anew", [True, False], ids=["new connection", "used connection"])
    async def test_a_session_that_began_on_one_gets_no_second(self, patient: Engine, anew: bool) -> None:
        raw, sid = await patient.opened()
        await raw.connect()
        made, loop = await bare(patient)
        if not anew:
            await loop.sock_sendall(made, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await asyncio.wait_for(loop.sock_recv(made, 10_000), WAIT_S)).startswith(b"HTTP/1.1 404")
        await loop.sock_sendall(made, HEAD.replace(b"=websocket", f"=websocket&sid={sid}".encode()))
        assert (await asyncio.wait_for(loop.sock_recv(made, 10_000), WAIT_S)).startswith(b"HTTP/1.1 400")
        await raw.alive()
        made.close()

    @pytest.mark.parametrize("query", ["transport=websocket", "EIO=3&transport=websocket", "EIO=4"])
    async def test_the_protocols_parameters_are_asked_of_it_as_well(self, patient: Engine, query: str) -> None:
        polls = await connected(patient)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await patient.http.ws_connect(f"{patient.url}/socket.io/?{query}&sid={polls.sid}")
        assert refused.value.status == 400
        await goes_on_polling(polls)


async def test_after_it_everything_of_the_websocket_works(patient: Engine) -> None:
    polls = await connected(patient)
    raw = await patient.upgraded(polls)
    (sid,) = [sid for sid, _ in patient.sio.manager.get_participants("/", None)]
    asked: asyncio.Task[Any] = asyncio.create_task(patient.sio.call("question", to=sid, timeout=WAIT_S))
    assert await raw.receive() == '421["question"]'
    await raw.send("431[1]")
    assert await asked == 1
    await raw.socket.close()
    assert (await asyncio.wait_for(patient.disconnected.get(), WAIT_S))[1] == "transport close"
    await until(lambda: not patient.left())

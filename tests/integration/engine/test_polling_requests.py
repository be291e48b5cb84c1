"""Engine.IO 4 on long polling, request by request: what the document lets a client ask, and what it does not."""

import asyncio
import time

import aiohttp
import pytest

from playhead.engine import polling
from tests.integration.engine.conftest import PING_INTERVAL_S, PING_TIMEOUT_S, Engine
from tests.integration.engine.raw import WAIT_S, Polls
from tests.integration.engine.test_hostile_clients import bare, until

OK_AND_CONNECTED = (200, "ok")


async def works(polls: Polls) -> None:
    """The session goes on."""
    assert await polls.post("40") == OK_AND_CONNECTED
    assert (await polls.packets())[0] == '42["auth",{}]'


async def polls_and_waits(engine: Engine, polls: Polls) -> "asyncio.Task[tuple[int, str]]":
    """A poll that has reached the server."""
    poll = asyncio.create_task(polls.get())
    session = engine.sio.eio.sockets[polls.sid]
    await until(lambda: session._poll is not None)
    return poll


class TestWhatMustBeAsked:
    @pytest.mark.parametrize("query", ["EIO=4", "transport=polling", "EIO=3&transport=polling", "EIO=4&transport="])
    async def test_without_its_parameters_a_request_is_400(self, patient: Engine, query: str) -> None:
        polls = await patient.polls()
        for asked in (query, f"{query}&sid={polls.sid}"):
            for method in ("GET", "POST"):
                async with patient.http.request(method, f"{patient.url}/socket.io/?{asked}") as answer:
                    assert answer.status == 400, (method, asked)
        assert len(patient.sio.eio.sockets) == 1
        await works(polls)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_another_transport_than_its_own_is_400_and_the_session_stays(
        self, patient: Engine, method: str
    ) -> None:
        polls = await patient.polls()
        address = f"{patient.path}websocket&sid={polls.sid}"
        async with asyncio.timeout(WAIT_S), patient.http.request(method, address, data=b"41") as answer:
            assert answer.status == 400
        await works(polls)

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
    async def test_another_method_is_400_and_the_session_stays(self, patient: Engine, method: str) -> None:
        polls = await patient.polls()
        async with patient.http.request(method, polls.address) as answer:
            assert answer.status == 400
        await works(polls)

    async def test_a_session_on_a_websocket_is_not_polled_and_stays(self, patient: Engine) -> None:
        raw, sid = await patient.opened()
        await raw.connect()
        polls = Polls(patient.http, f"{patient.path}polling", {"sid": sid})
        assert (await polls.get())[0] == 400
        assert (await polls.post("41"))[0] == 400
        await raw.alive()


class TestOneRequestOfAKindAtATime:
    async def test_two_posts_at_once_end_the_session(self, patient: Engine) -> None:
        polls, other = await patient.polls(), await patient.polls()
        await works(polls)
        first, loop = await bare(patient)
        path = polls.address.removeprefix(patient.url)
        await loop.sock_sendall(first, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n4".encode())
        session = patient.sio.eio.sockets[polls.sid]
        await until(lambda: session.posting)
        poll = await polls_and_waits(patient, polls)
        assert (await polls.post('42["message"]'))[0] == 400
        assert await poll == (200, "1"), "the poll under way is told"
        assert (await asyncio.wait_for(patient.disconnected.get(), WAIT_S))[1] == "transport error"
        await loop.sock_sendall(first, b"1")
        assert (await polls.get())[0] == 400
        await works(other)
        first.close()

    async def test_a_poll_whose_client_has_gone_ends_the_session_when_there_is_something_to_tell(
        self, patient: Engine
    ) -> None:
        polls = await patient.polls()
        await works(polls)
        poll = await polls_and_waits(patient, polls)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        # another connection's answer is a sign that the server has read the end of the first one
        await works(await patient.polls())
        await patient.sio.emit("told", to=next(iter(patient.sio.manager.rooms["/"][None])))
        assert (await asyncio.wait_for(patient.disconnected.get(), WAIT_S))[1] == "transport close"
        assert (await polls.get())[0] == 400, "an event was lost: no later one may come without it"

    async def test_a_poll_after_one_whose_client_has_gone_ends_it_at_once(self, patient: Engine) -> None:
        polls = await patient.polls()
        poll = await polls_and_waits(patient, polls)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        assert (await polls.get())[0] == 400
        assert polls.sid not in patient.sio.eio.sockets


class TestBodies:
    async def test_one_that_does_not_come_ends_the_session_after_its_time(
        self, patient: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(polling, "BODY_TIMEOUT_S", 0.1)
        polls, other = await patient.polls(), await patient.polls()
        made, loop = await bare(patient)
        path = polls.address.removeprefix(patient.url)
        await loop.sock_sendall(made, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n42".encode())
        answer = await asyncio.wait_for(loop.sock_recv(made, 1_000), WAIT_S)
        assert answer.startswith(b"HTTP/1.1 400") and patient.ended == ["unreadable"]
        await works(other)
        made.close()

    async def test_one_that_is_cut_short_ends_the_session(self, patient: Engine) -> None:
        polls = await patient.polls()
        made, loop = await bare(patient)
        path = polls.address.removeprefix(patient.url)
        await loop.sock_sendall(made, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n42".encode())
        session = patient.sio.eio.sockets[polls.sid]
        await until(lambda: session.posting)
        made.close()
        await until(lambda: not patient.left())
        assert patient.ended == ["unreadable"]

    async def test_one_of_unknown_length_ends_the_session(self, patient: Engine) -> None:
        polls = await patient.polls()

        async def parts() -> object:
            yield b"4"
            yield b"0"

        async with patient.http.post(polls.address, data=parts()) as answer:
            assert answer.status == 400
        assert patient.ended == ["unreadable"] and polls.sid not in patient.sio.eio.sockets

    async def test_an_empty_one_is_no_packet_and_ends_the_session(self, patient: Engine) -> None:
        polls = await patient.polls()
        assert (await polls.post(""))[0] == 400
        assert patient.ended == ["unreadable"] and polls.sid not in patient.sio.eio.sockets


class TestItsEnd:
    async def test_a_client_that_never_polls_is_gone_after_its_time(self, engine: Engine) -> None:
        began_s = time.monotonic()
        polls = await engine.polls()
        assert await polls.post("40") == (200, "ok")
        assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "ping timeout"
        assert time.monotonic() - began_s >= PING_INTERVAL_S + PING_TIMEOUT_S - 0.05
        await until(lambda: not engine.left())

    async def test_the_server_may_end_it_and_the_poll_under_way_is_told(self, patient: Engine) -> None:
        polls = await patient.polls()
        await works(polls)
        poll = await polls_and_waits(patient, polls)
        await patient.sio.eio.disconnect(polls.sid)
        assert await poll == (200, "1")
        assert (await asyncio.wait_for(patient.disconnected.get(), WAIT_S))[1] == "server disconnect"
        assert (await polls.post("41"))[0] == 400

    async def test_stopping_ends_polls_as_well(self, patient: Engine) -> None:
        polls = await patient.polls()
        poll = await polls_and_waits(patient, polls)
        await patient.sio.eio.close_all(WAIT_S)
        assert (await poll)[0] == 200
        assert not patient.sio.eio.sockets

    async def test_floods_of_pongs_change_nothing(self, patient: Engine) -> None:
        polls = await patient.polls()
        timers = len(patient.sio.eio.wheel)
        for _ in range(20):
            assert await polls.post("\x1e".join(["3"] * 16)) == (200, "ok")
        assert len(patient.sio.eio.wheel) == timers
        await works(polls)


async def test_the_requests_of_a_session_may_come_over_connections_of_their_own(patient: Engine) -> None:
    polls = await patient.polls()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        elsewhere = Polls(http, f"{patient.path}polling", polls.opened)
        for _ in range(3):
            assert await elsewhere.post('40\x1e421["message-with-ack",1]\x1e41') == (200, "ok")
            assert (await elsewhere.packets())[2:] == ["431[1]"]

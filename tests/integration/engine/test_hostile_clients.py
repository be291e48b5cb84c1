"""Clients that mean no good: each is ended for a reason, within bounds, and nobody else notices."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from playhead.engine import front, websockets
from playhead.engine.heads import END, HEAD_BYTES_MAX
from playhead.engine.sessions import USELESS_MAX
from playhead.engine.turns import WAITING_CUT, WAITING_MAX
from tests.integration.engine.conftest import Engine, Start
from tests.integration.engine.raw import WAIT_S, RawSocket
from tests.integration.engine.test_engine_protocol import frame

WRITE_BYTES_MAX = 50_000


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.005)


async def bare(engine: Engine, receive_bytes: int | None = None) -> tuple[socket.socket, asyncio.AbstractEventLoop]:
    """A TCP connection that does nothing by itself."""
    loop = asyncio.get_running_loop()
    made = socket.socket()
    made.setblocking(False)
    if receive_bytes is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await loop.sock_connect(made, ("127.0.0.1", int(engine.url.rpartition(":")[2])))
    return made, loop


HEAD = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def test_a_client_that_never_reads_is_cut_when_so_much_waits(start: Start) -> None:
    engine = await start(write_bytes_max=WRITE_BYTES_MAX, ping_interval=60, ping_timeout=60)
    made, loop = await bare(engine, receive_bytes=4_096)
    await loop.sock_sendall(made, HEAD + frame(1, b"40"))
    await until(lambda: any(engine.sio.manager.get_participants("/", None)))
    other = await engine.connected()
    (session, _) = engine.sio.eio.sockets.values()
    assert session.socket is not None and session.socket._transport is not None
    transport = session.socket._transport.underlying_transport
    most = 0
    for _ in range(100_000):
        if engine.ended:
            break
        await engine.sio.emit("state", "x" * 1_000, to=next(iter(engine.sio.manager.rooms["/"][None])))
        most = max(most, transport.get_write_buffer_size())
    assert engine.ended == ["slow_reader"]
    assert WRITE_BYTES_MAX - 2_000 <= most <= WRITE_BYTES_MAX
    assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "transport error"
    await other.alive()
    made.close()


async def test_a_polling_client_that_does_not_poll_is_cut_when_so_much_waits(start: Start) -> None:
    engine = await start(write_bytes_max=WRITE_BYTES_MAX, ping_interval=60, ping_timeout=60)
    polls = await engine.polls()
    await polls.post("40")
    await polls.packets()
    for _ in range(WRITE_BYTES_MAX // 1_000 + 1):
        await engine.sio.emit("state", "x" * 1_000)
    assert engine.ended == ["slow_reader"]
    assert (await polls.get())[0] == 400


async def test_a_flood_of_websocket_pings_is_answered_or_cut(start: Start) -> None:
    engine = await start(write_bytes_max=WRITE_BYTES_MAX, ping_interval=60, ping_timeout=60)
    made, loop = await bare(engine, receive_bytes=4_096)
    await loop.sock_sendall(made, HEAD)
    flood = frame(9, b"x" * 125) * 500

    async def send() -> None:
        while True:
            await loop.sock_sendall(made, flood)

    sending = asyncio.create_task(send())
    await until(lambda: bool(engine.ended))
    assert engine.ended == ["slow_reader"]
    with pytest.raises(OSError):
        await sending
    made.close()


async def test_a_flood_of_websocket_pings_whose_answers_are_read_holds_nobody_up(patient: Engine) -> None:
    made, loop = await bare(patient)
    await loop.sock_sendall(made, HEAD)
    other = await patient.connected()
    flood = frame(9, b"x") * 5_000
    got = 0

    async def send() -> None:
        while True:
            await loop.sock_sendall(made, flood)

    async def read() -> None:
        nonlocal got
        while chunk := await loop.sock_recv(made, 65_536):
            got += len(chunk)

    flooding = [asyncio.create_task(send()), asyncio.create_task(read())]
    for _ in range(50):
        await other.alive()
    assert got > len(flood) and patient.ended == []
    for task in flooding:
        task.cancel()
    await asyncio.gather(*flooding, return_exceptions=True)
    made.close()


async def test_a_flood_of_pongs_puts_off_no_ping(engine: Engine, transport: str) -> None:
    talk = await engine.talk(transport)

    async def send() -> None:
        while True:
            await talk.send("3")
            await asyncio.sleep(0.02)

    sending = asyncio.create_task(send())
    assert await talk.receive() == "2"
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("packet", ["3", "43[]", "431[]", "41/custom,", '42/custom,["x"]'])
async def test_what_means_nothing_may_be_said_so_often_and_then_ends_it(
    patient: Engine, transport: str, packet: str
) -> None:
    talk, other = await patient.connected_by(transport), await patient.connected()
    for _ in range(USELESS_MAX):
        await talk.send(packet)
    await talk.alive()
    await talk.send(packet)
    await talk.closed()
    assert patient.ended == ["overrun"]
    await other.alive()


async def test_how_often_it_was_said_is_forgotten_with_each_ping(engine: Engine) -> None:
    raw = await engine.connected()
    for _ in range(3):
        for _ in range(USELESS_MAX // 2):
            await raw.send("43[]")
        assert await raw.receive() == "2"
        await raw.send("3")
    await raw.alive()
    assert engine.ended == []


async def test_a_client_of_rest_that_never_reads_its_answers_is_cut(
    patient: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "UNREAD_TIMEOUT_S", 0.5)
    made, loop = await bare(patient, receive_bytes=4_096)
    body = b"x" * 500_000
    request = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    http = patient.site._http
    assert http is not None

    async def send() -> None:
        while True:
            await loop.sock_sendall(made, request + body)

    sending = asyncio.create_task(send())
    await until(lambda: len(http.connections) == 1)
    await until(lambda: any(handler.writing_paused for handler in http.connections))
    await until(lambda: not http.connections)
    with pytest.raises(OSError):
        await sending
    made.close()


async def test_what_comes_faster_than_it_is_handled_waits_in_order_and_pauses_the_reading(patient: Engine) -> None:
    release = asyncio.Event()
    seen: list[int] = []

    async def slow(sid: str, number: int) -> int:
        if number == 0:
            await release.wait()
        seen.append(number)
        return number

    patient.sio.async_handlers = False
    patient.sio.on("slow", slow)
    raw, other = await patient.connected(), await patient.connected()
    count = WAITING_MAX * 20
    sending = asyncio.create_task(_send_all(raw, count))
    session = next(iter(patient.sio.eio.sockets.values()))
    await until(lambda: session.paused)
    waiting = len(session._turns or ())
    await other.alive()
    assert len(session._turns or ()) == waiting < WAITING_CUT, "nothing more is read"
    release.set()
    await sending
    for number in range(count):
        assert await raw.receive_no_ping() == f"43{number}[{number}]"
    assert seen == list(range(count)) and not session.paused


async def _send_all(raw: RawSocket, count: int) -> None:
    for number in range(count):
        await raw.send(f'42{number}["slow",{number}]')


async def test_more_at_once_than_may_wait_ends_it(start: Start) -> None:
    engine = await start(ping_interval=60, ping_timeout=60, async_handlers=False, max_http_buffer_size=1_000_000)
    stuck = asyncio.Event()

    async def waits(sid: str) -> None:
        await stuck.wait()

    engine.sio.on("waits", waits)
    await engine.connected()
    (session,) = engine.sio.eio.sockets.values()
    for _ in range(WAITING_CUT + 2):
        session.take('42["waits"]')
    assert engine.ended == ["overrun"]
    stuck.set()
    assert (await asyncio.wait_for(engine.disconnected.get(), WAIT_S))[1] == "transport error"


async def test_a_session_that_ends_while_its_handler_waits_is_told_after_it(patient: Engine) -> None:
    release = asyncio.Event()
    order: list[str] = []

    async def slow(sid: str) -> None:
        await release.wait()
        order.append("handled")

    async def disconnect(sid: str, why: str) -> None:
        order.append(why)

    patient.sio.async_handlers = False
    patient.sio.on("slow", slow)
    patient.sio.on("disconnect", disconnect)
    raw = await patient.connected()
    await raw.send('42["slow"]')
    await raw.socket.close()
    await until(lambda: not patient.sio.eio.sockets)
    assert order == []
    release.set()
    await until(lambda: len(order) == 2)
    assert order == ["handled", "transport close"]


async def test_half_open_connections_are_cut_in_their_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_TIMEOUT_S", 0.1)
    silent, loop = await bare(engine)
    partial, _ = await bare(engine)
    await loop.sock_sendall(partial, HEAD[:60])
    gone, _ = await bare(engine)
    await loop.sock_sendall(gone, HEAD)  # and nothing any more: it answers no ping
    for made in (silent, partial):
        with pytest.raises(OSError):
            if not await asyncio.wait_for(loop.sock_recv(made, 10), WAIT_S):
                raise ConnectionResetError
    await until(lambda: not engine.sio.eio.sockets)
    for made in (silent, partial, gone):
        made.close()


async def test_a_head_without_end_is_aiohttps_and_refused(engine: Engine) -> None:
    made, loop = await bare(engine)
    await loop.sock_sendall(made, b"GET /socket.io/?" + b"x" * 40_000)
    answer = await asyncio.wait_for(loop.sock_recv(made, 1_000), WAIT_S)
    assert answer.startswith(b"HTTP/1.0 400") or answer.startswith(b"HTTP/1.1 400")
    made.close()


@pytest.mark.parametrize(("past", "status"), [(0, b"101"), (1, b"400")])
@pytest.mark.parametrize("before", [b"", b"POST /echo HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "later"])
async def test_a_socket_s_head_is_taken_up_to_its_limit_wherever_it_is_read(
    engine: Engine, before: bytes, past: int, status: bytes
) -> None:
    """The first one of a connection at the front, later ones by aiohttp, which would take fifty times as much."""
    made, loop = await bare(engine)
    if before:
        await loop.sock_sendall(made, before)
        await loop.sock_recv(made, 1_000)
    missing = HEAD_BYTES_MAX + len(END) + past - len(HEAD) - 2 * len(b"A: \r\n")
    fillers = b"".join(b"A: %s\r\n" % (b"x" * size) for size in (missing // 2, missing - missing // 2))
    await loop.sock_sendall(made, HEAD[:-2] + fillers + b"\r\n")
    answer = await asyncio.wait_for(loop.sock_recv(made, 1_000), WAIT_S)
    assert answer.split()[1] == status
    made.close()


@pytest.mark.parametrize(
    "data",
    [
        frame(1, b"40", masked=False),
        frame(3, b"x"),
        frame(0, b"x"),
        frame(9, b"x", fin=False),
        frame(9, b"x" * 126),
        frame(1, b"4\xff\xfe"),
        bytes([0xC1]) + frame(1, b"40")[1:],
        b"\x81\xff" + b"\x80" + b"\0" * 11,
        b"\x81\xff" + b"\x7f" + b"\xff" * 7 + b"\0" * 4,
    ],
    ids=["unmasked", "opcode", "continuation", "split ping", "long ping", "no utf-8", "rsv", "negative", "endless"],
)
async def test_what_is_no_frame_ends_the_connection(patient: Engine, data: bytes) -> None:
    made, loop = await bare(patient)
    await loop.sock_sendall(made, HEAD + data)
    got = b""
    while chunk := await asyncio.wait_for(loop.sock_recv(made, 10_000), WAIT_S):
        got += chunk
        if b"\x88" in got.partition(b"\r\n\r\n")[2]:
            made.shutdown(socket.SHUT_WR)
    assert patient.ended in (["unreadable"], ["too_large"])
    assert not patient.sio.eio.sockets
    made.close()


async def test_a_message_in_very_many_frames_is_too_large_though_they_hold_nothing(patient: Engine) -> None:
    made, loop = await bare(patient)
    parts = frame(0, b"", fin=False)
    await loop.sock_sendall(made, HEAD + frame(1, b"4", fin=False) + parts * (websockets.PARTS_MAX - 2))
    await until(lambda: len(patient.sio.eio.websockets) == 1)
    await asyncio.sleep(0.05)
    assert patient.ended == []
    await loop.sock_sendall(made, parts * 2)
    await until(lambda: patient.ended == ["too_large"])
    assert not patient.sio.eio.sockets
    made.close()


async def test_one_that_goes_on_sending_after_it_was_closed_is_cut(patient: Engine) -> None:
    made, loop = await bare(patient)
    await loop.sock_sendall(made, HEAD + frame(3, b"x"))
    with pytest.raises(OSError):
        async with asyncio.timeout(WAIT_S):
            while True:
                await loop.sock_sendall(made, b"\xff" * 100_000)
                await asyncio.sleep(0.01)
    await until(lambda: not patient.sio.eio.websockets)
    made.close()


async def test_a_body_that_is_announced_too_large_is_not_read(engine: Engine) -> None:
    polls = await engine.polls()

    async def never() -> Any:
        yield b"4"
        await asyncio.sleep(60)

    async with engine.http.post(polls.address, data=never(), headers={"Content-Length": "900000"}) as answer:
        assert answer.status == 400
    assert engine.ended == ["too_large"]


async def test_stopping_closes_every_socket(start: Start) -> None:
    engine = await start()
    raws = [await engine.connected() for _ in range(3)]
    closing = asyncio.create_task(engine.sio.eio.close_all(WAIT_S))
    assert [await raw.closed() for raw in raws] == [1000] * 3
    await closing
    assert not engine.sio.eio.websockets and not engine.sio.eio.sockets

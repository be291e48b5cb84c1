"""What a socket and a message do not cost: no task, no timer of their own, no second encoding, no compression."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from playhead.engine.packets import Outgoing
from playhead.engine.websockets import WebSocket
from tests.integration.engine.conftest import Engine
from tests.integration.engine.raw import WAIT_S
from tests.integration.engine.test_engine_protocol import frame
from tests.integration.engine.test_hostile_clients import HEAD, bare, until

SOCKETS = 20


@pytest.mark.parametrize("anew", [True, False], ids=["new connection", "used connection"])
async def test_a_client_that_offers_to_compress_is_answered_without(patient: Engine, anew: bool) -> None:
    made, loop = await bare(patient)
    if not anew:
        await loop.sock_sendall(made, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(loop.sock_recv(made, 10_000), WAIT_S)).startswith(b"HTTP/1.1 404")
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    await loop.sock_sendall(made, HEAD[:-2] + offer + b"\r\n")
    got = b""
    while b'0{"sid"' not in got:
        got += await asyncio.wait_for(loop.sock_recv(made, 10_000), WAIT_S)
    assert b" 101 " in got.partition(b"\r\n")[0] and b"extensions" not in got.lower()
    made.close()


async def test_sockets_and_their_messages_make_no_task_and_share_one_timer(
    patient: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    made = [(await bare(patient))[0] for _ in range(SOCKETS)]
    tasks, timers = len(asyncio.all_tasks()), 0
    call_at: Callable[..., Any] = loop.call_at

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal timers
        timers += 1
        return call_at(*arguments, **named)

    monkeypatch.setattr(loop, "call_at", counted)
    for socket in made:
        await loop.sock_sendall(socket, HEAD + frame(1, b"40") + frame(1, b'421["message-with-ack",1]') * 10)
    while len(patient.sio.eio.sockets) < SOCKETS or any(s._turns is None for s in patient.sio.eio.sockets.values()):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= tasks
    assert len(patient.sio.eio.wheel) == SOCKETS and timers <= 2
    for socket in made:
        socket.close()


async def test_an_emit_is_encoded_once_and_the_same_frame_goes_to_all(
    patient: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [await patient.connected() for _ in range(3)]
    encoded: list[Any] = []
    sent: list[Outgoing] = []
    encode, send = patient.sio._encode, WebSocket.send

    def encodes(data: Any) -> bytes:
        encoded.append(data)
        return encode(data)

    def sends(self: WebSocket, message: Outgoing) -> None:
        sent.append(message)
        send(self, message)

    monkeypatch.setattr(patient.sio, "_encode", encodes)
    monkeypatch.setattr(WebSocket, "send", sends)
    await patient.sio.emit("state", {"a": 1})
    assert encoded == [["state", {"a": 1}]]
    assert len(sent) == len(raws) and len({id(message) for message in sent}) == 1
    assert [await raw.receive() for raw in raws] == ['42["state",{"a":1}]'] * len(raws)


async def test_what_is_emitted_is_written_before_emit_returns(patient: Engine) -> None:
    made, loop = await bare(patient)
    await loop.sock_sendall(made, HEAD + frame(1, b"40"))
    await until(lambda: any(patient.sio.manager.get_participants("/", None)))
    await asyncio.wait_for(loop.sock_recv(made, 100_000), WAIT_S)
    emitted = patient.sio.emit("state", "now")
    with pytest.raises(StopIteration):
        emitted.send(None)
    made.setblocking(True)
    made.settimeout(WAIT_S)
    got = b""
    while b'42["state","now"]' not in got:
        got += made.recv(10_000)
    made.close()

"""The official JavaScript client and python-socketio's own, on the server of the protocol tests."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.integration.engine.conftest import Engine
from tests.integration.engine.raw import WAIT_S
from tests.support.javascript import run_client

SCRIPT = Path(__file__).with_name("client.mjs")


@pytest.mark.parametrize(
    ("transports", "ends_on"), [("websocket", "websocket"), ("polling", "polling"), ("polling,websocket", "websocket")]
)
async def test_the_official_client(engine: Engine, transports: str, ends_on: str) -> None:
    answers: asyncio.Queue[Any] = asyncio.Queue()

    async def ask(sid: str) -> None:
        answers.put_nowait(await engine.sio.call("binary question", b"\x01\x02\x03", to=sid, timeout=WAIT_S))
        answers.put_nowait(await engine.sio.call("question", 41, to=sid, timeout=WAIT_S))

    async def end(sid: str) -> None:
        await engine.sio.disconnect(sid)

    engine.sio.on("ask me", ask)
    engine.sio.on("end me", end)
    seen = await run_client(SCRIPT, engine.url, transports)
    assert seen["auth"] == {"token": "t"}
    assert seen["ack"] == "text"
    assert seen["back"] == [[1, 2, 3], "beside"]
    assert seen["binaryAck"] == [4, 5]
    assert seen["transport"] == ends_on
    assert seen["after"] == 50_000
    assert answers.get_nowait() == b"\x03\x02\x01"
    assert seen["question"] == 41 and answers.get_nowait() == 42
    assert seen["stayed"] is True, "pings were answered"
    assert seen["ended"] == "io server disconnect"
    assert seen["refused"] == "Unable to connect"
    assert engine.ended == []


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_python_socketios_client(engine: Engine, transports: list[str]) -> None:
    client = socketio.AsyncClient(reconnection=False)
    backs: asyncio.Queue[Any] = asyncio.Queue()
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def question(number: int) -> int:
        return number + 1

    client.on("message-back", lambda *data: backs.put_nowait(data))
    client.on("disconnect", ended.put)
    client.on("question", question)
    await client.connect(engine.url, transports=transports)
    async with asyncio.timeout(2 * WAIT_S):
        assert client.transport() == transports[-1]
        assert await client.call("message-with-ack", "text") == "text"
        await client.emit("message", (b"\x01\x02", {"a": b"\x03"}))
        assert await backs.get() == (b"\x01\x02", {"a": b"\x03"})
        sid = client.get_sid()
        assert await engine.sio.call("question", 1, to=sid, timeout=WAIT_S) == 2
        await asyncio.sleep(0.7)  # longer than an interval and a timeout of pings
        assert await client.call("message-with-ack", 1) == 1
        await engine.sio.disconnect(sid)
        assert await ended.get() == client.reason.SERVER_DISCONNECT
    await client.shutdown()
    assert engine.ended == []

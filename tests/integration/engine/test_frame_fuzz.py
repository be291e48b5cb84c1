"""Bytes of a seeded chance through the whole server: sockets of all kinds send them, one beside them goes on.

A failure names its seed; `-k` with it replays.
"""

import asyncio
import base64
import random

import aiohttp
import pytest

from tests.integration.engine.conftest import Engine
from tests.integration.engine.raw import WAIT_S
from tests.integration.engine.test_engine_protocol import frame
from tests.integration.engine.test_hostile_clients import HEAD, bare, until

STREAMS = 40
PACKETS = [
    b"40",
    b"41",
    b"40/custom,",
    b"3",
    b"1",
    b"2probe",
    b"5",
    b'421["message-with-ack",1]',
    b'452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
    b"\x01\x02",
    b'42["message","' + b"x" * 300 + b'"]',
    b"431[1]",
    b"",
]


def changed(chance: random.Random, data: bytes) -> bytes:
    """A byte or a piece of it other than it was; mostly nothing."""
    if not data or chance.random() < 0.7:
        return data
    at = chance.randrange(len(data))
    cut = data[:at] + data[at + chance.randrange(4) :]
    return chance.choice([cut, data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :], data[:at]])


def stream(chance: random.Random, sid: str) -> bytes:
    """What one connection sends."""
    head = HEAD.replace(b"=websocket", f"=websocket&sid={sid}".encode(), 1) if chance.random() < 0.2 else HEAD
    frames = [
        changed(chance, frame(chance.choice([0, 1, 1, 1, 1, 2, 2, 8, 9, 10]), data, fin=chance.random() < 0.9))
        for data in chance.choices(PACKETS, k=chance.randrange(12))
    ]
    return changed(chance, head) + b"".join(frames)


def body(chance: random.Random) -> bytes:
    """What one POST sends."""
    packets = [
        changed(chance, b"b" + base64.b64encode(data) if data[:1] == b"\x01" else data)
        for data in chance.choices(PACKETS, k=chance.randrange(6))
    ]
    return b"\x1e".join(packets)


async def send_pieces(engine: Engine, chance: random.Random, data: bytes) -> None:
    """Over a connection of its own, which is closed at the end."""
    made, loop = await bare(engine)
    try:
        while data:
            size = chance.choice([1, 7, 100, 10_000])
            await loop.sock_sendall(made, data[:size])
            data = data[size:]
            await asyncio.sleep(0)
    except OSError:
        pass  # it was cut before
    finally:
        made.close()


@pytest.mark.parametrize("seed", range(6))
async def test_any_bytes_end_their_own_connection_at_most(patient: Engine, seed: int) -> None:
    chance = random.Random(seed)
    other = await patient.connected()
    for _ in range(STREAMS):
        polls = await patient.polls()
        await send_pieces(patient, chance, stream(chance, polls.sid))
        await asyncio.gather(polls.post(body(chance)), polls.post(body(chance)), return_exceptions=True)
        await other.alive()
        if polls.sid in patient.sio.eio.sockets:
            await patient.sio.eio.disconnect(polls.sid)
    await other.send("1")
    await other.closed()
    async with asyncio.timeout(WAIT_S), aiohttp.ClientSession() as http, http.get(f"{patient.path}polling") as answer:
        assert answer.status == 200
    await patient.sio.eio.disconnect()
    await until(lambda: not patient.left())

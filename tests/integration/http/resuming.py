"""What tests of uploads that come in parts share: clients that send a part, by hand or not, and what is stored."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient

from playhead.http import Services, create_app
from playhead.http.resumable import PARTS
from playhead.http.route import API
from tests.integration.http.conftest import Server
from tests.integration.http.uploading import AUDIO, files
from tests.integration.http.world import Caller, Reply, World

BLOCK_BYTES = 4_096


@asynccontextmanager
async def another_server(services: Services) -> AsyncIterator[World]:
    """One more process, as far as the storage and the database can tell."""
    async with TestClient(Server(create_app(services))) as client:
        yield World(client=client, services=services)


def at(world: World, caller: Caller) -> Caller:
    """The same listener, at that server."""
    return replace(caller, client=world.client)


async def begun(caller: Caller, body: bytes, **fields: Any) -> str:
    """The id of a new upload of that file."""
    reply = await caller.post("/uploads", {"size": len(body), **fields})
    assert reply.status == 201, reply.body
    assert reply.headers["Location"] == f"{API}/uploads/{reply.json['upload_id']}"
    assert (reply.json["offset"], reply.json["status"]) == (0, "receiving")
    return str(reply.json["upload_id"])


async def put(caller: Caller, upload_id: str, body: bytes, start: int = 0, end: int | None = None) -> Reply:
    """Sends that part of the file."""
    end = len(body) if end is None else end
    headers = {**AUDIO, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}
    return await caller.call("PUT", f"/uploads/{upload_id}", data=body[start:end], headers=headers)


async def asked(caller: Caller, upload_id: str, size: int) -> Reply:
    """What has become of it."""
    return await caller.call("PUT", f"/uploads/{upload_id}", headers={"Content-Range": f"bytes */{size}"})


async def offset(caller: Caller, upload_id: str) -> int:
    return int((await caller.get(f"/uploads/{upload_id}")).json["offset"])


class Sender:
    """A client that sends a part by hand, as far as it likes."""

    def __init__(self, world: World, caller: Caller, upload_id: str, body: bytes, start: int = 0) -> None:
        self._server = world.client.server
        self._head = (
            f"PUT {API}/uploads/{upload_id} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {caller.token}\r\n"
            f"Content-Type: audio/mpeg\r\nContent-Length: {len(body) - start}\r\n"
            f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n\r\n"
        ).encode()
        self._rest = memoryview(body)[start:]

    async def begin(self, part_bytes: int) -> None:
        self._reader, self._writer = await asyncio.open_connection(str(self._server.host), self._server.port)
        self._writer.write(self._head)
        await self.send(part_bytes)

    async def send(self, part_bytes: int | None = None) -> None:
        part_bytes = len(self._rest) if part_bytes is None else part_bytes
        self._writer.write(self._rest[:part_bytes])
        self._rest = self._rest[part_bytes:]
        await self._writer.drain()

    async def status(self) -> int:
        async with asyncio.timeout(10):
            status = int((await self._reader.readline()).split()[1])
        self._writer.close()
        return status

    def break_off(self) -> None:
        self._writer.close()


def awaited(world: World, upload_id: str) -> bool:
    """Whether that server has a sender of the upload."""
    app = world.client.app
    assert app is not None
    return any(upload_id in key for key in app[PARTS]._senders)


def silence(sample: int) -> bytes:
    """A second of it, the same length whatever the sample is."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes([sample, 0]) * 8_000)
    return file.getvalue()


async def owned(caller: Caller) -> list[str]:
    return [row["script_id"] for row in (await caller.get("/scripts")).json["scripts"] if row["owned"]]


def stored(folder: Path) -> list[str]:
    """What lies in the storage, but for what is kept of finished uploads."""
    return [name for name in files(folder) if not name.startswith("uploaded/")]

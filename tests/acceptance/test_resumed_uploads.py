"""An upload whose servers are killed: its client asks where it goes on, and it ends well."""

import asyncio
import io
import uuid
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from playhead.storage import BLOCK_BYTES
from tests.support.system import POLL_S, RunningSystem
from tests.support.systems import StartSystem

API = "/api/v1/audio"
MINUTES = 4
SENT_BYTES = 2 * BLOCK_BYTES + 1_000_000
TIMEOUT_S = 30.0


def silence() -> bytes:
    """Minutes of it: eleven blocks."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(48_000)
        sound.writeframes(bytes(2 * 48_000 * 60 * MINUTES))
    return file.getvalue()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not true():
            await asyncio.sleep(POLL_S / 10)


def blocks(system: RunningSystem) -> list[Path]:
    """Those that are whole."""
    found = (system.folder / "media" / "uploads").glob("*/*/blocks/*")
    return [path for path in found if path.name.isdigit()]


class Uploader:
    """A listener's app."""

    def __init__(self, system: RunningSystem, http: aiohttp.ClientSession, body: bytes) -> None:
        self._system = system
        self._http = http
        self._body = body
        self._headers = {"Authorization": f"Bearer {system.token(str(uuid.uuid4()))}"}
        self._path = ""

    async def begin(self, server: int) -> None:
        status, answer = await self.ask(server, "POST", "/uploads", json={"size": len(self._body)})
        assert status == 201
        self._path = f"/uploads/{answer['upload_id']}"

    async def ask(self, server: int, method: str, path: str = "", **options: Any) -> tuple[int, Any]:
        headers = {**self._headers, **options.pop("headers", {})}
        url = self._system.base_urls[server] + API + (path or self._path)
        async with self._http.request(method, url, headers=headers, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def send(self, server: int, start: int, end: int) -> asyncio.StreamWriter:
        """Sends so much of the rest, by hand, and waits for no answer."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._system.ports[server])
        head = {
            **self._headers,
            "Host": "test",
            "Content-Type": "audio/wav",
            "Content-Length": str(len(self._body) - start),
            "Content-Range": f"bytes {start}-{len(self._body) - 1}/{len(self._body)}",
        }
        lines = [f"PUT {API}{self._path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + self._body[start:end])
        return writer

    async def outcome(self, server: int) -> tuple[int, Any]:
        return await self.ask(server, "PUT", headers={"Content-Range": f"bytes */{len(self._body)}"})


async def test_servers_killed_in_a_part_and_in_the_joining_cost_no_upload(
    make_system: StartSystem, valkey_url: str
) -> None:
    system, body = make_system(valkey_url, servers=2, helper_commands=()), silence()
    await asyncio.to_thread(system.start)
    async with aiohttp.ClientSession() as http:
        app = Uploader(system, http, body)
        await app.begin(0)
        first = await app.send(0, 0, SENT_BYTES)
        await until(lambda: len(blocks(system)) == SENT_BYTES // BLOCK_BYTES)
        system.servers[0].kill()
        first.close()

        status, state = await app.ask(1, "GET")
        assert (status, state["offset"], state["status"]) == (200, 2 * BLOCK_BYTES, "receiving")
        second = await app.send(1, state["offset"], len(body))
        await until(lambda: len(blocks(system)) == -(-len(body) // BLOCK_BYTES))
        system.servers[1].kill()
        second.close()

        system.servers[0].start()
        await asyncio.to_thread(system.wait_ready, 0)
        status, script = await app.outcome(0)
        assert status in (200, 201), script
        assert script["duration"] == MINUTES * 60
        assert [row["script_id"] for row in (await app.ask(0, "GET", "/scripts"))[1]["scripts"]] == [
            script["script_id"]
        ]
        assert blocks(system) == []
        assert await app.outcome(0) == (status, script)

"""What tests of uploads share: forms, senders that stop, and what lies in the storage."""

import asyncio
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from aiohttp import FormData

from playhead.http.route import API
from playhead.storage import LocalStorage
from tests.integration.http.world import Caller, World
from tests.support.media_files import media_files

DEADLINE_S = 10.0
AUDIO = {"Content-Type": "audio/mpeg"}
BYTES = {"Content-Type": "application/octet-stream"}


def files(folder: Path) -> list[str]:
    """Everything that lies in the storage, half-written or whole."""
    return media_files(folder)


def form_of(mp3: bytes, *, filename: str = "sound.mp3", **fields: str) -> FormData:
    form = FormData(quote_fields=False)
    for name, value in fields.items():
        form.add_field(name, value)
    form.add_field("file", BytesIO(mp3), filename=filename, content_type="audio/mpeg")
    return form


class Interrupted:
    """A client that sends the head and a part of its body, by hand, and goes."""

    def __init__(self, world: World, caller: Caller) -> None:
        self._server = world.client.server
        self._token = caller.token

    async def send(self, content_type: str, announced: int, part: bytes) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection(str(self._server.host), self._server.port)
        head = (
            f"POST {API}/scripts HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {announced}\r\n\r\n"
        )
        writer.write(head.encode() + part)
        await writer.drain()
        return writer


class Disk(LocalStorage):
    """A disk that is as full as it is told."""

    def __init__(self, root: Path, free_bytes: list[int]) -> None:
        super().__init__(root)
        self._free = free_bytes

    async def free_bytes(self) -> int:
        return self._free.pop(0) if len(self._free) > 1 else self._free[0]


async def until(condition: Callable[[], object]) -> None:
    """Returns when `condition` is true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)

"""HTTP by hand over TCP, for what no client would send; and heads that no server can read, each with a secret in it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

WAIT_S = 10.0
SECRET = "bm90aGluZyB0byBzZWU"
LONG = SECRET * 1_100
"""More than 20,000 characters."""
READABLE = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


def request(target: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: test", *headers, "", ""]).encode()


UNREADABLE: dict[str, tuple[bytes, int, str]] = {
    "media path": (request(f"/p/{LONG}/t/a/b/master.m3u8"), 414, "target_too_long"),
    "path of the API": (request(f"/api/v1/audio/scripts/{LONG}"), 414, "target_too_long"),
    "query": (request(f"/api/v1/audio/scripts?cursor={LONG}"), 414, "target_too_long"),
    "path without end": (f"GET /p/{LONG}".encode(), 414, "target_too_long"),
    "token": (request("/api/v1/audio/scripts", f"Authorization: Bearer {LONG}"), 431, "header_too_large"),
    "name of a header": (request("/healthz", f"{LONG}: 1"), 431, "header_too_large"),
    "many headers": (request("/healthz", *[f"X: {SECRET}"] * 200), 400, "unreadable"),
    "control character": (request(f"/p/{SECRET}\x01"), 400, "unreadable"),
    "no HTTP": (f"{SECRET}{{}}\r\n\r\n".encode(), 400, "unreadable"),
}
"""A request, and the status and code that it is answered with."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read to its end. `head`: in lower case."""

    status: int
    head: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class BareHttp:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(WAIT_S):
            await self._writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(WAIT_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            return Answer(int(head.split()[1]), head, await self._reader.readexactly(length))

    async def ended(self) -> bytes:
        """What comes until the other end has closed. Raises ConnectionResetError where it did not do so in order."""
        async with asyncio.timeout(WAIT_S):
            return await self._reader.read()


@asynccontextmanager
async def bare_http(port: int) -> AsyncIterator[BareHttp]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield BareHttp(reader, writer)
    finally:
        writer.close()

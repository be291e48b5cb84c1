"""A bucket that fails as a test says: a proxy before the real server, which passes on whatever it is not told to fail.

It keeps the `Host` that was signed, so signatures hold.
"""

import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

from aiohttp import ClientSession, web
from multidict import CIMultiDict
from yarl import URL

REQUEST_BYTES_MAX = 32 * 1024 * 1024
SHUTDOWN_S = 1.0
OF_THE_CONNECTION = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length")
NOT_ASKED_FOR = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
NO_LINGERING = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and when it came, on the monotonic clock."""

    method: str
    path: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An error of S3's instead of what the server would say; the request is not passed on."""

    status: int
    code: str


@dataclass(frozen=True, slots=True)
class BreakOff:
    """The connection ends after so many bytes of the answer's body; None: before any answer, and nothing is passed on,
    unless it is `done`. `reset`: it ends without a farewell, as when the machine behind it is gone."""

    after_bytes: int | None = None
    reset: bool = False
    done: bool = False


Fault = Answer | BreakOff
Rule = Callable[[Asked], Awaitable[Fault | None]]
"""What a request fails with. It may wait, or do something first."""
SLOW_DOWN, INTERNAL_ERROR = Answer(503, "SlowDown"), Answer(500, "InternalError")
GONE = BreakOff()


async def well(_asked: Asked) -> None:
    """The rule of a server that fails nothing."""


def always(fault: Fault, *, method: str = "", below: str = "") -> Rule:
    """Requests of that method fail, whose path has `below` in it."""

    async def rule(asked: Asked) -> Fault | None:
        return fault if asked.method.startswith(method) and below in asked.path else None

    return rule


def first(times: int, fault: Fault, *, method: str = "", below: str = "") -> Rule:
    """So many of them fail, and then none."""
    left, matching = times, always(fault, method=method, below=below)

    async def rule(asked: Asked) -> Fault | None:
        nonlocal left
        found = await matching(asked) if left else None
        left -= found is not None
        return found

    return rule


class FlakyBucket:
    """Made by `flaky_bucket`."""

    def __init__(self, server: str, client: ClientSession) -> None:
        self.url = ""
        self.rule: Rule = well
        self.asked: list[Asked] = []
        self.failed = 0
        self._server = server
        self._client = client

    def count(self, method: str, below: str = "") -> int:
        return sum(asked.method == method and below in asked.path for asked in self.asked)

    def pauses_s(self, method: str = "") -> Sequence[float]:
        """Between requests: never less than who asked has waited, as each is noted before it is answered."""
        times_s = [asked.at_s for asked in self.asked if asked.method.startswith(method)]
        return [later_s - earlier_s for earlier_s, later_s in pairwise(times_s)]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(request.method, request.raw_path, time.monotonic())
        self.asked.append(asked)
        body = await request.read()
        fault = await self.rule(asked)
        self.failed += fault is not None
        match fault:
            case Answer(status, code):
                told = f"<Error><Code>{code}</Code></Error>"
                return web.Response(status=status, text=told, content_type="application/xml")
            case BreakOff(after_bytes=None, done=False):
                return _ended(request, fault, web.Response())
            case _:
                return await self._passed_on(request, body, fault)

    async def _passed_on(self, request: web.Request, body: bytes, fault: BreakOff | None) -> web.StreamResponse:
        async with self._client.request(
            request.method,
            URL(self._server + request.raw_path, encoded=True),
            headers=_passing(request.headers),
            data=body or None,
            skip_auto_headers=NOT_ASKED_FOR,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
        response = web.StreamResponse(status=answer.status, headers=_passing(answer.headers))
        if fault is not None and fault.after_bytes is None:
            return _ended(request, fault, response)
        is_head = request.method == "HEAD"
        response.content_length = int(answer.headers.get("Content-Length", 0)) if is_head else len(content)
        await response.prepare(request)
        await response.write(content if fault is None else content[: fault.after_bytes])
        return response if fault is None else _ended(request, fault, response)


def _passing(headers: Mapping[str, str]) -> "CIMultiDict[str]":
    passed = CIMultiDict(headers)
    for name in OF_THE_CONNECTION:
        passed.popall(name, None)
    return passed


def _ended(request: web.Request, how: BreakOff, response: web.StreamResponse) -> web.StreamResponse:
    """`response`, of which nothing more gets through."""
    assert request.transport is not None
    if how.reset:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
        request.transport.abort()
    else:
        request.transport.close()
    return response


@asynccontextmanager
async def flaky_bucket(server: str) -> AsyncIterator[FlakyBucket]:
    """One before the server at that address, until the block ends."""
    async with ClientSession(auto_decompress=False) as client:
        bucket = FlakyBucket(server, client)
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", bucket.serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            bucket.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield bucket
        finally:
            await runner.cleanup()

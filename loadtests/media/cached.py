"""How many cached `GET /stream` one server process answers, beside a bare aiohttp handler with the same JSON, in turn.

    clients ── keep-alive ──► playhead: token, pace, visibility in PostgreSQL, cache, a signature of one's own
            └─ the same ────► `bare_server`: nothing of that

Twice: of a script for everybody, whose row is read once for all who ask at the same moment, and each client of a script
of its own, of which PostgreSQL says by row level security, request by request, who may hear it. Each client asks again
as soon as it is answered. All share this machine's cores: the clients, which are this process and read no more than
they must, and PostgreSQL and Valkey, which only playhead asks.
"""

import asyncio
import json
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import aiohttp
import psutil

from loadtests.holding.usage import Usage, family
from loadtests.media.place import API, Place

CLIENTS = 32
"""Each a listener of its own, as listeners are paced."""
SECONDS, WARM_UP_S = 5.0, 1.0
ROUNDS = 3
DATABASES = ("postgres", "valkey")
ANSWER_TIMEOUT_S = 10.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pace:
    """What one server did. `cpu_us`: of its process, for a request; `databases_cpu_us`: of those that it asks."""

    per_s: float
    cpu_us: float
    databases_cpu_us: float = 0.0


@dataclass(frozen=True, slots=True)
class CachedRound:
    """One after the other: a script for everybody, a script of one's own, the bare handler."""

    shared: Pace
    own: Pace
    bare: Pace

    @property
    def ratio(self) -> float:
        """How many requests playhead answered for one of the bare handler."""
        return self.shared.per_s / self.bare.per_s

    @property
    def own_ratio(self) -> float:
        return self.own.per_s / self.bare.per_s


class Answers:
    """What the clients of one server have seen. Good is a 200 of `length` bytes: `"cached":false` is longer."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.good = 0
        self.bad: list[bytes] = []
        self.over = False

    def note(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"HTTP/1.1 200 ") and len(body) == self._length:
            self.good += 1
        else:
            self.bad.append(head[:80] + b" " + body[:400])
            self.over = True


class Asking(asyncio.Protocol):
    """A connection that sends `request`, and again as soon as it is answered, until it is over."""

    def __init__(self, request: bytes, answers: Answers) -> None:
        self._request = request
        self._answers = answers
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        self._answers.note(head, body)
        if not self._answers.over and self._transport is not None:
            self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answers.over:
            self._answers.bad.append(f"the connection was closed: {error}".encode())


async def compare(place: Place, kind: str, rounds: int, seconds: float) -> list[CachedRound]:
    """`rounds` of them, who begins by turns. Raises RuntimeError where an answer is not what it should be."""
    listeners = [str(uuid.uuid4()) for _ in range(CLIENTS)]
    shared = await place.fresh(kind)
    own = [await place.fresh(kind, listener_id) for listener_id in listeners]
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    requests: dict[str, list[bytes]] = {"shared": [], "own": []}
    async with aiohttp.ClientSession(place.url, timeout=timeout) as http:
        for listener_id, script in zip(listeners, own, strict=True):
            token = place.system.token(listener_id)
            for name, each in (("shared", shared), ("own", script)):
                path = f"{API}/stream/{each.script_id}"
                answer = await _cached_answer(http, path, token)
                requests[name].append(_request(path, token))
    requests["bare"] = requests["shared"]
    done = []
    async with _bare(answer.decode()) as bare:
        playhead = place.system.ports[0], place.server.pid
        servers = {"shared": playhead, "own": playhead, "bare": bare}
        for number in range(rounds):
            names = sorted(servers, reverse=number % 2 == 0)
            paces = {name: await _pace(*servers[name], len(answer), requests[name], seconds) for name in names}
            done.append(CachedRound(**paces))
    return done


async def _cached_answer(http: aiohttp.ClientSession, path: str, token: str) -> bytes:
    """The answer as it is once it is cached."""
    for _ in range(2):
        async with http.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
            body = await answer.read()
    if not json.loads(body).get("cached"):
        raise RuntimeError(f"GET /stream is not cached: {body.decode()}")
    return body


def _request(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


async def _pace(port: int, pid: int, length: int, requests: Sequence[bytes], seconds: float) -> Pace:
    """What the server at `port` answers; the first second is not counted."""
    loop, answers = asyncio.get_running_loop(), Answers(length)
    connected = [
        await loop.create_connection(partial(Asking, request, answers), "127.0.0.1", port) for request in requests
    ]
    try:
        await asyncio.sleep(WARM_UP_S)
        before, cpu_before, began_s = answers.good, _cpu_s(pid), loop.time()
        await asyncio.sleep(seconds)
        answered, took_s = answers.good - before, loop.time() - began_s
        server_s, databases_s = (after - cpu_s for after, cpu_s in zip(_cpu_s(pid), cpu_before, strict=True))
    finally:
        answers.over = True
        for transport, _ in connected:
            transport.abort()
    if answers.bad or not answered:
        raise RuntimeError(f"{len(answers.bad)} answers of {port} are not as they should be: {answers.bad[:1]}")
    return Pace(answered / took_s, server_s / answered * 1e6, databases_s / answered * 1e6)


def _cpu_s(pid: int) -> tuple[float, float]:
    """CPU time so far of that server, and of the databases here."""
    databases = []
    for process in family(os.getpid()):
        with suppress(psutil.Error):
            if process.name().startswith(DATABASES):
                databases.append(process)
    used = Usage().now({"server": [psutil.Process(pid)], "databases": databases})
    return used["server"], used["databases"]


@asynccontextmanager
async def _bare(answer: str) -> AsyncIterator[tuple[int, int]]:
    """The bare server: its port and process."""
    command, pipe = [sys.executable, "-m", "loadtests.media.bare_server", answer], asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), process.pid
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

"""Several load processes as one: what to do is split among them, and what they saw is put together by the second."""

import asyncio
import json
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import psutil

from loadtests.holding.crowd import REPORT_EVERY_S
from loadtests.holding.files import sockets_a_process
from loadtests.holding.usage import family
from playhead.auth.tokens import issue

TOKEN_S = 7_200
AUDIENCE = "authenticated"
LINE_BYTES_MAX = 64 * 1024 * 1024
END_TIMEOUT_S = 30.0


class LoadFailed(Exception):
    """The load did not become what it should; the text says what was seen."""


@dataclass(slots=True)
class Second:
    """What all load processes saw in one second."""

    joined: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    times_ms: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    late_ms: float = 0.0


class Loads:
    """Start it with `loading`. `seconds`: by whole seconds of the monotonic clock."""

    def __init__(self, sockets: int, processes: int) -> None:
        self.sockets = sockets
        self.seconds: defaultdict[int, Second] = defaultdict(Second)
        self._pairs = [sockets // 2 // processes + (number < sockets // 2 % processes) for number in range(processes)]
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self._latest = [0] * processes
        self._full_s = [0.0] * processes
        self._opened = [0] * processes
        self._news = asyncio.Event()

    async def start(self, port: int, script_id: str, jwt_key: str, report_every_s: float) -> None:
        expires_at_s = int(time.time()) + TOKEN_S
        for number, pairs in enumerate(self._pairs):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "loadtests.holding.load_process"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX,
            )
            self._processes.append(process)
            self._readers.append(asyncio.create_task(self._read(number, process)))
            tokens = [
                issue(jwt_key, listener_id=str(uuid.uuid4()), audience=AUDIENCE, expires_at_s=expires_at_s)
                for _ in range(pairs)
            ]
            sources = [f"127.0.{number + 1}.{host}" for host in (1, 2)]
            target = {"host": "127.0.0.1", "port": port, "sources": sources, "script_id": script_id}
            target["report_every_s"] = report_every_s
            await self._tell(number, {**target, "tokens": tokens})

    async def _tell(self, number: int, command: dict[str, Any]) -> None:
        stdin = self._processes[number].stdin
        assert stdin is not None
        stdin.write(json.dumps(command).encode() + b"\n")
        await stdin.drain()

    async def _read(self, number: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said = orjson.loads(line)
            if "at_s" in said:
                self._note(number, said)
            self._full_s[number] = said.get("full_s", self._full_s[number])
            self._opened[number] = said.get("opened", self._opened[number])
            self._news.set()

    def _note(self, number: int, said: dict[str, Any]) -> None:
        self._latest[number] = said["joined"]
        second = self.seconds[int(said["at_s"])]
        second.joined = sum(self._latest)
        second.counts.update(said["counts"])
        second.late_ms = max(second.late_ms, said["late_ms"])
        for name, found in said["times_ms"].items():
            second.times_ms[name] += found

    @property
    def joined(self) -> int:
        return sum(self._latest)

    async def open(self, sockets: int, per_s: float, timeout_s: float) -> bool:
        """Returns when so many are joined, at most `per_s` more a second; False: not in time."""
        share = sockets / self.sockets
        wanted = [round(pairs * share) for pairs in self._pairs]
        for number, pairs in enumerate(wanted):
            await self._tell(number, {"do": "open", "pairs": pairs, "per_s": per_s / len(wanted)})
        return await self._until(lambda: self._opened == wanted, timeout_s)

    async def seek(self, per_s: float) -> None:
        for number in range(len(self._processes)):
            await self._tell(number, {"do": "seek", "per_s": per_s / len(self._processes)})

    async def full(self, since_s: float, timeout_s: float) -> float | None:
        """When all sockets were joined again after `since_s`, on the monotonic clock; None: not in time."""
        if await self._until(lambda: min(self._full_s) > since_s and self.joined == self.sockets, timeout_s):
            return max(self._full_s)
        return None

    async def _until(self, true: Any, timeout_s: float) -> bool:
        until_s = time.monotonic() + timeout_s
        while not true():
            if any(reader.done() for reader in self._readers):
                raise LoadFailed("A load process has ended by itself; see above.")
            self._news.clear()
            try:
                async with asyncio.timeout(until_s - time.monotonic()):
                    await self._news.wait()
            except TimeoutError:
                return False
        return True

    def processes(self) -> list[psutil.Process]:
        return [each for process in self._processes for each in family(process.pid)]

    def between(self, from_s: float, to_s: float) -> Second:
        """Everything of these seconds put together, the first one as a whole."""
        whole = Second(joined=self.joined)
        for at_s, second in self.seconds.items():
            if int(from_s) <= at_s < to_s:
                whole.counts.update(second.counts)
                whole.late_ms = max(whole.late_ms, second.late_ms)
                for name, found in second.times_ms.items():
                    whole.times_ms[name] += found
        return whole

    async def stop(self) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                async with asyncio.timeout(END_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        for reader in self._readers:
            reader.cancel()


@asynccontextmanager
async def loading(
    sockets: int, descriptors: int, port: int, script_id: str, jwt_key: str, report_every_s: float = REPORT_EVERY_S
) -> AsyncIterator[Loads]:
    """As many load processes as so many sockets need, two at least."""
    loads = Loads(sockets, max(2, -(-sockets // sockets_a_process(descriptors))))
    try:
        await loads.start(port, script_id, jwt_key, report_every_s)
        yield loads
    finally:
        await loads.stop()

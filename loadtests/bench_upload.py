"""What memory an upload takes of the server that takes it: `dev.py bench upload`.

    python3 dev.py bench upload [--bytes 2147483648] [--keep]

One server with its sessions in memory, a PostgreSQL of its own, media on this disk. Silence of that many bytes, a wav,
is uploaded once as one body and once in eight parts, after small ones have made the server load what it needs.

    growth     the most that the server's process held in memory meanwhile (VmHWM), less what it held before
    probe      the most that its ffprobe held, which runs beside it
"""

import argparse
import asyncio
import socket
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from loadtests import ending
from loadtests.keeping import keep
from loadtests.machine import Goal, Result
from playhead.app.embedded import EmbeddedPostgres
from playhead.runtime.tasks import cancelled
from tests.support.system import RunningSystem

API = "/api/v1/audio"
SIZE_BYTES = 2 * 1024**3
WARM_UP_BYTES = 32 * 1024**2
PARTS = 8
PIECE_BYTES = 256 * 1024
UPLOAD_TIMEOUT_S = 900.0
SAMPLE_S = 0.05
GOAL_MIB = 64.0
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Took:
    """One upload."""

    before_mib: float
    growth_mib: float
    probe_mib: float
    seconds: float


def silence(path: Path, size_bytes: int, mark: int) -> Path:
    """A wav of that size, which takes no room on the disk; no two with different marks are the same file."""
    with path.open("wb") as file:
        data_bytes = size_bytes - 44
        file.write(
            struct.pack("<4sI4s4sIHHIIHH", b"RIFF", size_bytes - 8, b"WAVE", b"fmt ", 16, 1, 1, 48_000, 96_000, 2, 16)
            + struct.pack("<4sI", b"data", data_bytes)
        )
        file.truncate(size_bytes)
        file.seek(-2, 2)
        file.write(bytes([mark, 0]))
    return path


class Client:
    def __init__(self, http: aiohttp.ClientSession, system: RunningSystem) -> None:
        self._http = http
        self._root = system.base_url + API
        self._headers = {"Authorization": f"Bearer {system.token()}", "Content-Type": "audio/wav"}

    async def plain(self, path: Path) -> None:
        await self._ask("POST", "/scripts", 201, data=_pieces(path, 0, path.stat().st_size), length=path.stat().st_size)

    async def parts(self, path: Path) -> None:
        size = path.stat().st_size
        begun = await self._ask("POST", "/uploads", 201, json={"size": size})
        target, step = f"/uploads/{begun['upload_id']}", size // PARTS // begun["block_bytes"] * begun["block_bytes"]
        starts = range(0, size, step)
        for start in starts:
            end = min(start + step, size)
            await self._ask(
                "PUT",
                target,
                201 if end == size else 202,
                data=_pieces(path, start, end),
                length=end - start,
                headers={"Content-Range": f"bytes {start}-{end - 1}/{size}"},
            )

    async def _ask(self, method: str, path: str, wanted: int, *, length: int | None = None, **options: Any) -> Any:
        headers = {**self._headers, **options.pop("headers", {})}
        if length is None:
            del headers["Content-Type"]
        else:
            headers["Content-Length"] = str(length)
        async with self._http.request(method, self._root + path, headers=headers, **options) as answer:
            if answer.status != wanted:
                raise SystemExit(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json()


async def _pieces(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            piece = file.read(min(PIECE_BYTES, end - start))
            start += len(piece)
            yield piece


async def measured(server: psutil.Process, upload: Callable[[Path], Awaitable[None]], path: Path) -> Took:
    probe_bytes = 0

    async def watch() -> None:
        nonlocal probe_bytes
        while True:
            for child in server.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    probe_bytes = max(probe_bytes, child.memory_info().rss)
            await asyncio.sleep(SAMPLE_S)

    before_bytes = server.memory_info().rss
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # forgets the peak until now: proc(5)
    began_s = time.perf_counter()
    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            await upload(path)
    finally:
        await cancelled(watching)
    seconds = time.perf_counter() - began_s
    growth_bytes = _peak_bytes(server.pid) - before_bytes
    return Took(before_bytes / MIB, growth_bytes / MIB, probe_bytes / MIB, seconds)


def _peak_bytes(pid: int) -> int:
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(row.split()[1]) * 1024 for row in rows if row.startswith("VmHWM:"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run(system: RunningSystem, folder: Path, size_bytes: int) -> dict[str, Took]:
    server, took = psutil.Process(system.servers[0].pid), {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        client = Client(http, system)
        for mark, upload in enumerate((client.plain, client.parts)):
            await upload(silence(folder / "small.wav", WARM_UP_BYTES, mark))
        for mark, upload in enumerate((client.plain, client.parts)):
            took[upload.__name__] = await measured(server, upload, silence(folder / "large.wav", size_bytes, mark))
            print(f"{upload.__name__}: {took[upload.__name__]}", file=sys.stderr)
    return took


def result_of(took: dict[str, Took]) -> Result:
    figures = {
        f"{name}_{figure}": round(value, 1)
        for name, one in took.items()
        for figure, value in (
            ("server_mib_before", one.before_mib),
            ("growth_mib", one.growth_mib),
            ("probe_mib", one.probe_mib),
            ("s", one.seconds),
        )
    }
    goals = {
        f"{name}_growth_mib": Goal(f"< {GOAL_MIB:g}", round(one.growth_mib, 1), one.growth_mib < GOAL_MIB)
        for name, one in took.items()
    }
    return Result("upload", figures, goals)


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench upload", description=__doc__)
    parser.add_argument("--bytes", type=int, default=SIZE_BYTES, help=f"of the file (default {SIZE_BYTES})")
    parser.add_argument("--keep", action="store_true", help="write the results that the documentation quotes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="playhead-bench-") as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres") as postgres:
            system = RunningSystem(
                folder=folder,
                database_url=postgres.url(),
                redis_url=None,
                ports=(_free_port(),),
                metrics_ports=(_free_port(),),
                helper_commands=(),
            )
            try:
                system.start()
                took = ending.run(run(system, folder, options.bytes))
            finally:
                system.stop()
    result = result_of(took)
    if options.keep:
        keep(result, {"bytes": options.bytes}, [])
    print(result.line())


if __name__ == "__main__":
    main()

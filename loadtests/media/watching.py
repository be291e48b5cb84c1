"""ffmpeg's processes and memory, and the server's memory, looked at all the time; and what others use meanwhile."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import psutil

from loadtests.holding.usage import family

LOOK_S = 0.2
"""A look takes a few ms of CPU: all processes of the machine are gone through."""
NAME = "ffmpeg"
NOT_BUSY = ("idle", "iowait", "guest", "guest_nice")
"""Of `psutil.cpu_times`; guests are in `user` already."""


@dataclass(slots=True)
class Peak:
    """The most that was seen at one look."""

    looks: int = 0
    processes: int = 0
    ffmpeg_bytes: int = 0
    """Resident memory of one ffmpeg."""
    server_bytes: int = 0

    def note(self, ffmpeg_bytes: list[int], server_bytes: int) -> None:
        self.looks += 1
        self.processes = max(self.processes, len(ffmpeg_bytes))
        self.ffmpeg_bytes = max([self.ffmpeg_bytes, *ffmpeg_bytes])
        self.server_bytes = max(self.server_bytes, server_bytes)


class Watch:
    """Looks at what `pids` run, the first of which is the server. `peaks`: by the names given to `during`."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._server = psutil.Process(pids[0])
        self._now: list[Peak] = []
        self.peaks: dict[str, Peak] = {}

    @contextmanager
    def during(self, name: str) -> Iterator[Peak]:
        """The most of the block."""
        peak = self.peaks.setdefault(name, Peak())
        self._now.append(peak)
        try:
            yield peak
        finally:
            self._now.remove(peak)

    async def look_for_ever(self) -> None:
        while True:
            began_s = time.monotonic()
            with suppress(psutil.Error):
                seen = await asyncio.to_thread(self._look)
                for peak in self._now:
                    peak.note(*seen)
            await asyncio.sleep(max(0.0, LOOK_S - (time.monotonic() - began_s)))

    def _look(self) -> tuple[list[int], int]:
        sizes = []
        for pid in tuple(self._pids):
            with suppress(psutil.Error):
                sizes += [int(process.memory_info().rss) for process in encoders(pid)]
        return sizes, int(self._server.memory_info().rss)


class Others:
    """How much of the machine others use: whoever is neither this process nor started by it."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._before_s = _busy_s() - _own_s()

    def cores(self) -> float:
        """Cores that were busy for others, on average since this was made; what the host took away included."""
        return (_busy_s() - _own_s() - self._before_s) / (time.monotonic() - self._began_s)


def _busy_s() -> float:
    """CPU time of the whole machine so far that was not idle."""
    times = psutil.cpu_times()._asdict()
    return float(sum(times.values()) - sum(times.get(name, 0.0) for name in NOT_BUSY))


def _own_s() -> float:
    """CPU time so far of this process and all that it has started, those that have ended included."""
    found = 0.0
    for process in family(os.getpid()):
        with suppress(psutil.Error):
            times = process.cpu_times()
            found += times.user + times.system + times.children_user + times.children_system
    return found


def encoders(pid: int) -> list[psutil.Process]:
    """The ffmpeg processes that process `pid` has started. Raises psutil.Error when it is gone."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if child.name().startswith(NAME):
                found.append(child)
    return found


def encoding_s(pid: int) -> float:
    """CPU time so far of the ffmpeg processes that process `pid` has started, and of those that have ended."""
    used_s = 0.0
    with suppress(psutil.Error):
        used_s += psutil.Process(pid).cpu_times().children_user
        for process in encoders(pid):
            with suppress(psutil.Error):
                used_s += process.cpu_times().user
    return used_s


@asynccontextmanager
async def watching(pids: Sequence[int]) -> AsyncIterator[Watch]:
    """Looks in the background until the end; `pids` may change meanwhile."""
    watch = Watch(pids)
    task = asyncio.create_task(watch.look_for_ever())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

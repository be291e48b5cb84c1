"""What processes use: CPU time and memory, by what they do. Who has gone stays counted."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import psutil


class Usage:
    """CPU time of groups of processes. `now` is a look; who is gone between two looks is counted up to the last one."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[int, float]] = {}

    def now(self, groups: Mapping[str, Sequence[psutil.Process]]) -> dict[str, float]:
        """CPU seconds so far, by group."""
        for group, processes in groups.items():
            known = self._seen.setdefault(group, {})
            for process in processes:
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    known[process.pid] = float(times.user + times.system)
        return {group: sum(known.values()) for group, known in self._seen.items()}


def memory_bytes(processes: Iterable[psutil.Process]) -> dict[str, int]:
    """Memory of them together: `rss` counts what they share in each, `pss` once."""
    found = {"rss": 0, "pss": 0}
    for process in processes:
        with suppress(psutil.Error):
            full = process.memory_full_info()
            found["rss"] += full.rss
            found["pss"] += full.pss
    return found


def rss_bytes(processes: Iterable[psutil.Process]) -> int:
    """The first of these alone, which costs next to nothing to look at."""
    found = 0
    for process in processes:
        with suppress(psutil.Error):
            found += int(process.memory_info().rss)
    return found


def family(pid: int | None) -> list[psutil.Process]:
    """A process with all that it has started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []

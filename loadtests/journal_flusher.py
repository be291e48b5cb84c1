"""A flusher in a process of its own that keeps how late each entry was: part of `dev.py bench journal`.

    python -m loadtests.journal_flusher SERVICE_URL VALKEY_URL FILE

The same parts as `playhead flush`, and a journal that notes when entries are done. SIGTERM ends it; then FILE has the
figures as JSON.
"""

import asyncio
import gc
import json
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from playhead.app.flushing import GC_ALLOCATIONS
from playhead.db import JournalRepository, open_service_database
from playhead.runtime.metrics import create_metrics
from playhead.sessions.flushing import Flusher, Taken
from playhead.sessions.redis_journal import RedisJournal
from tests.support.clocks import SystemClock


class TimedJournal(RedisJournal):
    """`lags_ms`: from each entry's commit in the state store to PostgreSQL's commit."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._clock = SystemClock()
        self.lags_ms: list[int] = []

    async def done(self, taken: Sequence[Taken]) -> None:
        now_ms = self._clock.now_ms()
        self.lags_ms += [now_ms - row.committed_at_ms for row in taken]
        await super().done(taken)


async def main(service_url: str, valkey_url: str, file: str) -> None:
    gc.set_threshold(GC_ALLOCATIONS)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    journal = TimedJournal(valkey_url)
    async with open_service_database(service_url) as database:
        rows = JournalRepository(database)
        await Flusher(journal, rows, SystemClock(), create_metrics(CollectorRegistry())).run(stop)
    await journal.stop()
    used = resource.getrusage(resource.RUSAGE_SELF)
    Path(file).write_text(json.dumps({"lags_ms": sorted(journal.lags_ms), "cpu_s": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

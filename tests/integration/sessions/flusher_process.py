"""A flusher in a process of its own that kills itself. Arguments: service URL, Valkey URL, `before` or `after`, batch.

It dies by SIGKILL in the middle of that batch, counted from one: before PostgreSQL is asked to store it, or after
PostgreSQL has committed it, and before the journal is told.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from playhead.db import JournalEntry, JournalRepository, ServiceDatabase, open_service_database
from playhead.runtime.metrics import create_metrics
from playhead.sessions.flushing import Flusher
from playhead.sessions.redis_journal import RedisJournal
from tests.support.clocks import SystemClock


class Fatal(JournalRepository):
    def __init__(self, database: ServiceDatabase, moment: str, batch: int) -> None:
        super().__init__(database)
        self._moment = moment
        self._left = batch

    async def store(self, entries: Sequence[JournalEntry]) -> None:
        self._left -= 1
        if self._left == 0 and self._moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await super().store(entries)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(service_url: str, valkey_url: str, moment: str, batch: str) -> None:
    async with open_service_database(service_url) as database:
        rows = Fatal(database, moment, int(batch))
        journal = RedisJournal(valkey_url)
        await Flusher(journal, rows, SystemClock(), create_metrics(CollectorRegistry())).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

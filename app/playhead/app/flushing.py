"""`playhead flush`: takes the journal to PostgreSQL, until it is told to stop. Any number may run."""

import asyncio
import gc

import structlog

from playhead.app.databases import service_database
from playhead.app.machine import metrics_server, own_metrics
from playhead.app.signals import stop_requested
from playhead.db import JournalRepository
from playhead.runtime.settings import Settings
from playhead.runtime.store_clock import RedisTime, StoreClock
from playhead.sessions.flushing import Flusher
from playhead.sessions.redis_journal import RedisJournal

GC_ALLOCATIONS = 100_000
"""A batch makes tens of thousands of objects that nothing keeps and that are in no cycle. To look for cycles after each
700 of them, as Python does by itself, takes a quarter of the flusher's time."""

log = structlog.get_logger(__name__)


async def flush(settings: Settings) -> int:
    """Flushes until SIGTERM or Ctrl-C; the batch in hand is stored first. Raises SettingsError.

    Asks no server yet: it may start while the stores are away, and waits for them.
    """
    assert settings.redis_url is not None
    gc.set_threshold(GC_ALLOCATIONS)
    metrics = own_metrics()
    server = metrics_server(settings)
    redis_url = settings.redis_url.get_secret_value()
    journal, clock = RedisJournal(redis_url), StoreClock(RedisTime(redis_url))
    try:
        async with stop_requested() as stop, service_database(settings) as opened:
            await clock.start()
            log.info("Flushing.", action="flushing")
            await Flusher(journal, JournalRepository(opened), clock, metrics).run(stop)
            log.info("Stopped.", action="stopped")
    finally:
        await clock.stop()
        await journal.stop()
        await asyncio.to_thread(server.stop)
    return 0

"""`playhead worker`: takes scripts from the queue and encodes them, until it is told to stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from playhead.app.databases import database
from playhead.app.machine import check_storage, media_storage, metrics_server, own_metrics, precedence, programs
from playhead.app.signals import stop_requested
from playhead.db import Database, LoudnessRepository, ScriptRepository
from playhead.runtime.metrics import Metrics
from playhead.runtime.settings import Settings
from playhead.runtime.tasks import cancelled
from playhead.sessions.script_news import ScriptTeller
from playhead.transcode import (
    BULK_UNREAD_BYTES_MAX,
    Collector,
    Encoder,
    GivesWay,
    LoudnessMeter,
    PrepareQueue,
    Programs,
    ScriptStatus,
    ToldStatus,
    Worker,
    collect_regularly,
)

log = structlog.get_logger(__name__)


async def work(settings: Settings) -> int:
    """Works until SIGTERM or Ctrl-C; what is in hand is given back. Raises SettingsError."""
    metrics = own_metrics()
    storage, found = media_storage(settings), programs()
    server = metrics_server(settings)
    try:
        async with (
            stop_requested() as stop,
            database(settings) as opened,
            _told_scripts(settings, opened, metrics) as scripts,
        ):
            worker = Worker(
                queue=PrepareQueue(opened.jobs()),
                scripts=scripts,
                storage=storage,
                encoder=bulk_encoder(settings, found, metrics),
                metrics=metrics,
                slots=settings.encoder_slots,
                attempts_max=settings.job_attempts_max,
            )
            await check_storage(storage, ScriptRepository(opened))
            log.info("Working.", action="working", ffmpeg=found.version)
            collector = Collector(storage, ScriptRepository(opened))
            collecting = asyncio.create_task(collect_regularly(collector, storage, metrics), name="collect_garbage")
            meter = LoudnessMeter(LoudnessRepository(opened), storage, found)
            measuring = asyncio.create_task(meter.run(), name="measure_loudness")
            try:
                await worker.run(stop)
            finally:
                await cancelled(collecting)
                await cancelled(measuring)
    finally:
        await asyncio.to_thread(server.stop)
    return 0


def bulk_encoder(settings: Settings, found: Programs, metrics: Metrics) -> Encoder:
    """The worker's, which stands still while somebody on this machine waits for another one."""
    give_way = GivesWay(precedence(settings), metrics.demand.gave_way_seconds.inc)
    return Encoder(found, unread_bytes_max=BULK_UNREAD_BYTES_MAX, give_way=give_way)


@asynccontextmanager
async def _told_scripts(settings: Settings, opened: Database, metrics: Metrics) -> AsyncIterator[ScriptStatus]:
    """Rows of scripts; where servers listen for news of them, what is written is told as well."""
    if settings.store == "memory" or settings.redis_url is None:
        yield ScriptRepository(opened)
        return
    teller = ScriptTeller(settings.redis_url.get_secret_value(), metrics)
    teller.start()
    try:
        yield ToldStatus(ScriptRepository(opened), teller.tell)
    finally:
        await teller.stop()

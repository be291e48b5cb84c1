"""`playhead worker`: takes scripts from the queue and encodes them, until it is told to stop."""

import asyncio

import structlog

from playhead.app.databases import database
from playhead.app.machine import media_storage, metrics_server, programs
from playhead.app.signals import stop_requested
from playhead.db import ScriptRepository
from playhead.runtime.metrics import create_metrics
from playhead.runtime.settings import Settings
from playhead.transcode import Encoder, PrepareQueue, Worker

log = structlog.get_logger(__name__)


async def work(settings: Settings) -> int:
    """Works until SIGTERM or Ctrl-C; what is in hand is given back. Raises SettingsError."""
    metrics = create_metrics()
    storage, found = media_storage(settings), programs()
    server = metrics_server(settings)
    try:
        async with stop_requested() as stop, database(settings) as opened:
            worker = Worker(
                queue=PrepareQueue(opened.jobs()),
                scripts=ScriptRepository(opened),
                storage=storage,
                encoder=Encoder(found),
                metrics=metrics,
                slots=settings.encoder_slots,
                attempts_max=settings.job_attempts_max,
            )
            removed = await storage.remove_abandoned()
            log.info("Working.", action="working", ffmpeg=found.version, abandoned_files_removed=removed)
            await worker.run(stop)
    finally:
        await asyncio.to_thread(server.stop)
    return 0

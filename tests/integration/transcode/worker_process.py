"""A worker in a process of its own, to be killed. Arguments: app URL, service URL, media folder, poison script id.

Storing the first segment of the poison script ends this process with SIGKILL, as a file that brings its worker down.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from playhead.db import ScriptRepository, open_database
from playhead.runtime.metrics import create_metrics
from playhead.storage import LocalStorage
from playhead.transcode import Encoder, PrepareQueue, Worker, find_programs, loudness, preparation
from tests.integration.transcode.work import HEARTBEAT_TIMEOUT_S
from tests.support.audio import FFMPEG, FFPROBE


class PoisonedStorage(LocalStorage):
    def __init__(self, root: Path, poison: str) -> None:
        super().__init__(root)
        self._poison = poison

    async def put(self, key: str, body: bytes) -> bool:
        if self._poison and self._poison in key:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().put(key, body)


async def main(app_url: str, service_url: str, media_folder: str, poison: str = "") -> None:
    async with open_database(app_url, service_url, connections_max=4) as database:
        worker = Worker(
            queue=PrepareQueue(database.jobs(), HEARTBEAT_TIMEOUT_S),
            scripts=ScriptRepository(database),
            storage=PoisonedStorage(Path(media_folder), poison),
            encoder=Encoder(find_programs({"FFMPEG": FFMPEG, "FFPROBE": FFPROBE})),
            metrics=create_metrics(CollectorRegistry()),
            slots=2,
            attempts_max=2,
        )
        await worker.run(asyncio.Event())


if __name__ == "__main__":
    # as encoders_weigh_as_much_as_others of tests/support/encoders.py
    for module in (loudness, preparation):
        vars(module).update(NICENESS=0)
    asyncio.run(main(*sys.argv[1:]))

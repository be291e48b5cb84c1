"""What tests of the worker share: scripts in a real database with a real source, and workers on them."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from playhead.db import CreatedScript, Creation, Database, DatabaseUnavailable, Script, ScriptRepository, Source
from playhead.media import LADDER, Rung, media_version, segment_key, source_key
from playhead.runtime.metrics import Metrics, create_metrics
from playhead.storage import Storage
from playhead.transcode import Encoder, EncoderSource, Ingest, PrepareQueue, Programs, Worker
from playhead.transcode.encoder import Sink
from tests.support.audio import Kind

WAIT_S = 30.0
POLL_S = 0.02
HEARTBEAT_TIMEOUT_S = 1.0
OWNER = {"sub": "00000000-0000-4000-8000-00000000000a"}
SPEECH = Kind("speech.mp3", "-c:a libmp3lame -b:a 64k", rate=22_050, channels=1)
LONG_S, SHORT_S = 26.0, 7.0
"""Five segments in two chunks; two segments in one."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One database and one storage, and what stands on them."""

    database: Database
    storage: Storage
    programs: Programs

    @property
    def scripts(self) -> ScriptRepository:
        return ScriptRepository(self.database)

    def queue(self, heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S) -> PrepareQueue:
        return PrepareQueue(self.database.jobs(), heartbeat_timeout_s)

    def worker(
        self,
        *,
        attempts_max: int = 3,
        metrics: Metrics | None = None,
        encoder: Encoder | None = None,
        heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S,
    ) -> Worker:
        return Worker(
            queue=self.queue(heartbeat_timeout_s),
            scripts=self.scripts,
            storage=self.storage,
            encoder=encoder or Encoder(self.programs),
            metrics=metrics or create_metrics(CollectorRegistry()),
            slots=2,
            attempts_max=attempts_max,
        )

    async def upload(self, path: Path, *, enqueue: bool = True) -> Script:
        """What a server does with an upload: store, measure, write the row, enqueue."""
        script_id = str(uuid.uuid4())
        source = await self.source(path, script_id)
        created: CreatedScript = await self.scripts.create(
            OWNER, script_id=script_id, title="A script", visibility="private", source=source
        )
        assert created.script is not None
        if enqueue:
            assert await self.queue().enqueue(script_id)
        return created.script

    async def replace(self, script: Script, path: Path) -> Script:
        """The script with another file, as its owner uploads it."""
        created = await self.scripts.create(
            OWNER,
            script_id=script.script_id,
            title=script.title,
            visibility=script.visibility,
            source=await self.source(path, script.script_id),
            replaces=script.media_version,
        )
        assert created.outcome is Creation.REPLACED and created.script is not None
        await self.queue().enqueue(script.script_id)
        return created.script

    async def hand_over(self) -> None:
        """What is in work is so with another worker from now on, of which nothing is heard."""
        jobs = self.database.jobs()
        table = jobs.qbq.qualified.queue_table
        await jobs.driver.execute(f"update {table} set queue_manager_id = gen_random_uuid() where status = 'picked'")

    async def source(self, path: Path, script_id: str) -> Source:
        """An upload of that script, stored and measured."""
        version = media_version(hashlib.sha256(path.read_bytes()).hexdigest())
        key = source_key(script_id, version)
        async with self.storage.upload(key) as upload:
            await upload.write(path.read_bytes())
        source = await Ingest(self.programs, self.storage)(key, version)
        assert isinstance(source, Source)
        return source

    async def stored(self, script: Script) -> Script:
        found = await self.scripts.stored(script.script_id)
        assert found is not None
        return found

    async def until(self, script: Script, condition: Callable[[Script], bool]) -> Script:
        """The script as soon as `condition` is true of its row."""
        async with asyncio.timeout(WAIT_S):
            while True:
                with suppress(DatabaseUnavailable):
                    if condition(row := await self.stored(script)):
                        return row
                await asyncio.sleep(POLL_S)

    async def until_job(self, waiting: Callable[[int], bool]) -> None:
        """Returns when the number of jobs in the queue satisfies `waiting`."""
        async with asyncio.timeout(WAIT_S):
            while not waiting(await self.jobs()):
                await asyncio.sleep(POLL_S)

    async def jobs(self) -> int:
        return sum(row.count for row in await self.database.jobs().queue_size())

    async def attempts(self, script: Script) -> int:
        async with self.database.as_service() as connection:
            counted: int = await connection.fetchval(
                "select attempts from audio_scripts where id = $1", script.script_id
            )
        return counted

    async def has_all_segments(self, script: Script) -> bool:
        return all([await self.storage.exists(key) for key in segment_keys(script)])


def segment_keys(script: Script) -> list[str]:
    segments = range(script.grid.segments)
    return [
        segment_key(script.script_id, script.media_version, rung.name, segment)
        for rung in LADDER
        for segment in segments
    ]


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Event]:
    """`worker` at work until the block ends; answers the event that stops it."""
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await running


class Scripted(Encoder):
    """A real encoder that first does what a test wants: fails, waits, or looks who is asking."""

    def __init__(self, programs: Programs) -> None:
        super().__init__(programs)
        self.runs: list[tuple[Path, range]] = []
        self.failures: list[Exception] = []
        self.held = asyncio.Event()
        self.released = asyncio.Event()
        self.hold_from: int | None = None

    async def encode(
        self,
        source: EncoderSource,
        first_segment: int,
        end_segment: int,
        rungs: Sequence[Rung],
        sink: Sink,
        *,
        niceness: int = 0,
    ) -> None:
        self.runs.append((source.path, range(first_segment, end_segment)))
        if self.hold_from is not None and first_segment >= self.hold_from:
            self.held.set()
            await self.released.wait()
        if self.failures:
            raise self.failures.pop(0)
        await super().encode(source, first_segment, end_segment, rungs, sink, niceness=niceness)

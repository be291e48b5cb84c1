"""Takes scripts from the queue and prepares them, one at a time; says how it went in the script's row.

    take a job → claim the script (counts the attempt, before any dangerous work) → encode → ready
        worker dies           its heartbeat ends, another worker takes the job, finds what is stored and goes on
        claimed too often     failed, with the reason; its segments are deleted
        an error              given back with a growing delay, until the attempts are used up
        the storage fails     given back with a growing delay, not counted: an outage or a full disk fails no script
        a fresh script waits  put behind it at the next chunk, so that every script can soon be started
        the worker stops      given back, not counted

Every word about a script carries the attempt it speaks for, and the version of the file: a worker that was taken for
dead and wakes up is not heard, also where the script has another file by then.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Protocol

import stamina
import structlog

from playhead.db import ClaimedScript, DatabaseUnavailable, Script
from playhead.media import media_prefix
from playhead.runtime.metrics import Metrics
from playhead.runtime.seldom import Seldom
from playhead.storage import ObjectMissing, Storage, StorageFailed
from playhead.transcode.encoder import EncodeFailed, Encoder, EncoderSource
from playhead.transcode.preparation import Preparation, Target
from playhead.transcode.queue import FRESH, STARTED, PrepareQueue, TakenJob

POLL_S = 0.5
"""How often an idle worker asks. Cheap, and it needs no connection of its own to listen on."""
OUTAGE_TOLD_S = 30.0
"""How often it is told that the queue does not answer."""
SWEEP_INTERVAL_S = 60.0
"""How often scripts whose job was lost are looked for."""
RETRY_DELAY_S = 2.0
"""After the first failed attempt; twice as long after each further one."""
STORAGE_DELAY_S_MAX = 60.0
"""Longest delay of a script while the storage fails, which may be for days."""
DOUBLINGS_MAX = 10
STORAGE_PAUSE_S = 5.0
"""What a worker waits with the next script, when the storage has failed."""
BEATS_PER_TIMEOUT = 6
LOOK_S = 1.0
"""How often it is looked whether a script in work was cancelled."""
READY_TIMEOUT_S = 120.0
"""How long a finished script waits for PostgreSQL before the attempt counts as lost."""

log = structlog.get_logger(__name__)


class ScriptStatus(Protocol):
    """What the worker says about scripts; playhead.db.ScriptRepository does it. All may raise DatabaseUnavailable.

    `attempt` and `media_version` are what `claim` answered. False: another attempt has taken over, the script has
    another file, or the work is over.
    """

    async def claim(self, script_id: str) -> ClaimedScript | None: ...

    async def progress(self, script_id: str, fraction: float, *, attempt: int, media_version: str) -> bool: ...

    async def ready(self, script_id: str, *, attempt: int, media_version: str) -> bool: ...

    async def failed(self, script_id: str, reason: str, *, attempt: int, media_version: str) -> bool: ...

    async def give_back(self, script_id: str, *, attempt: int, media_version: str) -> bool: ...

    async def unfinished(self) -> tuple[Script, ...]: ...

    async def stored(self, script_id: str) -> Script | None: ...


class _Overtaken(Exception):
    """The script is no longer this attempt's, or has another file."""


class _Interrupted(Exception):
    """A fresh script waits."""


class Worker:
    """One worker. `slots` is how many encoders it runs at once, `attempts_max` how often a script is tried."""

    def __init__(
        self,
        *,
        queue: PrepareQueue,
        scripts: ScriptStatus,
        storage: Storage,
        encoder: Encoder,
        metrics: Metrics,
        slots: int,
        attempts_max: int,
    ) -> None:
        self._queue = queue
        self._scripts = scripts
        self._storage = storage
        self._metrics = metrics
        self._preparation = Preparation(encoder, storage, metrics, slots)
        self._attempts_max = attempts_max
        self._unavailable = Seldom(OUTAGE_TOLD_S)
        self._storage_failures = 0
        """Attempts that the storage has ended since a script became ready."""

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; then ends the encoders, gives back what is in hand, and returns."""
        async with asyncio.TaskGroup() as group:
            sweeping = group.create_task(self._sweep())
            while not stop.is_set():
                pause_s = POLL_S
                try:
                    job = await self._queue.take()
                    if job is not None:
                        await self._work(job, stop)
                        continue
                except DatabaseUnavailable as error:
                    self._without_queue(error)
                except StorageFailed:
                    pause_s = STORAGE_PAUSE_S
                await _until(stop, pause_s)
            sweeping.cancel()

    def _without_queue(self, error: DatabaseUnavailable) -> None:
        if times := self._unavailable.take():
            log.warning("The queue does not answer.", action="queue_unavailable", times=times, error=str(error))

    async def _sweep(self) -> None:
        """Enqueues scripts that are neither ready nor failed and have no job: theirs was lost, or never written."""
        while True:
            try:
                await self.sweep()
            except DatabaseUnavailable as error:
                log.warning("Lost jobs cannot be looked for.", action="sweep_unavailable", error=str(error))
            await asyncio.sleep(SWEEP_INTERVAL_S)

    async def sweep(self) -> int:
        """One round; answers how many jobs it made."""
        made = 0
        for script in await self._scripts.unfinished():
            made += await self._queue.enqueue(script.script_id, STARTED if script.progress else FRESH)
        if made:
            log.warning("Scripts without a job were enqueued.", action="jobs_restored", jobs=made)
        await self._queue.forget_history()
        return made

    async def _work(self, job: TakenJob, stop: asyncio.Event) -> None:
        """One job, from its claim to its end. Only DatabaseUnavailable and StorageFailed get out; then the job is
        taken again later."""
        claimed = await self._scripts.claim(job.script_id)
        if claimed is None:
            await self._queue.done(job)
            return
        script, attempt = claimed.script, claimed.attempts
        with structlog.contextvars.bound_contextvars(script_id=script.script_id, attempt=attempt):
            if attempt > self._attempts_max:
                log.error("A script kept killing its worker.", action="job_gave_up")
                await self._fail(job, script, attempt, f"Preparing it ended its worker {attempt - 1} times.")
                return
            log.info("The worker took a script.", action="job_taken")
            beating = asyncio.create_task(self._beat(job))
            try:
                await self._attempt(job, script, attempt, stop)
            finally:
                beating.cancel()
                with suppress(asyncio.CancelledError):
                    await beating

    async def _attempt(self, job: TakenJob, script: Script, attempt: int, stop: asyncio.Event) -> None:
        try:
            finished = await _unless(stop.wait(), self._prepare(job, script, attempt))
            await (self._queue.done(job) if finished else self._give_back(job, script, attempt))
        except _Overtaken:
            await self._overtaken(job)
        except _Interrupted:
            log.info("The script waits for a fresh one.", action="job_put_behind")
            await self._uncounted(script, attempt)
            await self._queue.put_behind(job)
        except ObjectMissing:
            await self._fail(job, script, attempt, "Its source file is gone. Upload it again.")
        except DatabaseUnavailable:
            raise
        except StorageFailed as error:
            await self._storage_failed(job, script, attempt, error)
            raise
        except Exception as error:
            await self._failed_once(job, script, attempt, error)

    async def _prepare(self, job: TakenJob, script: Script, attempt: int) -> None:
        """Every segment of the script into storage, and its status to ready."""
        assert script.source_key is not None

        async def told(fraction: float) -> None:
            await self._tell(job, script, fraction, attempt)

        async with self._storage.local_file(script.source_key) as path:
            source = EncoderSource(path=path, grid=script.grid, start_s=script.source_start_s)
            target = Target(script_id=script.script_id, media_version=script.media_version, source=source)
            if not await _unless(self._cancelled(script), self._preparation.run(target, told)):
                raise _Overtaken
        async for trial in stamina.retry_context(on=DatabaseUnavailable, attempts=None, timeout=READY_TIMEOUT_S):
            with trial:
                version = script.media_version
                if not await self._scripts.ready(script.script_id, attempt=attempt, media_version=version):
                    raise _Overtaken
        self._count("ready")
        log.info("The script is ready.", action="script_ready")
        if self._storage_failures:
            log.info("The storage is back.", action="storage_back", attempts_lost=self._storage_failures)
            self._storage_failures = 0

    async def _cancelled(self, script: Script) -> None:
        """Returns soon after somebody has ended the work on the script, deleted it, or given it another file."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(DatabaseUnavailable):
                now = await self._scripts.stored(script.script_id)
                if now is None or now.status == "failed" or now.media_version != script.media_version:
                    return

    async def _tell(self, job: TakenJob, script: Script, fraction: float, attempt: int) -> None:
        """Writes the progress. The work goes on while PostgreSQL is away: segments need only the storage."""
        try:
            version = script.media_version
            if not await self._scripts.progress(script.script_id, fraction, attempt=attempt, media_version=version):
                raise _Overtaken
            if fraction < 1 and await self._queue.goes_before(job):
                raise _Interrupted
        except DatabaseUnavailable as error:
            log.warning("Progress could not be written.", action="progress_unwritten", error=str(error))

    async def _failed_once(self, job: TakenJob, script: Script, attempt: int, error: Exception) -> None:
        """An attempt ended with an error: another one later, or the end."""
        reason = str(error) if isinstance(error, EncodeFailed) else "Preparing it failed for a reason of the server's."
        if attempt >= self._attempts_max:
            log.error("A script could not be prepared.", action="script_failed", exc_info=error)
            await self._fail(job, script, attempt, reason)
            return
        delay_s = RETRY_DELAY_S * 2 ** (attempt - 1)
        detail = getattr(error, "detail", "")
        log.warning("An attempt failed.", action="attempt_failed", retry_in_s=delay_s, detail=detail, exc_info=error)
        self._count("retried")
        await self._queue.give_back(job, delay_s)

    async def _storage_failed(self, job: TakenJob, script: Script, attempt: int, error: StorageFailed) -> None:
        """Gives the script back uncounted: it cannot help it. Told once, as an outage is the same for all."""
        self._storage_failures += 1
        if self._storage_failures == 1:
            log.warning("The storage fails; scripts wait until it is back.", action="storage_away", error=str(error))
        self._count("storage_failed")
        if not await self._uncounted(script, attempt):
            await self._overtaken(job)
            return
        delay_s = RETRY_DELAY_S * 2 ** min(job.given_back, DOUBLINGS_MAX)
        await self._queue.give_back(job, min(delay_s, STORAGE_DELAY_S_MAX))

    async def _fail(self, job: TakenJob, script: Script, attempt: int, reason: str) -> None:
        """Marks the script failed and deletes its segments; its source is kept, so that it can be tried again.

        Segments that cannot be deleted now are used then, or go with the script.
        """
        version = script.media_version
        if not await self._scripts.failed(script.script_id, reason, attempt=attempt, media_version=version):
            await self._overtaken(job)
            return
        self._count("failed")
        try:
            await self._storage.delete_prefix(media_prefix(script.script_id, version))
        except StorageFailed as error:
            log.warning("Segments of a failed script were left.", action="segments_left", error=str(error))
        await self._queue.done(job)

    async def _give_back(self, job: TakenJob, script: Script, attempt: int) -> None:
        log.info("The worker stops and gives the script back.", action="job_given_back")
        await self._uncounted(script, attempt)
        await self._queue.give_back(job)

    async def _uncounted(self, script: Script, attempt: int) -> bool:
        version = script.media_version
        return await self._scripts.give_back(script.script_id, attempt=attempt, media_version=version)

    async def _beat(self, job: TakenJob) -> None:
        """On a schedule: one that hangs puts off none of those after it, which have other connections."""
        async with asyncio.TaskGroup() as beats:
            while True:
                await asyncio.sleep(self._queue.heartbeat_timeout_s / BEATS_PER_TIMEOUT)
                beats.create_task(self._beat_once(job))

    async def _beat_once(self, job: TakenJob) -> None:
        try:
            await self._queue.beat(job)
        except DatabaseUnavailable as error:
            log.warning("A heartbeat was lost.", action="heartbeat_lost", error=str(error))

    async def _overtaken(self, job: TakenJob) -> None:
        """What has become of the script decides whoever takes the job next; at once, if nobody has it by now."""
        self._count("overtaken")
        log.warning("The script is another worker's now, has another file, or was cancelled.", action="job_overtaken")
        await self._queue.let_go(job)

    def _count(self, result: str) -> None:
        self._metrics.jobs.labels(result).inc()


async def _until(stop: asyncio.Event, timeout_s: float) -> None:
    """Waits for `stop`, at most so long."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), timeout_s)


async def _unless(stopped: Awaitable[object], work: Awaitable[None]) -> bool:
    """Does `work` and answers True; or cancels it when `stopped` comes first and answers False."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stopped)
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)

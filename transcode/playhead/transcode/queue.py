"""The queue of scripts that are to be prepared: pgqueuer's tables and statements, one job per script.

A job is only a script's id; what the work is, how far it is, and how often it was tried stands in the script's row. So
a job may be lost or doubled without harm: lost ones are enqueued again from the rows, doubled ones find nothing to do.
pgqueuer's own QueueManager is not used: it takes at least two jobs at once, and a job that kills its worker would take
an innocent one with it each time (docs/decisions/0003-queue.md).
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from playhead.db.errors import translated

if TYPE_CHECKING:
    # loaded when the queue is opened (`Database.jobs`): servers start without it
    from pgqueuer.adapters.persistence.queries import Queries
    from pgqueuer.domain.models import Job

ENTRYPOINT = "prepare"
HEARTBEAT_TIMEOUT_S = 30.0
"""A job whose worker has not been heard of for so long is given to another one, and that counts as an attempt. So it is
some times what a call may take that hangs (COMMAND_TIMEOUT_S, and as long again for its cancellation), or what a
PostgreSQL takes to fail over: a script whose worker lives must not end as one that kills its worker."""
WANTED, FRESH, STARTED = 2, 1, 0
"""Priorities: a script that somebody listens to goes first, then one whose beginning is not encoded yet."""

FRESH_WAITS = """
select exists (
    select from {table} where status = 'queued' and priority >= $1 and execute_after <= now()
) as waits
"""
LET_GO = """
update {table} set status = 'queued', execute_after = now(), updated = now(), queue_manager_id = null
where id = $1 and status = 'picked' and queue_manager_id = $2
"""


@dataclass(frozen=True, slots=True)
class TakenJob:
    """A job in this worker's hands."""

    script_id: str
    record: "Job"

    @property
    def given_back(self) -> int:
        """How often it was, since it was put into the queue."""
        return self.record.attempts


class PrepareQueue:
    """For servers, which enqueue, and for one worker, which takes jobs one at a time.

    Every method may raise DatabaseUnavailable.
    """

    def __init__(self, jobs: "Queries", heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S) -> None:
        from pgqueuer.domain.types import QueueManagerId

        self._jobs = jobs
        self._fresh_waits, self._let_go = (
            statement.format(table=jobs.qbq.qualified.queue_table) for statement in (FRESH_WAITS, LET_GO)
        )
        self._worker_id = QueueManagerId(uuid.uuid4())
        self.heartbeat_timeout_s = heartbeat_timeout_s

    async def enqueue(self, script_id: str, priority: int = FRESH) -> bool:
        """Puts the script into the queue. False: it is there already, waiting or in work."""
        with translated():
            made = await self._jobs.enqueue(
                ENTRYPOINT, script_id.encode(), priority, dedupe_key=f"{ENTRYPOINT}:{script_id}", on_conflict="skip"
            )
        return made[0] is not None

    async def hurry(self, script_id: str) -> None:
        """Puts the script before others, as somebody listens to it already; into the queue, if it is not there."""
        with translated():
            await self._jobs.enqueue(
                ENTRYPOINT,
                script_id.encode(),
                WANTED,
                dedupe_key=f"{ENTRYPOINT}:{script_id}",
                on_conflict="update_priority",
            )

    async def take(self) -> TakenJob | None:
        """The next job, or None: by priority, then the oldest first; also those of workers no longer heard of."""
        from pgqueuer.domain.types import QueueEntrypoint
        from pgqueuer.ports.repository import EntrypointExecutionParameter

        with translated():
            jobs = await self._jobs.dequeue(
                batch_size=1,
                entrypoints={QueueEntrypoint(ENTRYPOINT): EntrypointExecutionParameter(concurrency_limit=0)},
                queue_manager_id=self._worker_id,
                global_concurrency_limit=None,
                heartbeat_timeout=timedelta(seconds=self.heartbeat_timeout_s),
            )
        return TakenJob((jobs[0].payload or b"").decode(), jobs[0]) if jobs else None

    async def goes_before(self, job: TakenJob) -> bool:
        """Whether a script waits that somebody listens to, or whose beginning is not encoded yet, and `job`'s is none
        that somebody listens to. One that was given back waits from the end of its delay on."""
        if job.record.priority >= WANTED:
            return False
        with translated():
            [row] = await self._jobs.driver.fetch(self._fresh_waits, FRESH)
        return bool(row["waits"])

    async def beat(self, job: TakenJob) -> None:
        """Says that the worker is alive; to be called several times within the heartbeat's timeout."""
        with translated():
            await self._jobs.update_heartbeat([job.record.id])

    async def done(self, job: TakenJob) -> None:
        with translated():
            await self._jobs.log_jobs([(job.record, "successful", None)])

    async def give_back(self, job: TakenJob, delay_s: float = 0.0) -> None:
        """Lets another worker, or this one, take it again after `delay_s`."""
        with translated():
            await self._jobs.retry_job(job.record, timedelta(seconds=delay_s), None)

    async def let_go(self, job: TakenJob) -> None:
        """Lets another worker, or this one, take it again at once, unless another one has it already."""
        with translated():
            await self._jobs.driver.execute(self._let_go, job.record.id, self._worker_id)

    async def put_behind(self, job: TakenJob) -> None:
        """Gives the job back behind all that are fresh."""
        await self.done(job)
        await self.enqueue(job.script_id, STARTED)

    async def forget_history(self) -> None:
        """Empties pgqueuer's log of these jobs, which nothing reads and nothing else would end."""
        with translated():
            await self._jobs.clear_queue_log(ENTRYPOINT)

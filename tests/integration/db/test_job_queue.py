"""pgqueuer as the service: what an enqueuer and a worker do, with the rights that `migrate` gives and no others."""

import asyncio
from datetime import timedelta

import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.core.applications import PgQueuer
from pgqueuer.domain.models import Job
from pgqueuer.domain.types import QueueExecutionMode

from playhead.db.job_queue import QUEUE_CHANNEL
from playhead.db.pool import Database


async def test_a_job_is_enqueued_worked_on_and_logged_by_the_service(database: Database) -> None:
    jobs = database.jobs()
    await jobs.enqueue("transcode", b"one", dedupe_key="one")
    assert await jobs.enqueue("transcode", b"one", dedupe_key="one", on_conflict="skip") == [None]
    worked: list[bytes | None] = []
    worker = PgQueuer(jobs.driver, channel=QUEUE_CHANNEL, queries=jobs)

    @worker.entrypoint("transcode")
    async def transcode(job: Job) -> None:
        worked.append(job.payload)

    await worker.qm.run(mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=1))
    assert worked == [b"one"]
    assert await jobs.queue_size() == []
    statuses = [log.status for log in await jobs.queue_log()]
    assert "successful" in statuses


async def test_a_worker_listens_on_a_connection_of_the_services_pool(database: Database) -> None:
    driver = database.jobs().driver
    assert isinstance(driver, AsyncpgPoolDriver)
    heard: asyncio.Queue[object] = asyncio.Queue()
    async with driver:
        await driver.add_listener(QUEUE_CHANNEL, heard.put_nowait)
        await database.jobs().enqueue("listened", b"two")
        notice = await asyncio.wait_for(heard.get(), 10)
    assert "table_changed_event" in str(notice), "the insert notified the channel that our managers are given"


@pytest.mark.parametrize("statement", ["drop table playhead_queue.pgqueuer", "truncate playhead_queue.pgqueuer"])
async def test_the_service_cannot_take_the_queue_apart(database: Database, statement: str) -> None:
    with pytest.raises(Exception, match=r"must be owner|permission denied"):
        async with database.as_service() as connection:
            await connection.execute(statement)

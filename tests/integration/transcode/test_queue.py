"""The queue on a real PostgreSQL, with the rights of the service's login."""

import asyncio
import uuid

import pytest

from playhead.db import Database
from playhead.transcode import PrepareQueue
from playhead.transcode.queue import STARTED, TakenJob

LONG_HEARTBEAT_S = 600.0


@pytest.fixture
def queue(database: Database) -> PrepareQueue:
    return PrepareQueue(database.jobs(), LONG_HEARTBEAT_S)


def some_id() -> str:
    return str(uuid.uuid4())


async def taken(queue: PrepareQueue) -> TakenJob:
    job = await queue.take()
    assert job is not None
    return job


async def test_a_script_is_in_the_queue_once_however_often_it_is_enqueued(queue: PrepareQueue) -> None:
    script_id = some_id()
    assert await queue.enqueue(script_id)
    assert not await queue.enqueue(script_id)
    job = await taken(queue)
    assert job.script_id == script_id
    assert not await queue.enqueue(script_id), "it is in work"
    await queue.done(job)
    assert await queue.enqueue(script_id), "it may be prepared again later"


async def test_an_empty_queue_gives_nothing(queue: PrepareQueue) -> None:
    assert await queue.take() is None


async def test_jobs_are_taken_in_the_order_they_came(queue: PrepareQueue) -> None:
    ids = [some_id() for _ in range(3)]
    for script_id in ids:
        await queue.enqueue(script_id)
    assert [(await taken(queue)).script_id for _ in ids] == ids


async def test_of_two_workers_one_gets_the_job(database: Database, queue: PrepareQueue) -> None:
    await queue.enqueue(some_id())
    other = PrepareQueue(database.jobs(), LONG_HEARTBEAT_S)
    jobs = await asyncio.gather(queue.take(), other.take())
    assert sum(job is not None for job in jobs) == 1


async def test_one_in_work_makes_way_for_fresh_ones_unless_somebody_listens_to_it(queue: PrepareQueue) -> None:
    begun, wanted, fresh = some_id(), some_id(), some_id()
    await queue.enqueue(begun, STARTED)
    job = await taken(queue)
    assert not await queue.goes_before(job), "nobody waits"
    await queue.enqueue(fresh)
    assert await queue.goes_before(job)
    await queue.hurry(wanted)
    listened_to = await taken(queue)
    assert listened_to.script_id == wanted
    assert not await queue.goes_before(listened_to)
    await taken(queue)
    assert not await queue.goes_before(job), "the fresh one is in work"


async def test_a_job_put_behind_comes_after_a_fresh_one_that_was_enqueued_later(queue: PrepareQueue) -> None:
    first, second = some_id(), some_id()
    await queue.enqueue(first)
    job = await taken(queue)
    await queue.enqueue(second)
    await queue.put_behind(job)
    assert [(await taken(queue)).script_id for _ in range(2)] == [second, first]


async def test_a_job_given_back_can_be_taken_at_once(queue: PrepareQueue) -> None:
    await queue.enqueue(some_id())
    job = await taken(queue)
    await queue.give_back(job)
    assert (await taken(queue)).script_id == job.script_id


async def test_a_job_given_back_with_a_delay_is_not_taken_before(queue: PrepareQueue) -> None:
    await queue.enqueue(some_id())
    await queue.give_back(await taken(queue), delay_s=600)
    assert await queue.take() is None


async def test_a_fresh_one_that_was_given_back_does_not_go_before_others_while_it_is_not_taken(
    queue: PrepareQueue,
) -> None:
    begun, delayed = some_id(), some_id()
    await queue.enqueue(delayed)
    waiting = await taken(queue)
    await queue.enqueue(begun, STARTED)
    job = await taken(queue)
    await queue.give_back(waiting, delay_s=600)
    assert not await queue.goes_before(job)
    await queue.give_back(waiting)
    assert await queue.goes_before(job)


async def age(database: Database, elapsed_s: float) -> None:
    """Lets `elapsed_s` pass for every job in work: its last heartbeat is so much longer ago."""
    async with database.as_service() as connection:
        await connection.execute(
            "update playhead_queue.pgqueuer set heartbeat = heartbeat - $1 * interval '1 second'", elapsed_s
        )


async def test_a_job_without_heartbeats_is_given_to_another_worker(database: Database) -> None:
    dead, alive = (PrepareQueue(database.jobs(), LONG_HEARTBEAT_S) for _ in range(2))
    await dead.enqueue(some_id())
    job = await taken(dead)
    await age(database, LONG_HEARTBEAT_S / 2)
    assert await alive.take() is None
    await age(database, LONG_HEARTBEAT_S / 2)
    assert (await taken(alive)).script_id == job.script_id


async def test_heartbeats_keep_a_job(database: Database) -> None:
    """For many timeouts, against another worker that asks whenever one is nearly over."""
    alive, other = (PrepareQueue(database.jobs(), LONG_HEARTBEAT_S) for _ in range(2))
    await alive.enqueue(some_id())
    job = await taken(alive)
    for _ in range(5):
        await age(database, LONG_HEARTBEAT_S * 0.9)
        assert await other.take() is None
        await alive.beat(job)


async def test_the_history_does_not_grow_for_ever(database: Database, queue: PrepareQueue) -> None:
    await queue.enqueue(some_id())
    await queue.done(await taken(queue))
    assert await database.jobs().queue_log()
    await queue.forget_history()
    assert await database.jobs().queue_log() == []


async def test_a_script_that_somebody_listens_to_goes_before_all_others(queue: PrepareQueue) -> None:
    fresh, wanted, begun = some_id(), some_id(), some_id()
    await queue.enqueue(begun, STARTED)
    await queue.enqueue(fresh)
    await queue.enqueue(wanted, STARTED)
    for _ in range(2):
        await queue.hurry(wanted)
    assert [(await taken(queue)).script_id for _ in range(3)] == [wanted, fresh, begun]
    assert await queue.take() is None


async def test_one_that_is_in_work_is_not_taken_twice_and_one_that_was_lost_is_put_in(queue: PrepareQueue) -> None:
    wanted, lost = some_id(), some_id()
    await queue.enqueue(wanted)
    job = await taken(queue)
    await queue.hurry(wanted)
    assert await queue.take() is None
    await queue.done(job)
    await queue.hurry(lost)
    assert (await taken(queue)).script_id == lost

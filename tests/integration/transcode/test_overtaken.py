"""A worker whose script is no longer its own: another worker's, with another file, or cancelled."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from playhead.runtime.metrics import create_metrics
from playhead.storage import StorageFailed
from playhead.transcode import EncodeFailed
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.work import LONG_S, SHORT_S, SPEECH, Bench, Scripted, segment_keys, working


@pytest.mark.parametrize(
    "failures",
    [[], [EncodeFailed("late")], [StorageFailed("late")]],
    ids=["and goes on", "and fails", "and its storage fails"],
)
async def test_a_worker_that_was_overtaken_is_not_heard_and_deletes_nothing(
    failures: list[Exception], bench: Bench, source: SourceMaker
) -> None:
    """It was taken for dead (a stopped machine, say), wakes up, and another one has done the script meanwhile."""
    script = await bench.upload(source(SPEECH, LONG_S))
    encoder = Scripted(bench.programs)
    encoder.hold_from = 3
    metrics = create_metrics(CollectorRegistry())
    async with working(bench.worker(encoder=encoder, metrics=metrics, attempts_max=1)):
        await asyncio.wait_for(encoder.held.wait(), 30)
        assert (await bench.scripts.claim(script.script_id)) is not None
        assert await bench.scripts.ready(script.script_id, attempt=2)
        encoder.failures = failures
        encoder.released.set()
        await bench.until(script, lambda _: metrics.jobs.labels("overtaken")._value.get() == 1)
    assert (await bench.stored(script)).status == "ready"
    assert await bench.storage.exists(segment_keys(script)[0])


async def test_a_script_that_is_cancelled_is_left_in_the_midst_of_a_chunk(bench: Bench, source: SourceMaker) -> None:
    script = await bench.upload(source(SPEECH, LONG_S))
    encoder, metrics = Scripted(bench.programs), create_metrics(CollectorRegistry())
    encoder.hold_from = 3
    async with working(bench.worker(encoder=encoder, metrics=metrics)):
        await asyncio.wait_for(encoder.held.wait(), 30)
        assert await bench.scripts.failed(script.script_id, "Cancelled.")
        await bench.until(script, lambda _: metrics.jobs.labels("overtaken")._value.get() == 1)
        other = await bench.upload(source(SPEECH, SHORT_S))
        encoder.released.set()
        await bench.until(other, lambda row: row.status == "ready")
    assert [await bench.storage.exists(key) for key in segment_keys(script)] == [True, True, True, False, False] * 3
    assert (await bench.stored(script)).error == "Cancelled."


async def test_a_script_that_gets_another_file_is_left_in_the_midst_of_a_chunk(
    bench: Bench, source: SourceMaker
) -> None:
    script = await bench.upload(source(SPEECH, LONG_S))
    """And begun with that file at once, though the heartbeat of its job is not over for long."""
    encoder, metrics = Scripted(bench.programs), create_metrics(CollectorRegistry())
    encoder.hold_from = 3
    async with working(bench.worker(encoder=encoder, metrics=metrics, heartbeat_timeout_s=3_600.0)):
        await asyncio.wait_for(encoder.held.wait(), 30)
        other = await bench.replace(script, source(SPEECH, SHORT_S))
        await bench.until(script, lambda _: metrics.jobs.labels("overtaken")._value.get() == 1)
        assert not encoder.released.is_set()
        encoder.released.set()
        await bench.until(script, lambda row: row.status == "ready")
    assert await bench.has_all_segments(other)


async def test_a_script_that_is_wanted_again_after_it_was_cancelled_is_gone_on_with_at_once(
    bench: Bench, source: SourceMaker
) -> None:
    script = await bench.upload(source(SPEECH, LONG_S))
    encoder, metrics = Scripted(bench.programs), create_metrics(CollectorRegistry())
    encoder.hold_from = 3
    async with working(bench.worker(encoder=encoder, metrics=metrics, heartbeat_timeout_s=3_600.0)):
        await asyncio.wait_for(encoder.held.wait(), 30)
        assert await bench.scripts.failed(script.script_id, "Cancelled.")
        assert await bench.scripts.requeue(script.script_id, unfinished_max=10) is not None
        assert not await bench.queue().enqueue(script.script_id), "the job is there still"
        encoder.released.set()
        await bench.until(script, lambda row: row.status == "ready")


async def test_a_worker_that_was_overtaken_takes_no_job_from_who_has_it(bench: Bench, source: SourceMaker) -> None:
    await bench.upload(source(SPEECH, SHORT_S))
    queue, other = bench.queue(3_600.0), bench.queue(0.0)
    job, theirs = await queue.take(), await other.take()
    assert job is not None and theirs is not None and job.script_id == theirs.script_id
    await queue.let_go(job)
    assert await queue.take() is None
    await other.let_go(theirs)
    assert await queue.take() is not None


@pytest.mark.parametrize("failures", [[], [EncodeFailed("late")]], ids=["and goes on", "and fails"])
async def test_a_worker_that_wakes_up_after_the_script_got_another_file_says_nothing_of_that(
    failures: list[Exception], bench: Bench, source: SourceMaker
) -> None:
    """The attempts begin anew with the file, so that their number alone would be the right one."""
    script = await bench.upload(source(SPEECH, LONG_S))
    encoder = Scripted(bench.programs)
    encoder.hold_from = 3
    metrics = create_metrics(CollectorRegistry())
    async with working(bench.worker(encoder=encoder, metrics=metrics, attempts_max=1)):
        await asyncio.wait_for(encoder.held.wait(), 30)
        other = await bench.replace(script, source(SPEECH, SHORT_S))
        await bench.hand_over()
        claimed = await bench.scripts.claim(script.script_id)
        assert claimed is not None and claimed.attempts == await bench.attempts(script) == 1
        encoder.failures = failures
        encoder.released.set()
        await bench.until(script, lambda _: metrics.jobs.labels("overtaken")._value.get() == 1)
        row = await bench.stored(script)
        assert (row.status, row.progress, row.media_version) == ("processing", 0.0, other.media_version)
        assert await bench.storage.exists(segment_keys(script)[0]), "who listens to the former file goes on"
        # the job is taken again, for the file that the script has now
        assert await bench.scripts.give_back(script.script_id, attempt=1)
        await bench.until(script, lambda row: row.status == "ready")
    assert await bench.has_all_segments(other)

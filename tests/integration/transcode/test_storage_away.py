"""The worker while the storage is away or its disk full: no script fails for it, and the worker outlives it."""

import pytest
import structlog
from prometheus_client import CollectorRegistry

from playhead.db import Database
from playhead.runtime.metrics import create_metrics
from playhead.storage import LocalStorage, StorageFailed
from playhead.transcode import EncodeFailed, Encoder, PrepareQueue, Programs, Worker
from playhead.transcode.queue import TakenJob
from playhead.transcode.worker import RETRY_DELAY_S, STORAGE_DELAY_S_MAX
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.work import LONG_S, SHORT_S, SPEECH, Bench, Scripted, segment_keys, working

OUTAGES = 7
"""More than a script has attempts."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that goes on at once."""
    monkeypatch.setattr("playhead.transcode.worker.STORAGE_PAUSE_S", 0.0)


class Impatient(PrepareQueue):
    """Notes the delays, and waits for none."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.jobs())
        self.delays_s: list[float] = []

    async def give_back(self, job: TakenJob, delay_s: float = 0.0) -> None:
        self.delays_s.append(delay_s)
        await super().give_back(job)


def worker_of(bench: Bench, queue: PrepareQueue, encoder: Encoder, registry: CollectorRegistry) -> Worker:
    return Worker(
        queue=queue,
        scripts=bench.scripts,
        storage=bench.storage,
        encoder=encoder,
        metrics=create_metrics(registry),
        slots=2,
        attempts_max=2,
    )


async def test_a_disk_that_takes_nothing_fails_no_script_however_long_and_is_told_once(
    bench: Bench, storage: LocalStorage, source: SourceMaker
) -> None:
    script = await bench.upload(source(SPEECH, SHORT_S))
    in_the_way = storage._root / "media"
    in_the_way.touch()
    queue, registry = Impatient(bench.database), CollectorRegistry()
    with structlog.testing.capture_logs() as logs:
        async with working(worker_of(bench, queue, Encoder(bench.programs), registry)):
            row = await bench.until(script, lambda _: len(queue.delays_s) >= OUTAGES)
            assert row.status == "processing"
            in_the_way.unlink()
            await bench.until(script, lambda row: row.status == "ready")
    assert await bench.attempts(script) == 1
    assert await bench.has_all_segments(script)
    grown = [RETRY_DELAY_S * 2**times for times in range(OUTAGES)]
    assert queue.delays_s[:OUTAGES] == [min(delay_s, STORAGE_DELAY_S_MAX) for delay_s in grown]
    told = [log["action"] for log in logs if log["action"].startswith(("storage", "attempt", "script"))]
    assert told == ["storage_away", "script_ready", "storage_back"]
    counted = registry.get_sample_value("playhead_jobs_total", {"result": "storage_failed"})
    assert counted == len(queue.delays_s)


async def test_attempts_that_the_storage_did_not_end_are_counted_among_those_that_it_did(
    bench: Bench, source: SourceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.transcode.worker.RETRY_DELAY_S", 0.0)
    script = await bench.upload(source(SPEECH, SHORT_S))
    encoder = Scripted(bench.programs)
    away = [StorageFailed("away")] * 2
    encoder.failures = [*away, EncodeFailed("It is poison."), *away, EncodeFailed("It is poison.")]
    async with working(bench.worker(encoder=encoder, attempts_max=2)):
        failed = await bench.until(script, lambda row: row.status == "failed")
    assert (failed.error, len(encoder.runs)) == ("It is poison.", 6)


class KeepsAll(LocalStorage):
    async def delete_prefix(self, prefix: str) -> int:
        raise StorageFailed("away")


async def test_a_script_that_is_given_up_while_its_segments_cannot_be_deleted_does_not_end_the_worker(
    database: Database, storage: LocalStorage, programs: Programs, source: SourceMaker
) -> None:
    bench = Bench(database, KeepsAll(storage._root), programs)
    poison = await bench.upload(source(SPEECH, LONG_S))
    await bench.storage.put(segment_keys(poison)[0], b"half made")
    encoder = Scripted(programs)
    encoder.failures = [EncodeFailed("It is poison.")]
    async with working(bench.worker(encoder=encoder, attempts_max=1)):
        await bench.until(poison, lambda row: row.status == "failed")
        other = await bench.upload(source(SPEECH, SHORT_S))
        await bench.until(other, lambda row: row.status == "ready")
        await bench.until_job(lambda jobs: jobs == 0)
    assert (await bench.stored(poison)).error == "It is poison."

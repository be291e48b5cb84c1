"""The worker in this process, on a real database, storage and ffmpeg: what becomes of scripts."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from playhead.app.embedded import EmbeddedPostgres
from playhead.db import DatabaseUnavailable, ensure_logins, migrate, open_database
from playhead.media import media_prefix
from playhead.runtime.metrics import create_metrics
from playhead.storage import LocalStorage
from playhead.transcode import EncodeFailed, Encoder, Programs, Worker
from playhead.transcode.queue import PrepareQueue, TakenJob
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_encoder import children
from tests.integration.transcode.work import (
    HEARTBEAT_TIMEOUT_S,
    LONG_S,
    POLL_S,
    SHORT_S,
    SPEECH,
    Bench,
    Scripted,
    segment_keys,
    working,
)


async def test_an_upload_becomes_ready_with_every_segment_of_every_rung(bench: Bench, source: SourceMaker) -> None:
    metrics = create_metrics(CollectorRegistry())
    script = await bench.upload(source(SPEECH, LONG_S))
    async with working(bench.worker(metrics=metrics)):
        ready = await bench.until(script, lambda row: row.status == "ready")
        await bench.until_job(lambda jobs: jobs == 0)
    assert ready.progress == 1
    assert await bench.has_all_segments(script)
    assert metrics.jobs.labels("ready")._value.get() == 1
    assert metrics.segments.labels("low")._value.get() == 5


async def test_the_beginning_of_all_rungs_comes_first(bench: Bench, source: SourceMaker) -> None:
    encoder = Scripted(bench.programs)
    encoder.hold_from = 3
    script = await bench.upload(source(SPEECH, LONG_S))
    async with working(bench.worker(encoder=encoder)):
        await asyncio.wait_for(encoder.held.wait(), 30)
        row = await bench.stored(script)
        assert (row.status, row.progress) == ("processing", 0.6)
        there = [key for key in segment_keys(script) if await bench.storage.exists(key)]
    assert {(key.split("/")[-2], key.split("/")[-1]) for key in there} == {
        (rung, f"{segment}.m4s") for rung in ("low", "medium", "high") for segment in (0, 1, 2)
    }


async def test_what_is_stored_is_not_encoded_again(bench: Bench, source: SourceMaker) -> None:
    script = await bench.upload(source(SPEECH, LONG_S))
    keys = segment_keys(script)
    beginning = [key for key in keys if key.endswith(("/0.m4s", "/1.m4s", "/2.m4s"))]
    for key in [*beginning, keys[3]]:
        await bench.storage.put(key, b"encoded before")
    encoder = Scripted(bench.programs)
    async with working(bench.worker(encoder=encoder)):
        await bench.until(script, lambda row: row.status == "ready")
    assert [run for _, run in encoder.runs] == [range(3, 5)]
    assert await bench.storage.get(keys[0]) == await bench.storage.get(keys[3]) == b"encoded before"
    assert await bench.has_all_segments(script)


async def test_what_a_power_failure_left_empty_is_encoded_again(bench: Bench, source: SourceMaker) -> None:
    script = await bench.upload(source(SPEECH, LONG_S))
    for number, key in enumerate(keys := segment_keys(script)):
        await bench.storage.put(key, b"" if number == 3 else b"encoded before")
    async with working(bench.worker()):
        await bench.until(script, lambda row: row.status == "ready")
    assert await bench.storage.get(keys[3])


async def test_a_stopping_worker_gives_the_script_back_uncounted_and_leaves_no_ffmpeg(
    bench: Bench, source: SourceMaker
) -> None:
    script = await bench.upload(source(SPEECH, LONG_S))
    async with working(bench.worker()) as stop:
        await bench.until(script, lambda row: row.status == "processing")
        stop.set()
    assert children() == []
    assert (await bench.stored(script)).status == "processing"
    assert await bench.attempts(script) == 0
    async with working(bench.worker()):
        await bench.until(script, lambda row: row.status == "ready")


async def test_a_worker_stops_while_it_is_idle(bench: Bench) -> None:
    async with asyncio.timeout(5), working(bench.worker()):
        pass


async def test_an_outage_of_the_queue_is_told_once_in_a_while(
    storage: LocalStorage, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.transcode.worker.POLL_S", 0.001)
    url = f"postgresql://playhead_app@/postgres?host={tmp_path}&port=5432"
    async with open_database(url, url) as away:
        worker = Bench(away, storage, programs).worker()
        asked = 0
        take = PrepareQueue.take

        async def counted(queue: PrepareQueue) -> TakenJob | None:
            nonlocal asked
            asked += 1
            return await take(queue)

        monkeypatch.setattr(PrepareQueue, "take", counted)
        with capture_logs() as lines:
            async with working(worker), asyncio.timeout(30):
                while asked < 5:
                    await asyncio.sleep(0.01)
    told = [line for line in lines if line["action"] == "queue_unavailable"]
    assert len(told) < asked and told[0]["times"] == 1


async def test_an_error_is_tried_again_and_then_the_script_is_ready(
    bench: Bench, source: SourceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.transcode.worker.RETRY_DELAY_S", 0.0)
    script = await bench.upload(source(SPEECH, SHORT_S))
    encoder = Scripted(bench.programs)
    encoder.failures = [OSError("disk full"), EncodeFailed("no")]
    async with working(bench.worker(encoder=encoder)):
        await bench.until(script, lambda row: row.status == "ready")
    assert await bench.attempts(script) == 3


async def test_a_script_that_fails_each_time_ends_failed_with_the_reason_and_without_segments(
    bench: Bench, source: SourceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.transcode.worker.RETRY_DELAY_S", 0.0)
    script = await bench.upload(source(SPEECH, LONG_S))
    await bench.storage.put(segment_keys(script)[0], b"half made")
    encoder = Scripted(bench.programs)
    encoder.failures = [EncodeFailed("The audio from 0:00 to 0:17 could not be decoded.") for _ in range(2)]
    async with working(bench.worker(encoder=encoder, attempts_max=2)):
        failed = await bench.until(script, lambda row: row.status == "failed")
        await bench.until_job(lambda jobs: jobs == 0)
    assert failed.error == "The audio from 0:00 to 0:17 could not be decoded."
    assert await bench.storage.delete_prefix(media_prefix(script.script_id, script.media_version)) == 0
    assert failed.source_key is not None and await bench.storage.exists(failed.source_key)


async def test_a_fault_of_ours_is_not_shown_to_the_uploader(bench: Bench, source: SourceMaker) -> None:
    script = await bench.upload(source(SPEECH, SHORT_S))
    encoder = Scripted(bench.programs)
    encoder.failures = [OSError("/secret/path: disk full")]
    async with working(bench.worker(encoder=encoder, attempts_max=1)):
        failed = await bench.until(script, lambda row: row.status == "failed")
    assert failed.error == "Preparing it failed for a reason of the server's."


async def test_a_script_whose_source_is_gone_fails_at_once(bench: Bench, source: SourceMaker) -> None:
    script = await bench.upload(source(SPEECH, SHORT_S))
    assert script.source_key is not None
    await bench.storage.delete_prefix(script.source_key)
    async with working(bench.worker()):
        failed = await bench.until(script, lambda row: row.status == "failed")
    assert failed.error == "Its source file is gone. Upload it again."
    assert await bench.attempts(script) == 1


async def test_a_job_of_a_script_that_is_ready_already_is_dropped(bench: Bench, source: SourceMaker) -> None:
    script = await bench.upload(source(SPEECH, SHORT_S))
    async with working(bench.worker()):
        await bench.until(script, lambda row: row.status == "ready")
        await bench.until_job(lambda jobs: jobs == 0)
        assert await bench.queue().enqueue(script.script_id)
        await bench.until_job(lambda jobs: jobs == 0)
    assert await bench.attempts(script) == 1


async def test_a_script_whose_job_was_lost_is_found_and_prepared(bench: Bench, source: SourceMaker) -> None:
    """As when the server died between writing the row and enqueuing."""
    script = await bench.upload(source(SPEECH, SHORT_S), enqueue=False)
    async with working(bench.worker()):
        await bench.until(script, lambda row: row.status == "ready")


async def test_the_sweep_makes_no_second_job(bench: Bench, source: SourceMaker) -> None:
    await bench.upload(source(SPEECH, SHORT_S))
    assert await bench.worker().sweep() == 0
    assert await bench.jobs() == 1


async def test_a_long_job_stays_with_its_worker(bench: Bench, source: SourceMaker) -> None:
    """Longer than the heartbeat's timeout, with another worker that has nothing to do."""
    script = await bench.upload(source(SPEECH, SHORT_S))
    encoder = Scripted(bench.programs)
    encoder.hold_from = 0
    async with working(bench.worker(encoder=encoder)):
        await asyncio.wait_for(encoder.held.wait(), 30)
        ends_s = asyncio.get_running_loop().time() + 2 * HEARTBEAT_TIMEOUT_S
        while asyncio.get_running_loop().time() < ends_s:
            assert await bench.queue().take() is None
            await asyncio.sleep(POLL_S)
    assert await bench.attempts(script) == 0, "given back"


async def test_a_fresh_upload_is_started_before_a_long_one_is_finished(bench: Bench, source: SourceMaker) -> None:
    long = await bench.upload(source(SPEECH, LONG_S))
    encoder = Scripted(bench.programs)
    async with working(bench.worker(encoder=encoder)):
        await bench.until(long, lambda row: row.status == "processing")
        fresh = await bench.upload(source(SPEECH, SHORT_S))
        await bench.until(fresh, lambda row: row.status == "ready")
        done = await bench.until(long, lambda row: row.status == "ready")
    order = [long.source_key if str(path).endswith(str(long.source_key)) else "fresh" for path, _ in encoder.runs]
    assert order == [long.source_key, "fresh", long.source_key]
    assert await bench.attempts(done) == 1, "being put behind does not count"


async def test_progress_goes_on_while_the_database_is_away(
    bench: Bench, source: SourceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = await bench.upload(source(SPEECH, SHORT_S))
    scripts = bench.scripts
    refusals = 0

    async def away(script_id: str, fraction: float, *, attempt: int, media_version: str) -> bool:
        nonlocal refusals
        refusals += 1
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(scripts, "progress", away)
    worker = Worker(
        queue=bench.queue(),
        scripts=scripts,
        storage=bench.storage,
        encoder=Encoder(bench.programs),
        metrics=create_metrics(CollectorRegistry()),
        slots=2,
        attempts_max=1,
    )
    async with working(worker):
        await bench.until(script, lambda row: row.status == "ready")
    assert refusals == 1


async def test_postgresql_may_be_killed_in_the_middle_of_a_job(
    source: SourceMaker,
    programs: Programs,
    storage: LocalStorage,
    start_postgres: Callable[..., EmbeddedPostgres],
    tmp_path: Path,
) -> None:
    server = start_postgres()
    await migrate(server.url())
    logins = await ensure_logins(server.url(), tmp_path / "logins")
    async with open_database(logins.app_url, logins.service_url, connections_max=4) as database:
        bench = Bench(database, storage, programs)
        script = await bench.upload(source(SPEECH, LONG_S))
        encoder = Scripted(programs)
        encoder.hold_from = 3
        async with working(bench.worker(encoder=encoder)):
            await asyncio.wait_for(encoder.held.wait(), 30)
            await asyncio.to_thread(server.kill)
            encoder.released.set()
            await asyncio.to_thread(server.start)
            await bench.until(script, lambda row: row.status == "ready")
        assert await bench.has_all_segments(script)

"""A worker whose bucket goes away in the middle of a script: it goes on when it is back, and every segment is whole."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog
from prometheus_client import CollectorRegistry

from playhead.db import Database
from playhead.media import LADDER, segment_key
from playhead.transcode import Programs
from tests.integration.transcode.conftest import SourceMaker, database, logins, programs, source
from tests.integration.transcode.test_storage_away import OUTAGES, Impatient, soon, worker_of
from tests.integration.transcode.work import LONG_S, SPEECH, Bench, Scripted, working
from tests.support.audio import decoded, error, joined, reference
from tests.support.buckets import BRIEF, MakeS3
from tests.support.flaky_bucket import SLOW_DOWN, Asked, BreakOff, Fault, FlakyBucket, well

__all__ = ["database", "logins", "programs", "soon", "source"]

BEGINNING = 3
"""Segments of the first chunk."""
STORED_OF_THE_REST = 2
SAME_MAX = 0.05


@pytest.fixture
def bench(database: Database, programs: Programs, s3: MakeS3, flaky: FlakyBucket) -> Bench:
    return Bench(database, s3(BRIEF, endpoint=flaky.url), programs)


def failing_after(puts: int, fault: Fault) -> Callable[[Asked], Awaitable[Fault | None]]:
    """Everything fails once so many objects have been put."""

    async def rule(asked: Asked) -> Fault | None:
        nonlocal puts
        puts -= asked.method == "PUT"
        return fault if puts < 0 else None

    return rule


@pytest.mark.parametrize("fault", [SLOW_DOWN, BreakOff(done=True)], ids=["refuses", "is gone before it answers"])
async def test_a_bucket_that_goes_in_the_middle_of_a_script_costs_it_no_attempt_and_no_segment(
    bench: Bench, flaky: FlakyBucket, s3: MakeS3, source: SourceMaker, fault: Fault
) -> None:
    path = source(SPEECH, LONG_S)
    script = await bench.upload(path)
    queue, registry, encoder = Impatient(bench.database), CollectorRegistry(), Scripted(bench.programs)
    encoder.hold_from = BEGINNING

    async def stored(rung: str) -> list[bytes]:
        keys = [segment_key(script.script_id, script.media_version, rung, n) for n in range(script.grid.segments)]
        return [body for key in keys if (body := await s3().get(key)) is not None]

    with structlog.testing.capture_logs() as logs:
        async with working(worker_of(bench, queue, encoder, registry)):
            await asyncio.wait_for(encoder.held.wait(), 30)
            beginning = {rung: await stored(rung.name) for rung in LADDER}
            flaky.rule = failing_after(STORED_OF_THE_REST, fault)
            encoder.released.set()
            row = await bench.until(script, lambda _: len(queue.delays_s) >= OUTAGES)
            assert (row.status, row.progress) == ("processing", BEGINNING / script.grid.segments)
            assert await bench.attempts(script) <= 1
            flaky.rule = well
            await bench.until(script, lambda row: row.status == "ready")
    assert await bench.attempts(script) == 1
    told = [log["action"] for log in logs if log["action"].startswith(("storage", "attempt", "script"))]
    assert told == ["storage_away", "script_ready", "storage_back"]
    assert registry.get_sample_value("playhead_jobs_total", {"result": "storage_failed"}) == len(queue.delays_s)
    for rung in LADDER:
        bodies = await stored(rung.name)
        assert len(bodies) == script.grid.segments and bodies[:BEGINNING] == beginning[rung]
        assert len(beginning[rung]) == BEGINNING
        heard = decoded(joined(bodies, rung))
        assert len(heard) >= script.grid.total_samples and error(heard, reference(path)) < SAME_MAX

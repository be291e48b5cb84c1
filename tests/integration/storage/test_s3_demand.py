"""Segments on demand where sources and segments lie only in a bucket: sources are fetched once, segments made once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from math import ceil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from playhead.cache import OwnClaims
from playhead.db import Script
from playhead.media import FIRST_RUNG, Rung
from playhead.runtime.metrics import Metrics, create_metrics
from playhead.storage import Storage
from playhead.storage.source_cache import FETCH_BYTES
from playhead.transcode import Demand, Encoder, EncoderSource, Programs
from playhead.transcode.demand import UNREAD_BYTES_MAX
from playhead.transcode.demand_run import AHEAD_SEGMENTS
from playhead.transcode.encoder import Sink
from tests.integration.transcode.conftest import SourceMaker, metrics, programs, source
from tests.integration.transcode.demanding import DURATION_S, ENDED_S, GRID, SOURCE, encoded, stored, stored_script
from tests.support.buckets import BRIEF, MakeS3
from tests.support.flaky_bucket import FlakyBucket

__all__ = ["metrics", "programs", "source"]


@pytest.fixture
def flac(source: SourceMaker) -> Path:
    return source(SOURCE, DURATION_S)


@pytest.fixture
async def script(s3: MakeS3, flac: Path) -> Script:
    """One that lies in the bucket, of which nothing is encoded."""
    return await stored_script(s3(), flac.read_bytes())


MakeDemand = Callable[[Encoder, Storage, Metrics], Demand]


@pytest.fixture
async def demand_of() -> AsyncIterator[MakeDemand]:
    """`demand_of(encoder, storage, metrics)`: that of a process which knows nothing of others' claims."""
    async with AsyncExitStack() as made:

        def make(encoder: Encoder, storage: Storage, metrics: Metrics) -> Demand:
            demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1, wait_s=ENDED_S)
            made.push_async_callback(demand.stop)
            return demand

        yield make


def encoder_of(programs: Programs) -> Encoder:
    return Encoder(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")


async def test_a_source_is_fetched_for_the_first_segment_and_never_again(
    demand_of: MakeDemand,
    programs: Programs,
    metrics: Metrics,
    s3: MakeS3,
    flaky: FlakyBucket,
    script: Script,
    flac: Path,
) -> None:
    encoder, fetches = encoder_of(programs), ceil(flac.stat().st_size / FETCH_BYTES)
    for asked in ((0, 2 * AHEAD_SEGMENTS), (AHEAD_SEGMENTS + 1,)):
        demand = demand_of(encoder, s3(BRIEF, endpoint=flaky.url, cache="of the machine"), metrics)
        for segment in asked:  # each begins a run of its own
            body = await demand.segment(script, FIRST_RUNG, segment)
            assert body == await stored(s3(), script, segment)
            assert body == await segment_of(encoder, flac, segment)
            assert flaky.count("GET", "/sources/") == fetches
        await demand.stop()


async def segment_of(encoder: Encoder, path: Path, segment: int) -> bytes:
    """What a run that begins there makes of the file."""
    made: dict[int, bytes] = {}

    async def keep(_rung: Rung, number: int, body: bytes) -> None:
        made[number] = body

    source = EncoderSource(path=path, grid=GRID, start_s=0.0)
    await encoder.encode(source, segment, GRID.segments, [FIRST_RUNG], keep)
    return made[segment]


class Meeting(Encoder):
    """Ends each segment with its own mark, and hands the first one over when another process has made it as well."""

    def __init__(self, programs: Programs, mark: bytes, both: asyncio.Barrier) -> None:
        super().__init__(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
        self._mark = mark
        self._both = both

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
        async def marked(rung: Rung, segment: int, body: bytes) -> None:
            if segment == 0:
                await self._both.wait()
            await sink(rung, segment, body + self._mark)

        await super().encode(source, first_segment, end_segment, rungs, marked, niceness=niceness)


async def test_of_two_processes_that_make_the_same_segment_one_stores_it_and_both_answer_that_one(
    demand_of: MakeDemand, programs: Programs, s3: MakeS3, script: Script
) -> None:
    both, told = asyncio.Barrier(2), [create_metrics(CollectorRegistry()) for _ in range(2)]
    marks = b"one", b"two"
    demands = [
        demand_of(Meeting(programs, mark, both), s3(cache=mark.decode()), metrics)
        for mark, metrics in zip(marks, told, strict=True)
    ]
    async with asyncio.timeout(ENDED_S):
        one, other = await asyncio.gather(*(demand.segment(script, FIRST_RUNG, 0) for demand in demands))
    assert min(encoded(metrics) for metrics in told) >= 1, "each has made it"
    assert one == other == await stored(s3(), script, 0)
    assert one.endswith(marks)

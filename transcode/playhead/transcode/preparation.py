"""Encodes all segments of one script: the beginning of all rungs first, then chunk after chunk, several at once.

Segments that are there are not made again, so work that was broken off goes on where it was. Knows of no queue and no
database: it is given a source, a storage and an encoder, and tells how far it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from playhead.media import LADDER, Grid, Rung, segment_key
from playhead.runtime.metrics import Metrics
from playhead.storage import Storage, has_content
from playhead.transcode.encoder import Encoder, EncoderSource

EAGER_SEGMENTS = 3
"""17 s of audio, encoded before anything else: what a listener hears first."""
CHUNK_SEGMENTS = 10
"""Rate control starts anew in each run, which costs quality: 29.9 dB in one run, 29.2 in four segments, 27.6 in one."""
BULK_NICENESS = 5
"""A third of the weight of what listeners wait for."""

Progress = Callable[[float], Awaitable[None]]
"""Is told the share of segments that are there, 0 to 1, after each chunk; what it raises ends the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is prepared, and under which version its segments are stored."""

    script_id: str
    media_version: str
    source: EncoderSource

    def key(self, rung: Rung, segment: int) -> str:
        return segment_key(self.script_id, self.media_version, rung.name, segment)


@dataclass(frozen=True, slots=True)
class _Missing:
    """What of a chunk is not there: the segments between the first and the last gap, in the rungs that have gaps."""

    segments: range
    rungs: Sequence[Rung]


def chunks(grid: Grid) -> Iterator[range]:
    """The order of work: the beginning, then the rest in equal parts."""
    yield range(min(EAGER_SEGMENTS, grid.segments))
    for first in range(EAGER_SEGMENTS, grid.segments, CHUNK_SEGMENTS):
        yield range(first, min(first + CHUNK_SEGMENTS, grid.segments))


class Preparation:
    """Runs at most `slots` encoders at once."""

    def __init__(self, encoder: Encoder, storage: Storage, metrics: Metrics, slots: int) -> None:
        self._encoder = encoder
        self._storage = storage
        self._metrics = metrics
        self._slots = slots

    async def run(self, target: Target, progress: Progress) -> None:
        """Returns when every segment of every rung is in storage.

        Raises EncodeFailed, StorageFailed, and what `progress` raises; encoders that run are killed then.
        """
        grid = target.source.grid
        beginning, *rest = chunks(grid)
        done = 0

        async def work(todo: Iterator[range], niceness: int) -> None:
            nonlocal done
            for chunk in todo:
                await self._make(target, chunk, niceness)
                done += len(chunk)
                await progress(done / grid.segments)

        await work(iter([beginning]), 0)
        shared = iter(rest)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._slots):
                    group.create_task(work(shared, BULK_NICENESS))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _make(self, target: Target, chunk: range, niceness: int) -> None:
        missing = await self._missing(target, chunk)
        if missing is None:
            return

        async def store(rung: Rung, segment: int, body: bytes) -> None:
            await self._storage.put(target.key(rung, segment), body)
            self._metrics.segments.labels(rung.name).inc()

        await self._encoder.encode(
            target.source, missing.segments.start, missing.segments.stop, missing.rungs, store, niceness=niceness
        )

    async def _missing(self, target: Target, chunk: range) -> _Missing | None:
        gaps = [
            (rung, segment)
            for rung in LADDER
            for segment in chunk
            if not await has_content(self._storage, target.key(rung, segment))
        ]
        if not gaps:
            return None
        rungs = [rung for rung in LADDER if any(gap[0] is rung for gap in gaps)]
        segments = [segment for _, segment in gaps]
        return _Missing(range(min(segments), max(segments) + 1), rungs)

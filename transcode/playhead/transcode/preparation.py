"""Encodes all segments of one script: the beginning of all rungs first, then the rest in runs, several at once.

    beginning │ run                                         │ run                                         │ …
              │ chunk │ chunk │ chunk │ …                   │ chunk │ chunk │ …

A run is one encoder. After each of its chunks it is told how far the script is, and the work may be put behind another
one there. Segments that are there are not made again, so work that was broken off goes on where it was. Knows of no
queue and no database: it is given a source, a storage and an encoder, and tells how far it is.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil

from playhead.media import LADDER, Grid, Rung, segment_key
from playhead.runtime.metrics import Metrics
from playhead.storage import Storage, has_content
from playhead.transcode.encoder import Encoder, EncoderSource
from playhead.transcode.processes import NICENESS

EAGER_SEGMENTS = 3
"""17 s of audio, encoded before anything else: what a listener hears first."""
CHUNK_SEGMENTS = 10
"""58 s of audio: how often it is told how far the script is, and whether another one should go first."""
RUN_SEGMENTS_MAX = 60
"""Rate control starts anew in each run. That costs quality (29.9 dB in one run, 29.2 in four segments, 27.6 in one),
and CPU until it has found its pace."""

Progress = Callable[[float], Awaitable[None]]
"""Is told the share of segments that are there, 0 to 1, after each chunk; what it raises ends the work."""
Told = Callable[[range], Awaitable[None]]
"""Is told of each chunk that is there."""
_Gap = tuple[Rung, int]
"""A segment that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is prepared, and under which version its segments are stored."""

    script_id: str
    media_version: str
    source: EncoderSource

    def key(self, rung: Rung, segment: int) -> str:
        return segment_key(self.script_id, self.media_version, rung.name, segment)


def beginning(grid: Grid) -> range:
    return range(min(EAGER_SEGMENTS, grid.segments))


def runs(grid: Grid, slots: int) -> Sequence[range]:
    """The rest, in equal parts of which each slot gets as many as the others."""
    first = beginning(grid).stop
    rest = grid.segments - first
    fewest = ceil(rest / RUN_SEGMENTS_MAX)
    count = min(fewest + -fewest % slots, ceil(rest / CHUNK_SEGMENTS))
    ends = [first + rest * number // count for number in range(count + 1)] if rest else []
    return [range(start, end) for start, end in pairwise(ends)]


def chunks(run: range) -> Sequence[range]:
    return [run[first : first + CHUNK_SEGMENTS] for first in range(0, len(run), CHUNK_SEGMENTS)]


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
        done = 0

        async def told(chunk: range) -> None:
            nonlocal done
            done += len(chunk)
            await progress(done / grid.segments)

        async def work(todo: Iterator[range]) -> None:
            for run in todo:
                await self._make(target, chunks(run), told, NICENESS)

        await self._make(target, [beginning(grid)], told, 0)
        shared = iter(runs(grid, self._slots))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._slots):
                    group.create_task(work(shared))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _make(self, target: Target, run: Sequence[range], told: Told, niceness: int) -> None:
        """The chunks that are not there, those that follow each other with one encoder."""
        gaps = [(chunk, await self._gaps(target, chunk)) for chunk in run]
        for lacking, group in groupby(gaps, key=lambda entry: bool(entry[1])):
            if lacking:
                await self._encode(target, list(group), told, niceness)
            else:
                for chunk, _ in group:
                    await told(chunk)

    async def _gaps(self, target: Target, chunk: range) -> Sequence[_Gap]:
        """All asked for at once: a bucket takes its time for each answer."""
        wanted = [(rung, segment) for rung in LADDER for segment in chunk]
        there = await asyncio.gather(*(has_content(self._storage, target.key(*each)) for each in wanted))
        return [each for each, is_there in zip(wanted, there, strict=True) if not is_there]

    async def _encode(
        self, target: Target, lacking: Sequence[tuple[range, Sequence[_Gap]]], told: Told, niceness: int
    ) -> None:
        """From the first gap to the last, in the rungs that have any."""
        gaps = [gap for _, of_chunk in lacking for gap in of_chunk]
        rungs = [rung for rung in LADDER if any(gap[0] is rung for gap in gaps)]
        first, last = min(segment for _, segment in gaps), max(segment for _, segment in gaps)
        ends = {min(chunk[-1], last): chunk for chunk, _ in lacking}
        rungs_there: Counter[int] = Counter()

        async def store(rung: Rung, segment: int, body: bytes) -> None:
            await self._storage.put(target.key(rung, segment), body)
            self._metrics.segments.labels(rung.name).inc()
            if segment in ends:
                rungs_there[segment] += 1
                if rungs_there[segment] == len(rungs):
                    await told(ends[segment])

        await self._encoder.encode(target.source, first, last + 1, rungs, store, niceness=niceness)

"""All segments of a script, with real encoders: how many of these, what is told, and what is not made twice."""

from collections.abc import Sequence

import pytest

from playhead.media import LADDER, Rung
from playhead.runtime.metrics import Metrics
from playhead.storage import LocalStorage
from playhead.transcode import Encoder, EncoderSource, Programs
from playhead.transcode.encoder import Sink
from playhead.transcode.preparation import Preparation, Target
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_encoder import children, measured
from tests.integration.transcode.work import SPEECH

SEGMENTS = 7
DURATION_S = 38.0


class Noting(Encoder):
    """Keeps what it was asked for."""

    def __init__(self, programs: Programs) -> None:
        super().__init__(programs)
        self.runs: list[tuple[range, tuple[str, ...]]] = []
        self.nicenesses: list[int] = []

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
        self.runs.append((range(first_segment, end_segment), tuple(rung.name for rung in rungs)))
        self.nicenesses.append(niceness)
        await super().encode(source, first_segment, end_segment, rungs, sink, niceness=niceness)


@pytest.fixture
def noting(programs: Programs) -> Noting:
    return Noting(programs)


@pytest.fixture
async def target(source: SourceMaker, programs: Programs) -> Target:
    encodable = await measured(programs, source(SPEECH, DURATION_S))
    assert encodable.grid.segments == SEGMENTS
    return Target(script_id="a-script", media_version="0" * 16, source=encodable)


@pytest.fixture
def preparation(
    noting: Noting, storage: LocalStorage, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> Preparation:
    """With chunks of one segment."""
    monkeypatch.setattr("playhead.transcode.preparation.CHUNK_SEGMENTS", 1)
    return Preparation(noting, storage, metrics, slots=1)


async def missing(storage: LocalStorage, target: Target) -> list[tuple[str, int]]:
    keys = [(rung.name, number, target.key(rung, number)) for rung in LADDER for number in range(SEGMENTS)]
    return [(rung, number) for rung, number, key in keys if not await storage.get(key)]


async def test_one_encoder_makes_all_chunks_of_a_run_and_tells_of_each_when_it_is_there(
    preparation: Preparation, noting: Noting, storage: LocalStorage, target: Target
) -> None:
    told: list[float] = []

    async def progress(fraction: float) -> None:
        told.append(fraction)
        there = range(round(fraction * SEGMENTS))
        assert not [number for _, number in await missing(storage, target) if number in there]

    await preparation.run(target, progress)
    assert noting.runs == [(range(3), ("low", "medium", "high")), (range(3, 7), ("low", "medium", "high"))]
    assert told == [number / SEGMENTS for number in (3, 4, 5, 6, 7)]
    assert await missing(storage, target) == []


async def test_what_nobody_waits_for_has_the_least_weight_but_not_the_beginning(
    preparation: Preparation, noting: Noting, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.transcode.preparation.NICENESS", 3)

    async def progress(_fraction: float) -> None:
        """Of no interest."""

    await preparation.run(target, progress)
    assert noting.nicenesses == [0, 3]


async def test_chunks_that_are_there_are_told_of_and_not_made_again(
    preparation: Preparation, noting: Noting, storage: LocalStorage, target: Target
) -> None:
    for number in (0, 1, 2, 4):
        for rung in LADDER:
            await storage.put(target.key(rung, number), b"encoded before")
    await storage.put(target.key(LADDER[0], 5), b"encoded before")
    await storage.put(target.key(LADDER[0], 6), b"encoded before")
    told: list[float] = []

    async def progress(fraction: float) -> None:
        told.append(fraction)

    await preparation.run(target, progress)
    assert noting.runs == [(range(3, 4), ("low", "medium", "high")), (range(5, 7), ("medium", "high"))]
    assert told == [number / SEGMENTS for number in (3, 4, 5, 6, 7)]
    assert await storage.get(target.key(LADDER[1], 4)) == b"encoded before"
    assert await missing(storage, target) == []


async def test_a_chunk_of_which_only_the_middle_is_missing_is_told_of(
    noting: Noting, storage: LocalStorage, metrics: Metrics, target: Target
) -> None:
    for rung in LADDER:
        for number in (0, 1, 2, 3, 5, 6):
            await storage.put(target.key(rung, number), b"encoded before")
    told: list[float] = []

    async def progress(fraction: float) -> None:
        told.append(fraction)

    await Preparation(noting, storage, metrics, slots=1).run(target, progress)
    assert noting.runs == [(range(4, 5), ("low", "medium", "high"))]
    assert told == [3 / SEGMENTS, 1.0]


class _Enough(Exception):
    pass


async def test_what_is_raised_at_a_chunk_ends_the_encoder_and_keeps_what_is_there(
    preparation: Preparation, noting: Noting, storage: LocalStorage, target: Target
) -> None:
    async def progress(fraction: float) -> None:
        if fraction > 0.5:
            raise _Enough

    with pytest.raises(_Enough):
        await preparation.run(target, progress)
    assert children() == []
    left = {number for _, number in await missing(storage, target)}
    assert left and left <= {4, 5, 6}

    async def go_on(_fraction: float) -> None:
        pass

    await preparation.run(target, go_on)
    assert noting.runs[-1][0] == range(min(left), 7)
    assert await missing(storage, target) == []

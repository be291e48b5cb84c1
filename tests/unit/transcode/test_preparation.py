"""In which parts a script is prepared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.media import SEGMENT_SAMPLES, Grid
from playhead.transcode.preparation import CHUNK_SEGMENTS, RUN_SEGMENTS_MAX, beginning, chunks, runs


def grid_of(segments: int) -> Grid:
    return Grid(source_rate=48_000, source_samples=segments * SEGMENT_SAMPLES - 100_000)


@pytest.mark.parametrize(
    ("segments", "slots", "parts"),
    [
        (1, 2, []),
        (3, 2, []),
        (4, 2, [range(3, 4)]),
        (27, 1, [range(3, 27)]),
        (27, 2, [range(3, 15), range(15, 27)]),
        (27, 9, [range(3, 11), range(11, 19), range(19, 27)]),
        (104, 2, [range(3, 53), range(53, 104)]),
        (123, 2, [range(3, 63), range(63, 123)]),
        (124, 2, [range(3, 33), range(33, 63), range(63, 93), range(93, 124)]),
    ],
)
def test_the_rest_comes_in_equal_runs_for_all_slots(segments: int, slots: int, parts: list[range]) -> None:
    assert list(runs(grid_of(segments), slots)) == parts


@given(segments=st.integers(1, 16_000), slots=st.integers(1, 64))
def test_every_segment_is_in_one_chunk_and_nothing_is_longer_than_it_may(segments: int, slots: int) -> None:
    parts = [beginning(grid_of(segments)), *runs(grid_of(segments), slots)]
    assert all(0 < len(part) <= RUN_SEGMENTS_MAX for part in parts)
    whole = [chunk for part in parts for chunk in chunks(part)]
    assert all(0 < len(chunk) <= CHUNK_SEGMENTS for chunk in whole)
    assert [segment for chunk in whole for segment in chunk] == list(range(segments))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.media import SOURCE_RATE_HZ_MAX, SOURCE_RATE_HZ_MIN, Grid

DAY_S = 24 * 3_600
RATES = st.one_of(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000]),
    st.integers(SOURCE_RATE_HZ_MIN, SOURCE_RATE_HZ_MAX),
)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    rate = draw(RATES)
    return Grid(source_rate=rate, source_samples=draw(st.integers(1, rate * DAY_S)))


def test_an_hour_of_cd_audio() -> None:
    grid = Grid(source_rate=44_100, source_samples=44_100 * 3_600)
    assert grid.total_samples == 48_000 * 3_600
    assert grid.frames == 168_750 + 1
    assert grid.segments == 626
    assert grid.duration_ms == 3_600_000


def test_a_full_segment_lasts_5_76_seconds() -> None:
    grid = Grid(source_rate=48_000, source_samples=48_000 * 60)
    assert grid.segment_samples(0) == 276_480 == 5.76 * 48_000


def test_one_sample_makes_one_segment_of_two_frames() -> None:
    grid = Grid(source_rate=48_000, source_samples=1)
    assert (grid.frames, grid.segments, grid.segment_samples(0)) == (2, 1, 2 * 1_024)
    assert grid.duration_ms == 1


@pytest.mark.parametrize(("samples", "segments"), [(269 * 1_024, 1), (269 * 1_024 + 1, 2), (539 * 1_024, 2)])
def test_a_segment_begins_with_the_frame_that_no_longer_fits(samples: int, segments: int) -> None:
    assert Grid(source_rate=48_000, source_samples=samples).segments == segments


@given(grids())
def test_segments_add_up_to_the_frames(grid: Grid) -> None:
    last = grid.segments - 1
    assert last * grid.segment_samples(0) + grid.segment_samples(last) == grid.frames * 1_024 or grid.segments == 1
    assert grid.segment_frames(last).stop == grid.frames
    assert 0 < len(grid.segment_frames(last)) <= 270


@given(grids(), st.data())
def test_every_frame_is_in_exactly_one_segment(grid: Grid, data: st.DataObject) -> None:
    frame = data.draw(st.integers(0, grid.frames - 1))
    near = range(max(0, frame // 270 - 1), min(grid.segments, frame // 270 + 2))
    assert [segment for segment in near if frame in grid.segment_frames(segment)] == [frame // 270]


@given(grids())
def test_the_frames_after_priming_cover_every_sample_with_less_than_a_frame_to_spare(grid: Grid) -> None:
    assert 0 <= (grid.frames - 1) * 1_024 - grid.total_samples < 1_024


@given(grids())
def test_the_script_is_as_long_as_its_source_to_less_than_a_sample(grid: Grid) -> None:
    excess = grid.total_samples * grid.source_rate - grid.source_samples * 48_000
    assert 0 <= excess < grid.source_rate


@given(grids())
def test_the_duration_in_ms_reaches_the_last_sample(grid: Grid) -> None:
    assert grid.total_samples <= grid.duration_ms * 48 < grid.total_samples + 48


@pytest.mark.parametrize("segment", [-1, 2])
def test_a_segment_outside_the_grid_is_an_error(segment: int) -> None:
    grid = Grid(source_rate=48_000, source_samples=48_000 * 10)
    assert grid.segments == 2
    with pytest.raises(IndexError):
        grid.segment_samples(segment)


@pytest.mark.parametrize("rate", [SOURCE_RATE_HZ_MIN, SOURCE_RATE_HZ_MAX])
def test_rates_at_the_limits_are_taken(rate: int) -> None:
    assert Grid(source_rate=rate, source_samples=rate).duration_ms == 1_000


@pytest.mark.parametrize("rate", [0, SOURCE_RATE_HZ_MIN - 1, SOURCE_RATE_HZ_MAX + 1])
def test_rates_past_the_limits_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="source rate"):
        Grid(source_rate=rate, source_samples=1)


def test_a_source_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="without samples"):
        Grid(source_rate=48_000, source_samples=0)

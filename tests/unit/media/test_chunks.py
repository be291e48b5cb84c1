"""The plan is checked against the grid's own terms: what sample each kept frame begins with, and in which phase."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.media import FRAME_SAMPLES, ChunkPlan, Grid, plan_chunk
from playhead.media.chunks import LOOKAHEAD_FRAMES, PREROLL_FRAMES
from tests.unit.media.test_grid import grids

COMMON_RATES = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000, 192_000]
ODD_RATES = [7_351, 44_056, 48_001]


@st.composite
def planned(draw: st.DrawFn) -> tuple[Grid, ChunkPlan]:
    grid = draw(grids())
    first = draw(st.integers(0, grid.segments - 1))
    return grid, plan_chunk(grid, first, draw(st.integers(first + 1, min(first + 12, grid.segments))))


def start_frame(grid: Grid, plan: ChunkPlan) -> int:
    return grid.segment_frames(plan.first_segment).start - plan.drop_frames


def source_start(grid: Grid, plan: ChunkPlan) -> int:
    """The first source sample that reaches the resampler."""
    return plan.seek_s * grid.source_rate + plan.trim_start_samples


@given(planned())
def test_a_run_keeps_exactly_the_frames_of_its_segments(case: tuple[Grid, ChunkPlan]) -> None:
    grid, plan = case
    segments = range(plan.first_segment, plan.end_segment)
    assert plan.keep_frames == sum(len(grid.segment_frames(segment)) for segment in segments)
    assert plan.output_samples == (plan.drop_frames + plan.keep_frames + LOOKAHEAD_FRAMES) * FRAME_SAMPLES


@given(planned())
def test_the_first_source_sample_of_a_run_lies_exactly_on_its_first_frame(case: tuple[Grid, ChunkPlan]) -> None:
    grid, plan = case
    begins_at = start_frame(grid, plan) * FRAME_SAMPLES + plan.silence_samples
    assert begins_at >= 0
    assert source_start(grid, plan) * 48_000 == begins_at * grid.source_rate


@given(planned())
def test_the_preroll_is_never_shorter_than_30_frames(case: tuple[Grid, ChunkPlan]) -> None:
    _, plan = case
    assert PREROLL_FRAMES <= plan.drop_frames < PREROLL_FRAMES + 375


@given(planned())
def test_the_decoder_gets_its_margin_wherever_there_is_a_seek(case: tuple[Grid, ChunkPlan]) -> None:
    grid, plan = case
    if plan.seek_s:
        assert plan.trim_start_samples * 2 >= grid.source_rate - 1
    assert plan.trim_start_samples < 2 * grid.source_rate


@given(planned())
def test_a_run_never_reads_past_the_measured_end_of_the_source(case: tuple[Grid, ChunkPlan]) -> None:
    grid, plan = case
    assert plan.trim_start_samples < plan.trim_end_samples
    assert plan.seek_s * grid.source_rate + plan.trim_end_samples <= grid.source_samples


@given(planned())
def test_a_run_reads_the_source_up_to_its_last_look_ahead_frame(case: tuple[Grid, ChunkPlan]) -> None:
    grid, plan = case
    wanted = (plan.output_samples - plan.silence_samples) * grid.source_rate // 48_000
    read = plan.trim_end_samples - plan.trim_start_samples
    assert read >= min(wanted, grid.source_samples - source_start(grid, plan))


@given(planned())
def test_a_run_is_padded_to_its_length_and_five_seconds_more(case: tuple[Grid, ChunkPlan]) -> None:
    grid, plan = case
    resampled = (plan.trim_end_samples - plan.trim_start_samples) * 48_000 // grid.source_rate
    without_slack = plan.silence_samples + resampled + plan.padding_samples - 240_000
    assert without_slack >= plan.output_samples
    assert plan.padding_samples == 240_000 or without_slack == plan.output_samples


@pytest.mark.parametrize("rate", COMMON_RATES)
def test_common_rates_need_no_longer_preroll(rate: int) -> None:
    grid = Grid(source_rate=rate, source_samples=rate * 600)
    assert {plan_chunk(grid, n, n + 1).drop_frames for n in range(grid.segments)} == {PREROLL_FRAMES}


@pytest.mark.parametrize("rate", ODD_RATES)
def test_odd_rates_begin_at_a_whole_second(rate: int) -> None:
    grid = Grid(source_rate=rate, source_samples=rate * 600)
    for segment in range(1, grid.segments):
        assert start_frame(grid, plan_chunk(grid, segment, segment + 1)) % 375 == 0


def test_the_start_of_a_script_is_warmed_up_with_silence() -> None:
    plan = plan_chunk(Grid(source_rate=44_056, source_samples=44_056 * 60), 0, 3)
    assert (plan.seek_s, plan.trim_start_samples, plan.silence_samples) == (0, 0, PREROLL_FRAMES * FRAME_SAMPLES)


def test_a_segment_half_an_hour_into_cd_audio() -> None:
    grid = Grid(source_rate=44_100, source_samples=44_100 * 3_600)
    assert plan_chunk(grid, 312, 313) == ChunkPlan(
        first_segment=312,
        end_segment=313,
        seek_s=1_795,
        trim_start_samples=65_268,
        trim_end_samples=65_268 + 304 * 1_024 * 441 // 480 + 512,
        silence_samples=0,
        padding_samples=240_000,
        output_samples=304 * 1_024,
        drop_frames=30,
        keep_frames=270,
    )


@pytest.mark.parametrize(("first", "end"), [(0, 0), (1, 1), (2, 1), (-1, 1), (0, 3), (2, 3)])
def test_a_chunk_outside_the_grid_is_an_error(first: int, end: int) -> None:
    grid = Grid(source_rate=48_000, source_samples=48_000 * 10)
    assert grid.segments == 2
    with pytest.raises(IndexError):
        plan_chunk(grid, first, end)

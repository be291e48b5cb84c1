"""The playhead formula, its folding and its end. More examples, shared with the browser: `tests/vectors`."""

import pytest

from playhead.playback.state import Loop, end_reached, position_at, settled
from tests.support.states import DURATION_MS, NOW_MS, POSITION_MS, make_loop, make_state

LOOP = make_loop(90_000, 110_000)


@pytest.mark.parametrize(
    ("elapsed_ms", "rate", "expected_ms"),
    [(0, 1.0, 100_000), (1, 1.0, 100_001), (10_000, 1.0, 110_000), (10_000, 1.5, 115_000), (10_000, 0.25, 102_500)],
)
def test_a_playing_playhead_moves_with_server_time_and_rate(elapsed_ms: int, rate: float, expected_ms: int) -> None:
    assert position_at(make_state(rate=rate), NOW_MS + elapsed_ms) == expected_ms


def test_a_paused_playhead_stands_still() -> None:
    assert position_at(make_state(playing=False), NOW_MS + 3_600_000) == POSITION_MS


def test_before_its_anchor_the_playhead_waits_at_its_place() -> None:
    assert position_at(make_state(), NOW_MS - 5_000) == POSITION_MS


def test_the_playhead_never_passes_the_end_of_the_script() -> None:
    assert position_at(make_state(), NOW_MS + 2 * DURATION_MS) == DURATION_MS


@pytest.mark.parametrize(
    ("elapsed_ms", "expected_ms"),
    [(9_999, 109_999), (10_000, 90_000), (10_001, 90_001), (29_999, 109_999), (30_000, 90_000), (200_000, 100_000)],
)
def test_past_its_end_a_loop_folds_back_to_its_start(elapsed_ms: int, expected_ms: int) -> None:
    assert position_at(make_state(loop=LOOP), NOW_MS + elapsed_ms) == expected_ms


def test_a_playhead_before_a_loop_runs_into_it() -> None:
    state = make_state(position_ms=80_000, loop=LOOP)
    assert [position_at(state, NOW_MS + after_ms) for after_ms in (5_000, 29_999, 30_000)] == [85_000, 109_999, 90_000]


def test_a_playhead_behind_a_loop_is_not_drawn_into_it() -> None:
    state = make_state(position_ms=110_000, loop=LOOP)
    assert position_at(state, NOW_MS + 50_000) == 160_000


def test_a_loop_that_is_switched_off_folds_nothing() -> None:
    state = make_state(loop=make_loop(90_000, 110_000, enabled=False))
    assert state.enabled_loop is None
    assert position_at(state, NOW_MS + 20_000) == 120_000


def test_the_loop_over_the_whole_script_never_ends() -> None:
    state = make_state(position_ms=0, loop=make_loop(0, DURATION_MS))
    assert position_at(state, NOW_MS + DURATION_MS) == 0
    assert not end_reached(state, NOW_MS + 5 * DURATION_MS)


@pytest.mark.parametrize(("left_ms", "ended"), [(1, False), (0, True), (-1, True)])
def test_the_end_is_reached_at_the_duration_and_not_before(left_ms: int, ended: bool) -> None:
    assert end_reached(make_state(), NOW_MS + DURATION_MS - POSITION_MS - left_ms) is ended


def test_a_paused_playhead_reaches_no_end() -> None:
    assert not end_reached(make_state(playing=False, position_ms=DURATION_MS), NOW_MS)


def test_settling_stops_a_script_that_ran_out_at_the_moment_it_did() -> None:
    state = make_state(rate=2.0)
    ended_at_ms = NOW_MS + (DURATION_MS - POSITION_MS) // 2
    after = settled(state, ended_at_ms + 60_000)
    assert (after.playing, after.position_ms, after.finished) == (False, DURATION_MS, True)
    assert after.anchored_at_ms == ended_at_ms


def test_settling_never_anchors_in_the_future() -> None:
    state = make_state(position_ms=DURATION_MS - 1, rate=0.3)
    now_ms = next(NOW_MS + ms for ms in range(10) if end_reached(state, NOW_MS + ms))
    assert settled(state, now_ms).anchored_at_ms <= now_ms


@pytest.mark.parametrize("state", [make_state(), make_state(playing=False), make_state(loop=LOOP)])
def test_settling_leaves_everything_else_as_it_is(state: object) -> None:
    assert settled(state, NOW_MS + 1_000) is state  # type: ignore[arg-type]


def test_states_are_ordered_by_epoch_before_revision() -> None:
    assert make_state(epoch=8, revision=1).order > make_state(epoch=7, revision=900).order


def test_a_loop_knows_its_length() -> None:
    assert Loop(start_ms=5_000, end_ms=7_500, enabled=False).length_ms == 2_500

"""Reports that are handled late and say when their place was measured: they count as of then, and gain nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead.playback.commands import REST_DEVICE_ID, Origin, Report
from playhead.playback.played import ran_ms
from playhead.playback.rejections import Code, Rejection
from playhead.playback.reports import REANCHOR_MS, REPORT_AGE_MS_MAX, TRUE_PLACE_TOLERANCE_MS, reduce_report
from playhead.playback.state import SessionState, position_at
from tests.support.states import DURATION_MS, NOW_MS, POSITION_MS, make_loop, make_state

PHONE = Origin(device_id="phone", connection_id="phone-1")
REST = Origin(device_id=REST_DEVICE_ID)
BY_REST = make_state(position_ms=0, active_device_id=REST_DEVICE_ID, active_connection_id=None)
LATER_MS = NOW_MS + 10_000
"""Ten seconds after the anchor: the formula is at 110 s."""
LOOPS = st.sampled_from(
    [None, make_loop(99_000, 99_900), make_loop(90_000, 101_500), make_loop(104_000, 109_000), make_loop(0, 112_000)]
)
RATES = st.sampled_from([0.25, 0.8, 1.0, 1.5, 4.0])


def handled(
    state: SessionState, position_ms: int, at_ms: int | None, now_ms: int, origin: Origin = PHONE, **fields: Any
) -> SessionState | Rejection:
    told = Report(position_ms=position_ms, at_ms=at_ms, **{"revision": state.revision, **fields})
    return reduce_report(state, told, origin, now_ms)


def accepted(state: SessionState, position_ms: int, at_ms: int | None, now_ms: int, **options: Any) -> SessionState:
    after = handled(state, position_ms, at_ms, now_ms, **options)
    assert isinstance(after, SessionState), after
    return after


@st.composite
def playing(draw: st.DrawFn) -> SessionState:
    """Within ten seconds of its loop's end, or of the script's."""
    state = make_state(rate=draw(RATES), loop=draw(LOOPS))
    if state.loop is not None and state.loop.end_ms <= POSITION_MS:
        state = replace(state, loop=replace(state.loop, enabled=False))
    return replace(state, duration_ms=draw(st.sampled_from([300_000, 112_345])))


# a device that plays on the formula


@given(
    state=playing(),
    gaps_ms=st.lists(st.integers(0, 12_000), min_size=1, max_size=6),
    late_ms=st.lists(st.integers(0, REPORT_AGE_MS_MAX), min_size=6, max_size=6),
    plain=st.booleans(),
)
def test_however_late_its_reports_are_handled_a_device_on_the_formula_is_left_alone_and_credited_the_same(
    state: SessionState, gaps_ms: list[int], late_ms: list[int], plain: bool
) -> None:
    options: dict[str, Any] = {"origin": REST, "revision": None} if plain else {}
    state = replace(state, active_device_id=REST_DEVICE_ID) if plain else state
    late = in_time = state
    at_ms = NOW_MS
    for gap_ms, lateness_ms in zip(gaps_ms, late_ms, strict=False):
        at_ms += gap_ms
        place_ms = position_at(in_time, at_ms)
        in_time = accepted(in_time, place_ms, None, at_ms, **options)
        late = accepted(late, place_ms, at_ms, at_ms + lateness_ms, **options)
        assert late == in_time
        assert not late.playing or (late.position_ms, late.anchored_at_ms) == (POSITION_MS, NOW_MS)


def test_without_its_time_the_same_report_would_move_the_playhead_back() -> None:
    state = make_state()
    told = accepted(state, 110_000, LATER_MS, LATER_MS + 800)
    assert (told.anchored_at_ms, told.heard_ms, told.heard_at_ms) == (NOW_MS, 110_000, LATER_MS)
    assert position_at(told, LATER_MS + 800) == 110_800
    assert position_at(accepted(state, 110_000, None, LATER_MS + 800), LATER_MS + 800) == 110_000


@pytest.mark.parametrize("lag_ms", [REANCHOR_MS, REANCHOR_MS + 1, 3_000, -REANCHOR_MS, -REANCHOR_MS - 1, -2_000])
def test_a_device_that_is_off_the_formula_takes_the_playhead_to_where_it_is_by_now(lag_ms: int) -> None:
    after = accepted(make_state(), 110_000 - lag_ms, LATER_MS, LATER_MS + 800)
    moved = abs(lag_ms) > REANCHOR_MS
    assert after.anchored_at_ms == (LATER_MS if moved else NOW_MS)
    assert position_at(after, LATER_MS + 800) == 110_800 - (lag_ms if moved else 0)


def test_a_late_report_of_the_end_ends_playback_when_it_was_reached() -> None:
    state = make_state(position_ms=DURATION_MS - 11_000)
    after = accepted(state, DURATION_MS, LATER_MS, LATER_MS + 500)
    assert (after.playing, after.finished, after.anchored_at_ms) == (False, True, LATER_MS)


def test_a_late_report_from_before_the_end_leaves_the_end_to_its_time() -> None:
    state = make_state(position_ms=DURATION_MS - 10_300)
    after = accepted(state, DURATION_MS - 300, LATER_MS, LATER_MS + 500)
    assert (after.playing, after.heard_ms, after.position_ms) == (True, DURATION_MS - 300, state.position_ms)


# what it cannot gain


@given(
    state=playing(),
    heard_ago_ms=st.integers(0, 10_000),
    place_ms=st.integers(95_000, 130_000),
    at_ms=st.integers(NOW_MS - 20_000, NOW_MS + 40_000),
    run_ms=st.integers(0, 20_000),
)
def test_no_time_leads_further_than_rule_3_or_credits_more_than_has_passed(
    state: SessionState, heard_ago_ms: int, place_ms: int, at_ms: int, run_ms: int
) -> None:
    now_ms = NOW_MS + run_ms
    state = replace(state, heard_at_ms=max(NOW_MS, now_ms - heard_ago_ms))
    after = handled(state, place_ms, at_ms, now_ms)
    if not isinstance(after, SessionState):
        return
    assert state.heard_at_ms <= after.heard_at_ms <= now_ms
    assert state.anchored_at_ms <= after.anchored_at_ms <= now_ms
    if after.playing:
        assert after.played_ms + ran_ms(after, now_ms) <= ran_ms(state, now_ms) + 1
    if state.enabled_loop is None:
        furthest_ms = position_at(state, now_ms) + TRUE_PLACE_TOLERANCE_MS + 1
        assert POSITION_MS - TRUE_PLACE_TOLERANCE_MS <= position_at(after, now_ms) <= furthest_ms


@given(
    state=playing(),
    place_ms=st.integers(95_000, 130_000),
    run_ms=st.integers(0, 20_000),
    wrong_ms=st.integers(0, 600_000) | st.integers(-600_000, -REPORT_AGE_MS_MAX - TRUE_PLACE_TOLERANCE_MS - 1),
    plain=st.booleans(),
)
def test_a_device_whose_clock_is_wrong_fares_as_one_that_tells_no_time(
    state: SessionState, place_ms: int, run_ms: int, wrong_ms: int, plain: bool
) -> None:
    options: dict[str, Any] = {"origin": REST, "revision": None} if plain else {}
    state = replace(state, active_device_id=REST_DEVICE_ID) if plain else state
    now_ms = NOW_MS + run_ms
    told = handled(state, place_ms, now_ms + wrong_ms, now_ms, **options)
    assert told == handled(state, place_ms, None, now_ms, **options)


def test_a_clock_that_is_a_little_further_behind_than_is_true_is_not_believed_either() -> None:
    # at 105 s, as it says, it would be 5 s ahead
    state = make_state()
    assert accepted(state, 110_000, LATER_MS - 5_000, LATER_MS) == accepted(state, 110_000, None, LATER_MS)


@pytest.mark.parametrize(
    "state",
    [make_state(position_ms=110_000, anchored_at_ms=LATER_MS), make_state(heard_ms=110_000, heard_at_ms=LATER_MS)],
    ids=["anchor", "last report"],
)
@pytest.mark.parametrize(
    ("earlier_ms", "late_ms"), [(1, 0), (TRUE_PLACE_TOLERANCE_MS, 0), (TRUE_PLACE_TOLERANCE_MS + 1, 800)]
)
def test_a_time_a_little_before_the_anchor_or_the_last_report_counts_as_then(
    state: SessionState, earlier_ms: int, late_ms: int
) -> None:
    after = accepted(state, 110_100, LATER_MS - earlier_ms, LATER_MS + 800)
    assert after.heard_at_ms == LATER_MS + late_ms


def test_a_report_that_is_later_still_counts_as_ten_seconds_late() -> None:
    now_ms = LATER_MS + REPORT_AGE_MS_MAX + 1_500
    after = accepted(make_state(), 110_000, LATER_MS, now_ms)
    assert (after.position_ms, after.anchored_at_ms) == (110_000, now_ms - REPORT_AGE_MS_MAX)


def test_an_overtaken_report_is_told_by_its_number_whatever_time_it_names() -> None:
    state = accepted(make_state(), 110_000, LATER_MS, LATER_MS + 100, seq=2)
    assert handled(state, 109_000, LATER_MS - 1_000, LATER_MS + 200, seq=1) is state


def test_where_a_paused_sound_stopped_is_told_as_of_then() -> None:
    paused = make_state(playing=False, heard_ms=99_000, heard_at_ms=NOW_MS - 1_500)
    after = accepted(paused, POSITION_MS - 500, NOW_MS + 200, NOW_MS + 900)
    assert (after.position_ms, after.anchored_at_ms, after.playing) == (POSITION_MS - 500, NOW_MS + 200, False)
    assert (after.listened, after.played_ms) == (((99_000, 99_500),), 500)


# an anchor that lies ahead


@pytest.mark.parametrize("before_ms", [1, 400, TRUE_PLACE_TOLERANCE_MS])
def test_what_was_measured_before_an_anchor_that_lay_ahead_is_a_sign_of_life_and_no_more(before_ms: int) -> None:
    state = make_state(mode="together", absent_since_ms=NOW_MS - 500, absent_until_ms=NOW_MS + 9_500)
    after = accepted(state, 20_000, NOW_MS - before_ms, NOW_MS + 700, seq=4)
    assert after == replace(state, report_seqs=(("phone", 4),))
    answer = handled(state, 20_000, NOW_MS, NOW_MS + 700)
    assert isinstance(answer, Rejection) and answer.code is Code.CONFLICT


def test_a_wrong_clock_does_not_put_a_report_before_the_anchor() -> None:
    state = make_state(mode="together")
    assert accepted(state, 110_000, NOW_MS - 2_001, LATER_MS).heard_ms == 110_000


def test_in_handoff_no_anchor_lies_ahead() -> None:
    assert accepted(make_state(), POSITION_MS + 100, NOW_MS - 20, NOW_MS + 800).heard_ms == POSITION_MS + 100


# plain REST: no revision


def test_a_late_plain_report_of_another_rate_sets_it_as_of_then() -> None:
    after = accepted(BY_REST, 10_100, LATER_MS, LATER_MS + 700, origin=REST, revision=None, rate=2.0)
    assert (after.rate, after.position_ms, after.anchored_at_ms, after.heard_at_ms) == (2.0, 10_100, LATER_MS, LATER_MS)


def test_a_late_plain_report_far_ahead_of_the_clock_is_as_of_now() -> None:
    after = accepted(BY_REST, 120_500, NOW_MS, NOW_MS + 700, origin=REST, revision=None)
    assert (after.position_ms, after.anchored_at_ms, after.listened) == (120_500, NOW_MS + 700, ((0, 120_500),))

"""Reports: when a device is believed (rule 3 of the design), what it moves, and what it is credited."""

from typing import Any

import pytest
from msgspec.structs import replace

from playhead.playback.commands import REST_DEVICE_ID, Origin, Report
from playhead.playback.played import ran_ms
from playhead.playback.rejections import Code, Rejection
from playhead.playback.reports import (
    REANCHOR_MS,
    REPORTING_DEVICES_MAX,
    TRUE_PLACE_TOLERANCE_MS,
    reduce_report,
    true_place_ms,
)
from playhead.playback.state import SessionState, position_at
from tests.support.states import DURATION_MS, NOW_MS, POSITION_MS, make_loop, make_state

PHONE = Origin(device_id="phone", connection_id="phone-1")
DESK = Origin(device_id="desk", connection_id="desk-1")
REST = Origin(device_id=REST_DEVICE_ID)
LOOP = make_loop(90_000, 110_000)
LATER_MS = NOW_MS + 10_000
"""Ten seconds after the anchor: the formula is at 110 s."""


def report(
    state: SessionState, position_ms: int, *, origin: Origin = PHONE, now_ms: int = LATER_MS, **fields: Any
) -> SessionState | Rejection:
    told = Report(position_ms=position_ms, **{"revision": state.revision, **fields})
    return reduce_report(state, told, origin, now_ms)


def accepted(state: SessionState, position_ms: int, **options: Any) -> SessionState:
    after = report(state, position_ms, **options)
    assert isinstance(after, SessionState), after
    return after


def refused(state: SessionState, position_ms: int, **options: Any) -> Rejection:
    answer = report(state, position_ms, **options)
    assert isinstance(answer, Rejection), answer
    return answer


# what is believed


@pytest.mark.parametrize(
    ("place_ms", "believed"),
    [
        (POSITION_MS - TRUE_PLACE_TOLERANCE_MS - 1, False),
        (POSITION_MS - TRUE_PLACE_TOLERANCE_MS, True),
        (POSITION_MS, True),
        (110_000 + TRUE_PLACE_TOLERANCE_MS, True),
        (110_000 + TRUE_PLACE_TOLERANCE_MS + 1, False),
    ],
)
def test_a_place_is_true_between_the_last_anchor_and_the_formula_with_two_seconds_to_spare(
    place_ms: int, believed: bool
) -> None:
    state = make_state()
    assert (true_place_ms(state, place_ms, LATER_MS) == place_ms) is believed
    if believed:
        assert position_at(accepted(state, place_ms), LATER_MS) in (place_ms, 110_000)
    else:
        refusal = refused(state, place_ms)
        assert (refusal.code, refusal.state, refusal.reported_ms) == (Code.CONFLICT, state, place_ms)


@pytest.mark.parametrize("place_ms", [-1, DURATION_MS + 1])
def test_a_place_outside_of_the_script_is_never_true(place_ms: int) -> None:
    state = make_state(position_ms=DURATION_MS if place_ms > 0 else 0)
    assert true_place_ms(state, place_ms, NOW_MS) is None
    assert refused(state, place_ms).code is Code.OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("place_ms", "expected_ms"),
    [
        (90_000, 90_000),
        (109_999, 109_999),
        (110_000, 90_000),
        (111_500, 91_500),
        (112_000, 92_000),
        (112_001, None),
        (89_999, None),
    ],
)
def test_with_a_loop_any_place_in_it_is_true_and_one_just_behind_it_is_folded(
    place_ms: int, expected_ms: int | None
) -> None:
    # long in the loop: the anchor says 105 s, the formula 95 s
    assert true_place_ms(make_state(position_ms=105_000, loop=LOOP), place_ms, LATER_MS) == expected_ms


def test_before_its_loop_a_device_is_believed_as_without_one() -> None:
    state = make_state(position_ms=50_000, loop=LOOP)
    assert true_place_ms(state, 48_000, LATER_MS) == 48_000
    assert true_place_ms(state, 47_999, LATER_MS) is None
    assert true_place_ms(state, 62_001, LATER_MS) is None


def test_behind_a_short_loop_a_place_is_folded_as_often_as_needed() -> None:
    state = make_state(loop=make_loop(100_000, 100_300))
    assert true_place_ms(state, 101_999, LATER_MS) == 100_199


# who and when


def test_another_device_never_moves_the_playhead() -> None:
    refusal = refused(make_state(), 109_000, origin=DESK)
    assert (refusal.code, refusal.reported_ms) == (Code.CONFLICT, 109_000)


@pytest.mark.parametrize("revision", [4, 6])
def test_a_report_from_another_revision_never_moves_the_playhead(revision: int) -> None:
    refusal = refused(make_state(revision=5), 110_000, revision=revision)
    assert refusal.code is Code.CONFLICT and refusal.state == make_state(revision=5)


def test_without_an_active_device_no_report_is_taken() -> None:
    assert refused(make_state(active_device_id=None), 110_000).code is Code.CONFLICT


@pytest.mark.parametrize("rate", [0.24, 4.01, float("nan"), float("inf"), -1.0])
def test_a_rate_that_no_device_plays_is_refused(rate: float) -> None:
    assert refused(make_state(), 110_000, rate=rate).code is Code.OUT_OF_BOUNDS


def test_a_rate_in_the_report_of_a_connected_device_changes_nothing() -> None:
    assert accepted(make_state(rate=1.0), 110_000, rate=2.0) == accepted(make_state(rate=1.0), 110_000)


def test_the_connection_that_reports_is_from_then_on_the_one_that_sounds() -> None:
    back = Origin(device_id="phone", connection_id="phone-2")
    assert accepted(make_state(), 110_000, origin=back).active_connection_id == "phone-2"
    over_rest = Origin(device_id="phone")
    assert accepted(make_state(), 110_000, origin=over_rest).active_connection_id == "phone-1"


# what it moves


@pytest.mark.parametrize("difference_ms", [-REANCHOR_MS, -1, 0, 1, REANCHOR_MS])
def test_a_report_close_to_the_formula_leaves_the_playhead_alone(difference_ms: int) -> None:
    state = make_state()
    after = accepted(state, 110_000 + difference_ms)
    assert (after.position_ms, after.anchored_at_ms) == (state.position_ms, state.anchored_at_ms)


@pytest.mark.parametrize("difference_ms", [-REANCHOR_MS - 1, REANCHOR_MS + 1, -10_000])
def test_a_report_further_off_anchors_the_playhead_anew(difference_ms: int) -> None:
    after = accepted(make_state(), 110_000 + difference_ms)
    assert (after.position_ms, after.anchored_at_ms, after.playing) == (110_000 + difference_ms, LATER_MS, True)


@pytest.mark.parametrize(("place_ms", "anchors"), [(90_100, False), (90_150, False), (90_151, True)])
def test_around_the_end_of_a_loop_the_shorter_way_counts(place_ms: int, anchors: bool) -> None:
    # the formula is 100 ms before the end of the loop, the device has folded already
    state = make_state(loop=LOOP)
    after = accepted(state, place_ms, now_ms=NOW_MS + 9_900)
    assert (after.anchored_at_ms != state.anchored_at_ms) is anchors


def test_the_shorter_way_leads_only_through_the_loop() -> None:
    state = make_state(position_ms=89_500, loop=LOOP)
    after = accepted(state, 109_900, now_ms=NOW_MS + 400)
    assert after.position_ms == 109_900


def test_a_report_at_the_end_of_the_script_ends_playback() -> None:
    state = make_state(position_ms=DURATION_MS - 11_000)
    early = accepted(state, DURATION_MS)
    assert (early.playing, early.finished, early.position_ms) == (False, True, DURATION_MS)
    in_time = accepted(state, DURATION_MS, now_ms=NOW_MS + 11_000)
    assert (in_time.playing, in_time.finished, in_time.position_ms) == (False, True, DURATION_MS)


def test_a_device_that_stalls_before_the_end_keeps_the_script_from_ending_by_the_formula() -> None:
    after = accepted(make_state(position_ms=DURATION_MS - 5_000), DURATION_MS - 3_000)
    assert (after.playing, after.position_ms, after.finished) == (True, DURATION_MS - 3_000, False)


def test_the_device_that_was_paused_may_say_where_it_stopped_exactly() -> None:
    after = accepted(make_state(playing=False), POSITION_MS - 500)
    assert (after.playing, after.position_ms) == (False, POSITION_MS - 500)


# what is credited


def test_the_interval_since_the_last_report_is_credited_once() -> None:
    state = accepted(make_state(), 110_000, seq=1)
    assert (state.listened, state.heard_ms, state.heard_at_ms) == (((100_000, 110_000),), 110_000, LATER_MS)
    again = accepted(state, 110_000, seq=2)
    assert again.listened == state.listened


def test_a_stall_is_not_counted_as_listened() -> None:
    assert accepted(make_state(), 104_000).listened == ((100_000, 104_000),)


def test_more_than_the_time_allows_is_not_credited() -> None:
    ahead = make_state(heard_ms=90_000)
    assert accepted(ahead, 110_000).listened == ()
    assert accepted(make_state(heard_ms=98_000), 110_000).listened == ((98_000, 110_000),)


def test_in_a_loop_both_of_its_sides_are_credited() -> None:
    state = make_state(position_ms=105_000, loop=LOOP)
    assert accepted(state, 95_000).listened == ((90_000, 95_000), (105_000, 110_000))


def test_the_pause_does_not_count_as_time_that_ran() -> None:
    # one second was played before the pause; the report comes an hour later, with a loop on
    paused = make_state(playing=False, position_ms=101_000, anchored_at_ms=NOW_MS + 1_000, heard_ms=100_000, loop=LOOP)
    assert ran_ms(paused, NOW_MS + DURATION_MS) == 1_000
    assert accepted(paused, 101_000, now_ms=NOW_MS + DURATION_MS).listened == ((100_000, 101_000),)


def test_a_clock_behind_the_last_report_credits_nothing_but_the_tolerance() -> None:
    assert ran_ms(make_state(), NOW_MS - 60_000) == 0
    assert accepted(make_state(), POSITION_MS + 2_001 - 1, now_ms=NOW_MS - 60_000).listened == ((100_000, 102_000),)


# the numbers of reports


@pytest.mark.parametrize("seq", [7, 6, 0])
def test_a_repeated_or_overtaken_report_changes_nothing(seq: int) -> None:
    state = make_state(report_seqs=(("phone", 7),))
    assert report(state, 105_000, seq=seq) is state
    assert report(state, 105_000, seq=seq, revision=None) is state


def test_a_repeat_is_recognised_even_when_the_session_has_moved_on() -> None:
    state = make_state(report_seqs=(("phone", 7),), active_device_id="desk")
    assert report(state, 105_000, seq=7, revision=2) is state


def test_each_device_counts_for_itself_and_the_newest_is_last() -> None:
    state = make_state(report_seqs=(("phone", 7), ("desk", 90)))
    assert accepted(state, 110_000, seq=8).report_seqs == (("desk", 90), ("phone", 8))
    assert accepted(state, 110_000).report_seqs == state.report_seqs


def test_past_the_limit_the_device_that_reported_longest_ago_is_forgotten() -> None:
    known = tuple((f"device-{number}", number) for number in range(REPORTING_DEVICES_MAX))
    seqs = accepted(make_state(report_seqs=known), 110_000, seq=1).report_seqs
    assert len(seqs) == REPORTING_DEVICES_MAX
    assert seqs[0] == known[1] and seqs[-1] == ("phone", 1)


# plain REST: no revision


def plain(state: SessionState, position_ms: int, **options: Any) -> SessionState | Rejection:
    return report(state, position_ms, origin=options.pop("origin", REST), revision=None, **options)


BY_REST = make_state(position_ms=0, active_device_id=REST_DEVICE_ID, active_connection_id=None)


def test_a_plain_report_far_ahead_of_the_clock_is_taken_and_credited() -> None:
    after = plain(BY_REST, 120_500, now_ms=NOW_MS + 20)
    assert isinstance(after, SessionState)
    assert (after.position_ms, after.heard_ms, after.listened) == (120_500, 120_500, ((0, 120_500),))


def test_a_plain_report_is_taken_while_no_device_is_active() -> None:
    after = plain(replace(BY_REST, active_device_id=None), 5_000)
    assert isinstance(after, SessionState) and after.heard_ms == 5_000


def test_a_plain_report_while_another_device_is_active_is_a_conflict() -> None:
    answer = plain(make_state(), 120_000)
    assert isinstance(answer, Rejection) and (answer.code, answer.reported_ms) == (Code.CONFLICT, 120_000)


@pytest.mark.parametrize(("back_ms", "taken"), [(TRUE_PLACE_TOLERANCE_MS, True), (TRUE_PLACE_TOLERANCE_MS + 1, False)])
def test_a_plain_report_goes_back_two_seconds_at_most(back_ms: int, taken: bool) -> None:
    state = replace(BY_REST, position_ms=50_000, heard_ms=60_000)
    answer = plain(state, 60_000 - back_ms)
    assert isinstance(answer, SessionState) is taken
    if isinstance(answer, Rejection):
        assert (answer.code, answer.state, answer.reported_ms) == (Code.CONFLICT, state, 60_000 - back_ms)


def test_a_plain_report_goes_back_from_a_seek_just_as_little() -> None:
    assert isinstance(plain(replace(BY_REST, position_ms=50_000), 40_000), Rejection)


def test_a_plain_report_behind_the_formula_but_ahead_of_the_last_place_is_a_stall() -> None:
    after = plain(BY_REST, 60_000, now_ms=NOW_MS + 120_000)
    assert isinstance(after, SessionState) and (after.position_ms, after.playing) == (60_000, True)


def test_a_plain_report_at_the_end_finishes_the_script() -> None:
    after = plain(BY_REST, DURATION_MS)
    assert isinstance(after, SessionState) and (after.playing, after.finished) == (False, True)


def test_a_plain_report_of_another_rate_sets_it_from_there() -> None:
    after = plain(BY_REST, 10_100, rate=2.0)
    assert isinstance(after, SessionState)
    assert (after.rate, after.position_ms, after.anchored_at_ms) == (2.0, 10_100, LATER_MS)
    same = plain(BY_REST, 10_100, rate=1.0)
    assert isinstance(same, SessionState) and same.anchored_at_ms == NOW_MS


@pytest.mark.parametrize(("place_ms", "on"), [(60_000, True), (90_000, True), (109_999, True), (110_000, False)])
def test_a_plain_report_switches_a_loop_off_only_from_behind_it(place_ms: int, on: bool) -> None:
    state = replace(BY_REST, position_ms=50_000, heard_ms=50_000, loop=LOOP)
    after = plain(state, place_ms)
    assert isinstance(after, SessionState) and after.loop is not None
    assert after.loop.enabled is on


def test_a_plain_report_that_has_gone_around_the_loop_is_taken_and_credits_both_sides() -> None:
    state = replace(BY_REST, position_ms=105_000, heard_ms=105_000, loop=LOOP)
    after = plain(state, 95_000)
    assert isinstance(after, SessionState)
    assert (after.heard_ms, after.listened) == (95_000, ((90_000, 95_000), (105_000, 110_000)))
    assert after.loop == LOOP


def test_a_plain_report_a_little_back_in_a_loop_is_no_way_around_it() -> None:
    state = replace(BY_REST, position_ms=105_000, heard_ms=105_000, loop=LOOP)
    after = plain(state, 103_000)
    assert isinstance(after, SessionState) and (after.heard_ms, after.listened) == (103_000, ())


@pytest.mark.parametrize(
    ("reported_ms", "place_ms"), [(90_000 - 2_001, None), (90_000 - 2_000, 90_000), (89_999, 90_000)]
)
def test_a_plain_report_leads_back_to_the_start_of_a_loop_and_no_further(
    reported_ms: int, place_ms: int | None
) -> None:
    state = replace(BY_REST, position_ms=80_000, heard_ms=105_000, loop=LOOP)
    after = plain(state, reported_ms)
    assert (after.heard_ms if isinstance(after, SessionState) else None) == place_ms


def test_plain_reports_that_step_back_a_little_lead_nowhere() -> None:
    state = make_state(active_device_id="rest", active_connection_id=None, playing=False)
    for step in range(1, 11):
        after = reduce_report(state, Report(position_ms=POSITION_MS - 1_900, seq=step), REST, LATER_MS)
        assert isinstance(after, SessionState)
        state = after
    assert (state.position_ms, state.heard_ms) == (POSITION_MS, POSITION_MS)

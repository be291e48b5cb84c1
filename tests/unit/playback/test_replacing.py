"""A session that takes over another file of its script: what lies behind the new end, and what stays."""

from typing import Any

import pytest

from playhead.playback.commands import Play, Renew, Report, Restore, Seek
from playhead.playback.reducer import Decision
from playhead.playback.rejections import Code
from playhead.playback.replacing import taken_over
from playhead.playback.state import Loop, Media, SessionState
from tests.support.states import DURATION_MS, MEDIA_VERSION, NOW_MS, make_loop, make_state
from tests.unit.playback.deciding import DESK, FINISHED, LATER_MS, PAUSED, accepted, code, decide

SHORT = Media(version="f" * 16, duration_ms=60_000)
"""Shorter than where the sessions of these tests are."""
LONG = Media(version="e" * 16, duration_ms=2 * DURATION_MS)
SAME = Media(version=MEDIA_VERSION, duration_ms=DURATION_MS)


def resumed(state: SessionState, media: Media, **fields: Any) -> SessionState:
    return accepted(state, Play(**fields), media=media)


def test_a_place_within_the_new_file_stays() -> None:
    after = resumed(PAUSED, LONG)
    assert (after.media_version, after.duration_ms, after.longest_ms) == (LONG.version, LONG.duration_ms, DURATION_MS)
    assert (after.playing, after.position_ms, after.finished) == (True, PAUSED.position_ms, False)


def test_a_place_behind_the_new_end_begins_anew() -> None:
    after = resumed(PAUSED, SHORT)
    assert (after.playing, after.position_ms, after.finished) == (True, 0, False)
    assert (after.duration_ms, after.heard_ms) == (60_000, 0)


def test_a_place_that_sounds_behind_the_new_end_begins_anew() -> None:
    after = resumed(make_state(), SHORT)
    assert (after.playing, after.position_ms, after.anchored_at_ms) == (True, 0, LATER_MS)


def test_a_place_that_sounds_within_the_new_file_goes_on_where_it_is() -> None:
    after = resumed(make_state(), LONG)
    assert (after.playing, after.position_ms, after.anchored_at_ms) == (True, 110_000, LATER_MS)


@pytest.mark.parametrize("place_ms", [60_000, 60_001, DURATION_MS])
def test_a_place_asked_for_that_only_the_former_file_had_is_the_end(place_ms: int) -> None:
    after = resumed(PAUSED, SHORT, position_ms=place_ms)
    assert (after.playing, after.position_ms, after.finished) == (False, 60_000, True)


def test_a_place_that_neither_file_had_is_refused_and_nothing_is_taken_over() -> None:
    assert code(PAUSED, Play(position_ms=DURATION_MS + 1), media=SHORT) is Code.OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        (make_loop(10_000, 20_000), make_loop(10_000, 20_000)),
        (make_loop(10_000, 90_000), make_loop(10_000, 60_000)),
        (make_loop(59_750, 90_000), make_loop(59_750, 60_000)),
        (make_loop(59_751, 90_000), None),
        (make_loop(60_000, 90_000), None),
        (make_loop(90_000, 110_000, enabled=False), None),
    ],
)
def test_a_loop_ends_with_the_new_file_and_goes_where_too_little_of_it_is_left(
    loop: Loop, expected: Loop | None
) -> None:
    state = make_state(playing=False, position_ms=5_000, loop=loop)
    assert taken_over(state, SHORT, NOW_MS).loop == expected


@pytest.mark.parametrize("playing", [True, False])
def test_a_loop_whose_end_is_cut_off_below_the_playhead_goes_on_from_its_start(playing: bool) -> None:
    state = make_state(playing=playing, position_ms=60_000, loop=make_loop(10_000, 90_000))
    decision = decide(state, Renew(), media=SHORT, now_ms=NOW_MS)
    assert isinstance(decision, Decision)
    after = decision.state
    assert (after.playing, after.position_ms, after.loop) == (playing, 10_000, make_loop(10_000, 60_000))
    assert (after.finished, after.heard_ms, after.heard_at_ms) == (False, 10_000, NOW_MS)


def test_a_sleep_at_the_end_of_a_loop_that_is_gone_is_forgotten() -> None:
    state = make_state(loop=make_loop(90_000, 110_000), sleep_at_end_of_loop=True)
    assert not resumed(state, SHORT).sleep_at_end_of_loop


def test_what_was_listened_to_stays_up_to_the_new_end() -> None:
    state = make_state(listened=((0, 10_000), (50_000, 70_000), (80_000, 90_000)), played_ms=50_000)
    after = resumed(state, SHORT)
    assert (after.listened, after.played_ms) == (((0, 10_000), (50_000, 60_000)), 50_000)


def test_the_file_that_it_has_is_no_change() -> None:
    decision = decide(make_state(), Play(), media=SAME)
    assert isinstance(decision, Decision) and not decision.written


def test_nobody_knows_the_file_and_it_goes_on_with_its_own() -> None:
    assert accepted(PAUSED, Play()).media_version == MEDIA_VERSION


def test_no_other_command_takes_a_file_over() -> None:
    assert accepted(make_state(), Seek(position_ms=7_000), DESK, media=SHORT).media_version == MEDIA_VERSION


def test_one_that_was_heard_out_starts_at_0_also_in_a_longer_file() -> None:
    assert resumed(FINISHED, LONG).position_ms == 0


def test_the_longest_file_is_remembered_over_several() -> None:
    after = resumed(resumed(PAUSED, SHORT), Media(version="d" * 16, duration_ms=90_000))
    assert (after.duration_ms, after.longest_ms, after.addressed_ms) == (90_000, DURATION_MS, DURATION_MS)


def test_the_server_s_own_renewal_lets_it_sound_on_or_stops_it_at_the_new_end() -> None:
    sounding = decide(make_state(), Renew(), media=LONG)
    assert isinstance(sounding, Decision) and sounding.published and sounding.cause.device_id is None
    assert (sounding.state.playing, sounding.state.position_ms) == (True, 110_000)
    stopped = accepted(make_state(), Renew(), media=SHORT)
    assert (stopped.playing, stopped.position_ms, stopped.finished) == (False, 60_000, True)
    assert stopped.moved == make_state().moved, "no device has moved it"


def test_a_report_of_a_place_in_the_former_file_moves_nothing() -> None:
    after = resumed(make_state(), SHORT)
    assert code(after, Report(position_ms=111_000, revision=5), media=None) is Code.OUT_OF_BOUNDS


def test_a_restored_place_behind_the_end_is_the_end() -> None:
    after = accepted(resumed(PAUSED, SHORT), Restore(position_ms=100_000))
    assert (after.position_ms, after.playing, after.finished) == (60_000, False, True)


def test_an_anchor_ahead_stays_where_it_is() -> None:
    state = make_state(mode="together", anchored_at_ms=LATER_MS + 400)
    assert taken_over(state, LONG, LATER_MS).anchored_at_ms == LATER_MS + 400

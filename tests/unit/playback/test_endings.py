"""How playback comes to rest: leave, end; and where the next session resumes."""

import pytest
from msgspec.structs import replace

from playhead.playback.commands import (
    End,
    Leave,
    Offline,
    Origin,
    Pause,
    Play,
    Report,
    Restore,
    SetMode,
    SetRate,
)
from playhead.playback.endings import heard_out, resume_ms
from playhead.playback.reducer import Decision, reduce
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from tests.support.states import DURATION_MS, NOW_MS, POSITION_MS, make_state
from tests.unit.playback.deciding import BOTH, DESK, FINISHED, LATER_MS, PAUSED, PHONE, accepted, decide

# leave


def test_when_the_sounding_connection_leaves_the_sound_stops_at_once() -> None:
    after = accepted(make_state(), Leave(), PHONE)
    assert (after.playing, after.position_ms, after.active_device_id) == (False, 110_000, "phone")


@pytest.mark.parametrize(
    "origin", [DESK, Origin(device_id="phone", connection_id="phone-2"), Origin(device_id="phone", connection_id=None)]
)
def test_when_any_other_connection_leaves_nothing_happens(origin: Origin) -> None:
    state = make_state()
    decision = decide(state, Leave(), origin)
    assert isinstance(decision, Decision) and decision.state is state and not decision.written


def test_leaving_without_a_connection_never_meets_a_session_without_one() -> None:
    state = make_state(active_device_id="rest", active_connection_id=None)
    assert accepted(state, Leave(), Origin(device_id="rest")).playing


def test_leaving_a_paused_session_changes_nothing() -> None:
    assert accepted(PAUSED, Leave(), PHONE) is PAUSED


# end


def test_an_ended_session_is_stopped_where_it_was() -> None:
    after = accepted(make_state(), End())
    assert (after.playing, after.position_ms, after.ended_at_ms, after.finished) == (False, 110_000, LATER_MS, False)


def test_ending_is_the_listeners_own_doing() -> None:
    decision = decide(make_state(), End(), DESK)
    assert isinstance(decision, Decision) and decision.cause.device_id == "desk"


def test_ending_twice_changes_nothing() -> None:
    ended = accepted(make_state(), End())
    decision = decide(ended, End())
    assert isinstance(decision, Decision) and decision.state is ended and not decision.written


@pytest.mark.parametrize(
    "command",
    [
        Play(),
        Pause(),
        SetRate(rate=2.0),
        Leave(),
        Report(position_ms=1),
        SetMode(mode="together"),
        Restore(position_ms=1),
        Offline(intervals=((0, 1),), position_ms=1, base=None),
    ],
)
def test_an_ended_session_takes_no_command(command: Play) -> None:
    ended = accepted(make_state(), End())
    answer = decide(ended, command, expected_revision=0)
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.state) == (Code.SESSION_ENDED, ended)


@pytest.mark.parametrize(
    ("duration_ms", "left_ms", "finished"),
    [
        (DURATION_MS, 30_000, False),
        (DURATION_MS, 29_999, True),
        (600_000, 12_000, False),
        (600_000, 11_999, True),
        (600_000, 0, True),
        (40, 1, False),
        (60, 1, True),
    ],
)
def test_a_session_that_ends_with_little_left_is_finished(duration_ms: int, left_ms: int, finished: bool) -> None:
    state = make_state(playing=False, duration_ms=duration_ms, position_ms=duration_ms - left_ms)
    assert accepted(state, End()).finished is finished


# resume


@pytest.mark.parametrize(
    ("state", "expected_ms"),
    [
        (PAUSED, POSITION_MS),
        (make_state(heard_ms=104_000), 104_000),
        (FINISHED, 0),
        (make_state(playing=False, finished=True), 0),
        (make_state(playing=False, position_ms=DURATION_MS - 30_000), DURATION_MS - 30_000),
        (make_state(playing=False, position_ms=DURATION_MS - 29_999), 0),
        (make_state(heard_ms=DURATION_MS - 29_999), 0),
    ],
)
def test_the_next_session_resumes_where_this_one_stopped_or_was_last_heard(
    state: SessionState, expected_ms: int
) -> None:
    assert resume_ms(state) == expected_ms
    assert heard_out(state) is (expected_ms == 0)


def test_an_ended_session_resumes_like_one_that_was_left() -> None:
    for state in (make_state(), PAUSED, FINISHED, make_state(position_ms=DURATION_MS - 15_000)):
        ended = reduce(state, End(), PHONE, now_ms=NOW_MS, connected=BOTH)
        assert isinstance(ended, Decision)
        assert resume_ms(ended.state) == resume_ms(replace(ended.state, ended_at_ms=None))

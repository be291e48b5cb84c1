"""Every decision, and what play and pause make of a session. Seek and the like: test_moving; ends: test_endings."""

import pytest
from msgspec.structs import replace

from playhead.playback.commands import (
    REST_DEVICE_ID,
    Command,
    Connections,
    Origin,
    Pause,
    Play,
    Report,
    Seek,
    SetLoop,
    SetRate,
    Transfer,
)
from playhead.playback.reducer import Decision, start
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from tests.support.states import DURATION_MS, LISTENER_ID, NOW_MS, POSITION_MS, SCRIPT_ID, make_state
from tests.unit.playback.deciding import (
    BOTH,
    DESK,
    ENDED_MS,
    FINISHED,
    LATER_MS,
    LOOP,
    PAUSED,
    PHONE,
    REST,
    accepted,
    code,
    decide,
)

NEW = start(
    session_id="new",
    listener_id=LISTENER_ID,
    script_id=SCRIPT_ID,
    duration_ms=DURATION_MS,
    position_ms=20_000,
    rate=1.25,
    now_ms=NOW_MS,
)


# every decision


def test_a_new_session_stands_at_its_place_at_revision_zero() -> None:
    assert (NEW.revision, NEW.version, NEW.epoch, NEW.playing, NEW.position_ms, NEW.rate) == (
        0,
        0,
        0,
        False,
        20_000,
        1.25,
    )
    assert (NEW.heard_ms, NEW.started_at_ms, NEW.active_device_id) == (20_000, NOW_MS, None)
    assert accepted(NEW, Play()).revision == 1


def test_a_change_that_devices_see_counts_revision_and_version_and_names_its_cause() -> None:
    decision = decide(make_state(), Seek(position_ms=5_000))
    assert isinstance(decision, Decision)
    assert (decision.state.revision, decision.state.version, decision.state.changed_at_ms) == (6, 10, LATER_MS)
    assert (decision.written, decision.published) == (True, True)
    cause = decision.cause
    assert (cause.command, cause.device_id, cause.command_id) == ("seek", "phone", "command")


def test_a_report_that_only_credits_counts_a_version_and_no_revision() -> None:
    decision = decide(make_state(), Report(position_ms=110_000, revision=5, seq=1))
    assert isinstance(decision, Decision)
    assert (decision.state.revision, decision.state.version) == (5, 10)
    assert (decision.written, decision.published) == (True, False)


def test_another_connection_of_the_same_device_is_noted_but_not_published() -> None:
    decision = decide(make_state(), Play(), Origin(device_id="phone", connection_id="phone-2"))
    assert isinstance(decision, Decision)
    assert decision.state.active_connection_id == "phone-2"
    assert (decision.written, decision.published) == (True, False)


@pytest.mark.parametrize(
    ("state", "command", "origin"),
    [
        (make_state(), Play(), PHONE),
        (make_state(), Play(device_id="phone"), PHONE),
        (make_state(), Play(), DESK),
        (PAUSED, Pause(), PHONE),
        (PAUSED, Pause(position_ms=1_000), PHONE),
        (FINISHED, Pause(), DESK),
        (make_state(loop=LOOP), SetLoop(start_ms=90_000, end_ms=110_000, enabled=True), DESK),
        (make_state(), SetRate(rate=1.0), PHONE),
        (make_state(), Transfer(device_id="phone"), DESK),
        (make_state(report_seqs=(("phone", 3),)), Report(position_ms=1, revision=5, seq=3), PHONE),
    ],
)
def test_a_command_that_would_change_nothing_changes_nothing(
    state: SessionState, command: Command, origin: Origin
) -> None:
    decision = decide(state, command, origin)
    assert isinstance(decision, Decision)
    assert decision.state is state
    assert (decision.written, decision.published) == (False, False)


@pytest.mark.parametrize("command", [Play(), Pause(), Seek(position_ms=1), Report(position_ms=1, revision=5)])
def test_the_expected_revision_is_demanded_exactly(command: Command) -> None:
    for expected_revision in (4, 6, 0):
        answer = decide(make_state(), command, expected_revision=expected_revision)
        assert isinstance(answer, Rejection)
        assert (answer.code, answer.state) == (Code.CONFLICT, make_state())
        assert "revision 5" in answer.message
    assert not isinstance(decide(make_state(), Pause(), expected_revision=5), Rejection)


def test_a_revision_of_another_life_is_not_the_expected_one() -> None:
    state = make_state(epoch=8)
    for expected_epoch in (7, 9):
        answer = decide(state, Pause(), expected_revision=5, expected_epoch=expected_epoch)
        assert isinstance(answer, Rejection) and (answer.code, answer.state) == (Code.CONFLICT, state)
        assert f"is in epoch 8, not {expected_epoch}." in answer.message
    assert not isinstance(decide(state, Pause(), expected_revision=5, expected_epoch=8), Rejection)


# play


def test_a_refusal_tells_the_state_as_everybody_is_told_it_also_when_its_end_has_come() -> None:
    """That it has run into its end will be another revision: two states of one order would look different."""
    state = make_state(position_ms=DURATION_MS - 5_000)
    for command in (Transfer(device_id="nobody"), Play(device_id="nobody"), SetRate(rate=9.0)):
        answer = decide(state, command)
        assert isinstance(answer, Rejection) and answer.state is state


def test_play_resumes_at_the_place_where_it_stood() -> None:
    after = accepted(PAUSED, Play())
    assert (after.playing, after.position_ms, after.anchored_at_ms) == (True, POSITION_MS, LATER_MS)
    assert (after.heard_ms, after.heard_at_ms) == (POSITION_MS, LATER_MS)


def test_play_starts_at_the_position_that_is_given() -> None:
    for state in (PAUSED, make_state(), FINISHED):
        after = accepted(state, Play(position_ms=7_000))
        assert (after.playing, after.position_ms, after.finished, after.heard_ms) == (True, 7_000, False, 7_000)


def test_a_finished_script_starts_at_its_beginning() -> None:
    assert (accepted(FINISHED, Play()).position_ms, accepted(FINISHED, Play()).playing) == (0, True)


def test_a_script_that_ran_into_its_end_unseen_starts_at_its_beginning() -> None:
    after = accepted(make_state(), Play(), now_ms=ENDED_MS)
    assert (after.position_ms, after.playing, after.anchored_at_ms) == (0, True, ENDED_MS)


def test_play_at_the_very_end_is_over_at_once() -> None:
    after = accepted(PAUSED, Play(position_ms=DURATION_MS))
    assert (after.playing, after.finished) == (False, True)


@pytest.mark.parametrize("position_ms", [-1, DURATION_MS + 1])
def test_play_outside_of_the_script_is_refused(position_ms: int) -> None:
    assert code(PAUSED, Play(position_ms=position_ms)) is Code.OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("asked", "origin", "connected", "expected"),
    [
        (None, PHONE, BOTH, ("phone", "phone-1")),
        (None, DESK, BOTH, ("phone", "phone-1")),
        (None, DESK, {"desk": "desk-1"}, ("desk", "desk-1")),
        ("desk", PHONE, BOTH, ("desk", "desk-1")),
        ("desk", DESK, BOTH, ("desk", "desk-1")),
        ("desk", DESK, {}, ("desk", "desk-1")),
        (None, REST, {**BOTH, REST_DEVICE_ID: None}, ("phone", "phone-1")),
        (None, REST, {REST_DEVICE_ID: None}, (REST_DEVICE_ID, None)),
        (REST_DEVICE_ID, REST, {**BOTH, REST_DEVICE_ID: None}, (REST_DEVICE_ID, None)),
        ("desk", Origin(device_id="desk"), BOTH, ("desk", "desk-1")),
    ],
)
def test_play_sounds_on_the_device_asked_for_else_the_active_one_else_the_callers(
    asked: str | None, origin: Origin, connected: Connections, expected: tuple[str, str | None]
) -> None:
    after = accepted(PAUSED, Play(device_id=asked), origin, connected=connected)
    assert (after.active_device_id, after.active_connection_id) == expected


def test_the_rest_device_is_never_somebody_elses_speaker() -> None:
    state = replace(PAUSED, active_device_id=REST_DEVICE_ID, active_connection_id=None)
    assert accepted(state, Play(), DESK, connected={**BOTH, REST_DEVICE_ID: None}).active_device_id == "desk"
    assert code(state, Play(device_id=REST_DEVICE_ID), DESK) is Code.DEVICE_NOT_CONNECTED


def test_play_on_a_device_that_is_not_connected_is_refused() -> None:
    answer = decide(PAUSED, Play(device_id="speaker"))
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.state) == (Code.DEVICE_NOT_CONNECTED, PAUSED)


def test_a_remote_that_presses_play_again_leaves_the_sounding_connection_alone() -> None:
    state = make_state(active_connection_id="phone-0")
    assert accepted(state, Play(position_ms=1_000), DESK).active_connection_id == "phone-0"
    assert accepted(replace(state, playing=False), Play(), DESK).active_connection_id == "phone-1"


def test_play_on_another_device_while_it_plays_goes_on_at_the_same_place() -> None:
    after = accepted(make_state(), Play(device_id="desk"), DESK)
    assert (after.active_device_id, after.playing) == ("desk", True)
    assert (after.position_ms, after.anchored_at_ms, after.heard_ms) == (POSITION_MS, NOW_MS, POSITION_MS)


# pause


def test_pause_stops_at_the_formulas_place() -> None:
    after = accepted(make_state(), Pause(), DESK)
    assert (after.playing, after.position_ms, after.anchored_at_ms) == (False, 110_000, LATER_MS)


@pytest.mark.parametrize(
    ("told_ms", "origin", "expected_ms"),
    [
        (104_000, PHONE, 104_000),
        (98_000, PHONE, 98_000),
        (97_999, PHONE, 110_000),
        (112_000, PHONE, 112_000),
        (112_001, PHONE, 110_000),
        (104_000, DESK, 110_000),
    ],
)
def test_pause_stops_at_the_place_heard_where_rule_3_holds_it_true(
    told_ms: int, origin: Origin, expected_ms: int
) -> None:
    assert accepted(make_state(), Pause(position_ms=told_ms), origin).position_ms == expected_ms


def test_pause_credits_what_was_heard_until_then() -> None:
    after = accepted(make_state(), Pause(position_ms=104_000))
    assert (after.listened, after.heard_ms, after.heard_at_ms) == (((100_000, 104_000),), 104_000, LATER_MS)
    assert accepted(make_state(), Pause()).listened == ()


def test_pause_in_a_loop_stops_inside_of_it() -> None:
    state = make_state(loop=LOOP)
    assert accepted(state, Pause(position_ms=110_500)).position_ms == 90_500
    assert accepted(state, Pause(), now_ms=NOW_MS + 15_000).position_ms == 95_000


@pytest.mark.parametrize("position_ms", [-1, DURATION_MS + 1])
def test_pause_outside_of_the_script_is_refused(position_ms: int) -> None:
    assert code(make_state(), Pause(position_ms=position_ms)) is Code.OUT_OF_BOUNDS


def test_pause_after_the_end_was_reached_finishes_the_script() -> None:
    for command, origin in ((Pause(), PHONE), (Pause(position_ms=DURATION_MS), PHONE), (Pause(position_ms=3), DESK)):
        after = accepted(make_state(), command, origin, now_ms=ENDED_MS)
        assert (after.playing, after.finished, after.position_ms) == (False, True, DURATION_MS)


def test_a_pause_by_the_device_that_stalled_before_the_end_does_not_finish_the_script() -> None:
    state = make_state(position_ms=DURATION_MS - 60_000)
    after = accepted(state, Pause(position_ms=DURATION_MS - 20_000), now_ms=NOW_MS + 61_000)
    assert (after.playing, after.finished, after.position_ms) == (False, False, DURATION_MS - 20_000)

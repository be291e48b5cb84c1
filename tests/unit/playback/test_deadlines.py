"""What the server does by itself: the end of the script, sleep, absence, idleness; late, twice, or not at all."""

from typing import Any

import pytest
from msgspec.structs import replace

from playhead.playback.commands import (
    Connections,
    Due,
    Leave,
    Lost,
    Origin,
    Pause,
    Play,
    Report,
    Seek,
    SetLoop,
    SetRate,
    SetSleep,
    Transfer,
)
from playhead.playback.deadlines import IDLE_END_MS, next_due_ms, sleeps_at_ms
from playhead.playback.reducer import Decision
from playhead.playback.rejections import Code
from playhead.playback.state import SessionState
from tests.support.states import DURATION_MS, NOW_MS, POSITION_MS, make_loop, make_state
from tests.unit.playback.deciding import BOTH, DESK, ENDED_MS, LATER_MS, PAUSED, PHONE, accepted, code, decide

GRACE_MS = 10_000
DESK_ALONE = {"desk": "desk-1"}
ABSENT = make_state(absent_since_ms=NOW_MS + 4_000, absent_until_ms=LATER_MS)


def due(state: SessionState, now_ms: int = LATER_MS, **options: Any) -> Decision:
    named = ("left_at_ms", "excused_until_ms", "busy")
    command = Due(**{name: options.pop(name) for name in named if name in options})
    answer = decide(state, command, now_ms=now_ms, **options)
    assert isinstance(answer, Decision)
    return answer


def lost(device_id: str = "phone", last_seen_at_ms: int | None = NOW_MS + 4_000) -> Lost:
    return Lost(device_id=device_id, last_seen_at_ms=last_seen_at_ms, until_ms=LATER_MS + GRACE_MS)


def test_before_its_time_nothing_is_done() -> None:
    for state in (make_state(), PAUSED, make_state(sleep_at_ms=LATER_MS + 1)):
        decision = due(state)
        assert decision.state is state and not decision.written


# when somebody must look


@pytest.mark.parametrize(
    ("fields", "expected_ms"),
    [
        ({}, NOW_MS + DURATION_MS - POSITION_MS),
        ({"rate": 4.0}, NOW_MS + (DURATION_MS - POSITION_MS) // 4),
        ({"rate": 3.0, "position_ms": DURATION_MS - 10}, NOW_MS + 4),
        ({"loop": make_loop(90_000, 110_000)}, NOW_MS + IDLE_END_MS),
        ({"playing": False}, NOW_MS + IDLE_END_MS),
        ({"sleep_at_ms": NOW_MS + 1}, NOW_MS + 1),
        ({"playing": False, "sleep_at_ms": NOW_MS + 1}, NOW_MS + 1),
        ({"absent_since_ms": NOW_MS, "absent_until_ms": NOW_MS + 5}, NOW_MS + 5),
        ({"loop": make_loop(90_000, 110_000), "sleep_at_end_of_loop": True}, NOW_MS + 10_000),
        ({"ended_at_ms": NOW_MS}, None),
    ],
)
def test_the_next_deadline_follows_from_the_state(fields: dict[str, Any], expected_ms: int | None) -> None:
    assert next_due_ms(make_state(**fields)) == expected_ms


def test_what_rests_has_its_other_deadlines_all_the_same() -> None:
    """Somebody looks on, so it is not idle before that time; it falls asleep, and comes to its end, when it should."""
    rest_ms = NOW_MS + 2 * IDLE_END_MS
    looping = make_state(loop=make_loop(90_000, 110_000))
    assert next_due_ms(looping, rest_ms) == rest_ms
    assert next_due_ms(replace(looping, sleep_at_ms=rest_ms - 1), rest_ms) == rest_ms - 1
    assert next_due_ms(make_state(), rest_ms) == NOW_MS + DURATION_MS - POSITION_MS


# the end of the script


def test_a_script_that_ran_into_its_end_is_stopped_there_whenever_somebody_looks() -> None:
    for now_ms in (ENDED_MS, ENDED_MS + 60_000):
        decision = due(make_state(), now_ms)
        assert (decision.state.playing, decision.state.position_ms, decision.state.finished) == (
            False,
            DURATION_MS,
            True,
        )
        assert (decision.cause.command, decision.cause.device_id) == ("end_of_script", None)
        again = due(decision.state, now_ms + 1)
        assert not again.written


# absence


def test_a_device_that_is_lost_is_waited_for_and_no_device_sees_it() -> None:
    decision = decide(make_state(), lost())
    assert isinstance(decision, Decision) and decision.written and not decision.published
    assert (decision.state.absent_since_ms, decision.state.absent_until_ms) == (NOW_MS + 4_000, LATER_MS + GRACE_MS)
    assert next_due_ms(decision.state) == LATER_MS + GRACE_MS


@pytest.mark.parametrize(
    ("state", "device_id"),
    [(make_state(), "desk"), (PAUSED, "phone"), (make_state(active_connection_id=None), "phone")],
)
def test_only_the_device_that_sounds_over_a_connection_can_be_lost(state: SessionState, device_id: str) -> None:
    assert accepted(state, lost(device_id)) is state


@pytest.mark.parametrize(
    ("seen_ms", "expected_ms"),
    [
        (NOW_MS + 4_000, NOW_MS + 4_000),
        (NOW_MS - 60_000, NOW_MS),
        (LATER_MS + 60_000, LATER_MS),
        (None, NOW_MS),
    ],
)
def test_it_was_last_heard_of_after_the_anchor_and_before_now(seen_ms: int | None, expected_ms: int) -> None:
    assert accepted(make_state(), lost(last_seen_at_ms=seen_ms)).absent_since_ms == expected_ms


@pytest.mark.parametrize("seen_ms", [NOW_MS + 4_000, None])
def test_a_report_is_a_later_sign_of_life_than_the_last_packet_of_an_older_connection(seen_ms: int | None) -> None:
    reported = make_state(heard_ms=POSITION_MS + 6_000, heard_at_ms=NOW_MS + 6_000)
    assert accepted(reported, lost(last_seen_at_ms=seen_ms)).absent_since_ms == NOW_MS + 6_000


def test_when_it_stays_away_the_session_pauses_where_it_was_last_heard_of() -> None:
    decision = due(ABSENT, connected=DESK_ALONE)
    after = decision.state
    assert (after.playing, after.position_ms, after.active_device_id) == (False, 104_000, "phone")
    assert (after.absent_since_ms, after.absent_until_ms) == (None, None)
    assert (decision.cause.command, decision.cause.device_id, decision.published) == ("absence", None, True)


def test_the_place_of_a_lost_device_is_folded_into_its_loop() -> None:
    state = replace(ABSENT, loop=make_loop(90_000, 110_000), absent_since_ms=NOW_MS + 15_000)
    assert due(state, NOW_MS + 25_000, connected={}).state.position_ms == 95_000


def test_a_device_that_was_lost_after_the_end_has_finished_the_script() -> None:
    after = due(replace(ABSENT, absent_since_ms=ENDED_MS - 1), ENDED_MS, connected={}).state
    assert (after.finished, after.position_ms) == (True, DURATION_MS)
    early = due(replace(ABSENT, absent_since_ms=NOW_MS + 5_000), ENDED_MS, connected={}).state
    assert (early.finished, early.position_ms) == (False, 105_000)


def test_a_device_that_is_back_plays_on() -> None:
    decision = due(ABSENT, connected=BOTH)
    assert decision.state.playing and not decision.published
    assert decision.state.absent_until_ms is None


def test_it_is_heard_over_the_connection_that_it_came_back_with() -> None:
    back = {"phone": "phone-2"}
    after = due(ABSENT, connected=back).state
    assert after.active_connection_id == "phone-2"
    again = Origin(device_id="phone", connection_id="phone-2")
    assert not accepted(after, Leave(), again, connected=back).playing
    assert not accepted(ABSENT, Leave(), again, connected=back).playing
    assert accepted(ABSENT, SetRate(rate=2.0), again, connected=back).active_connection_id == "phone-2"


@pytest.mark.parametrize(
    ("origin", "connected", "plays_on"),
    [
        (Origin(device_id="phone", connection_id="phone-2"), {"phone": "phone-2"}, False),
        (Origin(device_id="phone", connection_id="phone-0"), {"phone": "phone-1"}, True),
        (Origin(device_id="phone"), {"phone": None}, True),
        (DESK, BOTH, True),
    ],
)
def test_to_leave_over_its_newest_connection_is_enough_where_nobody_has_missed_the_one_before(
    origin: Origin, connected: Connections, plays_on: bool
) -> None:
    """As when it is sent again: the line that it was sent over first is dead, or its server is."""
    assert accepted(make_state(), Leave(), origin, connected=connected).playing is plays_on


def test_its_first_true_report_ends_the_absence_and_goes_on() -> None:
    after = accepted(ABSENT, Report(position_ms=110_000, revision=5), PHONE)
    assert (after.playing, after.absent_since_ms, after.absent_until_ms) == (True, None, None)


@pytest.mark.parametrize(
    ("command", "origin"),
    [(Pause(), DESK), (Transfer(device_id="desk"), DESK), (Play(position_ms=5), PHONE), (Seek(position_ms=5), PHONE)],
)
def test_whatever_stops_or_moves_the_sound_or_comes_from_the_device_ends_the_absence(
    command: Pause, origin: Origin
) -> None:
    assert accepted(ABSENT, command, origin).absent_until_ms is None


def test_a_seek_from_another_device_does_not_bring_the_lost_one_back() -> None:
    assert accepted(ABSENT, Seek(position_ms=5), DESK).absent_until_ms == LATER_MS


def test_together_the_role_of_a_lost_device_passes_to_another_one_that_sounds() -> None:
    state = replace(ABSENT, mode="together")
    after = due(state, connected={**DESK_ALONE, "rest": None}).state
    assert (after.playing, after.active_device_id, after.active_connection_id) == (True, "desk", "desk-1")
    assert not due(state, connected={"rest": None}).state.playing


def test_together_the_role_of_a_lost_device_does_not_pass_to_one_that_sounds_in_another_session() -> None:
    state = replace(ABSENT, mode="together")
    three = {**DESK_ALONE, "speaker": "speaker-1"}
    assert due(state, connected=three, busy=frozenset({"desk"})).state.active_device_id == "speaker"
    assert not due(state, connected=DESK_ALONE, busy=frozenset({"desk"})).state.playing


# sleep


def test_sleep_pauses_where_the_sound_is_then() -> None:
    asleep = accepted(make_state(), SetSleep(after_ms=20_000), DESK)
    assert asleep.sleep_at_ms == sleeps_at_ms(asleep) == LATER_MS + 20_000
    for now_ms in (LATER_MS + 20_000, LATER_MS + 50_000):
        decision = due(asleep, now_ms)
        after = decision.state
        assert (after.playing, after.position_ms, after.sleep_at_ms) == (False, 130_000, None)
        assert (decision.cause.command, decision.cause.device_id) == ("sleep", None)


def test_a_paused_session_just_forgets_its_timer() -> None:
    decision = due(replace(PAUSED, sleep_at_ms=LATER_MS))
    assert (decision.state.position_ms, decision.state.sleep_at_ms) == (POSITION_MS, None)


def test_a_timer_can_be_changed_and_taken_away() -> None:
    once = accepted(make_state(), SetSleep(after_ms=20_000))
    assert accepted(once, SetSleep(after_ms=5_000)).sleep_at_ms == LATER_MS + 5_000
    assert accepted(once, SetSleep()).sleep_at_ms is None


@pytest.mark.parametrize("after_ms", [0, -1, 24 * 3_600_000 + 1])
def test_a_timer_that_is_no_time_is_refused(after_ms: int) -> None:
    assert code(make_state(), SetSleep(after_ms=after_ms)) is Code.OUT_OF_BOUNDS


def test_the_end_of_the_loop_is_waited_for_from_where_the_playhead_is() -> None:
    looping = make_state(loop=make_loop(95_000, 105_000))
    asleep = accepted(looping, SetSleep(at_end_of_loop=True))
    # the formula has folded from 110 s to 100 s: five seconds are left of this pass
    assert (asleep.position_ms, sleeps_at_ms(asleep)) == (100_000, LATER_MS + 5_000)
    assert not due(asleep, LATER_MS + 4_999).written
    after = due(asleep, LATER_MS + 7_000).state
    assert (after.playing, after.position_ms, after.sleep_at_end_of_loop) == (False, 95_000, False)


def test_a_faster_rate_brings_the_end_of_the_loop_nearer() -> None:
    asleep = accepted(make_state(loop=make_loop(95_000, 105_000)), SetSleep(at_end_of_loop=True))
    assert sleeps_at_ms(accepted(asleep, SetRate(rate=2.0))) == LATER_MS + 2_500


def test_without_a_loop_there_is_no_end_of_it_to_sleep_at() -> None:
    assert code(make_state(), SetSleep(at_end_of_loop=True)) is Code.NO_LOOP
    asleep = accepted(make_state(loop=make_loop(95_000, 105_000)), SetSleep(at_end_of_loop=True))
    assert not accepted(asleep, Seek(position_ms=0)).sleep_at_end_of_loop
    assert not accepted(asleep, SetLoop(start_ms=95_000, end_ms=105_000, enabled=False)).sleep_at_end_of_loop


def test_a_paused_loop_has_no_moment_of_its_end() -> None:
    state = replace(PAUSED, loop=make_loop(95_000, 105_000), sleep_at_end_of_loop=True)
    assert sleeps_at_ms(state) is None
    assert next_due_ms(state) == NOW_MS + IDLE_END_MS


@pytest.mark.parametrize(("sleep_ms", "place_ms"), [(NOW_MS + 2_000, 102_000), (NOW_MS + 6_000, 104_000)])
def test_of_sleep_and_absence_the_earlier_one_tells_the_place(sleep_ms: int, place_ms: int) -> None:
    after = due(replace(ABSENT, sleep_at_ms=sleep_ms), connected={}).state
    assert (after.playing, after.position_ms) == (False, place_ms)


def test_a_device_that_is_away_keeps_no_other_one_from_falling_asleep() -> None:
    """In `together` the others sound on; by oneself nobody knows where the sound is, until it is back or given up."""
    absent = replace(ABSENT, absent_until_ms=LATER_MS + GRACE_MS, sleep_at_ms=NOW_MS + 6_000)
    together = replace(absent, mode="together")
    after = due(together, NOW_MS + 6_000, connected=DESK_ALONE).state
    assert (after.playing, after.position_ms, after.sleep_at_ms) == (False, 106_000, None)
    assert next_due_ms(together) == NOW_MS + 6_000
    for state, connected in ((together, {}), (absent, {}), (absent, DESK_ALONE)):
        assert due(state, LATER_MS, connected=connected).state is state
    assert next_due_ms(absent) == LATER_MS + GRACE_MS
    assert next_due_ms(replace(absent, sleep_at_ms=NOW_MS + 3_000)) == NOW_MS + 3_000


# idle


def test_a_session_that_nobody_needs_ends_by_itself() -> None:
    assert due(PAUSED, NOW_MS + IDLE_END_MS - 1, connected={}).state is PAUSED
    decision = due(PAUSED, NOW_MS + IDLE_END_MS, connected={"rest": None})
    assert (decision.state.ended_at_ms, decision.cause.command) == (NOW_MS + IDLE_END_MS, "idle")
    assert decision.cause.device_id is None and decision.published


def test_a_device_that_looks_on_keeps_it_and_so_does_the_time_after_it_went() -> None:
    late_ms = NOW_MS + IDLE_END_MS
    assert due(PAUSED, late_ms).state is PAUSED
    assert due(PAUSED, late_ms, connected={}, left_at_ms=NOW_MS + 1).state is PAUSED
    assert due(PAUSED, late_ms, connected={}, left_at_ms=NOW_MS).state.ended_at_ms == late_ms


# the servers themselves were away


def test_while_nobody_can_be_blamed_for_being_away_the_grace_lasts_on_and_no_device_sees_it() -> None:
    until_ms = LATER_MS + GRACE_MS
    decision = due(ABSENT, connected=DESK_ALONE, excused_until_ms=until_ms)
    assert decision.written and not decision.published
    waited = decision.state
    assert (waited.playing, waited.absent_since_ms, waited.absent_until_ms) == (True, NOW_MS + 4_000, until_ms)
    assert due(waited, until_ms - 1, connected=DESK_ALONE).state.playing
    paused = due(waited, until_ms, connected=DESK_ALONE, excused_until_ms=until_ms).state
    assert (paused.playing, paused.position_ms) == (False, POSITION_MS + 4_000)


def test_a_device_that_is_back_needs_no_excuse() -> None:
    state = due(ABSENT, connected=BOTH, excused_until_ms=LATER_MS + GRACE_MS).state
    assert (state.playing, state.absent_until_ms) == (True, None)


def test_while_devices_cannot_be_there_nothing_ends_because_they_are_not() -> None:
    idle_ms = PAUSED.changed_at_ms + IDLE_END_MS
    assert not due(PAUSED, idle_ms, connected={}, excused_until_ms=idle_ms + 1).written
    assert due(PAUSED, idle_ms, connected={}, excused_until_ms=idle_ms).state.ended_at_ms == idle_ms


def test_what_the_server_does_by_itself_moves_nothing() -> None:
    assert due(ABSENT, connected={}).state.moved == ABSENT.moved
    assert accepted(ABSENT, Pause(), DESK).moved == (7, 6)

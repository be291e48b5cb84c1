"""A device that is away: nobody has heard what the formula runs over meanwhile, and nothing of it may be lost."""

import pytest
from msgspec.structs import replace

from playhead.playback.commands import (
    Asked,
    Connections,
    Due,
    End,
    Origin,
    Pause,
    Play,
    Report,
    Seek,
    SetLoop,
    SetMode,
    SetRate,
    SetSleep,
    Transfer,
)
from playhead.playback.deadlines import next_due_ms
from playhead.playback.reducer import Decision
from playhead.playback.state import SessionState, position_at
from tests.support.states import DURATION_MS, NOW_MS, make_state
from tests.unit.playback.deciding import BOTH, DESK, ENDED_MS, LOOP, REST, accepted, decide

SEEN_MS = NOW_MS + 4_000
PRESSED_MS = NOW_MS + 90_000
GRACE_ENDS_MS = NOW_MS + 94_000
DESK_ALONE = {"desk": "desk-1"}
AWAY = make_state(absent_since_ms=SEEN_MS, absent_until_ms=GRACE_ENDS_MS)
"""Last heard of at 104 s. When the desk asks, the formula is at 190 s."""
AWAY_NEAR_END = replace(AWAY, position_ms=DURATION_MS - 75_000, heard_ms=DURATION_MS - 75_000)
"""At 75 s before the end: the formula is there before the grace is over."""


def decided(state: SessionState, command: Asked | Due, now_ms: int = PRESSED_MS) -> Decision:
    answer = decide(state, command, DESK, now_ms=now_ms, connected=DESK_ALONE)
    assert isinstance(answer, Decision)
    return answer


# the end of the script


def test_the_end_waits_for_a_device_that_went_before_it() -> None:
    assert next_due_ms(AWAY_NEAR_END) == GRACE_ENDS_MS
    assert not decided(AWAY_NEAR_END, Due()).written
    after = decided(AWAY_NEAR_END, Due(), GRACE_ENDS_MS)
    assert (after.state.playing, after.state.position_ms, after.state.finished) == (False, DURATION_MS - 71_000, False)
    assert after.cause.command == "absence"


def test_an_outage_that_lasts_beyond_the_end_finishes_nothing() -> None:
    excuse = Due(excused_until_ms=ENDED_MS + 90_000)
    waits = decided(AWAY, excuse, ENDED_MS).state
    assert waits.playing and next_due_ms(waits) == ENDED_MS + 90_000
    after = decided(waits, Due(), ENDED_MS + 90_000).state
    assert (after.playing, after.position_ms, after.finished) == (False, 104_000, False)


def test_the_end_waits_for_nobody_who_has_heard_it() -> None:
    """One that went after it, one that is back, and in `together` the others that sound."""
    heard_out = replace(AWAY_NEAR_END, absent_since_ms=NOW_MS + 75_000)
    assert next_due_ms(heard_out) == NOW_MS + 75_000
    together = replace(AWAY_NEAR_END, mode="together")
    for state, connected in ((heard_out, DESK_ALONE), (AWAY_NEAR_END, BOTH), (together, DESK_ALONE)):
        answer = decide(state, Due(), DESK, now_ms=PRESSED_MS, connected=connected)
        assert isinstance(answer, Decision) and answer.cause.command == "end_of_script"
        assert (answer.state.finished, answer.state.position_ms) == (True, DURATION_MS)


@pytest.mark.parametrize(
    "command", [Play(), Transfer(device_id="desk"), Pause(), Seek(position_ms=5), SetRate(rate=2.0)]
)
def test_the_end_that_the_formula_ran_into_does_not_finish_what_another_device_takes_up(command: Asked) -> None:
    after = decided(AWAY_NEAR_END, command).state
    assert not after.finished and after.playing is not isinstance(command, Pause)
    if not isinstance(command, Seek):
        assert position_at(after, SEEN_MS) == DURATION_MS - 71_000


# another device


@pytest.mark.parametrize(
    "command",
    [Play(), Play(device_id="desk"), Transfer(device_id="desk"), Pause(), End(), SetMode(mode="together")],
)
def test_another_device_goes_on_where_the_lost_one_was_last_heard_of(command: Asked) -> None:
    decision = decided(AWAY, command)
    assert (decision.state.position_ms, decision.state.anchored_at_ms) == (104_000, PRESSED_MS)
    assert decision.move is None or (decision.move.from_ms, decision.move.to_ms) == (104_000, 104_000)


def test_what_nobody_heard_is_not_credited() -> None:
    on_desk = decided(AWAY, Play()).state
    report = Report(position_ms=position_at(on_desk, PRESSED_MS + 10_000), revision=on_desk.revision)
    heard = accepted(on_desk, report, DESK, now_ms=PRESSED_MS + 10_000)
    assert (heard.listened, heard.played_ms) == (((100_000, 114_000),), 14_000)


def test_nor_are_rounds_of_a_loop_that_nobody_heard() -> None:
    away = replace(AWAY, loop=LOOP, absent_since_ms=NOW_MS + 15_000)
    on_desk = decided(away, Transfer(device_id="desk")).state
    assert on_desk.position_ms == 95_000
    report = Report(position_ms=105_000, revision=on_desk.revision)
    heard = accepted(on_desk, report, DESK, now_ms=PRESSED_MS + 10_000)
    assert (heard.listened, heard.played_ms) == (((90_000, 110_000),), 25_000)


def test_a_jump_of_another_device_leaves_the_place_that_was_heard_last() -> None:
    move = decided(AWAY, Seek(position_ms=5_000)).move
    assert move is not None and (move.from_ms, move.to_ms) == (104_000, 5_000)


@pytest.mark.parametrize(
    "command", [SetRate(rate=2.0), SetLoop(start_ms=100_000, end_ms=200_000, enabled=True), SetSleep(after_ms=60_000)]
)
def test_what_another_device_changes_meanwhile_takes_nothing_of_the_place(command: Asked) -> None:
    decision = decided(AWAY, command)
    assert decision.move is None and decision.state.absent_until_ms == GRACE_ENDS_MS
    assert decided(decision.state, Due(), GRACE_ENDS_MS).state.position_ms == 104_000


def test_a_loop_that_begins_anew_begins_at_its_start() -> None:
    after = decided(AWAY, SetLoop(start_ms=20_000, end_ms=50_000, enabled=True)).state
    assert position_at(after, PRESSED_MS) == position_at(after, SEEN_MS) == 20_000


# the device itself


@pytest.mark.parametrize(
    ("command", "origin", "connected"),
    [
        (Play(), Origin(device_id="phone", connection_id="phone-2"), BOTH),
        (SetRate(rate=2.0), Origin(device_id="phone", connection_id="phone-2"), {}),
        (Pause(), Origin(device_id="phone"), {}),
        (Transfer(device_id="desk"), DESK, BOTH),
        (Play(), REST, BOTH),
    ],
)
def test_the_lost_device_itself_goes_on_where_it_is(command: Asked, origin: Origin, connected: Connections) -> None:
    """It may have played on from what it had loaded; also where another one asks before anybody has noticed it."""
    after = accepted(AWAY, command, origin, now_ms=PRESSED_MS, connected=connected)
    assert position_at(after, PRESSED_MS) == 190_000


def test_together_the_others_have_heard_what_ran_on() -> None:
    after = decided(replace(AWAY, mode="together"), Transfer(device_id="desk")).state
    assert position_at(after, PRESSED_MS) == 190_000

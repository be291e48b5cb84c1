"""The history: which commands are moves, from where to where; what is refused is kept as well."""

from typing import Any

import pytest

from playhead.playback.commands import (
    Command,
    Due,
    End,
    Leave,
    Offline,
    Origin,
    Pause,
    Play,
    Report,
    Restore,
    Seek,
    SetLoop,
    SetMode,
    SetRate,
    SetSleep,
    Transfer,
)
from playhead.playback.history import Move
from playhead.playback.reducer import Decision, refused_place
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from tests.support.states import DURATION_MS, NOW_MS, POSITION_MS, make_loop, make_state
from tests.unit.playback.deciding import DESK, ENDED_MS, FINISHED, LATER_MS, PAUSED, PHONE, REST, decide

PLAIN = make_state(active_device_id="rest", active_connection_id=None)


def move(state: SessionState, command: Command, origin: Origin = PHONE, **options: Any) -> Move | None:
    decision = decide(state, command, origin, **options)
    assert isinstance(decision, Decision), decision
    return decision.move


@pytest.mark.parametrize(
    ("state", "command", "origin", "from_ms", "to_ms"),
    [
        (make_state(), Seek(position_ms=500_000), DESK, 110_000, 500_000),
        (make_state(), Seek(position_ms=500_000, from_ms=109_000), PHONE, 109_000, 500_000),
        (make_state(), Seek(position_ms=500_000, from_ms=9_000), PHONE, 110_000, 500_000),
        (PAUSED, Seek(position_ms=0), DESK, 100_000, 0),
        (make_state(), Restore(position_ms=7_000), DESK, 110_000, 7_000),
        (make_state(), Play(position_ms=1_000), PHONE, 110_000, 1_000),
        (FINISHED, Play(), PHONE, DURATION_MS, 0),
        (make_state(), Transfer(device_id="desk"), PHONE, 110_000, 110_000),
        (make_state(), End(), DESK, 110_000, 110_000),
        (make_state(), SetLoop(start_ms=10_000, end_ms=20_000, enabled=True), DESK, 110_000, 10_000),
        (PLAIN, Report(position_ms=900_000), REST, 110_000, 900_000),
        (PAUSED, Offline(intervals=(), position_ms=300_000, base=(7, 5)), PHONE, 100_000, 300_000),
    ],
)
def test_each_discontinuity_is_a_move(
    state: SessionState, command: Command, origin: Origin, from_ms: int, to_ms: int
) -> None:
    made = move(state, command, origin)
    assert made is not None
    assert (made.from_ms, made.to_ms, made.device_id, made.at_ms) == (from_ms, to_ms, origin.device_id, LATER_MS)
    assert (made.epoch, made.revision, made.refused) == (7, 6, False)
    assert (made.entry_id, made.restored_ms) == ("7-6", from_ms)


@pytest.mark.parametrize(
    ("state", "command"),
    [
        (make_state(), Pause()),
        (make_state(), Pause(position_ms=109_000)),
        (PAUSED, Play()),
        (make_state(), Play()),
        (make_state(), SetRate(rate=2.0)),
        (make_state(), SetMode(mode="together")),
        (make_state(), SetSleep(after_ms=1_000)),
        (make_state(), Leave()),
        (make_state(), SetLoop(start_ms=100_000, end_ms=200_000, enabled=True)),
        (make_state(), SetLoop(start_ms=1_000, end_ms=2_000, enabled=False)),
        (make_state(), Report(position_ms=101_000, revision=5)),
        (PAUSED, Seek(position_ms=100_000)),
        (make_state(), Due()),
    ],
)
def test_what_goes_on_or_stops_where_it_is_makes_no_move(state: SessionState, command: Command) -> None:
    assert move(state, command) is None


def test_a_plain_report_that_can_have_run_is_no_move() -> None:
    assert move(PLAIN, Report(position_ms=112_000), REST) is None
    assert move(PLAIN, Report(position_ms=112_001), REST) is not None


def test_an_end_long_after_the_last_report_keeps_the_place_that_was_heard_last() -> None:
    """A laptop that was closed may have sounded for nobody."""
    before_ms = DURATION_MS - 50_000
    reported = make_state(heard_ms=before_ms, heard_at_ms=NOW_MS + before_ms - POSITION_MS)
    assert move(reported, Due(), now_ms=ENDED_MS) is None
    kept = move(make_state(), Due(), now_ms=ENDED_MS)
    assert kept is not None and kept.device_id is None
    assert (kept.cause, kept.from_ms, kept.to_ms) == ("end_of_script", POSITION_MS, DURATION_MS)


def test_a_move_carries_the_epoch_that_it_is_committed_in() -> None:
    made = move(make_state(), Seek(position_ms=0), epoch=8)
    assert made is not None and made.entry_id == "8-6"


@pytest.mark.parametrize(
    ("report", "origin"),
    [
        (Report(position_ms=1_588, revision=5), DESK),
        (Report(position_ms=1_588, revision=4), PHONE),
        (Report(position_ms=1_588, revision=5), PHONE),
    ],
)
def test_a_refused_report_is_kept_with_both_places(report: Report, origin: Origin) -> None:
    refusal = decide(make_state(loop=make_loop(90_000, 200_000)), report, origin)
    assert isinstance(refusal, Rejection) and refusal.code is Code.CONFLICT
    kept = refused_place(refusal, (7, report.revision or 0), origin.device_id, LATER_MS)
    assert kept is not None
    assert (kept.from_ms, kept.to_ms, kept.device_id, kept.refused) == (110_000, 1_588, origin.device_id, True)
    assert kept.restored_ms == 1_588
    assert kept.entry_id == f"conflict:7-{report.revision}:{origin.device_id}"


def test_a_refusal_without_a_place_is_not_kept() -> None:
    for refusal in (Rejection(code=Code.CONFLICT, state=PAUSED), Rejection(code=Code.CONFLICT, reported_ms=1)):
        assert refused_place(refusal, (7, 5), "phone", NOW_MS) is None

"""Batches of what was played without a connection: credited once, and never in the way of a newer place."""

from typing import Any

import pytest
from msgspec.structs import replace

from playhead.playback.commands import (
    OFFLINE_INTERVALS_MAX,
    OTHER_SESSION,
    Asked,
    Offline,
    Origin,
    Pause,
    Report,
    Seek,
    SetMode,
    SetSleep,
)
from playhead.playback.reducer import Decision
from playhead.playback.rejections import Code
from playhead.playback.state import Mode, Order, SessionState, position_at
from tests.support.states import DURATION_MS, NOW_MS, make_loop, make_state
from tests.unit.playback.deciding import DESK, ENDED_MS, LATER_MS, PAUSED, PHONE, accepted, code, decide

BATCH = Offline(intervals=((100_000, 150_000), (140_000, 160_000)), position_ms=160_000, base=(7, 5))


def taken(state: SessionState, command: Offline = BATCH) -> Decision:
    decision = decide(state, command, PHONE)
    assert isinstance(decision, Decision), decision
    return decision


def test_the_end_of_a_batch_is_the_place_when_nobody_moved_since() -> None:
    decision = taken(PAUSED)
    after = decision.state
    assert (after.position_ms, after.playing, after.listened) == (160_000, False, ((100_000, 160_000),))
    assert (after.played_ms, decision.refusal, decision.published) == (60_000, None, True)


def test_a_batch_that_is_sent_again_is_credited_once() -> None:
    once = taken(PAUSED).state
    again = taken(once).state
    assert (again.listened, again.played_ms) == (once.listened, once.played_ms)


def test_a_batch_that_comes_again_without_a_name_finds_its_own_place_and_no_conflict() -> None:
    once = taken(PAUSED).state
    again = taken(once)
    assert BATCH.base is not None and BATCH.base < once.moved
    assert (again.refusal, again.written, again.state.position_ms) == (None, False, 160_000)


@pytest.mark.parametrize("base", [(7, 5), (6, 99)])
def test_when_somebody_moved_since_the_place_stays_and_both_are_told(base: tuple[int, int]) -> None:
    moved = accepted(PAUSED, Seek(position_ms=5_000), DESK)
    decision = taken(moved, Offline(intervals=BATCH.intervals, position_ms=160_000, base=base))
    assert (decision.state.position_ms, decision.state.listened) == (5_000, ((100_000, 160_000),))
    assert decision.refusal is not None
    assert (decision.refusal.code, decision.refusal.reported_ms) == (Code.CONFLICT, 160_000)
    assert decision.refusal.state is not None and decision.refusal.state.position_ms == 5_000
    assert not decision.published


def test_what_the_server_did_by_itself_is_not_in_the_way() -> None:
    paused_by_server = make_state(playing=False, revision=9, moved=(7, 5))
    assert taken(paused_by_server).state.position_ms == 160_000


@pytest.mark.parametrize("mode", ["handoff", "together"])
def test_a_batch_throws_back_no_other_device_that_sounds(mode: Mode) -> None:
    """Its reports agree with the formula, so that there is no revision since, however long it plays."""
    on_desk = make_state(mode=mode, active_device_id="desk", active_connection_id="desk-1")
    decision = taken(on_desk, BATCH)
    assert (decision.state.position_ms, decision.state.playing, decision.published) == (100_000, True, False)
    assert decision.state.listened == ((100_000, 160_000),)
    assert decision.refusal is not None and decision.refusal.reported_ms == 160_000
    chosen = taken(on_desk, Offline(intervals=BATCH.intervals, position_ms=160_000, base=None))
    assert (chosen.state.position_ms, chosen.refusal) == (160_000, None)


@pytest.mark.parametrize(
    ("fields", "now_ms"),
    [
        ({"playing": False, "revision": 6}, LATER_MS),
        ({"mode": "together"}, ENDED_MS),
    ],
)
def test_nor_away_from_where_the_server_stopped_another_device(fields: dict[str, Any], now_ms: int) -> None:
    """By its sleep timer, or at the end of the script, which nobody has noticed yet."""
    state = make_state(active_device_id="desk", **fields)
    decision = decide(state, BATCH, PHONE, now_ms=now_ms)
    assert isinstance(decision, Decision) and decision.refusal is not None
    assert decision.state.position_ms == (100_000 if now_ms == LATER_MS else DURATION_MS)


@pytest.mark.parametrize("state", [PAUSED, make_state(playing=False, epoch=8)])
def test_a_device_goes_on_without_a_line_from_where_another_one_rests(state: SessionState) -> None:
    """Also when the store has begun another life since, which is nobody's doing."""
    assert taken(replace(state, active_device_id="desk")).state.position_ms == 160_000


@pytest.mark.parametrize(("position_ms", "conflicts"), [(112_000, False), (108_000, False), (112_001, True)])
def test_a_place_next_to_that_of_the_others_is_no_conflict(position_ms: int, conflicts: bool) -> None:
    """As in `together` after a moment without a line."""
    together = make_state(mode="together", active_device_id="desk")
    decision = taken(together, Offline(intervals=((100_000, position_ms),), position_ms=position_ms, base=(7, 5)))
    assert (decision.refusal is not None) is conflicts
    assert (decision.state.position_ms, decision.state.listened) == (100_000, ((100_000, position_ms),))
    assert not decision.published


def test_nor_is_one_across_the_seam_of_a_loop() -> None:
    together = make_state(mode="together", active_device_id="desk", loop=make_loop(90_000, 111_000))
    assert taken(together, Offline(intervals=(), position_ms=90_500, base=(7, 5))).refusal is None


def test_the_listeners_choice_is_taken_whatever_happened() -> None:
    moved = accepted(PAUSED, Seek(position_ms=5_000), DESK)
    assert taken(moved, Offline(intervals=(), position_ms=160_000, base=None)).state.position_ms == 160_000


def test_of_two_batches_in_either_order_both_are_listened_to() -> None:
    first = Offline(intervals=((0, 10_000),), position_ms=10_000, base=(7, 5))
    second = Offline(intervals=((20_000, 30_000),), position_ms=30_000, base=(7, 5))
    one, other = taken(taken(PAUSED, first).state, second), taken(taken(PAUSED, second).state, first)
    assert one.state.listened == other.state.listened == ((0, 10_000), (20_000, 30_000))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (Offline(intervals=((0, DURATION_MS + 1),), position_ms=1, base=(7, 5)), Code.OUT_OF_BOUNDS),
        (Offline(intervals=((-1, 5),), position_ms=1, base=None), Code.OUT_OF_BOUNDS),
        (Offline(intervals=(), position_ms=DURATION_MS + 1, base=(7, 5)), Code.OUT_OF_BOUNDS),
        (Offline(intervals=((0, 1),) * (OFFLINE_INTERVALS_MAX + 1), position_ms=1, base=None), Code.TOO_LARGE),
    ],
)
def test_a_batch_that_cannot_be_is_refused_whole(batch: Offline, expected: Code) -> None:
    assert code(PAUSED, batch) is expected


def test_a_batch_of_the_largest_size_is_taken() -> None:
    intervals = tuple((2 * number, 2 * number + 1) for number in range(OFFLINE_INTERVALS_MAX))
    assert len(taken(PAUSED, Offline(intervals=intervals, position_ms=0, base=None)).state.listened) == len(intervals)


def test_a_session_that_plays_goes_on_from_the_end_of_the_batch() -> None:
    after = taken(make_state()).state
    assert (after.playing, after.position_ms, after.anchored_at_ms) == (True, 160_000, LATER_MS)
    assert not accepted(after, Pause(), DESK).playing


# what is told by a batch is not told again by the next report


def reported(state: SessionState, command: Offline, origin: Origin = PHONE) -> SessionState:
    """Ten seconds after the batch, with a report of the active device that agrees."""
    decision = decide(state, command, origin)
    assert isinstance(decision, Decision)
    after, now_ms = decision.state, LATER_MS + 10_000
    speaker = Origin(device_id=after.active_device_id or "")
    report = Report(position_ms=position_at(after, now_ms), revision=after.revision)
    return accepted(after, report, speaker, now_ms=now_ms)


@pytest.mark.parametrize(
    "command",
    [
        replace(BATCH, intervals=((100_000, 110_000),), position_ms=130_000, base=(7, 4)),
        replace(BATCH, intervals=((100_000, 110_000),), position_ms=110_500, base=(7, 4)),
        replace(BATCH, intervals=((100_000, 110_000),), position_ms=110_000),
    ],
)
def test_a_place_that_is_not_taken_leaves_no_time_to_count_twice(command: Offline) -> None:
    """It is refused, is next to the session's, or is that very one."""
    after = reported(make_state(moved=(7, 5)), command)
    assert (after.listened, after.played_ms) == (((100_000, 120_000),), 20_000)
    assert sum(played_ms for _, played_ms in after.played_slots) == 10_000


def test_time_of_which_no_batch_tells_is_counted_by_the_next_report() -> None:
    no_stretches = replace(BATCH, intervals=(), base=(7, 4))
    assert reported(make_state(moved=(7, 5)), no_stretches).played_ms == 20_000
    of_a_remote = replace(BATCH, intervals=((500_000, 510_000),))
    assert reported(make_state(), of_a_remote, DESK).played_ms == 30_000


# what is no change of the playhead


@pytest.mark.parametrize("command", [SetSleep(after_ms=60_000), SetMode(mode="together")])
def test_a_timer_or_a_mode_of_another_device_is_not_in_the_way(command: Asked) -> None:
    changed = accepted(make_state(), command, DESK, now_ms=NOW_MS + 5_000)
    assert (changed.revision, changed.moved) == (6, make_state().moved)
    decision = taken(changed)
    assert (decision.state.position_ms, decision.refusal) == (160_000, None)


def test_a_timer_at_the_end_of_a_loop_is_none_either() -> None:
    looping = make_state(loop=make_loop(90_000, 200_000))
    assert accepted(looping, SetSleep(at_end_of_loop=True), DESK).moved == looping.moved


def test_a_mode_that_takes_the_sound_to_where_it_was_last_heard_is_one() -> None:
    away = make_state(absent_since_ms=NOW_MS + 4_000, absent_until_ms=ENDED_MS)
    together = accepted(away, SetMode(mode="together"), DESK, connected={"desk": "desk-1"})
    assert (together.position_ms, together.moved) == (104_000, (7, 6))
    assert taken(together).refusal is not None


# another file

LONGER = Offline(
    intervals=((DURATION_MS - 5_000, DURATION_MS + 5_000), (DURATION_MS + 5_000, DURATION_MS + 9_000)),
    position_ms=DURATION_MS + 9_000,
    base=(7, 5),
)


@pytest.mark.parametrize(
    ("state", "base"),
    [
        (replace(PAUSED, longest_ms=DURATION_MS + 10_000), (7, 5)),
        (replace(PAUSED, revision=0), (7, 5)),
        (PAUSED, None),
    ],
)
def test_what_was_played_of_a_longer_file_is_cut_to_the_one_that_the_session_has(
    state: SessionState, base: Order | None
) -> None:
    """The session took the shorter one over, or begins with it; or nobody knows what was played."""
    after = taken(state, replace(LONGER, base=base)).state
    assert (after.listened, after.played_ms) == (((DURATION_MS - 5_000, DURATION_MS),), 5_000)
    assert (after.position_ms, after.finished) == (DURATION_MS, True)


def test_a_batch_of_another_session_is_cut_and_its_place_refused_as_ever() -> None:
    decision = taken(PAUSED, replace(LONGER, base=OTHER_SESSION))
    assert decision.refusal is not None
    assert (decision.refusal.code, decision.refusal.reported_ms) == (Code.CONFLICT, DURATION_MS)
    assert decision.state.listened == ((DURATION_MS - 5_000, DURATION_MS),)


def test_what_was_played_of_a_longer_file_alone_is_not_told_again_by_the_next_report() -> None:
    behind = replace(LONGER, intervals=LONGER.intervals[1:], base=OTHER_SESSION)
    after = reported(make_state(), behind)
    assert (after.listened, after.played_ms) == (((110_000, 120_000),), 10_000)

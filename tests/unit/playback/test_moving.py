"""What moves or carries on the playhead: seek, loop, rate, transfer."""

import pytest
from msgspec.structs import replace

from playhead.playback.commands import (
    LOOP_LENGTH_MIN_MS,
    Origin,
    Pause,
    Play,
    Report,
    Seek,
    SetLoop,
    SetRate,
    Transfer,
)
from playhead.playback.reducer import Decision
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import Interval, position_at
from tests.support.states import DURATION_MS, NOW_MS, POSITION_MS, make_loop, make_state
from tests.unit.playback.deciding import (
    DESK,
    ENDED_MS,
    FINISHED,
    LATER_MS,
    LOOP,
    PAUSED,
    PHONE,
    accepted,
    code,
    decide,
)

# seek


@pytest.mark.parametrize("playing", [True, False])
def test_seek_moves_the_playhead_and_goes_on_as_before(playing: bool) -> None:
    after = accepted(make_state(playing=playing), Seek(position_ms=5_000), DESK)
    assert (after.playing, after.position_ms, after.anchored_at_ms) == (playing, 5_000, LATER_MS)
    assert (after.heard_ms, after.heard_at_ms, after.listened) == (5_000, LATER_MS, ())


@pytest.mark.parametrize(("position_ms", "finished"), [(0, False), (DURATION_MS - 1, False), (DURATION_MS, True)])
def test_seek_reaches_every_place_and_the_last_one_ends_playback(position_ms: int, finished: bool) -> None:
    after = accepted(make_state(), Seek(position_ms=position_ms))
    assert (after.position_ms, after.finished, after.playing) == (position_ms, finished, not finished)


def test_seek_away_from_the_end_makes_the_script_unfinished() -> None:
    after = accepted(FINISHED, Seek(position_ms=DURATION_MS - 1))
    assert (after.finished, after.playing) == (False, False)


@pytest.mark.parametrize("command", [Seek(position_ms=-1), Seek(position_ms=DURATION_MS + 1)])
def test_seek_outside_of_the_script_is_refused(command: Seek) -> None:
    assert code(make_state(), command) is Code.OUT_OF_BOUNDS


@pytest.mark.parametrize("from_ms", [-1, DURATION_MS + 1])
def test_seek_from_outside_of_the_script_is_refused(from_ms: int) -> None:
    assert code(make_state(), Seek(position_ms=0, from_ms=from_ms)) is Code.OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("from_ms", "origin", "listened"),
    [(104_000, PHONE, ((100_000, 104_000),)), (104_000, DESK, ()), (97_999, PHONE, ()), (112_001, PHONE, ())],
)
def test_seek_credits_what_the_active_device_heard_before(
    from_ms: int, origin: Origin, listened: tuple[tuple[int, int], ...]
) -> None:
    after = accepted(make_state(), Seek(position_ms=5_000, from_ms=from_ms), origin)
    assert (after.listened, after.heard_ms) == (listened, 5_000)


@pytest.mark.parametrize(
    ("position_ms", "on"), [(89_999, False), (90_000, True), (109_999, True), (110_000, False), (0, False)]
)
def test_seek_outside_of_a_loop_switches_it_off(position_ms: int, on: bool) -> None:
    after = accepted(make_state(loop=LOOP), Seek(position_ms=position_ms))
    assert after.loop == replace(LOOP, enabled=on)


def test_after_the_end_a_seek_moves_but_does_not_play() -> None:
    state = make_state(position_ms=DURATION_MS - 5_000)
    for command in (Seek(position_ms=0), Seek(position_ms=0, from_ms=DURATION_MS)):
        assert not accepted(state, command).playing


def test_a_seek_by_the_device_that_stalled_before_the_end_plays_on() -> None:
    state = make_state(position_ms=DURATION_MS - 5_000)
    assert accepted(state, Seek(position_ms=0, from_ms=DURATION_MS - 3_000)).playing


# loop


def test_a_loop_around_the_playhead_leaves_it_where_it_is() -> None:
    after = accepted(make_state(), SetLoop(start_ms=105_000, end_ms=115_000, enabled=True), DESK)
    assert (after.loop, after.position_ms, after.anchored_at_ms) == (make_loop(105_000, 115_000), 110_000, LATER_MS)
    assert after.heard_ms == POSITION_MS


def test_a_loop_ahead_is_run_into() -> None:
    after = accepted(make_state(), SetLoop(start_ms=120_000, end_ms=130_000, enabled=True))
    assert [position_at(after, LATER_MS + ms) for ms in (0, 19_999, 20_000)] == [110_000, 129_999, 120_000]


@pytest.mark.parametrize(("end_ms", "expected_ms"), [(109_999, 50_000), (110_000, 50_000), (110_001, 110_000)])
def test_a_loop_that_ends_at_or_behind_the_playhead_seeks_to_its_start(end_ms: int, expected_ms: int) -> None:
    after = accepted(make_state(), SetLoop(start_ms=50_000, end_ms=end_ms, enabled=True))
    assert (after.position_ms, after.playing) == (expected_ms, True)
    assert after.loop == make_loop(50_000, end_ms)


def test_a_loop_that_is_kept_switched_off_moves_nothing() -> None:
    after = accepted(make_state(), SetLoop(start_ms=50_000, end_ms=60_000, enabled=False))
    assert (after.position_ms, after.loop) == (110_000, make_loop(50_000, 60_000, enabled=False))


def test_switching_a_loop_off_goes_on_from_the_folded_place() -> None:
    state, now_ms = make_state(loop=LOOP), NOW_MS + 35_000
    after = accepted(state, SetLoop(start_ms=90_000, end_ms=110_000, enabled=False), now_ms=now_ms)
    assert position_at(after, now_ms) == 95_000 and position_at(after, now_ms + 20_000) == 115_000


@pytest.mark.parametrize(
    ("loop", "listened"),
    [
        # as long as the old one, further on: what lies behind the old one's end never sounded
        (SetLoop(start_ms=95_000, end_ms=115_000, enabled=True), ((97_000, 99_000),)),
        # longer: not the whole way by the new loop can have run
        (SetLoop(start_ms=85_000, end_ms=115_000, enabled=True), ((97_000, 99_000),)),
        (SetLoop(start_ms=90_000, end_ms=110_000, enabled=False), ((97_000, 99_000),)),
    ],
)
def test_another_loop_after_a_turn_counts_nothing_of_the_way_round(
    loop: SetLoop, listened: tuple[Interval, ...]
) -> None:
    """Nobody has told how far the old loop was heard, and by the new one it was another way."""
    state = make_state(loop=LOOP, position_ms=109_000)
    after = accepted(state, loop, now_ms=NOW_MS + 8_000)
    assert after.position_ms == 97_000
    heard = accepted(after, Report(position_ms=99_000, revision=after.revision), now_ms=NOW_MS + 10_000)
    assert (heard.listened, heard.played_ms - state.played_ms) == (listened, 2_000)


def test_another_loop_after_whole_turns_counts_nothing_of_them() -> None:
    state = make_state(loop=LOOP)
    after = accepted(state, SetLoop(start_ms=85_000, end_ms=105_000, enabled=True), now_ms=NOW_MS + 41_000)
    heard = accepted(after, Report(position_ms=102_000, revision=after.revision), now_ms=NOW_MS + 42_000)
    assert heard.listened == ((101_000, 102_000),)


def test_another_loop_before_a_turn_loses_nothing() -> None:
    state = make_state(loop=LOOP)
    after = accepted(state, SetLoop(start_ms=95_000, end_ms=115_000, enabled=True), now_ms=NOW_MS + 8_000)
    heard = accepted(after, Report(position_ms=110_000, revision=after.revision), now_ms=NOW_MS + 10_000)
    assert heard.listened == ((100_000, 110_000),)


def test_a_loop_takes_a_finished_script_back_to_the_loops_start() -> None:
    after = accepted(FINISHED, SetLoop(start_ms=50_000, end_ms=DURATION_MS, enabled=True))
    assert (after.position_ms, after.playing, after.finished) == (50_000, False, False)


@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, DURATION_MS), (0, 250), (DURATION_MS - 250, DURATION_MS)])
def test_a_loop_may_touch_both_ends_of_the_script(start_ms: int, end_ms: int) -> None:
    after = accepted(make_state(), SetLoop(start_ms=start_ms, end_ms=end_ms, enabled=True))
    assert after.loop == make_loop(start_ms, end_ms)


@pytest.mark.parametrize(
    ("start_ms", "end_ms"), [(-1, 5_000), (5_000, DURATION_MS + 1), (5_000, 5_000), (5_000, 4_000)]
)
def test_a_loop_out_of_bounds_is_refused(start_ms: int, end_ms: int) -> None:
    assert code(make_state(), SetLoop(start_ms=start_ms, end_ms=end_ms, enabled=False)) is Code.OUT_OF_BOUNDS


def test_a_loop_shorter_than_the_shortest_is_refused() -> None:
    shortest = SetLoop(start_ms=105_000, end_ms=105_000 + LOOP_LENGTH_MIN_MS, enabled=True)
    assert accepted(make_state(), shortest).enabled_loop is not None
    assert code(make_state(), replace(shortest, end_ms=shortest.end_ms - 1)) is Code.LOOP_TOO_SHORT


# rate


@pytest.mark.parametrize("rate", [0.25, 1.1, 4.0])
def test_a_rate_applies_from_the_formulas_place_on(rate: float) -> None:
    after = accepted(make_state(), SetRate(rate=rate))
    assert (after.rate, after.position_ms, after.anchored_at_ms) == (rate, 110_000, LATER_MS)


@pytest.mark.parametrize("rate", [0.249, 4.001, 0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_no_device_plays_is_refused(rate: float) -> None:
    assert code(make_state(), SetRate(rate=rate)) is Code.OUT_OF_BOUNDS


def test_a_rate_on_a_standing_playhead_does_not_move_it() -> None:
    after = accepted(PAUSED, SetRate(rate=2.0), now_ms=ENDED_MS)
    assert (after.rate, after.position_ms, after.anchored_at_ms) == (2.0, POSITION_MS, NOW_MS)


@pytest.mark.parametrize(("old", "new", "place_ms"), [(4.0, 0.25, 140_250), (0.25, 4.0, 106_500)])
def test_what_ran_before_a_new_rate_is_credited_at_the_old_one(old: float, new: float, place_ms: int) -> None:
    changed = accepted(make_state(rate=old), SetRate(rate=new))
    after = accepted(changed, Report(position_ms=place_ms, revision=6), now_ms=LATER_MS + 1_000)
    assert after.listened == ((100_000, place_ms),)


def test_a_faster_rate_does_not_make_the_time_before_it_longer() -> None:
    # ten seconds at half the speed are five; at the new speed they would be the whole loop twice
    changed = accepted(make_state(rate=0.5, loop=LOOP), SetRate(rate=4.0))
    after = accepted(changed, Report(position_ms=105_000, revision=6), now_ms=LATER_MS)
    assert after.listened == ((100_000, 105_000),)


# transfer


@pytest.mark.parametrize("playing", [True, False])
def test_transfer_moves_the_sound_and_nothing_else(playing: bool) -> None:
    state = make_state(playing=playing, rate=1.5, loop=LOOP)
    after = accepted(state, Transfer(device_id="desk"))
    assert (after.active_device_id, after.active_connection_id) == ("desk", "desk-1")
    assert (after.playing, after.rate, after.loop) == (playing, 1.5, LOOP)
    assert position_at(after, LATER_MS) == position_at(state, LATER_MS)
    assert (after.heard_ms, after.heard_at_ms) == (state.heard_ms, state.heard_at_ms)


def test_a_transfer_to_a_device_that_is_not_connected_is_refused() -> None:
    answer = decide(make_state(), Transfer(device_id="speaker"))
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.state) == (Code.DEVICE_NOT_CONNECTED, make_state())


def test_a_transfer_to_the_active_device_that_is_gone_is_refused() -> None:
    assert (
        code(make_state(), Transfer(device_id="phone"), DESK, connected={"desk": "desk-1"}) is Code.DEVICE_NOT_CONNECTED
    )


def test_after_the_end_a_transfer_moves_the_device_alone() -> None:
    after = accepted(make_state(), Transfer(device_id="desk"), now_ms=ENDED_MS)
    assert (after.active_device_id, after.playing, after.finished) == ("desk", False, True)


@pytest.mark.parametrize("position_ms", [0, 89_999, 95_000])
def test_going_on_from_where_it_stands_keeps_a_loop_that_lies_ahead_or_around(position_ms: int) -> None:
    paused = make_state(playing=False, position_ms=position_ms, loop=LOOP)
    after = accepted(paused, Play())
    assert (after.playing, after.position_ms, after.loop) == (True, position_ms, LOOP)
    again = accepted(accepted(after, Pause()), Play())
    assert again.loop == LOOP


def test_playing_from_a_place_outside_a_loop_switches_it_off() -> None:
    after = accepted(make_state(playing=False, loop=LOOP), Play(position_ms=0))
    assert after.loop is not None and not after.loop.enabled


def test_a_transfer_to_the_same_device_moves_the_sound_to_its_newest_connection() -> None:
    decision = decide(make_state(), Transfer(device_id="phone"), connected={"phone": "phone-2"})
    assert isinstance(decision, Decision) and not decision.published
    assert decision.state.active_connection_id == "phone-2"

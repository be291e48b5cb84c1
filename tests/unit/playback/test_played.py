"""Played time: repeats count, the clock bounds it, and every quarter of an hour has its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.playback.commands import Pause, Report, Seek, SetRate
from playhead.playback.played import SLOT_MS, SLOTS_MAX, ran_ms, way_ms
from playhead.playback.state import Loop
from tests.support.states import DURATION_MS, NOW_MS, make_loop, make_state
from tests.unit.playback.deciding import LATER_MS, PAUSED, PHONE, REST, accepted

LOOP = make_loop(100_000, 104_000)
SLOT = NOW_MS // SLOT_MS


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "loop", "run_ms", "expected_ms"),
    [
        (100_000, 110_000, None, 10_000, 10_000),
        (100_000, 112_000, None, 10_000, 12_000),
        (100_000, 112_001, None, 10_000, 0),
        (110_000, 100_000, None, 10_000, 0),
        (100_000, 102_000, LOOP, 2_000, 2_000),
        (100_000, 102_000, LOOP, 10_000, 10_000),
        (103_000, 101_000, LOOP, 2_000, 2_000),
        (103_000, 101_000, LOOP, 6_000, 6_000),
        (98_000, 101_000, LOOP, 7_000, 7_000),
        (103_000, 101_000, LOOP, 0, 2_000),
        (105_000, 101_000, LOOP, 9_000, 0),
    ],
)
def test_the_way_is_as_long_as_the_time_allows(
    from_ms: int, to_ms: int, loop: Loop | None, run_ms: int, expected_ms: int
) -> None:
    assert way_ms(from_ms, to_ms, loop, run_ms) == expected_ms


def test_hearing_a_passage_again_is_played_but_not_listened_anew() -> None:
    first = accepted(make_state(), Report(position_ms=110_000, revision=5), PHONE)
    back = accepted(first, Seek(position_ms=100_000), PHONE)
    again = accepted(back, Report(position_ms=110_000, revision=6), PHONE, now_ms=LATER_MS + 10_000)
    assert (again.played_ms, again.listened) == (20_000, ((100_000, 110_000),))


def test_no_more_is_played_than_the_clock_allows() -> None:
    ahead = accepted(make_state(), Report(position_ms=111_500, revision=5), PHONE)
    assert (ahead.played_ms, ahead.listened) == (10_000, ((100_000, 111_500),))
    plain = accepted(make_state(active_device_id="rest"), Report(position_ms=900_000), REST)
    assert (plain.played_ms, plain.listened) == (10_000, ((100_000, 900_000),))


def test_the_rate_counts_audio_not_time() -> None:
    fast = accepted(make_state(), SetRate(rate=2.0), PHONE)
    after = accepted(fast, Report(position_ms=130_000, revision=6), PHONE, now_ms=LATER_MS + 10_000)
    assert after.played_ms == 30_000


def test_a_pause_says_what_was_played_and_a_paused_session_plays_nothing() -> None:
    paused = accepted(make_state(), Pause(position_ms=109_000), PHONE)
    assert paused.played_ms == 9_000
    later = accepted(paused, Report(position_ms=109_000, revision=6), PHONE, now_ms=LATER_MS + DURATION_MS)
    assert later.played_ms == 9_000
    assert ran_ms(PAUSED, NOW_MS + DURATION_MS) == 0


def test_what_was_played_lies_in_the_slot_in_which_it_ran() -> None:
    after = accepted(make_state(), Report(position_ms=110_000, revision=5), PHONE)
    assert after.played_slots == ((SLOT, 10_000),)
    border_ms = (SLOT + 1) * SLOT_MS
    over = accepted(
        after, Report(position_ms=110_000 + border_ms - LATER_MS + 3_000, revision=5), PHONE, now_ms=border_ms + 3_000
    )
    assert over.played_slots == ((SLOT, SLOT_MS), (SLOT + 1, 3_000))


@given(st.integers(1, 40 * SLOT_MS), st.sampled_from([0.25, 1.0, 2.0]))
def test_slots_add_up_to_what_was_played_and_none_holds_more_than_can_have_run(elapsed_ms: int, rate: float) -> None:
    state = make_state(duration_ms=400 * SLOT_MS, rate=rate)
    place_ms = state.position_ms + round(elapsed_ms * rate)
    after = accepted(state, Report(position_ms=place_ms, revision=5), PHONE, now_ms=NOW_MS + elapsed_ms)
    assert sum(amount for _, amount in after.played_slots) == after.played_ms == round(elapsed_ms * rate)
    assert len(after.played_slots) <= SLOTS_MAX
    assert all(amount <= SLOT_MS * rate + 1 for _, amount in after.played_slots[1:])


def test_a_state_carries_only_its_latest_slots() -> None:
    state, now_ms = make_state(duration_ms=400 * SLOT_MS), NOW_MS
    for _ in range(SLOTS_MAX + 5):
        now_ms += SLOT_MS
        state = accepted(state, Report(position_ms=state.heard_ms + SLOT_MS, revision=5), PHONE, now_ms=now_ms)
    assert len(state.played_slots) == SLOTS_MAX
    assert state.played_ms == (SLOTS_MAX + 5) * SLOT_MS

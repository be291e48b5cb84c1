"""The clock that follows another one: how each correction is made, and that it never runs backwards for one."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.playback.clock_offset import DRIFT_MAX, SAMPLES_MAX, RoundTrip
from playhead.runtime.slewed_clock import FAST_SLEW, SLEW, STEP_MS, SlewedClock
from tests.support.clocks import STORE_MS, Machines

HOUR_MS = 3_600_000
WHOLE_MS = 1.0
"""What an answer in whole milliseconds may be short by."""


class Follower:
    """A clock under test on machines of its own."""

    def __init__(self, wall_ahead_ms: float = 0.0, drift: float = 0.0) -> None:
        self.machines = Machines(wall_ahead_ms, drift)
        self.clock = SlewedClock(self.machines.local_ns, self.machines.wall_ns)

    @classmethod
    def in_use(cls, way_ms: float = 0.0) -> "Follower":
        """One that has been corrected, and asked for the time."""
        follower = cls()
        follower.ask(way_ms, way_ms)
        follower.clock.now_ms()
        return follower

    def ask(self, out_ms: float = 0.0, back_ms: float = 0.0) -> float:
        """One round trip."""
        asked_ms = self.clock.local_ms()
        self.machines.advance(out_ms)
        store_ms = self.machines.store_ms
        self.machines.advance(back_ms)
        return self.clock.take(RoundTrip(t0_ms=asked_ms, t1_ms=store_ms, t2_ms=store_ms, t3_ms=self.clock.local_ms()))

    @property
    def off_ms(self) -> float:
        """How far the clock is ahead of the store's."""
        return self.clock.now_ms() - self.machines.store_ms


def test_before_the_first_sample_it_runs_on_from_the_machines_wall_clock() -> None:
    follower = Follower(wall_ahead_ms=77_000)
    assert follower.clock.now_ms() == STORE_MS + 77_000
    follower.machines.advance(5_000)
    follower.machines.wall_jumped_ms = -HOUR_MS
    assert follower.clock.now_ms() == STORE_MS + 82_000, "a step of the machine's clock is not followed"
    assert follower.clock.uncertainty_ms == math.inf


@pytest.mark.parametrize("ahead_ms", [HOUR_MS, 3_000, 20, -20, -3_000, -HOUR_MS])
def test_before_anybody_has_asked_the_first_sample_is_taken_as_it_is(ahead_ms: int) -> None:
    follower = Follower(wall_ahead_ms=ahead_ms)
    follower.ask()
    assert abs(follower.off_ms) <= WHOLE_MS
    assert follower.clock.correction_ms == 0
    assert follower.clock.wall_offset_ms == pytest.approx(ahead_ms, abs=0.01)


def test_before_anybody_has_asked_a_better_sample_is_taken_as_it_is() -> None:
    follower = Follower(wall_ahead_ms=-3_000)
    follower.ask(0, 60)
    follower.ask(1, 1)
    assert abs(follower.off_ms) <= WHOLE_MS and follower.clock.correction_ms == 0
    follower.ask(0.25, 0)
    assert follower.clock.correction_ms == pytest.approx(0.125, abs=0.01), "now somebody has"


def test_the_first_sample_never_takes_back_what_was_told() -> None:
    follower = Follower(wall_ahead_ms=HOUR_MS)
    told_ms = follower.clock.now_ms()
    follower.machines.advance(400)
    follower.ask()
    assert follower.clock.now_ms() == told_ms
    assert follower.clock.correction_ms == pytest.approx(400 - HOUR_MS, abs=0.01)
    follower.machines.advance(1_000)
    assert follower.clock.now_ms() == told_ms + 900


@pytest.mark.parametrize("off_ms", [400, -400, STEP_MS, -STEP_MS])
def test_a_correction_is_made_at_ten_ms_a_second(off_ms: int) -> None:
    follower = Follower.in_use()
    follower.machines.store_jumped_ms = off_ms
    assert follower.ask() == pytest.approx(off_ms, abs=0.01)
    for second in range(1, 10):
        follower.machines.advance(1_000)
        follower.ask()
        assert follower.off_ms == pytest.approx(-off_ms + math.copysign(10 * second, off_ms), abs=WHOLE_MS)
    follower.machines.advance(1_000 * 1_000)
    assert abs(follower.off_ms) <= WHOLE_MS, "and then it is made, and no further"


def test_more_than_a_second_forwards_is_made_at_once() -> None:
    follower = Follower.in_use()
    follower.machines.store_jumped_ms = STEP_MS + 1
    follower.ask()
    assert abs(follower.off_ms) <= WHOLE_MS and follower.clock.correction_ms == 0


def test_more_than_a_second_backwards_slows_time_by_a_tenth() -> None:
    follower = Follower.in_use()
    follower.machines.store_jumped_ms = -STEP_MS - 1
    follower.ask()
    before_ms = follower.clock.now_ms()
    follower.machines.advance(1_000)
    assert follower.clock.now_ms() - before_ms == pytest.approx(900, abs=WHOLE_MS)


def test_time_that_is_asked_for_rarely_is_the_same_as_when_it_is_asked_for_often() -> None:
    often, rarely = Follower.in_use(), Follower.in_use()
    for follower in (often, rarely):
        follower.machines.store_jumped_ms = -300
        follower.ask()
    for _ in range(5_000):
        often.machines.advance(1)
        often.clock.now_ms()
    rarely.machines.advance(5_000)
    assert often.clock.now_ms() == rarely.clock.now_ms()


def test_the_correction_that_is_still_to_be_made_is_part_of_the_uncertainty() -> None:
    follower = Follower.in_use(way_ms=1)
    assert follower.clock.uncertainty_ms == pytest.approx(1, abs=0.01)
    follower.machines.store_jumped_ms = -300
    follower.ask(1, 1)
    assert follower.clock.correction_ms == pytest.approx(-300, abs=0.01)
    assert follower.clock.uncertainty_ms == pytest.approx(301, abs=0.01)


def test_without_further_samples_it_grows_less_certain_by_a_tenth_of_a_ms_a_second() -> None:
    follower = Follower.in_use(way_ms=1)
    follower.machines.advance(100_000)
    assert follower.clock.uncertainty_ms == pytest.approx(11, abs=0.01)


def test_a_sample_that_is_no_sample_changes_nothing() -> None:
    follower = Follower(wall_ahead_ms=40)
    impossible = RoundTrip(t0_ms=math.nan, t1_ms=0, t2_ms=0, t3_ms=0)
    assert follower.clock.take(impossible) == 0
    assert (follower.clock.sample_count, follower.clock.now_ms()) == (0, STORE_MS + 40)


def test_samples_that_agree_show_no_jump() -> None:
    follower = Follower()
    jumps = []
    for _ in range(2 * SAMPLES_MAX):
        jumps.append(follower.ask(3, 1))
        follower.machines.advance(10_000)
    assert jumps == [0.0] * (2 * SAMPLES_MAX) and follower.clock.sample_count == SAMPLES_MAX


times = st.floats(0, 20_000)
ways = st.floats(0, 300)
jumps = st.one_of(st.just(0.0), st.floats(-5_000, 5_000), st.floats(-1e8, 1e8))
steps = st.one_of(
    st.tuples(st.just("rest"), times, st.just(0.0)),
    st.tuples(st.just("ask"), ways, ways),
    st.tuples(st.just("store jumps"), jumps, st.just(0.0)),
    st.tuples(st.just("wall jumps"), jumps, st.just(0.0)),
)


@given(st.floats(-1e8, 1e8), st.floats(-DRIFT_MAX, DRIFT_MAX), st.lists(steps, max_size=40), st.booleans())
def test_whatever_the_clocks_do_time_runs_forwards_and_no_slower_than_nine_tenths(
    ahead_ms: float, drift: float, steps: list[tuple[str, float, float]], is_asked: bool
) -> None:
    follower = Follower(ahead_ms, drift)
    told: list[tuple[int, int, bool]] = []

    def tell() -> None:
        told.append((follower.clock.now_ms(), follower.machines.local_ns(), follower.clock.sample_count > 0))

    if is_asked:
        tell()
    for kind, one_ms, other_ms in steps:
        if kind == "rest":
            follower.machines.advance(one_ms)
        elif kind == "ask":
            follower.ask(one_ms, other_ms)
        elif kind == "store jumps":
            follower.machines.store_jumped_ms += one_ms
        else:
            follower.machines.wall_jumped_ms += one_ms
        tell()
    for (before_ms, before_ns, has_begun), (after_ms, after_ns, _) in pairwise(told):
        assert after_ms >= before_ms
        if has_begun:
            assert after_ms - before_ms >= (after_ns - before_ns) / 1e6 * (1 - FAST_SLEW / 1e6) - WHOLE_MS


@given(
    st.floats(-1e8, 1e8),
    st.floats(-DRIFT_MAX, DRIFT_MAX),
    st.lists(st.tuples(times, ways, ways), min_size=1, max_size=30),
    times,
)
def test_while_nothing_jumps_it_is_never_further_off_than_it_says(
    ahead_ms: float, drift: float, asks: list[tuple[float, float, float]], rest_ms: float
) -> None:
    follower = Follower(ahead_ms, drift)
    for pause_ms, out_ms, back_ms in asks:
        follower.machines.advance(pause_ms)
        follower.ask(out_ms, back_ms)
        assert abs(follower.off_ms) <= follower.clock.uncertainty_ms + WHOLE_MS
        follower.machines.advance(rest_ms)
        assert abs(follower.off_ms) <= follower.clock.uncertainty_ms + WHOLE_MS


def test_the_rates_are_those_that_are_documented() -> None:
    assert (SLEW, FAST_SLEW, STEP_MS) == (10_000, 100_000, 1_000)

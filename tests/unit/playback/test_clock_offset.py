"""The clock estimator: which round trip is trusted, how wrong it may be, and when everything is forgotten."""

import json
import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.playback.clock_offset import DRIFT_MAX, SAMPLES_MAX, ClockEstimator, RoundTrip
from tests.vectors.make_clock import PATH, vectors

AHEAD_MS = 5_000.0
ROUNDING_MS = 1e-3
"""What floats of thirteen digits lose."""


def trip(at_ms: float, out_ms: float, back_ms: float, *, ahead_ms: float = AHEAD_MS, think_ms: float = 0) -> RoundTrip:
    """Sent at `at_ms` to a server that is `ahead_ms` ahead; `out_ms` and `back_ms` on the way, `think_ms` there."""
    t1_ms = at_ms + out_ms + ahead_ms
    t2_ms = t1_ms + think_ms
    return RoundTrip(t0_ms=at_ms, t1_ms=t1_ms, t2_ms=t2_ms, t3_ms=t2_ms - ahead_ms + back_ms)


def estimator(*trips: RoundTrip, resolution_ms: float = 0.0) -> ClockEstimator:
    clock = ClockEstimator(resolution_ms)
    for one in trips:
        clock.add(one)
    return clock


def test_the_shared_examples_are_what_the_estimator_answers() -> None:
    assert json.loads(json.dumps(vectors())) == json.loads(PATH.read_text())


def test_before_the_first_sample_nothing_is_known() -> None:
    clock = estimator()
    assert (clock.sample_count, clock.offset_ms(0), clock.uncertainty_ms(0)) == (0, None, math.inf)


def test_equal_ways_give_the_offset_exactly_however_long_the_server_thinks() -> None:
    clock = estimator(trip(0, 20, 20, think_ms=300))
    assert clock.offset_ms(340) == AHEAD_MS
    assert clock.uncertainty_ms(0) == 20


def test_the_sample_with_the_least_delay_is_trusted_not_the_newest() -> None:
    clock = estimator(trip(0, 5, 5), trip(0, 10, 200), trip(0, 70, 10))
    assert (clock.offset_ms(300), clock.uncertainty_ms(0)) == (AHEAD_MS, 5)


def test_the_resolution_of_the_servers_clock_is_part_of_the_error() -> None:
    assert estimator(trip(0, 5, 5), resolution_ms=1.0).uncertainty_ms(0) == 6


def test_the_uncertainty_grows_with_the_age_of_the_sample() -> None:
    clock = estimator(trip(0, 5, 5))
    assert clock.uncertainty_ms(60_000) == 5 + 60_000 * DRIFT_MAX
    assert clock.uncertainty_ms(-60_000) == 5 + 60_000 * DRIFT_MAX


def test_an_old_sample_yields_to_a_younger_one_that_is_a_little_slower() -> None:
    old, young = trip(0, 5, 5), trip(60_000, 10, 8)
    clock = estimator(old, young)
    assert clock.offset_ms(60_018) == young.offset_ms
    assert clock.uncertainty_ms(60_000) == 9


def test_of_nine_the_worst_goes() -> None:
    best, worse = trip(0, 1, 1), trip(0, 9, 9)
    clock = estimator(best, worse, *(trip(number, 10, 10) for number in range(SAMPLES_MAX)))
    assert (clock.sample_count, clock.offset_ms(0), clock.uncertainty_ms(0)) == (SAMPLES_MAX, AHEAD_MS, 1)
    for number in range(SAMPLES_MAX):
        clock.add(trip(number, 2, 2))
    assert (clock.sample_count, clock.uncertainty_ms(0)) == (SAMPLES_MAX, 1)


def test_of_equals_the_oldest_goes() -> None:
    clock = estimator(trip(0, 0, 10), *(trip(0, 10, 0) for _ in range(SAMPLES_MAX)))
    assert (clock.sample_count, clock.offset_ms(0)) == (SAMPLES_MAX, AHEAD_MS + 5)


def test_late_answers_take_no_good_ones_place_however_many_they_are() -> None:
    """A loop that is late by 400 ms for a quarter of an hour: each offset is wrong by 200 ms, to the same side."""
    drift = DRIFT_MAX / 2
    clock = estimator(*(trip(number * 60, 0.5, 0.5) for number in range(SAMPLES_MAX)))
    for at_ms in range(10_000, 900_000, 10_000):
        clock.add(trip(at_ms, 0.5, 400, ahead_ms=AHEAD_MS + drift * at_ms))
        assert clock.offset_ms(at_ms) == AHEAD_MS
        assert clock.uncertainty_ms(at_ms) == pytest.approx(0.5 + DRIFT_MAX * at_ms, abs=0.05)
    good = trip(900_000, 1, 1, ahead_ms=AHEAD_MS + drift * 900_000)
    clock.add(good)
    assert (clock.sample_count, clock.offset_ms(900_002)) == (SAMPLES_MAX, good.offset_ms)


@pytest.mark.parametrize("drift", [DRIFT_MAX, -DRIFT_MAX, DRIFT_MAX / 10])
def test_a_clock_that_drifts_is_followed_for_hours(drift: float) -> None:
    clock = ClockEstimator(0.0)
    for at_ms in range(0, 4 * 3_600_000, 10_000):
        now_ms, ahead_ms = at_ms + 2, AHEAD_MS + drift * at_ms
        clock.add(trip(at_ms, 1, 1, ahead_ms=ahead_ms))
        assert clock.offset_ms(now_ms) == pytest.approx(ahead_ms), "the newest of equal delay"
        assert clock.uncertainty_ms(now_ms) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("jump_ms", [600_000, -600_000, 200, -200])
def test_a_jump_forgets_everything_from_before_it(jump_ms: float) -> None:
    after = trip(1_000, 30, 30, ahead_ms=AHEAD_MS + jump_ms)
    clock = estimator(trip(0, 1, 1), trip(100, 400, 400), after)
    assert (clock.sample_count, clock.offset_ms(1_060)) == (1, after.offset_ms)


@pytest.mark.parametrize(("apart_ms", "kept"), [(5.0, 2), (5.01, 1), (-5.0, 2), (-5.01, 1)])
def test_samples_apart_by_no_more_than_their_errors_are_kept_side_by_side(apart_ms: float, kept: int) -> None:
    # around one moment, so that age is next to nothing in their errors of 5 ms and none
    blunt = RoundTrip(t0_ms=-10, t1_ms=AHEAD_MS + apart_ms - 5, t2_ms=AHEAD_MS + apart_ms + 5, t3_ms=10)
    sharp = RoundTrip(t0_ms=0, t1_ms=AHEAD_MS, t2_ms=AHEAD_MS, t3_ms=0)
    assert estimator(blunt, sharp).sample_count == kept


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "changes",
    [
        *({name: value} for name in ("t0_ms", "t1_ms", "t2_ms", "t3_ms") for value in (NAN, INF, -INF)),
        {"t3_ms": -1.0},
        {"t2_ms": AHEAD_MS},
        {"t2_ms": AHEAD_MS + 15.5},
    ],
)
def test_an_impossible_sample_is_dropped_and_nothing_else(changes: dict[str, float]) -> None:
    good = trip(0, 5, 5)
    clock = estimator(good, replace(good, **changes))
    assert (clock.sample_count, clock.offset_ms(10), clock.uncertainty_ms(0)) == (1, AHEAD_MS, 5)


@pytest.mark.parametrize(("t2_ms", "kept"), [(AHEAD_MS + 2.0, 1), (AHEAD_MS + 2.01, 0)])
def test_less_than_no_time_is_possible_within_the_resolution(t2_ms: float, kept: int) -> None:
    assert estimator(RoundTrip(t0_ms=0, t1_ms=AHEAD_MS, t2_ms=t2_ms, t3_ms=1), resolution_ms=1.0).sample_count == kept


def test_a_server_whose_clock_is_faster_may_seem_to_think_longer_than_the_question_took() -> None:
    kept = [
        estimator(RoundTrip(t0_ms=0, t1_ms=AHEAD_MS, t2_ms=AHEAD_MS + think_ms, t3_ms=10_000)).sample_count
        for think_ms in (10_001, 10_001.01)
    ]
    assert kept == [1, 0]


@dataclass(frozen=True, slots=True)
class World:
    """Two clocks that run apart, and the trips between them: `(pause, out, thinking, back)` in ms of real time each."""

    local_ms: float
    server_ms: float
    drift: float
    resolution_ms: float
    legs: list[tuple[float, float, float, float]]

    def offset_ms(self, real_ms: float) -> float:
        """What must be added to the local clock at that time."""
        return self.server_ms - self.local_ms + self.drift * real_ms

    def shown_ms(self, real_ms: float) -> float:
        """The server's clock as it shows itself: cut to its resolution."""
        time_ms = self.server_ms + real_ms * (1 + self.drift)
        return math.floor(time_ms / self.resolution_ms) * self.resolution_ms if self.resolution_ms else time_ms


delays = st.floats(0, 400)
worlds = st.builds(
    World,
    local_ms=st.floats(-1e9, 1e9),
    server_ms=st.floats(0, 2e12),
    drift=st.floats(-DRIFT_MAX, DRIFT_MAX),
    resolution_ms=st.sampled_from([0.0, 0.001, 1.0]),
    legs=st.lists(st.tuples(st.floats(0, 20_000), delays, st.floats(0, 5_000), delays), min_size=1, max_size=30),
)


@given(worlds, st.floats(0, 3_600_000))
def test_the_estimate_is_never_further_off_than_it_says_while_the_clocks_run_apart(
    world: World, rest_ms: float
) -> None:
    resolution_ms = world.resolution_ms + ROUNDING_MS
    clock = ClockEstimator(resolution_ms)
    told: list[RoundTrip] = []
    real_ms = 0.0
    for number, (pause_ms, out_ms, think_ms, back_ms) in enumerate(world.legs, start=1):
        asked_ms = real_ms + pause_ms
        arrived_ms = asked_ms + out_ms
        answered_ms = arrived_ms + think_ms
        real_ms = answered_ms + back_ms
        newest = RoundTrip(
            t0_ms=world.local_ms + asked_ms,
            t1_ms=world.shown_ms(arrived_ms),
            t2_ms=world.shown_ms(answered_ms),
            t3_ms=world.local_ms + real_ms,
        )
        told.append(newest)
        clock.add(newest)
        assert clock.sample_count == min(number, SAMPLES_MAX), "nothing jumped, so nothing is forgotten"
        for later_ms in (real_ms, real_ms + rest_ms):
            local_ms = world.local_ms + later_ms
            found = clock.offset_ms(local_ms)
            assert found is not None
            assert abs(found - world.offset_ms(later_ms)) <= clock.uncertainty_ms(local_ms) + ROUNDING_MS
            best_ms = min(one.error_ms(local_ms, resolution_ms) for one in told)
            assert clock.uncertainty_ms(local_ms) <= best_ms + ROUNDING_MS, "nothing better was ever given away"

"""The pace of one caller: bursts, the long run, what a wait is worth; and when it floods."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.limits import COMMAND_RATE, FLOOD_FACTOR, FLOOD_S, SECOND_US, Pace, Paces, Rate

RATE = Rate(per_s=50, burst=100)
APART_US = SECOND_US // RATE.per_s
START_US = 5_000_000_000


def test_a_burst_is_taken_at_once_and_one_past_it_waits() -> None:
    pace = Pace(RATE)
    assert [pace.take(START_US) for _ in range(RATE.burst)] == [0] * RATE.burst
    assert pace.take(START_US) == APART_US
    assert pace.take(START_US + APART_US - 1) == 1
    assert pace.take(START_US + APART_US) == 0
    assert pace.take(START_US + APART_US) == APART_US


def test_what_is_refused_costs_nothing() -> None:
    pace = Pace(RATE)
    for _ in range(RATE.burst + 10_000):
        pace.take(START_US)
    assert pace.take(START_US + APART_US) == 0


def test_an_even_pace_at_the_rate_goes_on_for_ever() -> None:
    pace = Pace(RATE)
    assert [pace.take(START_US + number * APART_US) for number in range(10_000)] == [0] * 10_000


def test_a_pause_gives_back_the_burst_and_no_more() -> None:
    pace = Pace(RATE)
    for _ in range(RATE.burst):
        pace.take(START_US)
    later_us = START_US + 3_600 * SECOND_US
    taken = [pace.take(later_us) for _ in range(RATE.burst + 1)]
    assert taken == [0] * RATE.burst + [APART_US]


@given(st.lists(st.integers(0, 3 * APART_US), min_size=1, max_size=400), st.integers(1, 200), st.integers(1, 50))
def test_never_more_is_taken_than_the_burst_and_the_rate_allow(steps: list[int], per_s: int, burst: int) -> None:
    pace, now_us, taken = Pace(Rate(per_s=per_s, burst=burst)), START_US, 0
    for step_us in steps:
        now_us += step_us
        wait_us = pace.take(now_us)
        taken += wait_us == 0
        elapsed_us = now_us - START_US
        assert taken <= burst + elapsed_us // (SECOND_US // per_s)
        assert 0 <= wait_us <= SECOND_US // per_s


@given(st.lists(st.integers(0, 40_000), min_size=150, max_size=300))
def test_whoever_waits_as_long_as_it_was_told_is_taken(steps: list[int]) -> None:
    pace, now_us = Pace(RATE), START_US
    for step_us in steps:
        now_us += step_us
        wait_us = pace.take(now_us)
        if wait_us:
            now_us += wait_us
            assert pace.take(now_us) == 0


FLOOD = RATE.per_s * FLOOD_FACTOR


def second(pace: Pace, number: int, count: int) -> None:
    """`count` requests spread over second `number`."""
    for index in range(count):
        pace.take(START_US + number * SECOND_US + index * SECOND_US // count)


@pytest.mark.parametrize(("count", "floods"), [(FLOOD, False), (FLOOD + 1, True)])
def test_only_more_than_ten_times_the_rate_is_a_flood(count: int, floods: bool) -> None:
    pace = Pace(RATE)
    for number in range(FLOOD_S):
        second(pace, number, count)
    assert not pace.flooding, "not before the last second is over"
    pace.take(START_US + FLOOD_S * SECOND_US)
    assert pace.flooding is floods


def test_ten_thousand_in_a_second_are_no_flood() -> None:
    pace = Pace(COMMAND_RATE)
    second(pace, 0, 10_000)
    for number in range(1, 3 * FLOOD_S):
        second(pace, number, 10)
        assert not pace.flooding


@pytest.mark.parametrize("quiet", [0, 1, FLOOD])
def test_a_second_that_is_no_flood_ends_the_row(quiet: int) -> None:
    pace = Pace(RATE)
    for number in range(2 * FLOOD_S):
        second(pace, number, quiet if number == FLOOD_S - 1 else FLOOD + 1)
        assert not pace.flooding
    pace.take(START_US + 2 * FLOOD_S * SECOND_US)
    assert pace.flooding, "ten seconds after the quiet one"


def test_a_flooder_that_stops_floods_no_longer() -> None:
    pace = Pace(RATE)
    for number in range(FLOOD_S + 1):
        second(pace, number, FLOOD + 1)
    assert pace.flooding
    second(pace, FLOOD_S + 3, 1)
    assert not pace.flooding


class TestPaces:
    def test_each_caller_has_a_pace_of_its_own(self) -> None:
        paces = Paces(RATE)
        for caller in ("anna", "bert"):
            assert [paces.take(caller, START_US) for _ in range(RATE.burst)] == [0] * RATE.burst
        assert paces.take("anna", START_US) == APART_US
        assert paces.take("bert", START_US) == APART_US
        assert paces.take("carl", START_US) == 0

    def test_as_many_are_remembered_as_are_allowed(self) -> None:
        paces = Paces(Rate(per_s=1, burst=1), callers_max=3)
        for caller in ("anna", "bert", "carl"):
            assert paces.take(caller, START_US) == 0
        assert len(paces) == 3
        assert all(paces.take(caller, START_US) for caller in ("anna", "bert", "carl"))

    def test_one_more_makes_the_one_that_asked_longest_ago_begin_anew(self) -> None:
        paces = Paces(Rate(per_s=1, burst=1), callers_max=3)
        for caller in ("anna", "bert", "carl"):
            paces.take(caller, START_US)
        # asks again, refused though it is: now bert has not asked for the longest time
        assert paces.take("anna", START_US)
        assert paces.take("dora", START_US) == 0
        assert len(paces) == 3
        assert paces.take("anna", START_US)
        assert paces.take("carl", START_US)
        assert paces.take("bert", START_US) == 0


def test_a_request_that_counts_for_many_is_taken_whole_or_not_at_all() -> None:
    pace = Pace(RATE)
    assert pace.take(START_US, RATE.burst - 1) == 0
    assert pace.take(START_US, 2) == APART_US
    assert pace.take(START_US, 1) == 0
    assert pace.take(START_US, RATE.burst) == RATE.burst * APART_US
    assert pace.take(START_US + RATE.burst * APART_US, RATE.burst) == 0

"""Listened time: a union, so nothing counts twice; and what can have been heard between two places."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.playback.listened import HEARD_TOLERANCE_MS, INTERVALS_MAX, heard_between, longest, total_ms, union
from playhead.playback.state import Interval, Loop
from tests.support.states import make_loop

LOOP = make_loop(10_000, 20_000)
places = st.integers(0, 60_000)
intervals = st.lists(st.tuples(places, places), max_size=20)


@pytest.mark.parametrize(
    ("listened", "more", "expected"),
    [
        ([], [], ()),
        ([], [(5, 9)], ((5, 9),)),
        ([(0, 5)], [(5, 9)], ((0, 9),)),
        ([(0, 5)], [(6, 9)], ((0, 5), (6, 9))),
        ([(0, 5), (6, 9)], [(5, 6)], ((0, 9),)),
        ([(0, 9)], [(2, 3)], ((0, 9),)),
        ([(2, 3)], [(0, 9)], ((0, 9),)),
        ([(8, 9)], [(0, 1)], ((0, 1), (8, 9))),
        ([(0, 1)], [(4, 4), (9, 2)], ((0, 1),)),
    ],
)
def test_the_union_is_sorted_disjoint_and_joined(
    listened: list[Interval], more: list[Interval], expected: tuple[Interval, ...]
) -> None:
    assert union(listened, more) == expected


@given(intervals, intervals)
def test_the_union_is_the_set_of_what_was_heard(one: list[Interval], other: list[Interval]) -> None:
    heard = {place_ms for start_ms, end_ms in (*one, *other) for place_ms in range(start_ms, end_ms)}
    found = union(one, other)
    assert {place_ms for start_ms, end_ms in found for place_ms in range(start_ms, end_ms)} == heard
    assert total_ms(found) == len(heard)
    assert all(end_ms < next_start_ms for (_, end_ms), (next_start_ms, _) in pairwise(found))


@given(intervals, intervals)
def test_the_order_of_reports_and_their_repetition_do_not_matter(one: list[Interval], other: list[Interval]) -> None:
    found = union(one, other)
    assert found == union(other, one) == union(found, one) == union(found, found)


def test_at_the_limit_every_interval_is_kept_and_past_it_the_shortest_goes() -> None:
    full = union([], [(100 * number, 100 * number + 50) for number in range(INTERVALS_MAX)])
    assert len(full) == INTERVALS_MAX
    longer = (100 * INTERVALS_MAX, 100 * INTERVALS_MAX + 99)
    with_longer = union(full, [longer])
    assert len(with_longer) == INTERVALS_MAX and with_longer[-1] == longer
    assert total_ms(with_longer) == total_ms(full) - 50 + 99
    assert union(full, [(100 * INTERVALS_MAX, 100 * INTERVALS_MAX + 1)]) == full


def test_far_past_the_limit_the_longest_stay_and_of_equal_ones_the_later() -> None:
    """At once: one after the other would take minutes, in which nobody else is served."""
    many = [(100 * number, 100 * number + 1 + number % 10) for number in range(20_000)]
    begun_s = time.thread_time()
    kept = union(many, [])
    assert time.thread_time() - begun_s < 1
    assert kept == longest(many) == tuple(many[9::10][-INTERVALS_MAX:])


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "ran_ms", "expected"),
    [
        (0, 10_000, 10_000, ((0, 10_000),)),
        (0, 9_000, 10_000, ((0, 9_000),)),
        (5_000, 5_000, 10_000, ()),
        (5_000, 4_000, 10_000, ()),
        (0, 10_000 + HEARD_TOLERANCE_MS, 10_000, ((0, 10_000 + HEARD_TOLERANCE_MS),)),
        (0, 10_001 + HEARD_TOLERANCE_MS, 10_000, ()),
    ],
)
def test_without_a_loop_the_way_forward_was_heard_unless_it_is_longer_than_the_time(
    from_ms: int, to_ms: int, ran_ms: int, expected: tuple[Interval, ...]
) -> None:
    assert heard_between(from_ms, to_ms, None, ran_ms) == expected


WHOLE = ((12_000, 20_000), (10_000, 20_000))


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "ran_ms", "expected"),
    [
        # straight on inside the loop
        (12_000, 15_000, 3_000, ((12_000, 15_000),)),
        (12_000, 15_000, 12_999, ((12_000, 15_000),)),
        (12_000, 15_000, 999, ()),
        (12_000, 15_000, 1_000, ((12_000, 15_000),)),
        # once over its end: 8 s to the end, 3 s from the start
        (12_000, 13_000, 11_000, ((12_000, 20_000), (10_000, 13_000))),
        (19_000, 12_000, 3_000, ((19_000, 20_000), (10_000, 12_000))),
        (19_000, 12_000, 1_000, ((19_000, 20_000), (10_000, 12_000))),
        (19_000, 12_000, 999, ()),
        # so long that everything was heard
        (12_000, 13_000, 20_999, ((12_000, 20_000), (10_000, 13_000))),
        (12_000, 13_000, 21_000, WHOLE),
        (12_000, 13_000, 3_600_000, WHOLE),
        # into the loop from before it
        (8_000, 12_000, 4_000, ((8_000, 12_000),)),
        (8_000, 11_000, 13_000, ((8_000, 20_000), (10_000, 11_000))),
        # no way in: from its end on, or to a place outside
        (20_000, 12_000, 3_600_000, ()),
        (12_000, 20_000, 8_000, ((12_000, 20_000),)),
        (8_000, 9_000, 3_600_000, ((8_000, 9_000),)),
    ],
)
def test_in_a_loop_the_time_tells_how_often_its_end_was_passed(
    from_ms: int, to_ms: int, ran_ms: int, expected: tuple[Interval, ...]
) -> None:
    assert heard_between(from_ms, to_ms, LOOP, ran_ms) == expected


loops = st.builds(
    lambda start_ms, length_ms: make_loop(start_ms, start_ms + length_ms), places, st.integers(250, 30_000)
)


@given(places, places, st.none() | loops, st.integers(0, 200_000))
def test_never_more_was_heard_than_can_have_run(from_ms: int, to_ms: int, loop: Loop | None, ran_ms: int) -> None:
    assert total_ms(union([], heard_between(from_ms, to_ms, loop, ran_ms))) <= ran_ms + HEARD_TOLERANCE_MS

"""The clock that tests run on: whole milliseconds that never run backwards, whatever the machine's clock does."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import SystemClock


@given(st.lists(st.integers(0, 10**19), min_size=1))
def test_whatever_the_wall_clock_does_ours_never_runs_backwards(readings_ns: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        wall = iter(readings_ns)
        patch.setattr(time, "time_ns", lambda: next(wall))
        clock = SystemClock()
        answers_ms = [clock.now_ms() for _ in readings_ns]
    assert answers_ms == [max(readings_ns[: count + 1]) // 1_000_000 for count in range(len(readings_ns))]


def test_it_tells_the_time_of_the_machine() -> None:
    before_ms = time.time_ns() // 1_000_000
    now_ms = SystemClock().now_ms()
    assert before_ms <= now_ms <= time.time_ns() // 1_000_000

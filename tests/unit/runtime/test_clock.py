"""Time that has passed, as the machine can tell it."""

import time

from playhead.runtime.clock import elapsed_s


def test_what_has_elapsed_counts_the_time_that_the_machine_slept_where_that_can_be_told() -> None:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    before_s = time.clock_gettime(clock)
    assert before_s <= elapsed_s() <= time.clock_gettime(clock)

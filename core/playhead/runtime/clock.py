"""Server time in whole milliseconds since the Unix epoch, which never runs backwards within a process; and time that
has passed."""

import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Server time in ms since the Unix epoch; never less than an earlier answer of the same clock."""
        ...


def elapsed_s() -> float:
    """Seconds since some moment, those that the machine slept among them, where it can tell (on Linux).

    `time.monotonic` stands still while a laptop or a virtual machine sleeps; what others promise for a time runs out.
    """
    return time.clock_gettime(_WITH_SLEEP)


_WITH_SLEEP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

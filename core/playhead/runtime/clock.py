"""Server time in whole milliseconds since the Unix epoch, which never runs backwards within a process."""

import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Server time in ms since the Unix epoch; never less than an earlier answer of the same clock."""
        ...


class SystemClock:
    """The machine's wall clock, except that it never runs backwards.

    A step of the wall clock (an operator, a leap of NTP) is followed only forwards; backwards the clock stands still
    until the wall clock has caught up, so that anchors are never in the future of a later reading.
    """

    def __init__(self) -> None:
        self._latest_ms = 0

    def now_ms(self) -> int:
        self._latest_ms = max(self._latest_ms, time.time_ns() // 1_000_000)
        return self._latest_ms

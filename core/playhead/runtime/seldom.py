"""Lines of a log that many commands would write at once: the first is written, then one an interval, with how many."""

import asyncio
from collections.abc import Callable

INTERVAL_S = 1.0


def loop_time_s() -> float:
    """Of the event loop that runs, so that lines are as seldom in a simulation's time as they are in real time."""
    return asyncio.get_running_loop().time()


class Seldom:
    """One kind of line. `clock`: seconds that only grow."""

    def __init__(self, interval_s: float = INTERVAL_S, clock: Callable[[], float] = loop_time_s) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._next_s = -float("inf")
        self._times = 0

    def take(self) -> int:
        """How often it has come to this since the last line, this time included; 0: write nothing now."""
        self._times += 1
        now_s = self._clock()
        if now_s < self._next_s:
            return 0
        self._next_s = now_s + self._interval_s
        times, self._times = self._times, 0
        return times

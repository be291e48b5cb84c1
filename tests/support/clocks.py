"""A machine and a state store whose clocks a test moves: real time passes, and both run on at their own rates. And the
clock of the machine that tests run on.
"""

import time
from collections.abc import Callable

from playhead.playback.clock_offset import RoundTrip
from playhead.runtime.slewed_clock import NS_PER_MS
from playhead.runtime.store_clock import TimeUnavailable

STORE_MS = 1_767_225_600_000


class Machines:
    """`wall_ahead_ms`: the machine's wall clock less the store's at the beginning. `drift`: of the machine's clocks."""

    def __init__(self, wall_ahead_ms: float = 0.0, drift: float = 0.0) -> None:
        self.real_ms = 0.0
        self.store_jumped_ms = 0.0
        self.wall_jumped_ms = 0.0
        self._wall_ahead_ms = wall_ahead_ms
        self._rate = 1 + drift

    def advance(self, real_ms: float) -> None:
        self.real_ms += real_ms

    @property
    def store_ms(self) -> float:
        return STORE_MS + self.real_ms + self.store_jumped_ms

    def local_ns(self) -> int:
        """The machine's monotonic clock, which began at no time in particular."""
        return round((4_321.5 + self.real_ms * self._rate) * NS_PER_MS)

    def wall_ns(self) -> int:
        wall_ms = STORE_MS + self._wall_ahead_ms + self.real_ms * self._rate + self.wall_jumped_ms
        return round(wall_ms * NS_PER_MS)


class StoreTime:
    """A store that tells the time: `out_ms` there, `back_ms` back. `down`: it does not answer. `asked` counts."""

    def __init__(self, machines: Machines, out_ms: float = 0.1, back_ms: float = 0.1) -> None:
        self.machines = machines
        self.out_ms, self.back_ms = out_ms, back_ms
        self.down = False
        self.stopped = False
        self.asked = 0

    async def ask(self, local_ms: Callable[[], float]) -> RoundTrip:
        self.asked += 1
        if self.down:
            raise TimeUnavailable("The store is away.")
        asked_ms = local_ms()
        self.machines.advance(self.out_ms)
        store_ms = int(self.machines.store_ms * 1000) / 1000
        self.machines.advance(self.back_ms)
        return RoundTrip(t0_ms=asked_ms, t1_ms=store_ms, t2_ms=store_ms, t3_ms=local_ms())

    async def stop(self) -> None:
        self.stopped = True


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

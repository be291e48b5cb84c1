"""A clock that follows another one, which it knows from round trips, and never runs backwards.

    server time = local monotonic clock + offset

The offset moves to each new estimate at a bounded rate, so that time runs a little faster or slower for a while:

| the correction              | how it is made                                                              |
| --------------------------- | --------------------------------------------------------------------------- |
| before anybody has asked    | at once                                                                     |
| the first one               | at once, but not to before a time that was told already                     |
| more than STEP_MS forwards  | at once                                                                     |
| more than STEP_MS backwards | FAST_SLEW: a report every 10 s then differs by 1 s, which is still believed |
| any other                   | SLEW                                                                        |

Before the first estimate it runs on from the machine's wall clock at its own beginning. It does no I/O.
"""

from collections.abc import Callable

from playhead.playback.clock_offset import ClockEstimator, RoundTrip

SLEW = 10_000
"""Parts per million: 10 ms of correction a second."""
FAST_SLEW = 100_000
STEP_MS = 1_000
STORE_RESOLUTION_MS = 0.002
"""Microseconds, which TIME is cut to, and what floats lose on the way."""

NS_PER_MS = 1_000_000
_MILLION = 1_000_000


class SlewedClock:
    """Clock that is corrected by `take`. `local_ns`: a clock that only runs forwards; `wall_ns`: the machine's."""

    def __init__(self, local_ns: Callable[[], int], wall_ns: Callable[[], int]) -> None:
        self._local_ns = local_ns
        self._wall_ns = wall_ns
        self._estimator = ClockEstimator(STORE_RESOLUTION_MS)
        self._since_ns = local_ns()
        self._offset_ns = wall_ns() - self._since_ns
        """As it was at `_since_ns`, when `_correction_ns` was still to be made at `_slew`."""
        self._correction_ns = 0
        self._slew = SLEW
        self._latest_ms = 0

    def now_ms(self) -> int:
        local_ns = self._local_ns()
        # asked several times a command: a correction that is made is not worked out again
        offset_ns = self._offset_at(local_ns) if self._correction_ns else self._offset_ns
        now_ms = (local_ns + offset_ns) // NS_PER_MS
        if now_ms > self._latest_ms:
            self._latest_ms = now_ms
        return self._latest_ms

    def local_ms(self) -> float:
        """The clock that round trips are measured with."""
        return self._local_ns() / NS_PER_MS

    @property
    def sample_count(self) -> int:
        return self._estimator.sample_count

    @property
    def uncertainty_ms(self) -> float:
        """How far from the other clock this one may be: the estimate's error and the correction still to be made."""
        return self._estimator.uncertainty_ms(self.local_ms()) + abs(self.correction_ms)

    @property
    def correction_ms(self) -> float:
        """What is still to be made up; negative: this clock is ahead of what it follows."""
        local_ns = self._local_ns()
        return (self._offset_ns + self._correction_ns - self._offset_at(local_ns)) / NS_PER_MS

    @property
    def wall_offset_ms(self) -> float:
        """The machine's wall clock less this one."""
        local_ns = self._local_ns()
        return (self._wall_ns() - local_ns - self._offset_at(local_ns)) / NS_PER_MS

    def take(self, trip: RoundTrip) -> float:
        """One round trip to the other clock, measured with `local_ms`. Answers by how many ms it shows a jump."""
        estimator = self._estimator
        before_ms = estimator.offset_ms(trip.t3_ms)
        estimator.add(trip)
        offset_ms = estimator.offset_ms(trip.t3_ms)
        if offset_ms is None:
            return 0.0
        self._steer(round(offset_ms * NS_PER_MS), first=before_ms is None)
        return 0.0 if before_ms is None or estimator.sample_count > 1 else offset_ms - before_ms

    def _steer(self, target_ns: int, *, first: bool) -> None:
        local_ns = self._local_ns()
        offset_ns = self._offset_at(local_ns)
        if first or not self._latest_ms:
            offset_ns = max(target_ns, self._latest_ms * NS_PER_MS - local_ns)
        elif target_ns - offset_ns > STEP_MS * NS_PER_MS:
            offset_ns = target_ns
        self._since_ns, self._offset_ns, self._correction_ns = local_ns, offset_ns, target_ns - offset_ns
        self._slew = FAST_SLEW if abs(self._correction_ns) > STEP_MS * NS_PER_MS else SLEW

    def _offset_at(self, local_ns: int) -> int:
        reach_ns = (local_ns - self._since_ns) * self._slew // _MILLION
        if -reach_ns <= self._correction_ns <= reach_ns:
            self._offset_ns, self._correction_ns = self._offset_ns + self._correction_ns, 0
            return self._offset_ns
        return self._offset_ns + (reach_ns if self._correction_ns > 0 else -reach_ns)

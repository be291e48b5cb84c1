"""Server time from a handful of round trips: the eight whose error is bounded best are kept, and the best is trusted.

    offset = ((t1 - t0) + (t2 - t3)) / 2                what to add to the asker's clock to get the server's
    delay  = (t3 - t0) - (t2 - t1)
    error of the offset at local time t  <=  delay / 2 + resolution + DRIFT_MAX * |t - t0|

So the least delay wins, and each second of age counts like 0.2 ms of delay (RFC 5905 sections 8 and 10 do the same).
An asker that is late reads `t3` late each time: such answers may not take the place of a good one only by being newer,
or the clock would be wrong by half that lateness, always to the same side, and uncertain by as much.
While both clocks run on, two honest samples never differ by more than their two errors. When they do, one of the
clocks has jumped, and nothing from before is kept. Pure: local time comes in. `player/src/clock.ts` is the same rule.
"""

import math
from dataclasses import dataclass

SAMPLES_MAX = 8
DRIFT_MAX = 100e-6
"""How much faster or slower than another one a computer's clock may run: ten times what good crystals do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One question to a server for its time: two readings of the asker's clock, two of the server's, in ms."""

    t0_ms: float
    """The asker's clock when it asked."""
    t1_ms: float
    """The server's clock when the question arrived."""
    t2_ms: float
    """The server's clock when it answered."""
    t3_ms: float
    """The asker's clock when the answer arrived."""

    @property
    def offset_ms(self) -> float:
        return ((self.t1_ms - self.t0_ms) + (self.t2_ms - self.t3_ms)) / 2

    @property
    def delay_ms(self) -> float:
        return (self.t3_ms - self.t0_ms) - (self.t2_ms - self.t1_ms)

    def error_ms(self, local_ms: float, resolution_ms: float) -> float:
        """Bound of the offset's error at local time `local_ms`."""
        return self.delay_ms / 2 + resolution_ms + DRIFT_MAX * abs(local_ms - self.t0_ms)

    def possible(self, resolution_ms: float) -> bool:
        """Whether two clocks that run forwards can have shown these numbers."""
        if not all(math.isfinite(time) for time in (self.t0_ms, self.t1_ms, self.t2_ms, self.t3_ms)):
            return False
        faster_ms = resolution_ms + DRIFT_MAX * (self.t3_ms - self.t0_ms)
        return self.t0_ms <= self.t3_ms and self.t1_ms <= self.t2_ms and self.delay_ms >= -faster_ms


class ClockEstimator:
    """What the round trips so far say about the server's clock, which shows its time cut to `resolution_ms`."""

    def __init__(self, resolution_ms: float) -> None:
        self._resolution_ms = resolution_ms
        self._kept: list[RoundTrip] = []

    def add(self, newest: RoundTrip) -> None:
        """Takes one round trip. An impossible one is dropped; one that contradicts another makes a new beginning."""
        if not newest.possible(self._resolution_ms):
            return
        if not all(self._agree(kept, newest) for kept in self._kept):
            self._kept.clear()
        self._kept.append(newest)
        if len(self._kept) > SAMPLES_MAX:
            # the first of equals: the oldest
            self._kept.remove(max(self._kept, key=lambda trip: trip.error_ms(newest.t3_ms, self._resolution_ms)))

    def _agree(self, earlier: RoundTrip, newest: RoundTrip) -> bool:
        apart_ms = abs(earlier.offset_ms - newest.offset_ms)
        return apart_ms <= sum(trip.error_ms(newest.t3_ms, self._resolution_ms) for trip in (earlier, newest))

    @property
    def sample_count(self) -> int:
        return len(self._kept)

    def offset_ms(self, local_ms: float) -> float | None:
        """What to add to local time to get server time; None before the first sample."""
        best = self._best(local_ms)
        return None if best is None else best.offset_ms

    def uncertainty_ms(self, local_ms: float) -> float:
        """Bound of the offset's error at local time `local_ms`; infinite before the first sample."""
        best = self._best(local_ms)
        return math.inf if best is None else best.error_ms(local_ms, self._resolution_ms)

    def _best(self, local_ms: float) -> RoundTrip | None:
        return min(self._kept, key=lambda trip: trip.error_ms(local_ms, self._resolution_ms), default=None)

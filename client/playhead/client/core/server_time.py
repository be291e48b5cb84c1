"""Server time on this device: when to ask for it, and what the answers say. The client's own clock decides nothing.

After each connect a burst of eight questions, then one every ten seconds. Another server may be a little off the one
before, so each connection begins anew; until its first answer the old samples are better than none.
"""

import math
from typing import Any

from playhead.client.core.hands import Hands
from playhead.client.core.wire import ClockAnswer, Refusal, read_answer
from playhead.playback.clock_offset import SAMPLES_MAX, ClockEstimator, RoundTrip

BURST_GAP_MS = 60.0
INTERVAL_MS = 10_000.0
RESOLUTION_MS = 1.0
"""The server shows whole milliseconds."""
RTT_MS_MAX = 60_000.0
"""The longest round trip that the server takes note of."""


class ServerTime:
    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._estimator = ClockEstimator(RESOLUTION_MS)
        self._fresh = False
        self._asked = 0
        self._rtt_ms: float | None = None
        self.due_ms = math.inf
        """When to ask again: local ms."""

    def connected(self, now_ms: float) -> None:
        self._asked, self._fresh, self.due_ms = 0, False, now_ms

    def disconnected(self) -> None:
        self.due_ms = math.inf

    def tick(self, now_ms: float) -> None:
        if now_ms < self.due_ms:
            return
        self._asked += 1
        self.due_ms = math.inf
        known = {} if self._rtt_ms is None else {"rtt_ms": self._rtt_ms}
        self._hands.ask("clock", {"t0": now_ms, **known}, now_ms, self._answered)

    def _answered(self, ack: Any, now_ms: float) -> None:
        self.due_ms = now_ms + (BURST_GAP_MS if self._asked < SAMPLES_MAX else INTERVAL_MS)
        answer = read_answer(ClockAnswer, ack)
        if isinstance(answer, Refusal):
            return
        # what the server took is no part of the way
        self._rtt_ms = min(max(now_ms - answer.t0 - (answer.t2 - answer.t1), 0.0), RTT_MS_MAX)
        self.add(answer.t0, answer.t1, answer.t2, now_ms)

    def add(self, t0_ms: float, t1_ms: float, t2_ms: float, t3_ms: float) -> None:
        """Takes one round trip: sent and answered by this clock (`t0`, `t3`), arrived and answered by the server's."""
        if not self._fresh:
            self._fresh = True
            self._estimator = ClockEstimator(RESOLUTION_MS)
        self._estimator.add(RoundTrip(t0_ms=t0_ms, t1_ms=t1_ms, t2_ms=t2_ms, t3_ms=t3_ms))

    def now_ms(self, local_ms: float) -> int | None:
        """Server time at local time `local_ms`; None before the first answer."""
        offset_ms = self._estimator.offset_ms(local_ms)
        return None if offset_ms is None else round(local_ms + offset_ms)

    def uncertainty_ms(self, local_ms: float) -> float:
        """How wrong `now_ms` may be; infinite before the first answer."""
        return self._estimator.uncertainty_ms(local_ms)

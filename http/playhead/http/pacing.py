"""How fast a listener may ask over REST: all of its requests to this process are paced as one socket's events are.

Who shows no token is refused before it is looked at here; signed media paths need none, and are not paced.
"""

import time
from collections.abc import Callable

from aiohttp import web

from playhead.http.problems import HttpCode, Problem, problem
from playhead.runtime.limits import Paces, Rate
from playhead.runtime.metrics import Metrics


class Pacing:
    """The listeners that ask this process."""

    def __init__(self, rate: Rate, metrics: Metrics, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._paces = Paces(rate)
        self._metrics = metrics
        self._monotonic_ns = monotonic_ns

    def refusal(self, listener_id: str) -> Problem | None:
        """None where the listener may ask now; the 429 where not, which costs it nothing."""
        wait_us = self._paces.take(listener_id, self._monotonic_ns() // 1_000)
        if not wait_us:
            return None
        self._metrics.requests_limited.inc()
        return problem(HttpCode.TOO_FAST).model_copy(update={"retry_after_ms": -(-wait_us // 1_000)})


PACING = web.AppKey("pacing", Pacing)

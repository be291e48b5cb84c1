"""How fast a caller may ask, and when it no longer merely hurries but floods. Pure: time is an argument.

Each request is judged by the generic cell rate algorithm (GCRA, ITU-T I.371): one number, the time at which the next
request would come if all came evenly, stands for a bucket of `burst` that fills at `per_s`.

    due = max(due, now) + 1/per_s, taken while due <= now + burst/per_s; otherwise nothing is taken and the wait is told

A caller floods that asks more than FLOOD_FACTOR times its rate in each of FLOOD_S seconds in a row.
"""

from dataclasses import dataclass

SECOND_US = 1_000_000
FLOOD_FACTOR = 10
FLOOD_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`per_s` requests a second in the long run, `burst` of them at once."""

    per_s: int
    burst: int


COMMAND_RATE = Rate(per_s=50, burst=100)
"""What a connection may send where the settings say nothing else: far more than any hand does."""
CALLERS_MAX = 10_000
"""Callers whose pace is remembered at once, about 3 MB."""


class Pace:
    """One caller's requests against its rate. Times are microseconds of a clock that never runs backwards."""

    __slots__ = ("_apart_us", "_count", "_due_us", "_flooded_s", "_rate", "_second_began_us")

    def __init__(self, rate: Rate = COMMAND_RATE) -> None:
        self._rate = rate
        self._apart_us = SECOND_US // rate.per_s
        self._due_us = 0
        self._second_began_us = 0
        self._count = 0
        self._flooded_s = 0

    @property
    def flooding(self) -> bool:
        return self._flooded_s >= FLOOD_S

    def take(self, now_us: int, count: int = 1) -> int:
        """0 when the request is within the rate, else the microseconds after which one would be.

        `count`: of how many it counts, no more than the burst: it is taken whole or not at all.
        """
        assert count <= self._rate.burst
        if now_us - self._second_began_us >= SECOND_US:
            self._next_second(now_us)
        self._count += 1
        due_us = max(self._due_us, now_us) + self._apart_us * count
        wait_us = due_us - self._apart_us * self._rate.burst - now_us
        if wait_us > 0:
            return wait_us
        self._due_us = due_us
        return 0

    def _next_second(self, now_us: int) -> None:
        flooded = self._count > self._rate.per_s * FLOOD_FACTOR
        # a second without any request stands between, and ends the row
        silent = now_us - self._second_began_us >= 2 * SECOND_US
        self._flooded_s = self._flooded_s + 1 if flooded and not silent else 0
        self._second_began_us = now_us if silent else self._second_began_us + SECOND_US
        self._count = 0


class Paces:
    """Callers that hold no connection: each against the same rate, by name.

    Of more than `callers_max` the one that has asked longest ago is forgotten, and begins anew: so many others have
    asked since then that little of its burst was still taken.
    """

    def __init__(self, rate: Rate = COMMAND_RATE, callers_max: int = CALLERS_MAX) -> None:
        self._rate = rate
        self._callers_max = callers_max
        self._paces: dict[str, Pace] = {}
        """Who asked last stands last."""

    def __len__(self) -> int:
        return len(self._paces)

    def take(self, caller: str, now_us: int, count: int = 1) -> int:
        """As `Pace.take`, of that caller."""
        pace = self._paces.pop(caller, None) or Pace(self._rate)
        self._paces[caller] = pace
        if len(self._paces) > self._callers_max:
            del self._paces[next(iter(self._paces))]
        return pace.take(now_us, count)

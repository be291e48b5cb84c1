"""Listened time as a union of intervals: adding one twice changes nothing, so it cannot be counted twice."""

from collections.abc import Iterable, Sequence
from heapq import nlargest

from playhead.playback.state import Interval, Loop

INTERVALS_MAX = 1_000
"""Most intervals that a session keeps. Past it the shortest is forgotten: the sum may be too small, never too large."""
HEARD_TOLERANCE_MS = 2_000
"""How far a device's place may run ahead of the wall clock and still count as heard."""


def union(listened: Iterable[Interval], more: Iterable[Interval]) -> tuple[Interval, ...]:
    """The union of both, sorted, disjoint, touching intervals joined, at most `INTERVALS_MAX` of them."""
    merged: list[Interval] = []
    for start_ms, end_ms in sorted(interval for interval in (*listened, *more) if interval[0] < interval[1]):
        if merged and start_ms <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_ms))
        else:
            merged.append((start_ms, end_ms))
    return longest(merged)


def longest(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """At most `INTERVALS_MAX` of disjoint intervals, sorted: the longest, of equal ones the later."""
    if len(intervals) <= INTERVALS_MAX:
        return tuple(intervals)
    kept = nlargest(INTERVALS_MAX, intervals, key=lambda interval: (interval[1] - interval[0], interval[0]))
    return tuple(sorted(kept))


def within(listened: Iterable[Interval], duration_ms: int) -> tuple[Interval, ...]:
    """What of the union lies before `duration_ms`."""
    return tuple((start_ms, min(end_ms, duration_ms)) for start_ms, end_ms in listened if start_ms < duration_ms)


def total_ms(listened: Iterable[Interval]) -> int:
    return sum(end_ms - start_ms for start_ms, end_ms in listened)


def heard_between(from_ms: int, to_ms: int, loop: Loop | None, ran_ms: int) -> tuple[Interval, ...]:
    """What was heard when the sound was at `from_ms`, is at `to_ms`, and at most `ran_ms` of audio can have run since.

    In a loop the way from one place to the other may lead over its end, once or several times; the time tells.
    A way longer than the time allows (plus a tolerance) is a jump, and nothing of it was heard.
    """
    direct_ms = to_ms - from_ms
    if loop is None or not (from_ms < loop.end_ms and loop.start_ms <= to_ms < loop.end_ms):
        return ((from_ms, to_ms),) if 0 < direct_ms <= ran_ms + HEARD_TOLERANCE_MS else ()
    folded_ms = (loop.end_ms - from_ms) + (to_ms - loop.start_ms)
    if ran_ms >= folded_ms + loop.length_ms:
        return ((from_ms, loop.end_ms), (loop.start_ms, loop.end_ms))
    if 0 <= direct_ms and ran_ms < folded_ms:
        return ((from_ms, to_ms),) if direct_ms <= ran_ms + HEARD_TOLERANCE_MS else ()
    return ((from_ms, loop.end_ms), (loop.start_ms, to_ms)) if folded_ms <= ran_ms + HEARD_TOLERANCE_MS else ()

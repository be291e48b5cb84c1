"""The rules as the design words them, a second time and independent of the code: what the oracles reckon with."""

from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Any

from playhead.client import State as WireState
from playhead.playback.state import SessionState

Interval = tuple[int, int]
TRUE_MS = 2_000
"""Rule 3: how far before the last anchored place, and beyond the formula's, a true report may lie."""
REANCHOR_MS = 250
HEARD_MS = 2_000
LATE_MS = 10_000
"""Rule 3: how late a report may be handled."""
SEEN_FIELDS = (
    "playing",
    "position",
    "anchored_at",
    "rate",
    "mode",
    "active_device",
    "sleep_at",
    "sleep_at_end_of_loop",
    "duration",
    "ended",
)
_seen_in, _seen_of = itemgetter(*SEEN_FIELDS), attrgetter(*SEEN_FIELDS)


def place_at(state: SessionState, now_ms: int) -> int:
    """The formula of the design, section 1."""
    if not state.playing:
        return state.position_ms
    place_ms = state.position_ms + round(max(0, now_ms - state.anchored_at_ms) * state.rate)
    loop = state.loop
    if loop is not None and loop.enabled and state.position_ms < loop.end_ms:
        while place_ms >= loop.end_ms:
            over_ms = place_ms - loop.end_ms
            place_ms = loop.start_ms + over_ms % (loop.end_ms - loop.start_ms)
        return place_ms
    return max(0, min(place_ms, state.duration_ms))


def in_loop(state: SessionState, place_ms: int) -> bool:
    return (
        state.loop is not None and state.loop.enabled and state.loop.start_ms <= place_ms <= state.loop.end_ms + TRUE_MS
    )


def believable(state: SessionState, place_ms: int, now_ms: int) -> bool:
    """Whether rule 3 holds the place true, when the active device says so at the current revision."""
    if not 0 <= place_ms <= state.duration_ms:
        return False
    if in_loop(state, place_ms):
        return True
    return state.position_ms - TRUE_MS <= place_ms <= place_at(state, now_ms) + TRUE_MS


def apart_ms(state: SessionState, one_ms: int, other_ms: int) -> int:
    """How far two places are from each other; in a loop the shorter way round."""
    direct_ms = abs(one_ms - other_ms)
    if state.loop is not None and state.loop.enabled:
        direct_ms = min(direct_ms, abs(state.loop.end_ms - state.loop.start_ms - direct_ms))
    return direct_ms


def path(state: SessionState, from_ms: int, until_ms: int) -> list[Interval]:
    """What the formula runs over between two server times."""
    if not state.playing or until_ms <= from_ms:
        return []
    start_ms, end_ms = place_at(state, from_ms), place_at(state, until_ms)
    loop = state.loop
    ran_ms = round((until_ms - from_ms) * state.rate)
    if loop is None or not loop.enabled or state.position_ms >= loop.end_ms:
        return [(start_ms, end_ms)]
    if ran_ms >= loop.end_ms - loop.start_ms:
        return [(min(start_ms, loop.start_ms), loop.end_ms)]
    return [(start_ms, end_ms)] if start_ms <= end_ms else [(start_ms, loop.end_ms), (loop.start_ms, end_ms)]


def union(intervals: Iterable[Interval], wider_ms: int = 0) -> list[Interval]:
    """`wider_ms`: at both ends of each; then a single place counts as well."""
    merged: list[Interval] = []
    wider = ((start_ms - wider_ms, end_ms + wider_ms) for start_ms, end_ms in intervals)
    for start_ms, end_ms in sorted((start_ms, end_ms) for start_ms, end_ms in wider if end_ms > start_ms):
        if merged and start_ms <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_ms))
        else:
            merged.append((start_ms, end_ms))
    return merged


def outside(intervals: Iterable[Interval], merged: list[Interval]) -> list[Interval]:
    """What of `intervals` does not lie in `merged`, which is a union."""
    left = []
    for start_ms, end_ms in union(intervals):
        for covered_start, covered_end in merged:
            if covered_end <= start_ms or covered_start >= end_ms:
                continue
            if covered_start > start_ms:
                left.append((start_ms, covered_start))
            start_ms = covered_end
            if start_ms >= end_ms:
                break
        if start_ms < end_ms:
            left.append((start_ms, end_ms))
    return left


def total_ms(intervals: Iterable[Interval]) -> int:
    return sum(end_ms - start_ms for start_ms, end_ms in intervals)


def seen_of(payload: dict[str, Any]) -> tuple[Any, ...]:
    """What a device shows of a state, without its order and cause."""
    loop = payload["loop"]
    return (*_seen_in(payload), loop and (loop["start"], loop["end"], loop["enabled"]))


def seen_by(state: WireState) -> tuple[Any, ...]:
    loop = state.loop
    return (*_seen_of(state), loop and (loop.start, loop.end, loop.enabled))

"""Makes `clock.json`: round trips, and what every implementation of the clock estimator must say after each.

Owns: which round trips are tried. The answers come from `playhead.playback.clock_offset`, the reference.
Run `python -m tests.vectors.make_clock` after the rule has changed on purpose, and read the difference.
"""

import json
from pathlib import Path

from playhead.playback.clock_offset import SAMPLES_MAX, ClockEstimator, RoundTrip

PATH = Path(__file__).with_name("clock.json")
SERVER_MS = 1_767_225_600_000.0
RESOLUTION_MS = 1.0
"""Servers show whole milliseconds."""

Times = tuple[float, float, float, float]


def _trip(at_ms: float, out_ms: float, back_ms: float, *, ahead_ms: float = SERVER_MS, think_ms: float = 0) -> Times:
    """Sent at `at_ms` to a server that is `ahead_ms` ahead; on the way `out_ms` and `back_ms`, `think_ms` there."""
    t1_ms = at_ms + out_ms + ahead_ms
    return (at_ms, t1_ms, t1_ms + think_ms, at_ms + out_ms + think_ms + back_ms)


def sequences() -> dict[str, list[Times]]:
    """Round trips in their order, by what is special about them."""
    return {
        "equal ways": [_trip(0, 20, 20)],
        "a server that thinks": [_trip(0, 20, 20, think_ms=300)],
        "the least delay wins": [_trip(0, 5, 5), _trip(100, 10, 200), _trip(200, 70, 10), _trip(300, 0, 40)],
        "among equals the first": [_trip(0, 0, 10), _trip(0, 10, 0)],
        "age counts like delay": [_trip(0, 5, 5), _trip(60_000, 8, 6), _trip(70_000, 6, 7), _trip(80_000, 20, 4)],
        "the worst goes": [_trip(0, 1, 1), *(_trip(number * 100, 10, 12) for number in range(1, SAMPLES_MAX + 1))],
        "of equals the oldest goes": [_trip(0, 0, 10), *(_trip(0, 10, 0) for _ in range(SAMPLES_MAX))],
        "late answers take no good one's place": [
            *(_trip(number * 60, 0.5, 0.5) for number in range(SAMPLES_MAX)),
            *(_trip(number * 10_000, 0.5, 400) for number in range(1, 2 * SAMPLES_MAX)),
            _trip(200_000, 1, 1),
        ],
        "a clock that drifts is followed": [
            _trip(number * 10_000, 1, 1, ahead_ms=SERVER_MS + number) for number in range(2 * SAMPLES_MAX)
        ],
        "a step while answers come late": [
            *(_trip(number * 60, 1, 1) for number in range(SAMPLES_MAX)),
            *(_trip(number * 10_000, 1, 400, ahead_ms=SERVER_MS + 600) for number in range(1, 4)),
        ],
        "a slept machine": [_trip(0, 1, 1), _trip(100, 30, 30, ahead_ms=SERVER_MS + 600_000)],
        "the clock set back": [_trip(5_000, 1, 1), _trip(2_000, 2, 3, ahead_ms=SERVER_MS + 3_003)],
        "apart by just their errors": [_trip(0, 1, 1), _trip(0, 4, 4, ahead_ms=SERVER_MS + 7.0)],
        "apart by more": [_trip(0, 1, 1), _trip(0, 4, 4, ahead_ms=SERVER_MS + 7.125)],
        "a jump that only a sharp sample shows": [
            *(_trip(0, 1, 1), _trip(1_000, 300, 300, ahead_ms=SERVER_MS + 200)),
            _trip(2_000, 2, 2, ahead_ms=SERVER_MS + 200),
        ],
        "whole milliseconds may seem to take less than no time": [(0.75, SERVER_MS, SERVER_MS + 1, 1.25)],
        "a server whose clock is faster": [
            *((0.0, SERVER_MS, SERVER_MS + 10_002, 10_000.0), (20_000.0, SERVER_MS, SERVER_MS + 10_002.5, 30_000.0)),
        ],
        "impossible ones are dropped": [
            *(_trip(0, 5, 5), (10.0, SERVER_MS, SERVER_MS, 9.5), (20.0, SERVER_MS + 9, SERVER_MS + 8, 40.0)),
            (30.0, SERVER_MS, SERVER_MS + 9, 31.0),
        ],
    }


def vectors() -> list[dict[str, object]]:
    """One entry per sequence: `[t0, t1, t2, t3]` of each trip, and what is answered after it."""
    return [{"name": name, "trips": trips, "answers": _answers(trips)} for name, trips in sequences().items()]


def _answers(trips: list[Times]) -> list[list[float | None]]:
    """After each trip: how many are kept, the offset, its uncertainty, and what that will be a minute later."""
    clock = ClockEstimator(RESOLUTION_MS)
    answers = []
    for t0_ms, t1_ms, t2_ms, t3_ms in trips:
        clock.add(RoundTrip(t0_ms=t0_ms, t1_ms=t1_ms, t2_ms=t2_ms, t3_ms=t3_ms))
        later_ms = t3_ms + 60_000
        answers.append(
            [clock.sample_count, clock.offset_ms(t3_ms), clock.uncertainty_ms(t3_ms), clock.uncertainty_ms(later_ms)]
        )
    return answers


if __name__ == "__main__":
    lines = ",\n".join("  " + json.dumps(vector) for vector in vectors())
    PATH.write_text(f"[\n{lines}\n]\n")

"""Makes `playhead.json`: the playhead formula as examples, which every implementation of it must agree with.

Owns: which states and moments are tried. The places come from `playhead.playback.state`, the reference.
Run `python -m tests.vectors.make_playhead` after the formula has changed on purpose, and read the difference.
"""

import json
from pathlib import Path

from playhead.playback.state import Loop, SessionState, end_reached, position_at

PATH = Path(__file__).with_name("playhead.json")
ANCHORED_AT_MS = 1_767_225_600_000
ELAPSED_MS = (-5_000, -1, 0, 1, 2, 3, 5, 7, 250, 999, 1_001, 4_999, 5_000, 12_345, 59_999, 60_000, 61_234, 3_600_000)
RATES = (0.25, 0.5, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 4.0)
DURATION_MS = 60_000


def states() -> dict[str, SessionState]:
    """The states that are tried, by a name that says what is special about each."""
    found = {f"playing at rate {rate}": _state(position_ms=1_234, rate=rate) for rate in RATES}
    found |= {
        "paused": _state(position_ms=12_345, playing=False),
        "paused inside a loop": _state(position_ms=5_500, playing=False, loop=_loop(5_000, 7_000)),
        "at the start": _state(position_ms=0),
        "at the end": _state(position_ms=DURATION_MS),
        "an hour": _state(position_ms=0, duration_ms=3_600_000, rate=1.0),
        "no duration at all": _state(position_ms=0, duration_ms=0),
        "inside a loop": _state(position_ms=5_500, loop=_loop(5_000, 7_000)),
        "inside a loop at rate 1.5": _state(position_ms=5_501, rate=1.5, loop=_loop(5_000, 7_000)),
        "before a loop": _state(position_ms=100, loop=_loop(5_000, 7_000)),
        "at the last ms of a loop": _state(position_ms=6_999, loop=_loop(5_000, 7_000)),
        "at the end of a loop": _state(position_ms=7_000, loop=_loop(5_000, 7_000)),
        "behind a loop": _state(position_ms=8_000, loop=_loop(5_000, 7_000)),
        "the shortest loop": _state(position_ms=1_000, loop=_loop(1_000, 1_250)),
        "a loop over everything": _state(position_ms=59_000, loop=_loop(0, DURATION_MS)),
        "a loop switched off": _state(position_ms=5_500, loop=_loop(5_000, 7_000, enabled=False)),
        "a slow loop": _state(position_ms=5_000, rate=0.25, loop=_loop(5_000, 5_333)),
    }
    return found


def vectors() -> list[dict[str, object]]:
    """One entry per state: its fields, and `[now_ms, position_ms, end_reached]` for each moment."""
    return [
        {
            "name": name,
            "playhead": {
                "playing": state.playing,
                "position_ms": state.position_ms,
                "anchored_at_ms": state.anchored_at_ms,
                "rate": state.rate,
                "duration_ms": state.duration_ms,
                "loop": state.loop
                and {"start_ms": state.loop.start_ms, "end_ms": state.loop.end_ms, "enabled": state.loop.enabled},
            },
            "moments": [
                [now_ms, position_at(state, now_ms), end_reached(state, now_ms)]
                for now_ms in (ANCHORED_AT_MS + elapsed_ms for elapsed_ms in ELAPSED_MS)
            ],
        }
        for name, state in states().items()
    ]


def _loop(start_ms: int, end_ms: int, *, enabled: bool = True) -> Loop:
    return Loop(start_ms=start_ms, end_ms=end_ms, enabled=enabled)


def _state(
    *,
    position_ms: int,
    playing: bool = True,
    rate: float = 1.0,
    duration_ms: int = DURATION_MS,
    loop: Loop | None = None,
) -> SessionState:
    return SessionState(
        session_id="session",
        listener_id="listener",
        script_id="script",
        duration_ms=duration_ms,
        epoch=1,
        revision=1,
        version=1,
        playing=playing,
        position_ms=position_ms,
        anchored_at_ms=ANCHORED_AT_MS,
        rate=rate,
        loop=loop,
    )


if __name__ == "__main__":
    lines = ",\n".join("  " + json.dumps(vector) for vector in vectors())
    PATH.write_text(f"[\n{lines}\n]\n")

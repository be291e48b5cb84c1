"""Where the sound of a truthful player is: a little behind the playhead, never before the anchored place.

The playhead's own formula is the core's, as every client in Python uses it.
"""

from loadtests.chaos.record import Payload
from playhead.playback.state import Loop, SessionState, position_at


def milliseconds(value_s: float) -> int:
    return round(value_s * 1000)


def session_state(state: Payload) -> SessionState:
    """A state as the core's formula takes it; what devices are not told of is left out."""
    loop = state["loop"]
    return SessionState(
        session_id=state["session_id"],
        listener_id="",
        script_id=state["script_id"],
        duration_ms=milliseconds(state["duration"]),
        epoch=state["epoch"],
        revision=state["revision"],
        version=0,
        playing=state["playing"],
        position_ms=milliseconds(state["position"]),
        anchored_at_ms=state["anchored_at"],
        rate=state["rate"],
        loop=loop
        and Loop(start_ms=milliseconds(loop["start"]), end_ms=milliseconds(loop["end"]), enabled=loop["enabled"]),
        active_device_id=state["active_device"],
    )


def place_ms(state: Payload, now_ms: int) -> int:
    """The playhead at server time `now_ms`."""
    return position_at(session_state(state), now_ms)


def heard_ms(state: Payload, now_ms: int, lag_ms: int) -> int:
    """Where the sound is on a device that lags behind by `lag_ms`; it folds in a loop as the playhead does."""
    return place_ms(state, max(state["anchored_at"], now_ms - lag_ms))

"""How playback comes to rest, and where the next session of the same listener and script begins."""

from msgspec.structs import replace

from playhead.playback.commands import REST_DEVICE_ID, Connections
from playhead.playback.state import SessionState, position_at

FINISHED_LEFT_MAX_MS = 30_000
FINISHED_LEFT_MAX_RATIO = 0.02


def stopped(state: SessionState, position_ms: int, now_ms: int) -> SessionState:
    """`state` with the sound stopped at `position_ms`; one that does not sound stays as it is."""
    if not state.playing:
        return state
    at_end = position_ms >= state.duration_ms
    return replace(state, playing=False, position_ms=position_ms, anchored_at_ms=now_ms, finished=at_end)


def passed_on(state: SessionState, connected: Connections, busy: frozenset[str]) -> SessionState | None:
    """In `together`, `state` with the role of its active device given to another one that sounds; None: there is none.

    `busy`: devices that sound in another session.
    """
    besides = busy | {REST_DEVICE_ID, state.active_device_id}
    device_id = min((device_id for device_id in connected if device_id not in besides), default=None)
    if state.mode != "together" or device_id is None:
        return None
    return replace(state, active_device_id=device_id, active_connection_id=connected[device_id])


def ended(state: SessionState, now_ms: int) -> SessionState:
    """`state` stopped where it is, and over."""
    if state.ended_at_ms is not None:
        return state
    rests = stopped(state, position_at(state, now_ms), now_ms)
    return replace(rests, finished=heard_out(rests), ended_at_ms=now_ms, sleep_at_ms=None, sleep_at_end_of_loop=False)


def heard_out(state: SessionState) -> bool:
    """Whether the script counts as finished when this session is over: it reached the end, or stopped close to it."""
    return state.finished or _close_to_end(state, left_ms(state))


def resume_ms(state: SessionState) -> int:
    """Where the next session of the same listener and script begins, when this one is over: 0 once it is heard out."""
    return 0 if heard_out(state) else left_ms(state)


def left_ms(state: SessionState) -> int:
    """Where it was stopped; for a session that was never stopped, the last place heard."""
    return state.heard_ms if state.playing else state.position_ms


def _close_to_end(state: SessionState, place_ms: int) -> bool:
    left = state.duration_ms - place_ms
    return left < min(FINISHED_LEFT_MAX_MS, FINISHED_LEFT_MAX_RATIO * state.duration_ms)

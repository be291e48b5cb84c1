"""What a press will do, shown at once: the commands under way, applied to the latest state by the server's own rules.

A guess of what the server will say, never more: it is dropped when the answer is there, whatever the answer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from playhead.client.core.wire import Loop, State
from playhead.playback import state as playback
from playhead.playback.commands import Command, Origin
from playhead.playback.deadlines import sleeps_at_ms
from playhead.playback.reducer import reduce
from playhead.playback.rejections import Rejection
from playhead.playback.state import SessionState, position_at, settled

OWN_CONNECTION = "own"
"""Stands for this device's connection, whose name only the server knows."""


@dataclass(frozen=True, slots=True)
class Press:
    """A command under way, and the server time of the press."""

    command: Command
    at_ms: int


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def seconds(ms: int) -> float:
    return ms / 1000


def _playback_loop(loop: Loop) -> playback.Loop:
    return playback.Loop(start_ms=milliseconds(loop.start), end_ms=milliseconds(loop.end), enabled=loop.enabled)


def _wire_loop(loop: playback.Loop) -> Loop:
    return Loop(start=seconds(loop.start_ms), end=seconds(loop.end_ms), enabled=loop.enabled)


def session_state(state: State, device_id: str) -> SessionState:
    """The state as the rules take it. What devices are not told of (listened time, other connections) is left out."""
    loop = state.loop
    position_ms, duration_ms = milliseconds(state.position), milliseconds(state.duration)
    return SessionState(
        session_id=state.session_id,
        listener_id="",
        script_id=state.script_id,
        duration_ms=duration_ms,
        epoch=state.epoch,
        revision=state.revision,
        version=0,
        playing=state.playing,
        position_ms=position_ms,
        anchored_at_ms=state.anchored_at,
        rate=state.rate,
        loop=None if loop is None else _playback_loop(loop),
        mode=state.mode,
        active_device_id=state.active_device,
        active_connection_id=OWN_CONNECTION if state.active_device == device_id else None,
        sleep_at_ms=None if state.sleep_at_end_of_loop else state.sleep_at,
        sleep_at_end_of_loop=state.sleep_at_end_of_loop,
        heard_ms=position_ms,
        heard_at_ms=state.anchored_at,
        ended_at_ms=state.anchored_at if state.ended else None,
        finished=not state.playing and position_ms >= duration_ms,
        media_version=state.media_version or "",
    )


def _shown(state: State, predicted: SessionState) -> State:
    loop = predicted.loop
    return replace(
        state,
        playing=predicted.playing,
        position=seconds(predicted.position_ms),
        anchored_at=predicted.anchored_at_ms,
        rate=predicted.rate,
        loop=None if loop is None else _wire_loop(loop),
        mode=predicted.mode,
        active_device=predicted.active_device_id,
        sleep_at=sleeps_at_ms(predicted),
        sleep_at_end_of_loop=predicted.sleep_at_end_of_loop,
        ended=predicted.ended_at_ms is not None,
    )


def predict(state: State, presses: Iterable[Press], device_id: str, connected: Mapping[str, str | None]) -> State:
    """`state` as it will be once the presses are accepted, in this order; those that would not be are left out."""
    origin = Origin(device_id=device_id, connection_id=OWN_CONNECTION)
    devices = {**connected, device_id: OWN_CONNECTION}
    before = after = session_state(state, device_id)
    for press in presses:
        decided = reduce(after, press.command, origin, now_ms=press.at_ms, connected=devices)
        if not isinstance(decided, Rejection):
            after = decided.state
    return state if after is before else _shown(state, after)


def position(state: State, server_ms: int) -> float:
    """Where the playhead is at that server time, in seconds."""
    return seconds(position_at(session_state(state, ""), server_ms))


def at(state: State, server_ms: int) -> State:
    """The state as it is at that server time: the same, unless playback has run into the end, which stops it there."""
    before = session_state(state, "")
    after = settled(before, server_ms)
    return state if after is before else _shown(state, after)

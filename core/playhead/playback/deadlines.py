"""What the server does by itself once its time has come: every deadline follows from the state and the clock.

| deadline      | when                                           | then                                           |
| ------------- | ---------------------------------------------- | ---------------------------------------------- |
| end of script | the formula reaches the duration, no loop      | stopped there, finished                        |
| sleep         | `sleep_at_ms`, or the loop's next end          | paused where the sound is then                 |
| absence       | the sounding device is away for too long       | paused where it was last heard of, or passed on |
| idle          | 2 h without a command, and without a device    | ended                                          |

Nothing has to fire in time: a late look finds the same result, and a second one finds nothing left to do. While the
servers themselves were away, and for a while after that, nobody is blamed for being absent.
Sleep and the end of the script wait for a device that went before: nobody knows whether it came so far (`absence.py`).
"""

from msgspec.structs import replace

from playhead.playback.commands import REST_DEVICE_ID, Connections, Due, Lost
from playhead.playback.endings import ended, passed_on, stopped
from playhead.playback.state import SessionState, end_reached, position_at, settled, when_at

IDLE_END_MS = 2 * 60 * 60 * 1000
"""A session without a device and without a command for so long is over."""


def sleeps_at_ms(state: SessionState) -> int | None:
    """Server time at which the sleep timer pauses the session; None: never, as things stand."""
    loop = state.enabled_loop
    if not state.sleep_at_end_of_loop:
        return state.sleep_at_ms
    return when_at(state, loop.end_ms) if state.playing and loop is not None else None


def next_due_ms(state: SessionState, rest_until_ms: int = 0) -> int | None:
    """Server time at which somebody must look at the session again; None once it has ended.

    `rest_until_ms`: until then it cannot be idle, as far as is known.
    """
    if state.ended_at_ms is not None:
        return None
    due_ms = max(state.changed_at_ms + IDLE_END_MS, rest_until_ms)
    if state.playing and state.enabled_loop is None:
        end_ms = when_at(state, state.duration_ms)
        due_ms = due_ms if _waits_for_absent(state, end_ms) else min(due_ms, end_ms)
    if (sleep_ms := sleeps_at_ms(state)) is not None and not _waits_for_absent(state, sleep_ms):
        due_ms = min(due_ms, sleep_ms)
    return due_ms if state.absent_until_ms is None else min(due_ms, state.absent_until_ms)


def _waits_for_absent(state: SessionState, stop_ms: int) -> bool:
    """Whether nobody knows if it came so far before the device is back, or given up. In `together` others sound."""
    return state.mode == "handoff" and state.absent_since_ms is not None and state.absent_since_ms < stop_ms


def reduce_lost(state: SessionState, command: Lost, now_ms: int) -> SessionState:
    """Begins the grace of the sounding device; of a device that nothing depends on, nothing is noted."""
    if not state.playing or command.device_id != state.active_device_id or state.active_connection_id is None:
        return state
    # the connection that ends may be an older one, long silent when the device reported over another
    seen_ms = min(now_ms, max(command.last_seen_at_ms or 0, state.heard_at_ms, state.anchored_at_ms))
    return replace(state, absent_since_ms=seen_ms, absent_until_ms=command.until_ms)


def reduce_due(state: SessionState, command: Due, now_ms: int, connected: Connections) -> tuple[SessionState, str]:
    """The session with everything done whose time has come, and the name of what was done last."""
    here = {device_id: connection for device_id, connection in connected.items() if device_id != REST_DEVICE_ID}
    cause = "due"
    device_id = state.active_device_id
    if state.absent_until_ms is not None and device_id is not None and device_id in here:
        state = replace(state, absent_since_ms=None, absent_until_ms=None, active_connection_id=here[device_id])
    others_sound = state.mode == "together" and bool(here.keys() - {device_id})
    heard_until_ms = now_ms if others_sound else state.absent_since_ms or now_ms
    if (sleep_ms := sleeps_at_ms(state)) is not None and sleep_ms <= heard_until_ms:
        state, cause = _asleep(state, sleep_ms), "sleep"
    excused = command.excused_until_ms is not None and now_ms < command.excused_until_ms
    if state.absent_until_ms is not None and state.absent_until_ms <= now_ms:
        if excused:
            state = replace(state, absent_until_ms=command.excused_until_ms)
        else:
            state, cause = _absent(state, here, command.busy), "absence"
    if end_reached(state, heard_until_ms):
        state, cause = settled(state, heard_until_ms), "end_of_script"
    alive_ms = max(state.changed_at_ms, command.left_at_ms or 0)
    if not here and not excused and alive_ms + IDLE_END_MS <= now_ms:
        state, cause = ended(state, now_ms), "idle"
    return state, cause


def _absent(state: SessionState, here: Connections, busy: frozenset[str]) -> SessionState:
    """The sounding device did not come back: another one that sounds takes its role, or the sound stops."""
    since_ms = state.absent_since_ms or 0
    state = replace(state, absent_since_ms=None, absent_until_ms=None)
    return passed_on(state, here, busy) or stopped(settled(state, since_ms), position_at(state, since_ms), since_ms)


def _asleep(state: SessionState, at_ms: int) -> SessionState:
    """Paused where the sound was at `at_ms`; a session that does not play just forgets its timer."""
    woken = settled(replace(state, sleep_at_ms=None, sleep_at_end_of_loop=False), at_ms)
    return stopped(woken, position_at(woken, at_ms), at_ms)

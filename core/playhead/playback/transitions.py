"""What each command makes of a session: one function a command, from state to state or refusal.

In `together` mode a start, a seek or another rate is anchored `lead_ms` in the future, so that every device can be
there in time; until the anchor a device goes on as before.
"""

from msgspec import structs

from playhead.playback.commands import (
    LOOP_LENGTH_MIN_MS,
    OFFLINE_INTERVALS_MAX,
    OTHER_SESSION,
    REST_DEVICE_ID,
    SLEEP_MS_MAX,
    Connections,
    Offline,
    Origin,
    Pause,
    Play,
    Seek,
    SetLoop,
    SetRate,
    SetSleep,
    Transfer,
)
from playhead.playback.endings import stopped
from playhead.playback.listened import total_ms, union, within
from playhead.playback.played import heard_up_to, ran_ms, ran_until_ms
from playhead.playback.rejections import Code, Rejection
from playhead.playback.reports import TRUE_PLACE_TOLERANCE_MS, apart_ms, out_of_bounds, rate_refusal, true_place_ms
from playhead.playback.state import Loop, Order, SessionState, position_at, settled


def _anchor_ms(state: SessionState, now_ms: int, lead_ms: int) -> int:
    return now_ms + lead_ms if state.mode == "together" and state.playing else now_ms


def placed(state: SessionState, position_ms: int, now_ms: int, lead_ms: int = 0) -> SessionState:
    """`state` with the playhead put to `position_ms` by a jump: what lies between was not heard."""
    loop = state.loop
    if loop is not None and loop.enabled and not loop.start_ms <= position_ms < loop.end_ms:
        loop = structs.replace(loop, enabled=False)
    at_end = position_ms >= state.duration_ms
    anchor_ms = _anchor_ms(state, now_ms, lead_ms)
    return structs.replace(
        state,
        position_ms=position_ms,
        anchored_at_ms=anchor_ms,
        loop=loop,
        playing=state.playing and not at_end,
        finished=at_end,
        heard_ms=position_ms,
        heard_at_ms=anchor_ms,
    )


def reanchored(state: SessionState, now_ms: int, lead_ms: int = 0) -> SessionState:
    """The same playhead, told from `now_ms` (or the lead's end); one that stands needs no new anchor.

    An anchor that lies ahead stays: until then every device goes on as before.
    """
    if not state.playing:
        return state
    anchor_ms = max(_anchor_ms(state, now_ms, lead_ms), state.anchored_at_ms)
    return structs.replace(state, position_ms=position_at(state, anchor_ms), anchored_at_ms=anchor_ms)


def heard_place_ms(state: SessionState, place_ms: int | None, origin: Origin, now_ms: int) -> int | None:
    """`place_ms` where the active device says that it heard it, and rule 3 holds it true; else None."""
    if place_ms is None or not state.playing or origin.device_id != state.active_device_id:
        return None
    return true_place_ms(state, place_ms, now_ms)


def _heard_until(state: SessionState, heard_ms: int | None, now_ms: int) -> SessionState:
    """Credits what was heard up to a true place; without one the state is settled: the formula tells the place."""
    return settled(state, now_ms) if heard_ms is None else heard_up_to(state, heard_ms, now_ms)


def _target(state: SessionState, command: Play, origin: Origin, connected: Connections) -> str | Rejection:
    """The device that shall sound: the one that is asked for, else the active one if it is there, else the caller's."""
    if command.device_id is not None and command.device_id != origin.device_id:
        return (
            command.device_id
            if command.device_id in connected
            else Rejection(code=Code.DEVICE_NOT_CONNECTED, state=state)
        )
    active = state.active_device_id
    stays = active is not None and active != REST_DEVICE_ID and active in connected and command.device_id is None
    return active if stays and active is not None else origin.device_id


def _connection_of(device_id: str, origin: Origin, connected: Connections) -> str | None:
    own = origin.connection_id if device_id == origin.device_id else None
    return own or connected.get(device_id)


def within_reach(command: Play, before: SessionState, after: SessionState) -> Play:
    """The same command, its place no further than the end: who asked knew the longer file that the session had."""
    place_ms = command.position_ms
    if place_ms is None or not after.duration_ms < place_ms <= before.duration_ms:
        return command
    return structs.replace(command, position_ms=after.duration_ms)


def play(
    state: SessionState, command: Play, origin: Origin, now_ms: int, connected: Connections, lead_ms: int
) -> SessionState | Rejection:
    target = _target(state, command, origin, connected)
    if isinstance(target, Rejection):
        return target
    if command.position_ms is not None and (refusal := out_of_bounds(state, command.position_ms)):
        return refusal
    connection = _connection_of(target, origin, connected)
    if target == state.active_device_id and target != origin.device_id and state.playing:
        connection = state.active_connection_id
    position_ms = 0 if command.position_ms is None and state.finished else command.position_ms
    sounding = structs.replace(state, playing=True, active_device_id=target, active_connection_id=connection)
    if position_ms is not None:
        return placed(sounding, position_ms, now_ms, lead_ms)
    return sounding if state.playing else _resumed(sounding, now_ms, lead_ms)


def _resumed(state: SessionState, now_ms: int, lead_ms: int) -> SessionState:
    """`state` going on from where it stands: no jump, so a loop that lies ahead stays on."""
    anchor_ms = _anchor_ms(state, now_ms, lead_ms)
    return structs.replace(
        state, anchored_at_ms=anchor_ms, finished=False, heard_ms=state.position_ms, heard_at_ms=anchor_ms
    )


def pause(state: SessionState, command: Pause, origin: Origin, now_ms: int) -> SessionState | Rejection:
    if command.position_ms is not None and (refusal := out_of_bounds(state, command.position_ms)):
        return refusal
    heard_ms = heard_place_ms(state, command.position_ms, origin, now_ms)
    state = _heard_until(state, heard_ms, now_ms)
    return stopped(state, position_at(state, now_ms) if heard_ms is None else heard_ms, now_ms)


def seek(state: SessionState, command: Seek, origin: Origin, now_ms: int, lead_ms: int) -> SessionState | Rejection:
    if refusal := out_of_bounds(state, command.position_ms):
        return refusal
    if command.from_ms is not None and (refusal := out_of_bounds(state, command.from_ms)):
        return refusal
    heard_ms = heard_place_ms(state, command.from_ms, origin, now_ms)
    state = _heard_until(state, heard_ms, now_ms)
    if heard_ms == state.duration_ms:
        state = stopped(state, heard_ms, now_ms)
    return placed(state, command.position_ms, now_ms, lead_ms)


def set_loop(state: SessionState, command: SetLoop, now_ms: int, known_ms: int) -> SessionState | Rejection:
    """`known_ms`: until then it is known how the sound went, and the loop holds from there on."""
    if not 0 <= command.start_ms < command.end_ms <= state.duration_ms:
        detail = f"A loop must lie within 0 and {state.duration_ms / 1000:g} seconds, its start before its end."
        return Rejection(code=Code.OUT_OF_BOUNDS, state=state, detail=detail)
    if command.end_ms - command.start_ms < LOOP_LENGTH_MIN_MS:
        return Rejection(code=Code.LOOP_TOO_SHORT, state=state)
    loop = Loop(start_ms=command.start_ms, end_ms=command.end_ms, enabled=command.enabled)
    if loop == state.loop:
        return state
    here = structs.replace(reanchored(state, known_ms), loop=loop)
    if loop.enabled and loop.end_ms <= here.position_ms:
        return placed(here, loop.start_ms, max(now_ms, here.anchored_at_ms))
    if _went_round(state, now_ms):
        # the way since the last place led over the old loop's end; by the new one it would be another way
        return structs.replace(here, heard_ms=here.position_ms, heard_at_ms=now_ms)
    return here


def _went_round(state: SessionState, now_ms: int) -> bool:
    """Whether the sound has come over the end of its loop since the last place that was heard."""
    loop = state.enabled_loop
    if loop is None or not state.playing:
        return False
    return position_at(state, now_ms) < state.heard_ms or ran_ms(state, now_ms) >= loop.length_ms


def set_rate(
    state: SessionState, command: SetRate, now_ms: int, lead_ms: int, known_ms: int
) -> SessionState | Rejection:
    """`known_ms`: until then it is known how the sound went, and the rate holds from there on."""
    if refusal := rate_refusal(state, command.rate):
        return refusal
    if command.rate == state.rate:
        return state
    # what can have run at the old rate must not be counted at the new one
    until_ms = max(ran_until_ms(state, now_ms), state.heard_at_ms)
    heard_at_ms = max(0, until_ms - round(ran_ms(state, now_ms) / command.rate))
    return structs.replace(reanchored(state, known_ms, lead_ms), rate=command.rate, heard_at_ms=heard_at_ms)


def set_sleep(state: SessionState, command: SetSleep, now_ms: int) -> SessionState | Rejection:
    """A deadline of the server's; that of a loop is counted from where the playhead is now."""
    if command.after_ms is not None and not 0 < command.after_ms <= SLEEP_MS_MAX:
        detail = f"The time until sleep must lie between 0 and {SLEEP_MS_MAX // 1000} seconds."
        return Rejection(code=Code.OUT_OF_BOUNDS, state=state, detail=detail)
    if command.at_end_of_loop:
        if state.enabled_loop is None:
            return Rejection(code=Code.NO_LOOP, state=state)
        return structs.replace(reanchored(state, now_ms), sleep_at_ms=None, sleep_at_end_of_loop=True)
    sleep_at_ms = None if command.after_ms is None else now_ms + command.after_ms
    return structs.replace(state, sleep_at_ms=sleep_at_ms, sleep_at_end_of_loop=False)


def transfer(state: SessionState, command: Transfer, now_ms: int, connected: Connections) -> SessionState | Rejection:
    if command.device_id not in connected:
        return Rejection(code=Code.DEVICE_NOT_CONNECTED, state=state)
    if command.device_id == state.active_device_id:
        # the same device over another connection: no device sees a difference, `leave` does
        return structs.replace(state, active_connection_id=connected[command.device_id])
    here = reanchored(state, now_ms)
    return structs.replace(here, active_device_id=command.device_id, active_connection_id=connected[command.device_id])


def offline(
    state: SessionState, command: Offline, origin: Origin, now_ms: int, known_ms: int
) -> tuple[SessionState, Rejection | None] | Rejection:
    """Credits the intervals; a second answer is the conflict over the place, where that belongs to others by now.

    `known_ms`: until then it is known how the sound went.
    """
    if len(command.intervals) > OFFLINE_INTERVALS_MAX:
        return Rejection(code=Code.TOO_LARGE, detail=f"A batch holds at most {OFFLINE_INTERVALS_MAX} intervals.")
    intervals, place_ms = command.intervals, command.position_ms
    if _of_another_file(state, command):
        intervals, place_ms = within(intervals, state.duration_ms), min(place_ms, state.duration_ms)
    places = [place_ms, *(edge_ms for interval in intervals for edge_ms in interval)]
    if refusal := next(filter(None, (out_of_bounds(state, each_ms) for each_ms in places)), None):
        return refusal
    listened = union(state.listened, intervals)
    # repeats cannot be told from a batch that is sent again: what was heard before is not counted as played
    more_ms = total_ms(listened) - total_ms(state.listened)
    heard = structs.replace(settled(state, known_ms), listened=listened, played_ms=state.played_ms + more_ms)
    here_ms = position_at(heard, now_ms)
    taken = command.base is None or not _moved_since(state, command.base, origin)
    if taken and place_ms != here_ms:
        return placed(heard, place_ms, now_ms), None
    if heard.playing and command.intervals and origin.device_id == state.active_device_id:
        # what it played until now is told: its next report must not tell it once more
        heard = structs.replace(heard, heard_ms=here_ms, heard_at_ms=max(now_ms, state.heard_at_ms))
    if taken or apart_ms(heard, place_ms, here_ms) <= TRUE_PLACE_TOLERANCE_MS:
        # as in `together` after a moment without a line: nothing to choose between
        return heard, None
    detail = "The session was moved on another device since then. Choose one of both places."
    return heard, Rejection(code=Code.CONFLICT, state=settled(heard, now_ms), reported_ms=place_ms, detail=detail)


def _of_another_file(state: SessionState, command: Offline) -> bool:
    """Whether it may tell of a longer file than the session has: all but one that began in it, with this file."""
    began_here = command.base not in (None, OTHER_SESSION) and state.revision > 0
    return not began_here or state.longest_ms > state.duration_ms


def _moved_since(state: SessionState, base: Order, origin: Origin) -> bool:
    """Whether the place is no longer the one that `origin` went on from at `base`.

    A device has moved it; or another one sounds, which needs no revision; or it did, until the server stopped it. (A
    new epoch by itself is no change: revisions count on.)
    """
    if base < state.moved:
        return True
    others = state.active_device_id not in (None, origin.device_id)
    return others and (state.playing or base[1] < state.revision)

"""How commands change a session: `reduce(state, command, …)` answers a Decision or a Rejection, and does nothing else.

| command  | accepted when                                | becomes                                              |
| -------- | -------------------------------------------- | ---------------------------------------------------- |
| play     | target connected or the caller; in bounds    | playing on the target; a finished script starts at 0 |
| pause    | always                                       | stopped at the place heard (rule 3) or the formula's |
| seek     | place in [0, duration]                       | there; outside an enabled loop switches the loop off |
| loop     | in bounds, at least 250 ms                   | folds; if it ends behind the playhead: seeks to its start |
| rate     | 0.25 to 4                                    | re-anchored at the formula's place                   |
| transfer | target connected                             | the same playhead, sounding there                    |
| leave    | always                                       | paused, if this connection sounds                    |
| vanished | that connection still is the one that sounds | paused at the formula's place when it was last heard of |
| progress | see `reports.py`                             |                                                      |
| end      | always                                       | stopped, ended; finished if under min(30 s, 2 %) is left |

A command that would change nothing is accepted and changes nothing: no revision, no event.
The rules are those of the design, sections 3 and 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from playhead.playback.commands import (
    COMMAND_NAMES,
    LOOP_LENGTH_MIN_MS,
    REST_DEVICE_ID,
    Action,
    Command,
    End,
    Leave,
    Origin,
    Pause,
    Play,
    Report,
    Seek,
    SetLoop,
    SetRate,
    Transfer,
    Vanished,
)
from playhead.playback.listened import heard_between, union
from playhead.playback.rejections import Code, Rejection
from playhead.playback.reports import (
    out_of_bounds,
    ran_ms,
    ran_until_ms,
    rate_refusal,
    reduce_report,
    true_place_ms,
)
from playhead.playback.state import Loop, SessionState, position_at, settled

FINISHED_LEFT_MAX_MS = 30_000
FINISHED_LEFT_MAX_RATIO = 0.02

Connections = Mapping[str, str | None]
"""The listener's connected devices: device id to the id of its newest connection (None where it has none: REST)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a state is what it is. `device_id` None: the server did it by itself."""

    command: str
    device_id: str | None = None
    command_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state after an accepted command. `written` False: nothing changed; `published`: devices must see it."""

    state: SessionState
    cause: Cause
    written: bool
    published: bool


def start(
    *, session_id: str, listener_id: str, script_id: str, duration_ms: int, position_ms: int, rate: float, now_ms: int
) -> SessionState:
    """A session that has not played yet, at revision 0: the first accepted command makes it revision 1."""
    return SessionState(
        session_id=session_id,
        listener_id=listener_id,
        script_id=script_id,
        duration_ms=duration_ms,
        epoch=0,
        revision=0,
        version=0,
        playing=False,
        position_ms=position_ms,
        anchored_at_ms=now_ms,
        rate=rate,
        heard_ms=position_ms,
        heard_at_ms=now_ms,
        started_at_ms=now_ms,
        changed_at_ms=now_ms,
    )


def heard_out(state: SessionState) -> bool:
    """Whether the script counts as finished when this session is over: it reached the end, or stopped close to it."""
    return state.finished or _close_to_end(state, _stopped_ms(state))


def resume_ms(state: SessionState) -> int:
    """Where the next session of the same listener and script begins, when this one is over.

    0 once it is heard out; where it was stopped; for a session that was never stopped, the last place heard.
    """
    return 0 if heard_out(state) else _stopped_ms(state)


def _stopped_ms(state: SessionState) -> int:
    return state.heard_ms if state.playing else state.position_ms


def _close_to_end(state: SessionState, place_ms: int) -> bool:
    left_ms = state.duration_ms - place_ms
    return left_ms < min(FINISHED_LEFT_MAX_MS, FINISHED_LEFT_MAX_RATIO * state.duration_ms)


def reduce(
    state: SessionState,
    command: Command,
    origin: Origin,
    *,
    now_ms: int,
    connected: Connections,
    expected_revision: int | None = None,
) -> Decision | Rejection:
    """What `command` of `origin` makes of `state` at server time `now_ms`.

    `expected_revision`: refuse with `conflict` unless the session is exactly there.
    The new state carries the next revision and version; its epoch is stamped by whoever commits it.
    """
    if state.ended_at_ms is not None and not isinstance(command, End):
        return Rejection(code=Code.SESSION_ENDED, state=state)
    if expected_revision is not None and expected_revision != state.revision:
        return Rejection(
            code=Code.CONFLICT,
            state=state,
            detail=f"The session is at revision {state.revision}, not {expected_revision}.",
        )
    after = (
        reduce_report(state, command, origin, now_ms)
        if isinstance(command, Report)
        else _reduce_command(state, command, origin, now_ms, connected)
    )
    return after if isinstance(after, Rejection) else _decide(state, after, _cause(command, origin), now_ms)


def _cause(command: Command, origin: Origin) -> Cause:
    own = isinstance(command, Vanished) or (isinstance(command, End) and command.reason == "idle")
    name = COMMAND_NAMES[type(command)]
    return Cause(command=name) if own else Cause(command=name, device_id=origin.device_id, command_id=origin.command_id)


def _decide(before: SessionState, after: SessionState, cause: Cause, now_ms: int) -> Decision:
    """Numbers the new state. What devices never see (heard intervals, report numbers) makes a version only."""
    if after == before:
        return Decision(state=before, cause=cause, written=False, published=False)
    seen = replace(
        after,
        heard_ms=before.heard_ms,
        heard_at_ms=before.heard_at_ms,
        listened=before.listened,
        report_seqs=before.report_seqs,
        active_connection_id=before.active_connection_id,
    )
    published = seen != before
    return Decision(
        state=replace(after, revision=before.revision + published, version=before.version + 1, changed_at_ms=now_ms),
        cause=cause,
        written=True,
        published=published,
    )


def _reduce_command(
    state: SessionState, command: Action, origin: Origin, now_ms: int, connected: Connections
) -> SessionState | Rejection:
    """Where a device tells what it heard, that comes before the formula: behind it, the end is not reached yet."""
    match command:
        case Vanished():
            return _vanished(state, command, now_ms)
        case Pause():
            return _pause(state, command, origin, now_ms)
        case Seek():
            return _seek(state, command, origin, now_ms)
    state = settled(state, now_ms)
    match command:
        case Play():
            return _play(state, command, origin, now_ms, connected)
        case SetLoop():
            return _loop(state, command, now_ms)
        case SetRate():
            return _rate(state, command, now_ms)
        case Transfer():
            return _transfer(state, command, now_ms, connected)
        case Leave():
            sounds_here = origin.connection_id is not None and origin.connection_id == state.active_connection_id
            return _stopped(state, position_at(state, now_ms), now_ms) if sounds_here else state
        case _:
            return _end(state, command, now_ms)


def _placed(state: SessionState, position_ms: int, now_ms: int) -> SessionState:
    """`state` with the playhead put to `position_ms` by a jump: what lies between was not heard."""
    loop = state.loop
    if loop is not None and loop.enabled and not loop.start_ms <= position_ms < loop.end_ms:
        loop = replace(loop, enabled=False)
    at_end = position_ms >= state.duration_ms
    return replace(
        state,
        position_ms=position_ms,
        anchored_at_ms=now_ms,
        loop=loop,
        playing=state.playing and not at_end,
        finished=at_end,
        heard_ms=position_ms,
        heard_at_ms=now_ms,
    )


def _reanchored(state: SessionState, now_ms: int) -> SessionState:
    """The same playhead, told from `now_ms`; one that stands needs no new anchor."""
    return replace(state, position_ms=position_at(state, now_ms), anchored_at_ms=now_ms) if state.playing else state


def _heard_until(
    state: SessionState, place_ms: int | None, origin: Origin, now_ms: int
) -> tuple[SessionState, int | None]:
    """Credits what the active device says it heard up to `place_ms`, and answers the place if rule 3 holds it true.

    Without a true place the state is settled: the formula tells where the playhead is.
    """
    told = place_ms is not None and state.playing and origin.device_id == state.active_device_id
    true_ms = true_place_ms(state, place_ms, now_ms) if told and place_ms is not None else None
    if true_ms is None:
        return settled(state, now_ms), None
    heard = heard_between(state.heard_ms, true_ms, state.enabled_loop, ran_ms(state, now_ms))
    return replace(state, listened=union(state.listened, heard), heard_ms=true_ms, heard_at_ms=now_ms), true_ms


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


def _play(
    state: SessionState, command: Play, origin: Origin, now_ms: int, connected: Connections
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
    sounding = replace(state, active_device_id=target, active_connection_id=connection)
    if state.playing and position_ms is None:
        return sounding
    resumed_ms = state.position_ms if position_ms is None else position_ms
    return _placed(replace(sounding, playing=True), resumed_ms, now_ms)


def _stopped(state: SessionState, position_ms: int, now_ms: int) -> SessionState:
    if not state.playing:
        return state
    at_end = position_ms >= state.duration_ms
    return replace(state, playing=False, position_ms=position_ms, anchored_at_ms=now_ms, finished=at_end)


def _pause(state: SessionState, command: Pause, origin: Origin, now_ms: int) -> SessionState | Rejection:
    if command.position_ms is not None and (refusal := out_of_bounds(state, command.position_ms)):
        return refusal
    state, heard_ms = _heard_until(state, command.position_ms, origin, now_ms)
    return _stopped(state, position_at(state, now_ms) if heard_ms is None else heard_ms, now_ms)


def _seek(state: SessionState, command: Seek, origin: Origin, now_ms: int) -> SessionState | Rejection:
    if refusal := out_of_bounds(state, command.position_ms):
        return refusal
    if command.from_ms is not None and (refusal := out_of_bounds(state, command.from_ms)):
        return refusal
    state, heard_ms = _heard_until(state, command.from_ms, origin, now_ms)
    if heard_ms == state.duration_ms:
        state = _stopped(state, heard_ms, now_ms)
    return _placed(state, command.position_ms, now_ms)


def _loop(state: SessionState, command: SetLoop, now_ms: int) -> SessionState | Rejection:
    if not 0 <= command.start_ms < command.end_ms <= state.duration_ms:
        detail = f"A loop must lie within 0 and {state.duration_ms / 1000:g} seconds, its start before its end."
        return Rejection(code=Code.OUT_OF_BOUNDS, state=state, detail=detail)
    if command.end_ms - command.start_ms < LOOP_LENGTH_MIN_MS:
        return Rejection(code=Code.LOOP_TOO_SHORT, state=state)
    loop = Loop(start_ms=command.start_ms, end_ms=command.end_ms, enabled=command.enabled)
    if loop == state.loop:
        return state
    here = replace(_reanchored(state, now_ms), loop=loop)
    return _placed(here, loop.start_ms, now_ms) if loop.enabled and loop.end_ms <= here.position_ms else here


def _rate(state: SessionState, command: SetRate, now_ms: int) -> SessionState | Rejection:
    if refusal := rate_refusal(state, command.rate):
        return refusal
    if command.rate == state.rate:
        return state
    # what can have run at the old rate must not be counted at the new one
    heard_at_ms = max(0, ran_until_ms(state, now_ms) - round(ran_ms(state, now_ms) / command.rate))
    return replace(_reanchored(state, now_ms), rate=command.rate, heard_at_ms=heard_at_ms)


def _transfer(state: SessionState, command: Transfer, now_ms: int, connected: Connections) -> SessionState | Rejection:
    if command.device_id not in connected:
        return Rejection(code=Code.DEVICE_NOT_CONNECTED, state=state)
    if command.device_id == state.active_device_id:
        return state
    here = _reanchored(state, now_ms)
    return replace(here, active_device_id=command.device_id, active_connection_id=connected[command.device_id])


def _vanished(state: SessionState, command: Vanished, now_ms: int) -> SessionState:
    if command.connection_id != state.active_connection_id:
        return state
    last_seen_ms = min(now_ms, max(command.last_seen_at_ms, state.anchored_at_ms))
    return _stopped(state, position_at(state, last_seen_ms), now_ms)


def _end(state: SessionState, _command: End, now_ms: int) -> SessionState:
    if state.ended_at_ms is not None:
        return state
    stopped = _stopped(state, position_at(state, now_ms), now_ms)
    return replace(stopped, finished=heard_out(stopped), ended_at_ms=now_ms)

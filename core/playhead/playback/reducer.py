"""How commands change a session: `reduce(state, command, …)` answers a Decision or a Rejection, and does nothing else.

| command  | accepted when                                | becomes                                              |
| -------- | -------------------------------------------- | ---------------------------------------------------- |
| play     | target connected or the caller; in bounds    | playing on the target; a finished script starts at 0 |
| pause    | always                                       | stopped at the place heard (rule 3) or the formula's |
| seek     | place in [0, duration]                       | there; outside an enabled loop switches the loop off |
| restore  | place not below 0                            | there, as a seek; behind the end: at the end         |
| loop     | in bounds, at least 250 ms                   | folds; if it ends behind the playhead: seeks to its start |
| rate     | 0.25 to 4                                    | re-anchored at the formula's place                   |
| mode     | always                                       | one device sounds, or all of them                    |
| sleep    | at most a day; at the loop's end: a loop is on | pauses by itself                                   |
| transfer | target connected                             | the same playhead, sounding there                    |
| leave    | always                                       | paused if this connection sounds; together: passed on |
| progress | see `reports.py`                             |                                                      |
| offline  | in bounds, or of another file (cut to this)  | listened to; at its end, unless others moved or sound |
| end      | always                                       | stopped, ended; finished if under min(30 s, 2 %) is left |
| lost, due | the server's own: see `deadlines.py`        |                                                      |
| renew    | the server's own                             | its script's present file: see `replacing.py`        |

`play` takes the script's present file over first.

A command that would change nothing is accepted and changes nothing: no revision, no event.
The rules are those of the design, sections 3 and 4.
"""

from dataclasses import replace

import msgspec
from msgspec import structs

from playhead.playback.absence import gone_back, known_until_ms
from playhead.playback.commands import (
    COMMAND_NAMES,
    Asked,
    Command,
    Connections,
    Due,
    End,
    Leave,
    Lost,
    Offline,
    Origin,
    Pause,
    Play,
    Renew,
    Report,
    Restore,
    Seek,
    SetLoop,
    SetMode,
    SetRate,
    SetSleep,
    Transfer,
)
from playhead.playback.deadlines import reduce_due, reduce_lost
from playhead.playback.endings import ended, passed_on, stopped
from playhead.playback.history import CONFLICT, Move, moved_playhead
from playhead.playback.rejections import Code, Rejection
from playhead.playback.replacing import taken_over
from playhead.playback.reports import out_of_bounds, reduce_report
from playhead.playback.state import Media, SessionState, position_at, settled
from playhead.playback.transitions import (
    heard_place_ms,
    offline,
    pause,
    placed,
    play,
    seek,
    set_loop,
    set_rate,
    set_sleep,
    transfer,
    within_reach,
)


class Cause(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a state is what it is. `device_id` None: the server did it by itself."""

    command: str
    device_id: str | None = None
    command_id: str | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The state after an accepted command. `written` False: nothing changed; `published`: devices must see it.

    `refusal`: the answer to an offline batch whose listening was credited, but whose place was not taken.
    """

    state: SessionState
    cause: Cause
    written: bool
    published: bool
    move: Move | None = None
    refusal: Rejection | None = None


class _Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a command made of a state, before it is numbered."""

    state: SessionState
    cause: Cause
    refusal: Rejection | None = None


def start(
    *,
    session_id: str,
    listener_id: str,
    script_id: str,
    duration_ms: int,
    position_ms: int,
    rate: float,
    now_ms: int,
    media_version: str = "",
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
        media_version=media_version,
    )


def reduce(
    state: SessionState,
    command: Command,
    origin: Origin,
    *,
    now_ms: int,
    connected: Connections,
    expected_revision: int | None = None,
    expected_epoch: int | None = None,
    epoch: int | None = None,
    lead_ms: int = 0,
    media: Media | None = None,
) -> Decision | Rejection:
    """What `command` of `origin` makes of `state` at server time `now_ms`.

    `expected_revision`, `expected_epoch`: refuse with `conflict` unless the session is exactly there. `epoch`: that of
    the commit that follows; default: the state's. `lead_ms`: how far in the future `together` anchors. `media`: what
    the script has now, where that is known.
    """
    if state.ended_at_ms is not None and not isinstance(command, End | Lost | Due):
        return Rejection(code=Code.SESSION_ENDED, state=state)
    if expected_revision is not None and expected_revision != state.revision:
        return Rejection(
            code=Code.CONFLICT,
            state=state,
            detail=f"The session is at revision {state.revision}, not {expected_revision}.",
        )
    if expected_epoch is not None and expected_epoch != state.epoch:
        return Rejection(
            code=Code.CONFLICT, state=state, detail=f"The session is in epoch {state.epoch}, not {expected_epoch}."
        )
    known_ms = known_until_ms(state, origin.device_id, connected, now_ms)
    result = _reduced(state, command, origin, now_ms, known_ms, connected, lead_ms, media)
    if isinstance(result, Rejection):
        # as everybody is told of it: that it has run into its end meanwhile would be another revision
        return result if result.state is None else replace(result, state=state)
    heard_ms = _heard_ms(state, command, origin, now_ms)
    from_ms = position_at(state, known_ms) if heard_ms is None else heard_ms
    return _decide(state, result, command, origin, from_ms, known_ms, now_ms, state.epoch if epoch is None else epoch)


def _heard_ms(state: SessionState, command: Command, origin: Origin, now_ms: int) -> int | None:
    """The place that the listener heard before, where that is better known than by the formula."""
    match command:
        case Seek():
            return heard_place_ms(state, command.from_ms, origin, now_ms)
        case Due():
            return state.heard_ms
        case _:
            return None


def _reduced(
    state: SessionState,
    command: Command,
    origin: Origin,
    now_ms: int,
    known_ms: int,
    connected: Connections,
    lead_ms: int,
    media: Media | None,
) -> _Result | Rejection:
    cause = Cause(command=COMMAND_NAMES[type(command)], device_id=origin.device_id, command_id=origin.command_id)
    refusal: Rejection | None = None
    after: SessionState | Rejection
    match command:
        case Report():
            after = reduce_report(state, command, origin, now_ms)
        case Lost():
            after, cause = reduce_lost(state, command, now_ms), Cause(command=cause.command)
        case Due():
            after, name = reduce_due(state, command, now_ms, connected)
            cause = Cause(command=name)
        case Renew():
            after, cause = taken_over(settled(state, known_ms), media, known_ms), Cause(command=cause.command)
        case Offline():
            credited = offline(state, command, origin, now_ms, known_ms)
            after, refusal = (credited, None) if isinstance(credited, Rejection) else credited
        case _:
            after = _asked(state, command, origin, now_ms, known_ms, connected, lead_ms, media)
    return after if isinstance(after, Rejection) else _Result(state=after, cause=cause, refusal=refusal)


def _asked(
    state: SessionState,
    command: Asked,
    origin: Origin,
    now_ms: int,
    known_ms: int,
    connected: Connections,
    lead_ms: int,
    media: Media | None,
) -> SessionState | Rejection:
    """Where a device tells what it heard, that comes before the formula: behind it, the end is not reached yet."""
    match command:
        case Play() | Transfer() | Pause() | Seek() | Restore() | End() | SetMode(mode="together"):
            # from here on it sounds elsewhere, or is somewhere else, or rests
            state = gone_back(state, known_ms, now_ms)
    match command:
        case Pause():
            return pause(state, command, origin, now_ms)
        case Seek():
            return seek(state, command, origin, now_ms, lead_ms)
    state = settled(state, known_ms)
    match command:
        case Play():
            after = taken_over(state, media, now_ms)
            return play(after, within_reach(command, state, after), origin, now_ms, connected, lead_ms)
        case Restore():
            # a place of the session's own, which may have been in a longer file
            place_ms = min(command.position_ms, state.duration_ms)
            return out_of_bounds(state, place_ms) or placed(state, place_ms, now_ms, lead_ms)
        case SetLoop():
            return set_loop(state, command, now_ms, known_ms)
        case SetRate():
            return set_rate(state, command, now_ms, lead_ms, known_ms)
        case SetMode():
            return structs.replace(state, mode=command.mode)
        case SetSleep():
            return set_sleep(state, command, now_ms)
        case Transfer():
            return transfer(state, command, now_ms, connected)
        case Leave():
            sounds_here = _sounds_over(state, origin, connected)
            return _left(state, command, now_ms, connected) if sounds_here and state.playing else state
        case End():
            return ended(state, now_ms)


def _sounds_over(state: SessionState, origin: Origin, connected: Connections) -> bool:
    """Whether it is the sound of the connection that asks, as far as anybody knows."""
    if origin.connection_id is not None and origin.connection_id == state.active_connection_id:
        return True
    # its newest one as well: the one that it played over may be dead, though nobody has noticed
    newest = origin.connection_id is not None and connected.get(origin.device_id) == origin.connection_id
    return origin.device_id == state.active_device_id and (newest or state.absent_until_ms is not None)


def _left(state: SessionState, command: Leave, now_ms: int, connected: Connections) -> SessionState:
    return passed_on(state, connected, command.busy) or stopped(state, position_at(state, now_ms), now_ms)


def _decide(
    before: SessionState,
    result: _Result,
    command: Command,
    origin: Origin,
    from_ms: int,
    known_ms: int,
    now_ms: int,
    epoch: int,
) -> Decision:
    """Numbers the new state. What devices never see (heard intervals, report numbers) makes a version only."""
    after = _tidy(before, result.state, result.cause, origin)
    if after == before:
        return Decision(state=before, cause=result.cause, written=False, published=False, refusal=result.refusal)
    published = _seen(after, before) != before
    revision = before.revision + published
    by_device = published and result.cause.device_id is not None and _changes_playhead(before, after, command, now_ms)
    numbered = structs.replace(
        after,
        epoch=epoch,
        revision=revision,
        version=before.version + 1,
        changed_at_ms=now_ms,
        moved=(epoch, revision) if by_device else before.moved,
    )
    moved = published and moved_playhead(before, numbered, command, from_ms, known_ms)
    return Decision(
        state=numbered,
        cause=result.cause,
        written=True,
        published=published,
        move=_move(numbered, result.cause, from_ms, now_ms) if moved else None,
        refusal=None if result.refusal is None else replace(result.refusal, state=numbered),
    )


def _changes_playhead(before: SessionState, after: SessionState, command: Command, now_ms: int) -> bool:
    """Whether what a device asked for changes where the sound is, how it goes on, or where. A timer does not."""
    match command:
        case SetSleep():
            return False
        case SetMode():
            # not unless it went back to where a device that is away was last heard of
            return position_at(after, now_ms) != position_at(before, now_ms)
        case _:
            return True


def _tidy(before: SessionState, after: SessionState, cause: Cause, origin: Origin) -> SessionState:
    """Drops what has lost its meaning: an absence that is over, a sleep at the end of a loop that is off."""
    if after.absent_until_ms is not None:
        back = cause.device_id is not None and cause.device_id == after.active_device_id
        if back:
            after = structs.replace(after, active_connection_id=origin.connection_id or after.active_connection_id)
        if back or not after.playing or after.active_device_id != before.active_device_id:
            after = structs.replace(after, absent_since_ms=None, absent_until_ms=None)
    if after.sleep_at_end_of_loop and after.enabled_loop is None:
        after = structs.replace(after, sleep_at_end_of_loop=False)
    return after


def _seen(after: SessionState, before: SessionState) -> SessionState:
    """`after` with everything that devices do not see as it was before."""
    return structs.replace(
        after,
        heard_ms=before.heard_ms,
        heard_at_ms=before.heard_at_ms,
        listened=before.listened,
        played_ms=before.played_ms,
        played_slots=before.played_slots,
        report_seqs=before.report_seqs,
        active_connection_id=before.active_connection_id,
        absent_since_ms=before.absent_since_ms,
        absent_until_ms=before.absent_until_ms,
    )


def _move(state: SessionState, cause: Cause, from_ms: int, now_ms: int) -> Move:
    return Move(
        cause=cause.command,
        from_ms=from_ms,
        to_ms=state.position_ms,
        device_id=cause.device_id,
        at_ms=now_ms,
        epoch=state.epoch,
        revision=state.revision,
    )


def refused_place(refusal: Rejection, base: tuple[int, int], device_id: str, now_ms: int) -> Move | None:
    """The history's entry of a refused report or batch; `base`: the state that it was made on."""
    if refusal.state is None or refusal.reported_ms is None:
        return None
    return Move(
        cause=CONFLICT,
        from_ms=position_at(refusal.state, now_ms),
        to_ms=refusal.reported_ms,
        device_id=device_id,
        at_ms=now_ms,
        epoch=base[0],
        revision=base[1],
    )

"""The use cases of playback: each loads, reduces, commits and publishes, and answers an outcome or a rejection.

    load sessions → reduce (pure) → commit (atomic: compare, set, publish) → note for PostgreSQL → answer
    a lost race: load and reduce again, at most COMMIT_ATTEMPTS_MAX times

StoreUnavailable and DatabaseUnavailable pass through; both surfaces answer them with `unavailable`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from playhead.auth.tokens import Principal
from playhead.db import Script
from playhead.playback.commands import Command, Origin, Pause, Play, Transfer
from playhead.playback.reducer import Cause, Decision, heard_out, reduce
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.archive import Archive, SessionWriter
from playhead.sessions.codec import Packet, encode_packet, seconds, state_payload
from playhead.sessions.finding import Held, SessionFinder, View
from playhead.sessions.presence import Presence
from playhead.sessions.store import Change, Committed, SessionStore

log = structlog.get_logger(__name__)

COMMIT_ATTEMPTS_MAX = 8


class Scripts(Protocol):
    """What may be played. May raise DatabaseUnavailable."""

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        """The script, if these claims may hear it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An accepted command: the state after it, and the server time at which it was decided."""

    state: SessionState
    cause: Cause
    server_time_ms: int
    published: bool
    """Whether devices see a new revision; a command that changed nothing for them is accepted all the same."""
    created: bool = False

    @property
    def cause_of_state(self) -> Cause | None:
        """Why `state` is at its revision; None when another command than this one made it, as in a snapshot."""
        return self.cause if self.published else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a script without a live session would resume."""

    position_ms: int
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a device that joins must know. `state` None: no live session; `place` then is the stored place, if any."""

    state: SessionState | None
    place: Place | None
    server_time_ms: int


_Find = Callable[[View], Awaitable[Held | None]]


class SessionService:
    """The one way that commands flow, for both surfaces."""

    def __init__(
        self,
        store: SessionStore,
        archive: Archive,
        scripts: Scripts,
        writer: SessionWriter,
        presence: Presence,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._finder = SessionFinder(store, archive, clock, new_id)
        self._scripts = scripts
        self._writer = writer
        self._presence = presence
        self._clock = clock

    async def play(
        self, principal: Principal, script_id: str, command: Play, origin: Origin, expected_revision: int | None = None
    ) -> Outcome | Rejection:
        """Resumes the listener's live session of the script, or starts one where the last one stopped."""
        script = await self._scripts.get(principal.claims, script_id)
        if refusal := _unplayable(script):
            return refusal
        assert script is not None

        async def find(view: View) -> Held:
            return await self._finder.of_script(principal.listener_id, script, view)

        return await self._commit(principal.listener_id, None, find, command, origin, expected_revision)

    async def apply(
        self, listener_id: str, session_id: str, command: Command, origin: Origin, expected_revision: int | None = None
    ) -> Outcome | Rejection:
        """Applies `command` to that session of the listener; `not_found` where it is not theirs."""

        async def find(view: View) -> Held | None:
            return await self._finder.by_id(listener_id, session_id, view)

        return await self._commit(listener_id, session_id, find, command, origin, expected_revision)

    async def join_session(self, listener_id: str, session_id: str) -> Snapshot | Rejection:
        """The session as it is now."""
        view = await self._finder.session(listener_id, session_id)
        held = await self._finder.by_id(listener_id, session_id, view)
        if held is None:
            return Rejection(code=Code.NOT_FOUND)
        if held.state.ended_at_ms is not None:
            return Rejection(code=Code.SESSION_ENDED, state=held.state)
        return Snapshot(state=held.state, place=None, server_time_ms=self._clock.now_ms())

    async def join_script(self, principal: Principal, script_id: str) -> Snapshot | Rejection:
        """The listener's live session of the script, or the place where it would resume."""
        script = await self._scripts.get(principal.claims, script_id)
        if script is None:
            return Rejection(code=Code.NOT_FOUND)
        view = await self._finder.live(principal.listener_id)
        held = await self._finder.of_script(principal.listener_id, script, view)
        if not held.created:
            return Snapshot(state=held.state, place=None, server_time_ms=self._clock.now_ms())
        last = await self._finder.last(principal.listener_id, script_id)
        place = None if last is None else Place(position_ms=held.state.position_ms, finished=heard_out(last))
        return Snapshot(state=None, place=place, server_time_ms=self._clock.now_ms())

    async def live_states(self, listener_id: str) -> tuple[SessionState, ...]:
        """The listener's live sessions, as the store has them."""
        return (await self._store.live(listener_id)).states

    async def _commit(
        self,
        listener_id: str,
        session_id: str | None,
        find: _Find,
        command: Command,
        origin: Origin,
        expected_revision: int | None,
    ) -> Outcome | Rejection:
        """Load, reduce, commit; again after a lost race. `session_id` None: all live sessions are loaded."""
        if self._writer.full:
            return Rejection(code=Code.OVERLOADED)
        moves_sound = isinstance(command, Play | Transfer)
        for _ in range(COMMIT_ATTEMPTS_MAX):
            view = await self._view(listener_id, session_id, moves_sound)
            held = await find(view)
            if held is None:
                return Rejection(code=Code.NOT_FOUND)
            now_ms = self._clock.now_ms()
            connected = await self._presence.connected(listener_id, origin) if moves_sound else {}
            decision = reduce(
                held.state, command, origin, now_ms=now_ms, connected=connected, expected_revision=expected_revision
            )
            if isinstance(decision, Rejection):
                # of a session that was not born nobody may learn
                return replace(decision, state=None) if held.created else decision
            outcome = Outcome(
                state=replace(decision.state, epoch=view.epoch) if decision.written else decision.state,
                cause=decision.cause,
                server_time_ms=now_ms,
                published=decision.published,
                created=held.created,
            )
            if not decision.written:
                return outcome
            silenced = _silenced(view, outcome.state, decision.cause, now_ms) if moves_sound else []
            committed = await self._write(listener_id, held, outcome, silenced, origin)
            if committed is Committed.DONE:
                return outcome
            if committed is Committed.FULL:
                return Rejection(code=Code.OVERLOADED, detail="Too many sessions are open. End one and play again.")
        log.warning("A commit lost every race.", action="commit_contended", session_id=session_id)
        return Rejection(code=Code.OVERLOADED)

    async def _view(self, listener_id: str, session_id: str | None, moves_sound: bool) -> View:
        """All live sessions where another one may have to fall silent, else the one that is asked for."""
        if session_id is not None and not moves_sound:
            return await self._finder.session(listener_id, session_id)
        return await self._finder.live(listener_id, session_id)

    async def _write(
        self,
        listener_id: str,
        held: Held,
        outcome: Outcome,
        silenced: Sequence[Change],
        origin: Origin,
    ) -> Committed:
        changes = [Change(after=outcome.state, expected_version=held.expected_version), *silenced]
        packets = _packets(outcome, origin)
        packets += [_packet("state", state_payload(change.after, outcome.cause), None, outcome) for change in silenced]
        committed = await self._store.commit(listener_id, outcome.state.epoch, changes, packets)
        if committed is Committed.DONE:
            for change in changes:
                self._writer.note(change.after)
        return committed


def _unplayable(script: Script | None) -> Rejection | None:
    if script is None:
        return Rejection(code=Code.NOT_FOUND)
    if script.status == "failed":
        return Rejection(code=Code.SCRIPT_FAILED)
    return None if script.duration_ms > 0 else Rejection(code=Code.SCRIPT_NOT_READY)


def _silenced(view: View, sounding: SessionState, cause: Cause, now_ms: int) -> list[Change]:
    """The listener's other sessions that sound on the same device: it can play only one, so they are paused."""
    device_id = sounding.active_device_id
    if device_id is None or not sounding.playing:
        return []
    origin = Origin(device_id=cause.device_id or device_id)
    changes = []
    for held in view.sessions:
        state = held.state
        if state.session_id == sounding.session_id or not state.playing or state.active_device_id != device_id:
            continue
        paused = reduce(state, Pause(), origin, now_ms=now_ms, connected={})
        assert isinstance(paused, Decision)
        after = replace(paused.state, epoch=view.epoch)
        changes.append(Change(after=after, expected_version=held.expected_version))
    return changes


def _packet(event: str, data: dict[str, Any], skip_connection_id: str | None, outcome: Outcome) -> bytes:
    return encode_packet(
        Packet(event=event, data=data, skip_connection_id=skip_connection_id, published_at_ms=outcome.server_time_ms)
    )


def _packets(outcome: Outcome, origin: Origin) -> list[bytes]:
    """What the listener's devices are told of an outcome; the connection that asked has it in its ack."""
    state, skip = outcome.state, origin.connection_id
    payload = state_payload(state, outcome.cause)
    ids = {"session_id": state.session_id, "script_id": state.script_id}
    packets = []
    if outcome.created:
        packets.append(_packet("session_started", {**ids, "state": payload}, skip, outcome))
    if outcome.published:
        packets.append(_packet("state", payload, skip, outcome))
    if state.ended_at_ms is not None:
        reason = "idle" if outcome.cause.device_id is None else "ended_by_listener"
        ended = {**ids, "reason": reason, "position": seconds(state.position_ms)}
        packets.append(_packet("session_ended", ended, None, outcome))
    return packets

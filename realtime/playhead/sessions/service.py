"""The use cases of playback, the same for both surfaces: what may be asked, and of which session.

How a command flows is `committing.py`. StoreUnavailable and DatabaseUnavailable pass through; both surfaces answer them
with `unavailable`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from msgspec import structs

from playhead.auth.tokens import Principal
from playhead.db import DatabaseUnavailable, Script
from playhead.playback.commands import Command, Due, Lost, Offline, Origin, Play, Renew, Restore, Seek, Transfer
from playhead.playback.endings import heard_out
from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX, Move
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.runtime.limits import Paces, Rate
from playhead.sessions.answers import Outcome
from playhead.sessions.archive import Archive
from playhead.sessions.committing import SERVER, Committer, Wish
from playhead.sessions.finding import Contended, SessionFinder
from playhead.sessions.journal import OfflineInterval
from playhead.sessions.presence import Presence
from playhead.sessions.reviving import Held, View
from playhead.sessions.scripts import Scripts, look_up
from playhead.sessions.store import DueSession, Orders, SessionStore

log = structlog.get_logger(__name__)

OFFLINE_RATE = Rate(per_s=10, burst=10_000)
"""Offline stretches that a process takes of one listener: two whole logs of our client at once, 36,000 an hour. Each
may become a row."""
OFFLINE_TOO_FAST = (
    "This listener tells more of what was played offline than is taken at once. Send the batch again later."
)

JUMPS = (Seek, Transfer)
"""After these a device asks for media of another place, or for the first time; as after Play and Restore, whose use
cases say so themselves."""
NO_ROOM = "What the server does by itself found no room in the journal's reserve, or others were faster each time."


OnJump = Callable[[str, int], None]
"""Is told the script and the place, in ms, where somebody will listen now. It must not wait."""


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


class SessionService:
    """The one way that commands flow, for both surfaces."""

    def __init__(
        self,
        store: SessionStore,
        archive: Archive,
        scripts: Scripts,
        presence: Presence,
        clock: Clock,
        new_id: Callable[[], str],
        on_jump: OnJump = lambda _script_id, _position_ms: None,
    ) -> None:
        self._store = store
        self._archive = archive
        self._finder = SessionFinder(store, archive, clock, new_id)
        self._committer = Committer(store, self._finder, presence, clock)
        self._scripts = scripts
        self._presence = presence
        self._clock = clock
        self._on_jump = on_jump
        self._offline_paces = Paces(OFFLINE_RATE)

    async def play(
        self,
        principal: Principal,
        script_id: str,
        command: Play,
        origin: Origin,
        expected_revision: int | None = None,
        expected_epoch: int | None = None,
    ) -> Outcome | Rejection:
        """Resumes the listener's live session of the script, or starts one where the last one stopped.

        With the file that the script has now, whichever the session had.
        """
        wish = _of_script(
            principal,
            script_id,
            command,
            origin,
            expected_revision=expected_revision,
            expected_epoch=expected_epoch,
        )
        try:
            script = await self._scripts.get(principal.claims, script_id)
        except DatabaseUnavailable as away:
            return await self._committer.carry_out(wish, partial(_live_or_raise, script_id, away))
        answer = await self._carried_out(wish, script)
        self._jumped(answer)
        return answer

    def _jumped(self, answer: Outcome | Rejection) -> None:
        if isinstance(answer, Outcome):
            self._on_jump(answer.state.script_id, answer.state.position_ms)

    async def offline(
        self,
        principal: Principal,
        script_id: str,
        command: Offline,
        origin: Origin,
        intervals: Sequence[OfflineInterval] = (),
        base_session_id: str | None = None,
    ) -> Outcome | Rejection:
        """Credits what was heard without a connection to the live session of the script, or to a new one that rests.

        `base_session_id`: the session that the device was in when it went; `command.base` is its state.
        """
        now_us, stretches = self._clock.now_ms() * 1_000, max(1, len(command.intervals))
        if wait_us := self._offline_paces.take(principal.listener_id, now_us, stretches):
            return Rejection(code=Code.OVERLOADED, detail=OFFLINE_TOO_FAST, retry_after_ms=-(-wait_us // 1_000))
        wish = _of_script(
            principal, script_id, command, origin, offline=tuple(intervals), base_session_id=base_session_id
        )
        return await self._carried_out(wish, await self._scripts.get(principal.claims, script_id))

    async def _carried_out(self, wish: Wish, script: Script | None) -> Outcome | Rejection:
        """A wish for the script's live session, or for a new one."""
        if refusal := _unplayable(script):
            return refusal
        assert script is not None

        async def find(view: View) -> Held:
            held = await self._finder.of_script(wish.listener_id, script, view)
            return structs.replace(held, script=script)

        return await self._committer.carry_out(wish, find)

    async def apply(
        self,
        listener_id: str,
        session_id: str,
        command: Command,
        origin: Origin,
        expected_revision: int | None = None,
        expected_epoch: int | None = None,
    ) -> Outcome | Rejection:
        """Applies `command` to that session of the listener; `not_found` where it is not theirs."""
        wish = _of_session(listener_id, session_id, command, origin, expected_revision, expected_epoch)
        answer = await self._committer.carry_out(wish, partial(self._finder.by_id, listener_id, session_id))
        if isinstance(command, JUMPS):
            self._jumped(answer)
        return answer

    async def resume(
        self,
        principal: Principal,
        session_id: str,
        command: Play,
        origin: Origin,
        expected_revision: int | None = None,
        expected_epoch: int | None = None,
    ) -> Outcome | Rejection:
        """Plays that session, as `play` does its script; with the file that it has, where PostgreSQL is away."""

        async def find(view: View) -> Held | None:
            held = await self._finder.by_id(principal.listener_id, session_id, view)
            if held is None:
                return None
            try:
                script = await look_up(self._scripts, principal.claims, held.state.script_id)
            except DatabaseUnavailable as error:
                log.warning("A session goes on with its file.", action="present_file_unknown", error=str(error))
                script = None
            return held if script is None else structs.replace(held, script=script)

        wish = _of_session(principal.listener_id, session_id, command, origin, expected_revision, expected_epoch)
        answer = await self._committer.carry_out(wish, find)
        self._jumped(answer)
        return answer

    async def renew(self, listener_id: str, session_id: str, script: Script) -> Outcome | Rejection:
        """The address of what the session plays ends: it goes on with the file that `script` has."""

        async def find(view: View) -> Held | None:
            held = view.session(session_id)
            return None if held is None else structs.replace(held, script=script)

        return await self._committer.carry_out(_of_session(listener_id, session_id, Renew(), SERVER), find)

    async def restore(
        self,
        listener_id: str,
        session_id: str,
        entry_id: str,
        origin: Origin,
        expected_revision: int | None = None,
        expected_epoch: int | None = None,
    ) -> Outcome | Rejection:
        """Goes back to the place that an entry of the session's history left, or to the one that was refused.

        Sent again it is answered as the first time, whatever has become of the entry, and of PostgreSQL.
        """
        wish = _of_session(
            listener_id, session_id, Restore(position_ms=0), origin, expected_revision, expected_epoch, asked=entry_id
        )
        if (answer := await self._committer.answered(wish)) is not None:
            return answer
        entries = await self.history(listener_id, session_id)
        if isinstance(entries, Rejection):
            return entries
        entry = next((entry for entry in entries if entry.entry_id == entry_id), None)
        if entry is None:
            return Rejection(code=Code.NOT_FOUND, detail="The session's history has no such entry.")
        wish = structs.replace(wish, command=Restore(position_ms=entry.restored_ms))
        answer = await self._committer.carry_out(wish, partial(self._finder.by_id, listener_id, session_id))
        self._jumped(answer)
        return answer

    async def history(self, listener_id: str, session_id: str) -> tuple[Move, ...] | Rejection:
        """The session's latest moves and conflicts, newest first."""
        found = await self._known(listener_id, session_id)
        if found is None:
            return Rejection(code=Code.NOT_FOUND)
        stored = await self._archive.moves(session_id)
        entries = {entry.entry_id: entry for entry in (*stored, *await self._store.moves(listener_id, session_id))}
        newest = sorted(entries.values(), key=lambda entry: (entry.at_ms, entry.epoch, entry.revision), reverse=True)
        moves = [entry for entry in newest if not entry.refused][:MOVES_MAX]
        conflicts = [entry for entry in newest if entry.refused][:CONFLICTS_MAX]
        return tuple(entry for entry in newest if entry in moves or entry in conflicts)

    async def _known(self, listener_id: str, session_id: str) -> SessionState | None:
        """The listener's session, live, ended or long over."""
        view = await self._finder.session(listener_id, session_id)
        state = view.sessions[0].state if view.sessions else await self._archive.get(session_id)
        return state if state is not None and state.listener_id == listener_id else None

    async def device_lost(
        self, listener_id: str, device_id: str, connection_id: str, last_seen_at_ms: int | None, grace_ms: int
    ) -> None:
        """A device's connection has ended: what sounds on it waits `grace_ms`, if it has no other connection.

        To be called before the store forgets the connection, as nobody else would see to it then, and once more
        afterwards: a command that was decided meanwhile may have let it sound. Raises Contended, as `excuse` and `due`
        do: then it is still to be done.
        """
        rows = await self._store.connections(listener_id, self._clock.now_ms())
        if any(row.device_id == device_id and row.connection_id != connection_id for row in rows):
            return
        until_ms = self._clock.now_ms() + grace_ms
        lost = Lost(device_id=device_id, last_seen_at_ms=last_seen_at_ms, until_ms=until_ms)
        for state in await self.live_states(listener_id):
            waits = state.absent_until_ms is not None and state.absent_until_ms <= until_ms
            if state.playing and state.active_device_id == device_id and not waits:
                _done(await self.apply(listener_id, state.session_id, lost, SERVER))

    async def connection_lost(self, listener_id: str, connection_id: str) -> None:
        """As `device_lost`, without a grace, of a connection of which nothing is known but who sounds over it."""
        for state in await self.live_states(listener_id):
            if state.active_device_id is not None and state.active_connection_id == connection_id:
                await self.device_lost(listener_id, state.active_device_id, connection_id, None, grace_ms=0)

    async def excuse(self, state: SessionState, until_ms: int) -> None:
        """What sounds on a device whose connection went with the servers has until then, if it is not back already."""
        rows = await self._store.connections(state.listener_id, self._clock.now_ms())
        device_id = state.active_device_id
        if device_id is None or any(row.device_id == device_id for row in rows):
            return
        lost = Lost(device_id=device_id, last_seen_at_ms=state.absent_since_ms, until_ms=until_ms)
        _done(await self.apply(state.listener_id, state.session_id, lost, SERVER))

    async def due(self, item: DueSession, excused_until_ms: int | None = None) -> None:
        """Does what the session's deadlines ask for, and notes the next one.

        `excused_until_ms`: until then nobody is blamed for being away.
        """
        left_at_ms = await self._store.left_at_ms(item.listener_id)

        async def find(view: View) -> Held | None:
            return await self._finder.unended(item.listener_id, item.session_id, view)

        wish = Wish(
            listener_id=item.listener_id,
            session_id=item.session_id,
            target=item.session_id,
            command=Due(left_at_ms=left_at_ms, excused_until_ms=excused_until_ms),
            origin=SERVER,
        )
        if not _done(await self._committer.carry_out(wish, find)):
            await self._store.forget_due(item)

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
        """The listener's live session of the script, or the place where it would resume.

        One that is live was begun by who might hear the script: PostgreSQL is asked only where there is none, so that
        all who come back at once after a restart need nothing of it.
        """
        view = await self._finder.live(principal.listener_id)
        if (live := view.live(script_id)) is not None:
            return Snapshot(state=live.state, place=None, server_time_ms=self._clock.now_ms())
        script = await self._scripts.get(principal.claims, script_id)
        if script is None:
            return Rejection(code=Code.NOT_FOUND)
        held = await self._finder.of_script(principal.listener_id, script, view)
        if not held.created:
            return Snapshot(state=held.state, place=None, server_time_ms=self._clock.now_ms())
        last = await self._finder.last(principal.listener_id, script_id)
        place = None if last is None else Place(position_ms=held.state.position_ms, finished=heard_out(last))
        return Snapshot(state=None, place=place, server_time_ms=self._clock.now_ms())

    async def orders(self, listener_ids: Sequence[str]) -> Mapping[str, Orders]:
        """What the devices of these listeners must have been told by now."""
        return await self._store.orders(listener_ids)

    async def live_states(self, listener_id: str) -> tuple[SessionState, ...]:
        """The listener's live sessions, taken over into this life of the store."""
        return (await self._finder.live(listener_id)).live_states


def _of_script(principal: Principal, script_id: str, command: Command, origin: Origin, **options: Any) -> Wish:
    """What is asked of a script, whichever session of it that will be."""
    listener_id = principal.listener_id
    return Wish(listener_id=listener_id, session_id=None, target=script_id, command=command, origin=origin, **options)


def _of_session(
    listener_id: str,
    session_id: str,
    command: Command,
    origin: Origin,
    expected_revision: int | None = None,
    expected_epoch: int | None = None,
    asked: str | None = None,
) -> Wish:
    return Wish(
        listener_id=listener_id,
        session_id=session_id,
        target=session_id,
        command=command,
        origin=origin,
        expected_revision=expected_revision,
        expected_epoch=expected_epoch,
        asked=asked,
    )


def _done(answer: Outcome | Rejection) -> bool:
    """Whether what the server does by itself was done; False: there is nothing any more to do it with."""
    if isinstance(answer, Rejection) and answer.code is Code.OVERLOADED:
        log.warning(NO_ROOM, action="own_change_waits")
        raise Contended(NO_ROOM)
    return not (isinstance(answer, Rejection) and answer.code is Code.NOT_FOUND)


async def _live_or_raise(script_id: str, away: DatabaseUnavailable, view: View) -> Held:
    """While PostgreSQL is away: the live session of the script, which needs nothing of it. A new one must wait."""
    held = view.live(script_id)
    if held is None:
        raise away
    return held


def _unplayable(script: Script | None) -> Rejection | None:
    if script is None:
        return Rejection(code=Code.NOT_FOUND)
    if script.status == "failed":
        return Rejection(code=Code.SCRIPT_FAILED)
    return None if script.duration_ms > 0 else Rejection(code=Code.SCRIPT_NOT_READY)

"""Which session a command is for, and in which state: the store's, its row's where that is later, or a new one.

A session first touched in a new epoch is compared with its row, and the later `(epoch, revision, version)` wins: the
store may have lost its last changes, and with them the session. The winner is written in the new epoch at once, and
every device is told: those that were shown what is lost would take it for the later state. Must not know: commands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from playhead.db import DatabaseUnavailable, Script
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.endings import resume_ms
from playhead.playback.reducer import start
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.archive import Archive
from playhead.sessions.codec import Packet, encode_packet, state_payload
from playhead.sessions.store import Change, Committed, Loaded, SessionStore

log = structlog.get_logger(__name__)

DEFAULT_RATE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A session as the next commit must see it: `expected_version` None where the store has lost or never had it.

    `last`: of one that is created, the listener's session of the script before.
    """

    state: SessionState
    expected_version: int | None
    created: bool = False
    last: SessionState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Sessions of one listener, the epoch that the next commit must name, and the kept answer that was asked for."""

    epoch: int
    sessions: tuple[Held, ...]
    answer: bytes | None = None

    def live(self, script_id: str) -> Held | None:
        """The live session of the script."""
        found = (row for row in self.sessions if row.state.script_id == script_id and row.state.ended_at_ms is None)
        return next(found, None)


class SessionFinder:
    """Reads the store and the archive. Raises StoreUnavailable and DatabaseUnavailable."""

    def __init__(self, store: SessionStore, archive: Archive, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._archive = archive
        self._clock = clock
        self._new_id = new_id

    async def session(self, listener_id: str, session_id: str, command_id: str | None = None) -> View:
        """That session alone, live or just ended, if the store has it."""
        return await self._compared(listener_id, await self._store.load(listener_id, session_id, command_id))

    async def live(self, listener_id: str, session_id: str | None = None, command_id: str | None = None) -> View:
        """All live sessions; `session_id` as well, if the store has it as one that has just ended."""
        loaded = await self._store.live(listener_id, command_id)
        if session_id is not None and all(state.session_id != session_id for state in loaded.states):
            ended = await self._store.load(listener_id, session_id)
            loaded = replace(loaded, states=(*loaded.states, *ended.states))
        return await self._compared(listener_id, loaded)

    async def by_id(self, listener_id: str, session_id: str, view: View) -> Held | None:
        """The session in `view`, or the listener's row of a live session that the store has lost."""
        for held in view.sessions:
            if held.state.session_id == session_id:
                return held
        row = await self._archive.get(session_id)
        if row is None or row.listener_id != listener_id or not self._alive(row):
            return None
        others = (await self._store.live(listener_id)).states
        if any(other.script_id == row.script_id for other in others):
            return None
        return await self._restored(listener_id, view.epoch, row)

    async def unended(self, listener_id: str, session_id: str, view: View) -> Held | None:
        """The session in `view`, or its row where only its end is missing: it may be long over.

        None for a row that another session of the script has followed: its end would be told as the last place.
        """
        for held in view.sessions:
            if held.expected_version is not None:
                return held
        row = await self._archive.get(session_id)
        if row is None or row.listener_id != listener_id or row.ended_at_ms is not None:
            return None
        last = await self.last(listener_id, row.script_id)
        live = (await self._store.live(listener_id)).states
        if last is None or last.session_id != session_id or any(other.script_id == row.script_id for other in live):
            return None
        return Held(state=row, expected_version=None)

    async def of_script(self, listener_id: str, script: Script, view: View) -> Held:
        """The live session of the script, its row where the store has lost it, or a new one from the place left."""
        if (live := view.live(script.script_id)) is not None:
            return live
        last = await self.last(listener_id, script.script_id)
        if last is not None and self._alive(last):
            return await self._restored(listener_id, view.epoch, last)
        place_ms = 0 if last is None else resume_ms(last)
        rate = DEFAULT_RATE if last is None else last.rate
        state = start(
            session_id=self._new_id(),
            listener_id=listener_id,
            script_id=script.script_id,
            duration_ms=script.duration_ms,
            position_ms=place_ms if place_ms < script.duration_ms else 0,
            rate=rate,
            now_ms=self._clock.now_ms(),
        )
        if last is not None:
            # an offline batch may have begun in the session before
            state = replace(state, moved=last.moved)
        return Held(state=state, expected_version=None, created=True, last=last)

    async def last(self, listener_id: str, script_id: str) -> SessionState | None:
        """The listener's last session of a script of which none is live: one that has just ended is not yet a row."""
        ended = await self._store.last_ended(listener_id, script_id)
        return ended if ended is not None else await self._archive.latest(listener_id, script_id)

    async def _compared(self, listener_id: str, loaded: Loaded) -> View:
        """What was loaded; what is of an earlier epoch compared with its rows, and taken over into this one."""
        held = tuple(Held(state=state, expected_version=state.version) for state in loaded.states)
        if any(state.epoch != loaded.epoch for state in loaded.states):
            held = await self._taken_over(listener_id, loaded.epoch, held)
        return View(epoch=loaded.epoch, sessions=held, answer=loaded.answer)

    async def _taken_over(self, listener_id: str, epoch: int, held: tuple[Held, ...]) -> tuple[Held, ...]:
        """`held` as written in this epoch. Unchanged, if somebody else is at it: their commit decides.

        With a row's end that the store has lost, a new session of the script can take the place of the ended one.
        """
        try:
            newest = [await self._newest(row) if row.state.epoch != epoch else row for row in held]
        except DatabaseUnavailable:
            # not taken over: the rows may be later, and are asked again when they can be
            log.warning("PostgreSQL is away; the store's state is taken.", action="epoch_unchecked")
            return held
        renewed = tuple(row if row.state.epoch == epoch else _in_epoch(row, epoch) for row in newest)
        changes = [
            Change(after=new.state, expected_version=old.expected_version)
            for new, old in zip(renewed, held, strict=True)
            if new is not old
        ]
        return renewed if await self._written(listener_id, epoch, changes) else tuple(newest)

    async def _restored(self, listener_id: str, epoch: int, row: SessionState) -> Held:
        """The session that the store has lost, back in it as its row tells."""
        lost = Held(state=row, expected_version=None)
        back = _in_epoch(lost, epoch)
        done = await self._written(listener_id, epoch, [Change(after=back.state, expected_version=None)])
        return back if done else lost

    async def _written(self, listener_id: str, epoch: int, changes: Sequence[Change]) -> bool:
        """Whether the changes were committed. Every device is told."""
        packets = [
            encode_packet(Packet(event="state", data=state_payload(change.after), published_at_ms=self._clock.now_ms()))
            for change in changes
        ]
        return await self._store.commit(listener_id, epoch, changes, packets) is Committed.DONE

    async def _newest(self, held: Held) -> Held:
        row = await self._archive.get(held.state.session_id)
        stored = held.state
        newer = row is not None and (row.order, row.version) > (stored.order, stored.version)
        return replace(held, state=row) if row is not None and newer else held

    def _alive(self, row: SessionState) -> bool:
        return row.ended_at_ms is None and self._clock.now_ms() - row.changed_at_ms < IDLE_END_MS


def _in_epoch(held: Held, epoch: int) -> Held:
    """The same state as a write in `epoch`: later than whatever an earlier one has told."""
    version = max(held.state.version, held.expected_version or 0) + 1
    return replace(held, state=replace(held.state, epoch=epoch, version=version), expected_version=version)

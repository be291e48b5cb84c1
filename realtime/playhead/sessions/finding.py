"""Which session a command is for, and in which state: the store's, its row's where that is later, or a new one.

A session first touched in a new epoch is taken into it first: see `reviving.py`. Must not know: commands, packets,
devices.
"""

from collections.abc import Awaitable, Callable

import structlog
from msgspec import structs

from playhead.db import Script
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.endings import left_ms, resume_ms, stopped
from playhead.playback.reducer import start
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.archive import Archive
from playhead.sessions.reviving import Held, Reviver, View
from playhead.sessions.store import Loaded, SessionStore, StoreUnavailable

log = structlog.get_logger(__name__)

DEFAULT_RATE = 1.0
TAKE_OVER_ATTEMPTS_MAX = 8
CONTENDED = "The listener's sessions changed each time that they were to be taken into the store's new life."


class Contended(StoreUnavailable):
    """The listener's sessions could not be changed: others were faster each time, or there was no room for it.

    Ask again in a moment. Nothing is said of the store, nor of anybody else's sessions.
    """


class SessionFinder:
    """Reads the store and the archive. Raises StoreUnavailable, Contended among it, and DatabaseUnavailable."""

    def __init__(self, store: SessionStore, archive: Archive, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._archive = archive
        self._reviver = Reviver(store, archive, clock)
        self._clock = clock
        self._new_id = new_id

    async def session(self, listener_id: str, session_id: str, command_id: str | None = None) -> View:
        """That session alone, live or just ended, if the store has it."""
        loaded = await self._store.load(listener_id, session_id, command_id)
        state = loaded.states[0] if loaded.states else None
        if state is None or state.epoch == loaded.epoch or state.ended_at_ms is not None:
            return View.of(loaded)
        # one that comes from another epoch may find that its device sounds in another session by now
        view = await self.live(listener_id, session_id, command_id)
        held = view.session(session_id)
        return structs.replace(view, sessions=() if held is None else (held,))

    async def live(self, listener_id: str, session_id: str | None = None, command_id: str | None = None) -> View:
        """All live sessions; `session_id` as well, if the store has it as one that has just ended."""

        async def load() -> Loaded:
            loaded = await self._store.live(listener_id, command_id)
            if session_id is None or any(state.session_id == session_id for state in loaded.states):
                return loaded
            ended = await self._store.load(listener_id, session_id)
            return structs.replace(loaded, states=(*loaded.states, *ended.states))

        return await self._taken_over(listener_id, load)

    async def _taken_over(self, listener_id: str, load: Callable[[], Awaitable[Loaded]]) -> View:
        for _ in range(TAKE_OVER_ATTEMPTS_MAX):
            loaded = await load()
            view = await self._reviver.take_over(listener_id, loaded)
            if view is not None:
                return view
        # what was loaded is not answered with: nobody has compared it with its row, which may be later
        raise self._contended()

    def _contended(self) -> Contended:
        log.warning("Sessions could not be taken over.", action="take_over_contended")
        return Contended(CONTENDED)

    async def by_id(self, listener_id: str, session_id: str, view: View) -> Held | None:
        """The session in `view`, or the listener's row of a live session that the store has lost."""
        if (held := view.session(session_id)) is not None:
            return held
        for _ in range(TAKE_OVER_ATTEMPTS_MAX):
            # taken over like any other: what is written beside the row must not be older than theirs
            now = await self.live(listener_id, session_id)
            if (held := now.session(session_id)) is not None:
                # somebody else was faster to bring it back
                return held
            # read after the epoch that the commit will name: an earlier read may miss what a life between has stored
            row = await self._archive.get(session_id)
            if row is None or row.listener_id != listener_id or not self._alive(row):
                return None
            if now.live(row.script_id) is not None or await self._followed(row):
                return None
            back = await self._reviver.bring_back(listener_id, row, now.epoch, now.live_states)
            if back is not None:
                return back
        raise self._contended()

    async def _followed(self, row: SessionState) -> bool:
        """Whether another session of the script came after it: its end alone is missing, the store has lost it."""
        last = await self.last(row.listener_id, row.script_id)
        return last is not None and last.session_id != row.session_id

    async def unended(self, listener_id: str, session_id: str, view: View) -> Held | None:
        """The session in `view`, or its row where only its end is missing: it may be over, and is then as it was left.

        None for a row that another session of the script has followed: its end would be told as the last place.
        """
        for held in view.sessions:
            if held.state.session_id == session_id and held.expected_version is not None:
                return held
        row = await self._archive.get(session_id)
        if row is None or row.listener_id != listener_id or row.ended_at_ms is not None:
            return None
        last = await self.last(listener_id, row.script_id)
        live = (await self._store.live(listener_id)).states
        if last is None or last.session_id != session_id or any(other.script_id == row.script_id for other in live):
            return None
        if self._alive(row):
            return Held(state=row, expected_version=None)
        if row.absent_until_ms is None:
            # nobody knows how long it has sounded after it was last heard of
            row = stopped(row, left_ms(row), self._clock.now_ms())
        return Held(state=row, expected_version=None, over=True)

    async def of_script(self, listener_id: str, script: Script, view: View) -> Held:
        """The live session of the script, its row where the store has lost it, or a new one from the place left."""
        for _ in range(TAKE_OVER_ATTEMPTS_MAX):
            if (live := view.live(script.script_id)) is not None:
                return live
            last = await self.last(listener_id, script.script_id)
            if last is None or not self._alive(last):
                return self._begun(listener_id, script, last)
            back = await self._reviver.bring_back(listener_id, last, view.epoch, view.live_states)
            if back is not None:
                return back
            view = await self.live(listener_id)
        raise self._contended()

    def _begun(self, listener_id: str, script: Script, last: SessionState | None) -> Held:
        """A new session, from the place left; from the start, where that lies behind the end of a newer file."""
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
            media_version=script.media_version,
        )
        if last is not None:
            # an offline batch may have begun in the session before
            state = structs.replace(state, moved=last.moved)
        return Held(state=state, expected_version=None, created=True, last=last)

    async def last(self, listener_id: str, script_id: str) -> SessionState | None:
        """The listener's last session of a script of which none is live, by the store or by its rows.

        One that has just ended is not yet a row; one that followed it may be a row alone, where the store has lost it.
        """
        ended = await self._store.last_ended(listener_id, script_id)
        row = await self._archive.latest(listener_id, script_id)
        if ended is None or ended.ended_at_ms is None:
            return row
        if row is None or row.session_id == ended.session_id or row.started_at_ms < ended.ended_at_ms:
            return ended
        return row

    def _alive(self, row: SessionState) -> bool:
        return row.ended_at_ms is None and self._clock.now_ms() - row.changed_at_ms < IDLE_END_MS

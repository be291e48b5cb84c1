"""What the session layer stands on, for tests of it: a clock that is set by hand, scripts, and rows in memory."""

import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from playhead.auth.tokens import Principal
from playhead.db import DatabaseUnavailable, Script
from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.sessions.journal import Entry
from tests.support.states import DURATION_MS, LISTENER_ID, NOW_MS, OTHER_SCRIPT_ID, SCRIPT_ID


class SetClock:
    """A clock that stands still until the test moves it."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.time_ms = now_ms

    def now_ms(self) -> int:
        return self.time_ms

    def advance(self, elapsed_ms: int) -> None:
        self.time_ms += elapsed_ms


def make_script(script_id: str = SCRIPT_ID, **fields: Any) -> Script:
    """A public script of an hour, ready."""
    created = datetime(2026, 1, 1, tzinfo=UTC)
    script = Script(
        script_id=script_id,
        owner_id=LISTENER_ID,
        title="A script",
        visibility="listeners",
        status="ready",
        error=None,
        progress=1.0,
        source_key=f"sources/{script_id}/0123456789abcdef",
        source_bytes=1,
        source_codec="mp3",
        source_rate=48_000,
        source_samples=DURATION_MS * 48,
        source_start_s=0.0,
        duration_ms=DURATION_MS,
        total_samples=DURATION_MS * 48,
        media_version="0123456789abcdef",
        created_at=created,
        updated_at=created,
    )
    return replace(script, **fields)


class HeldScripts:
    """Scripts in memory, heard by everybody, `fetched` so often. `down`: calls fail as if PostgreSQL were away."""

    def __init__(self, *scripts: Script) -> None:
        self.by_id = {script.script_id: script for script in scripts or (make_script(), make_script(OTHER_SCRIPT_ID))}
        self.down = False
        self.fetched = 0

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        self.fetched += 1
        if self.down:
            raise DatabaseUnavailable("PostgreSQL is away.")
        return self.by_id.get(script_id)


class HeldRows:
    """Rows of sessions in memory, fenced as in PostgreSQL. `down`: every call fails as if PostgreSQL were away.

    `unread`: sessions whose row cannot be read. `step_in`: what another process does while the next row is read.
    """

    def __init__(self) -> None:
        self.rows: dict[str, SessionState] = {}
        self.entries: dict[str, list[Move]] = {}
        self.down = False
        self.unread: set[str] = set()
        self.step_in: Callable[[], Awaitable[None]] | None = None

    def keep(self, *states: SessionState) -> None:
        for state in states:
            known = self.rows.get(state.session_id)
            if known is None or (known.order, known.version) < (state.order, state.version):
                self.rows[state.session_id] = state

    async def get(self, session_id: str) -> SessionState | None:
        self._answer()
        if session_id in self.unread:
            raise DatabaseUnavailable("The connection was lost.")
        if (step_in := self.step_in) is not None:
            self.step_in = None
            await step_in()
        return self.rows.get(session_id)

    async def latest(self, listener_id: str, script_id: str) -> SessionState | None:
        self._answer()
        mine = [row for row in self.rows.values() if (row.listener_id, row.script_id) == (listener_id, script_id)]
        return max(mine, key=lambda row: (row.started_at_ms, row.session_id), default=None)

    async def moves(self, session_id: str) -> tuple[Move, ...]:
        self._answer()
        return tuple(self.entries.get(session_id, ()))

    def take(self, journal: deque[Entry]) -> None:
        """Everything that is in a journal becomes rows, as the flusher does it."""
        self._answer()
        while journal:
            entry = journal.popleft()
            self.keep(entry.state)
            self.entries.setdefault(entry.state.session_id, []).extend(entry.moves)

    def _answer(self) -> None:
        if self.down:
            raise DatabaseUnavailable("PostgreSQL is away.")


def make_principal(listener_id: str = LISTENER_ID) -> Principal:
    return Principal(listener_id=listener_id, role="authenticated", scopes=frozenset(), expires_at_s=NOW_MS)


def new_id() -> str:
    return str(uuid.uuid4())

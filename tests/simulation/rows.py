"""PostgreSQL as the sessions see it: rows in memory with the fences of the SQL, away at times; and scripts."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from playhead.db import DatabaseUnavailable, Script
from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX, Move
from playhead.playback.listened import union
from playhead.playback.state import SessionState
from playhead.sessions.journal import Entry
from tests.simulation.chance import Chance
from tests.simulation.node_store import Wire
from tests.simulation.record import ASKED
from tests.simulation.schedule import Plan


class Rows:
    """What is stored. `up` is False while nobody can talk to it."""

    def __init__(self, scripts: Iterable[Script]) -> None:
        self.up = True
        self.scripts = {script.script_id: script for script in scripts}
        self.sessions: dict[str, SessionState] = {}
        self.moves: dict[str, dict[str, Move]] = {}
        self.listening: dict[tuple[str, int], int] = {}
        """Milliseconds played, by session and quarter of an hour."""
        self.away_count = 0
        """How often it was away or failed: then a row could not be compared."""

    def store(self, entries: Iterable[Entry]) -> None:
        """One transaction of the flusher, replayable: later states win, greater amounts win, moves are unique."""
        for entry in entries:
            state = entry.state
            known = self.sessions.get(state.session_id, state)
            later = max(known, state, key=lambda one: (one.order, one.version))
            # an older state that comes late still knows what was listened to
            listened = union(known.listened, state.listened)
            played_ms = max(known.played_ms, state.played_ms)
            self.sessions[state.session_id] = replace(later, listened=listened, played_ms=played_ms)
            for move in entry.moves:
                self._keep(state.session_id, move)
            for slot, played_ms in state.played_slots:
                key = (state.session_id, slot)
                self.listening[key] = max(played_ms, self.listening.get(key, 0))

    def _keep(self, session_id: str, move: Move) -> None:
        moves = self.moves.setdefault(session_id, {})
        if move.entry_id not in moves or moves[move.entry_id].at_ms < move.at_ms:
            moves[move.entry_id] = move
        for refused, most in ((False, MOVES_MAX), (True, CONFLICTS_MAX)):
            same = [row for row in moves.values() if row.refused is refused]
            for row in sorted(same, key=lambda row: row.at_ms)[: max(0, len(same) - most)]:
                del moves[row.entry_id]


class NodeRows:
    """Archive and Scripts of one node: each call takes its time and may fail."""

    def __init__(self, rows: Rows, wire: Wire, plan: Plan, chance: Chance) -> None:
        self._rows = rows
        self._wire = wire
        self._chance = chance
        self._failure = plan.faults.database

    async def _ask(self) -> None:
        await self._wire.way()
        failed = not self._wire.calm and bool(self._failure) and self._chance.happens(self._failure)
        if failed or not self._rows.up:
            self._rows.away_count += 1
            if (asked := ASKED.get()) is not None:
                asked.unavailable = True
            raise DatabaseUnavailable("PostgreSQL does not answer.")

    async def get(self, session_id: str) -> SessionState | None:
        await self._ask()
        return self._rows.sessions.get(session_id)

    async def latest(self, listener_id: str, script_id: str) -> SessionState | None:
        await self._ask()
        rows = self._rows.sessions.values()
        mine = [row for row in rows if (row.listener_id, row.script_id) == (listener_id, script_id)]
        return max(mine, key=lambda row: (row.started_at_ms, row.session_id), default=None)

    async def moves(self, session_id: str) -> tuple[Move, ...]:
        await self._ask()
        return tuple(self._rows.moves.get(session_id, {}).values())


class NodeScripts:
    """Scripts of one node, heard by everybody."""

    def __init__(self, rows: Rows, archive: NodeRows) -> None:
        self._rows = rows
        self._archive = archive

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        await self._archive._ask()
        return self._rows.scripts.get(script_id)

"""The journal of the state store in memory, for the one process that has it."""

from collections.abc import Sequence
from itertools import count

from playhead.runtime.clock import Clock
from playhead.sessions.flushing import CLAIM_IDLE_MS, DEAD_LETTERS_MAX, Backlog, Taken
from playhead.sessions.journal import Entry, encode_entry
from playhead.sessions.keys import partition_of
from playhead.sessions.memory_store import MemoryStore

ONLY_LIFE = ""
"""What is in memory has no other: numbers are given once."""


class MemoryJournal:
    """Journal of all flushers of the process. `dead`: what was buried, with the reasons."""

    def __init__(self, store: MemoryStore, clock: Clock, *, claim_idle_ms: int = CLAIM_IDLE_MS) -> None:
        self._store = store
        self._clock = clock
        self._claim_idle_ms = claim_idle_ms
        self._numbers = count(1)
        self._pending: dict[str, tuple[int, Taken]] = {}
        self.dead: list[tuple[Taken, str]] = []

    async def take(self, limit: int) -> Sequence[Taken]:
        waiting = self._store.journal
        taken = [self._taken(waiting.popleft()) for _ in range(min(limit, len(waiting)))]
        self._hold(taken)
        return taken

    def _taken(self, entry: Entry) -> Taken:
        return Taken(
            partition=partition_of(entry.state.listener_id),
            life=ONLY_LIFE,
            entry_id=str(next(self._numbers)),
            committed_at_ms=entry.state.changed_at_ms,
            fields=encode_entry(entry),
            entry=entry,
        )

    def _hold(self, taken: Sequence[Taken]) -> None:
        now_ms = self._clock.now_ms()
        self._pending |= {row.entry_id: (now_ms, row) for row in taken}

    async def claim(self, limit: int) -> Sequence[Taken]:
        before_ms = self._clock.now_ms() - self._claim_idle_ms
        taken = [row for taken_at_ms, row in self._pending.values() if taken_at_ms <= before_ms][:limit]
        self._hold(taken)
        return taken

    async def done(self, taken: Sequence[Taken]) -> None:
        for row in taken:
            self._pending.pop(row.entry_id, None)

    async def bury(self, taken: Taken, reason: str) -> int:
        self.dead.append((taken, reason))
        await self.done([taken])
        beside = [number for number, (row, _) in enumerate(self.dead) if row.partition == taken.partition]
        forgotten = beside[:-DEAD_LETTERS_MAX]
        for number in reversed(forgotten):
            del self.dead[number]
        return len(forgotten)

    async def backlog(self) -> Backlog:
        pending = [row.committed_at_ms for _, row in self._pending.values()]
        waiting = [entry.state.changed_at_ms for entry in self._store.journal]
        oldest_at_ms = min((*pending, *waiting), default=None)
        return Backlog(entries=len(pending) + len(waiting), oldest_at_ms=oldest_at_ms, dead=len(self.dead))

    async def leave(self) -> None:
        """What is in hand is claimed by whoever comes next."""

"""Processes that run the real flusher: over the shared journal, into the rows, dead at any moment, started again.

They look at the journal while something is in it, as all other looks would find nothing.
"""

from collections.abc import Callable, Sequence

from playhead.db import DatabaseUnavailable
from playhead.runtime.clock import Clock
from playhead.runtime.metrics import Metrics
from playhead.sessions.flushing import FLUSH_INTERVAL_S, Backlog, Flusher, Taken
from playhead.sessions.journal import Entry
from tests.simulation.chance import Chance
from tests.simulation.loop import US_PER_S, VirtualLoop
from tests.simulation.node_store import NodeStore, Wire
from tests.simulation.rows import Rows
from tests.simulation.schedule import Plan
from tests.simulation.valkey import Valkey


class NodeJournal:
    """Journal of one process."""

    def __init__(self, valkey: Valkey, store: NodeStore) -> None:
        self._stream = valkey.stream
        self._store = store

    async def take(self, limit: int) -> Sequence[Taken]:
        return await self._store.call(lambda: self._stream.take(limit))

    async def claim(self, limit: int) -> Sequence[Taken]:
        return await self._store.call(lambda: self._stream.claim(limit))

    async def done(self, taken: Sequence[Taken]) -> None:
        await self._store.call(lambda: self._stream.done(taken))

    async def bury(self, taken: Taken, reason: str) -> int:
        return await self._store.call(lambda: self._stream.bury(taken, reason))

    async def backlog(self) -> Backlog:
        return await self._store.call(self._stream.backlog)

    async def leave(self) -> None:
        """Nothing to tell."""


class FlusherRows:
    """EntryStore of one process: one transaction, which may fail before it begins or after it was committed."""

    def __init__(self, rows: Rows, wire: Wire, plan: Plan, chance: Chance) -> None:
        self._rows = rows
        self._wire = wire
        self._chance = chance
        self._failure = plan.faults.database

    async def store(self, entries: Sequence[Entry]) -> None:
        await self._wire.way(leaves=True)
        draw = 1.0 if self._wire.calm or not self._failure else self._chance.random()
        if not self._rows.up or draw < self._failure:
            raise DatabaseUnavailable("PostgreSQL does not answer.")
        self._rows.store(entries)
        await self._wire.way()
        if draw < 2 * self._failure:
            raise DatabaseUnavailable("The answer to a commit was lost.")


class FlusherProcess:
    """One process. Whoever kills it starts another one."""

    def __init__(
        self,
        loop: VirtualLoop,
        plan: Plan,
        chance: Chance,
        valkey: Valkey,
        rows: Rows,
        clock: Clock,
        metrics: Metrics,
        note: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._valkey = valkey
        self._note = note
        self._working = False
        self.dead = self.over = False
        self.wire = Wire(loop, plan, chance, self)
        journal = NodeJournal(valkey, NodeStore(valkey, self.wire))
        self._flusher = Flusher(journal, FlusherRows(rows, self.wire, plan, chance), clock, metrics)

    def something_came(self) -> None:
        """There is an entry; entries gather for a moment."""
        if not self._working and not self.dead and not self.over:
            self._working = True
            self._loop.create_task(self._work())

    async def _work(self) -> None:
        await self._loop.sleep(round(FLUSH_INTERVAL_S * US_PER_S))
        while self._valkey.waiting():
            await self.wire.hang_if_dead()
            # between two looks that find nothing to take lies a second: what is in other hands has to age
            wait_s = max(await self._flusher.turn(), 0.25 if self._valkey.journal else 1.0)
            await self._loop.sleep(round(wait_s * US_PER_S))
        self._working = False

    def kill(self) -> None:
        self.dead = True
        self._note("flusher", "dies")

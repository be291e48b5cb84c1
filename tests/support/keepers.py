"""Where commits of a store in memory are kept, for tests: held back, failing, or answering what nobody hears."""

import asyncio
from collections.abc import Sequence

from playhead.playback.state import SessionState
from playhead.sessions.journal import Entry
from playhead.sessions.memory_store import NotKept
from playhead.sessions.store import StoreUnavailable


class HeldKeeper:
    """Keeper whose test decides what becomes of each commit.

    `room`: entries that may be on their way.
    `open`: cleared, commits wait. `away`: nothing is tried. `unheard`: so many commits are kept, but their callers are
    not told. `lost`: so many are neither kept, nor are their callers told.
    """

    def __init__(self) -> None:
        self.kept: list[Entry] = []
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Condition()
        self.waiting = 0
        self.room = 1
        self.away = False
        self.unheard = 0
        self.lost = 0

    def has_room(self, reserve: int) -> bool:
        return self.room + reserve > 0

    async def keep(self, entries: Sequence[Entry]) -> None:
        if self.away:
            raise NotKept("PostgreSQL is away.")
        async with self.arrived:
            self.waiting += 1
            self.arrived.notify_all()
        await self.open.wait()
        self.waiting -= 1
        if self.lost:
            self.lost -= 1
            raise StoreUnavailable("No answer.")
        self.kept.extend(entries)
        if self.unheard:
            self.unheard -= 1
            raise StoreUnavailable("No answer.")

    async def has_kept(self, state: SessionState) -> bool:
        if self.away:
            raise StoreUnavailable("PostgreSQL is away.")
        rows = [entry.state for entry in self.kept if entry.state.session_id == state.session_id]
        newest = max(rows, key=lambda row: (row.order, row.version), default=None)
        return newest is not None and (newest.order, newest.version) == (state.order, state.version)

    async def until_waiting(self, count: int) -> None:
        """Returns when so many commits wait."""
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: self.waiting >= count)

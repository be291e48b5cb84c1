"""What the only server process has when sessions live in its memory, on a real PostgreSQL; in the test's process.

As `playhead.app.stores` puts it together, but the clock and the names are the test's. `die` ends it as a crash does:
nothing is given back and nothing is written.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from playhead.auth.tokens import Principal
from playhead.db import Database, JournalRepository, LeaseRepository, Script, ScriptRepository, SessionRepository
from playhead.playback.commands import Command, Origin, Play
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.runtime.tasks import cancelled
from playhead.sessions.answers import Outcome
from playhead.sessions.group_keeper import Entries, GroupKeeper
from playhead.sessions.journal import Entry
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.single_node import LEASE_S, RENEW_INTERVAL_S, SingleNode
from playhead.sessions.store import JOURNAL_LENGTH_MAX
from playhead.sessions.sweeping import Sweeper
from playhead.sessions.taking_over import TakingOver
from tests.support.sessions import new_id

KEEP_TIMEOUT_S = 60.0
"""A test that holds a commit back may take its time."""


class Watched:
    """The real journal's rows, with all that was stored in them; `hold` keeps commits waiting, as `held` tells."""

    def __init__(self, rows: Entries) -> None:
        self._rows = rows
        self.stored: list[Entry] = []
        self.groups = 0
        self.held = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    async def store(self, entries: Sequence[Entry]) -> None:
        if not self.hold.is_set():
            self.held.set()
            await self.hold.wait()
        await self._rows.store(entries)
        self.stored.extend(entries)
        self.groups += 1


class MemoryProcess:
    """Made by `memory_process`. `sent`: the packets of the listeners that the test has subscribed to."""

    def __init__(self, database: Database, clock: Clock, name: str, lease_s: float, waiting_max: int) -> None:
        self.clock = clock
        self.sent: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        holder = new_id()
        self.rows = SessionRepository(database)
        self.journal = Watched(JournalRepository(database, holder))
        interval_s = min(RENEW_INTERVAL_S, lease_s / 3)
        self.node = SingleNode(LeaseRepository(database), holder, name, lease_s=lease_s, renew_interval_s=interval_s)
        self.keeper = GroupKeeper(self.journal, self.rows, self.node.lose, waiting_max, KEEP_TIMEOUT_S)
        self.store = MemoryStore(clock, self._take, keeper=self.keeper, guard=self.node.guard)
        self.presence = Presence(self.store, clock, connections_max=8)
        self.service = SessionService(self.store, self.rows, ScriptRepository(database), self.presence, clock, new_id)
        self.sweeper = Sweeper(self.store, self.service, self.presence, clock)
        self.taking_over = TakingOver(self.store, self.rows, self.service, clock)
        self._graces: asyncio.Task[None] | None = None

    async def _take(self, listener_id: str, packet: bytes) -> None:
        await self.sent.put((listener_id, packet))

    async def start(self) -> None:
        """Raises LeaseRefused."""
        self.keeper.start()
        await self.node.start(self.taking_over.read)
        self.sweeper.excuse()
        self._graces = asyncio.create_task(self.taking_over.give_time())

    async def settled(self) -> None:
        """Every device that sounded when the process before ended has been given its time."""
        assert self._graces is not None
        await asyncio.wait_for(self._graces, 10)

    async def live(self, listener_id: str) -> tuple[SessionState, ...]:
        return (await self.store.live(listener_id)).states

    async def stop(self) -> None:
        await self.die()
        await self.node.stop()

    async def die(self) -> None:
        await cancelled(self._graces)
        await self.keeper.stop()
        await cancelled(self.node._task)


PHONE = Origin(device_id="phone", connection_id="phone-1")
DESK = Origin(device_id="desk", connection_id="desk-1")


@asynccontextmanager
async def memory_process(
    database: Database,
    clock: Clock,
    name: str = "here",
    lease_s: float = LEASE_S,
    waiting_max: int = JOURNAL_LENGTH_MAX,
) -> AsyncIterator[MemoryProcess]:
    """Started, and stopped at the end."""
    process = MemoryProcess(database, clock, name, lease_s, waiting_max)
    try:
        await process.start()
        yield process
    finally:
        await process.stop()


async def play(
    process: MemoryProcess, principal: Principal, script: Script, origin: Origin = PHONE, **fields: int
) -> SessionState:
    if origin.connection_id is not None:
        await process.presence.attach(principal.listener_id, origin.connection_id, origin.device_id, "n", "phone")
    outcome = await process.service.play(principal, script.script_id, Play(**fields), origin)  # type: ignore[arg-type]
    assert isinstance(outcome, Outcome), outcome
    return outcome.state


async def apply(process: MemoryProcess, state: SessionState, command: Command, origin: Origin = PHONE) -> SessionState:
    answer = await process.service.apply(state.listener_id, state.session_id, command, origin)
    assert isinstance(answer, Outcome), answer
    return answer.state


async def row(process: MemoryProcess, state: SessionState) -> SessionState:
    stored = await process.rows.get(state.session_id)
    assert stored is not None
    return stored


async def live(process: MemoryProcess, state: SessionState) -> SessionState:
    found = {known.session_id: known for known in await process.live(state.listener_id)}
    return found[state.session_id]

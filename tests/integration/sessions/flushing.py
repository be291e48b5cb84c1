"""A journal on a real Valkey with entries of sessions that can be counted afterwards, and flushers on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import redis.asyncio
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from playhead.db import Database, JournalRepository, ScriptRepository, ServiceDatabase, SessionRepository
from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.runtime.metrics import create_metrics
from playhead.sessions.flushing import EntryStore, Flusher
from playhead.sessions.journal import Entry, OfflineInterval, encode_entry
from playhead.sessions.keys import PARTITIONS, dead_key, journal_key, partition_of
from playhead.sessions.redis_journal import GROUP, RedisJournal
from tests.integration.db.rows import new_id, session, uploaded
from tests.support.clocks import SystemClock

TIMEOUT_S = 30.0
IDLE_MS = 300
SLOT = 1_888_888


@dataclass
class JournalBench:
    """Sessions of one script. `commit` does what an accepted seek does to the journal."""

    database: Database
    valkey_url: str
    script_id: str = ""
    states: dict[str, SessionState] = field(default_factory=dict)

    async def begin(self, sessions: int) -> None:
        if not self.script_id:
            self.script_id = (await uploaded(ScriptRepository(self.database))).script_id
        for _ in range(sessions):
            state = session(self.script_id, revision=0, version=0, listened=(), playing=False)
            self.states[state.session_id] = state

    async def commit(self, session_id: str) -> Entry:
        """Every commit is one revision, one second listened to and played, one move, one offline second."""
        before = self.states[session_id]
        n = before.revision
        after = replace(
            before,
            revision=n + 1,
            version=n + 1,
            listened=((0, (n + 1) * 1_000),),
            played_ms=(n + 1) * 1_000,
            played_slots=((SLOT, (n + 1) * 1_000),),
        )
        move = Move(
            cause="seek", from_ms=n, to_ms=n + 1, device_id="phone", at_ms=n, epoch=before.epoch, revision=n + 1
        )
        second = OfflineInterval(
            device_id="phone",
            start_ms=n * 1_000,
            end_ms=(n + 1) * 1_000,
            told_at_ms=n,
            started_at_ms=n,
            ended_at_ms=n + 1,
        )
        self.states[session_id] = after
        return Entry(state=after, moves=(move,), offline=(second,))

    async def write(self, rounds: int) -> None:
        """`rounds` commits of every session, in the order in which a store would have them."""
        entries = [await self.commit(session_id) for _ in range(rounds) for session_id in self.states]
        await self.add(*entries)

    async def add(self, *entries: Entry) -> None:
        async with redis.asyncio.Redis.from_url(self.valkey_url) as client, client.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.xadd(journal_key(partition_of(entry.state.listener_id)), encode_entry(entry))  # type: ignore[arg-type]
            await pipe.execute()

    async def lengths(self, key: Callable[[int], str] = journal_key) -> int:
        async with redis.asyncio.Redis.from_url(self.valkey_url) as client:
            return sum([await client.xlen(key(partition)) for partition in range(PARTITIONS)])

    async def dead(self) -> int:
        return await self.lengths(dead_key)

    async def pending(self) -> int:
        async with redis.asyncio.Redis.from_url(self.valkey_url) as client:
            found = [
                (await client.xpending(key, GROUP))["pending"]
                for key in map(journal_key, range(PARTITIONS))
                if await client.exists(key)
            ]
        return sum(found)

    async def until_empty(self) -> None:
        """Returns when the journal is empty, and nobody has an entry of it in hand."""
        await until(lambda: self._is_empty())

    async def _is_empty(self) -> bool:
        return not await self.lengths() and not await self.pending()

    async def assert_stored(self) -> None:
        """Each session's latest state, every move once, every second once."""
        sessions = SessionRepository(self.database)
        for session_id, state in self.states.items():
            assert await sessions.get(session_id) == state
            moves = await sessions.moves(session_id)
            assert [move.revision for move in moves] == list(range(state.revision, 0, -1))[:100]
        async with self.database.as_service() as connection:
            played = await connection.fetch(
                "select session_id, sum(played_ms) as ms from audio_listening where script_id = $1 group by 1",
                self.script_id,
            )
            offline = await connection.fetchval(
                "select sum(end_ms - start_ms) from audio_offline_intervals where script_id = $1", self.script_id
            )
        assert {str(row["session_id"]): row["ms"] for row in played} == {
            session_id: state.played_ms for session_id, state in self.states.items()
        }
        assert offline == sum(state.played_ms for state in self.states.values())

    def flushing(
        self, rows: EntryStore | None = None, database: ServiceDatabase | None = None
    ) -> AbstractAsyncContextManager[CollectorRegistry]:
        """A flusher that runs until the block ends, with the registry of its metrics."""
        return flushing(self.valkey_url, rows or JournalRepository(database or self.database))


@asynccontextmanager
async def flushing(valkey_url: str, rows: EntryStore) -> AsyncIterator[CollectorRegistry]:
    """A flusher that runs until the block ends, with the registry of its metrics."""
    registry, stop = CollectorRegistry(), asyncio.Event()
    journal = RedisJournal(valkey_url, claim_idle_ms=IDLE_MS)
    metrics = create_metrics(registry)
    flusher = Flusher(journal, rows, SystemClock(), metrics, interval_s=0.02, claim_interval_s=0.1)
    running = asyncio.create_task(flusher.run(stop))
    try:
        yield registry
    finally:
        stop.set()
        await asyncio.wait_for(running, TIMEOUT_S)
        await journal.stop()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():
            await asyncio.sleep(0.02)


def broken_entry(script_id: str) -> Entry:
    """A state that PostgreSQL refuses: its place lies behind the end."""
    return Entry(state=session(script_id, position_ms=99, duration_ms=1, listener_id=new_id()))

"""Entries of one id in two lives of the store: a failover lost the first one, and the new primary's clock is behind."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ResponseError

from playhead.app.embedded import EmbeddedValkey
from playhead.db import Database, DatabaseUnavailable, JournalRepository
from playhead.sessions.journal import Entry, encode_entry
from playhead.sessions.keys import journal_key, partition_of
from playhead.sessions.redis_journal import DONE_IDS_MAX, RedisJournal
from playhead.sessions.redis_store import RedisStore
from tests.integration.sessions.flushing import JournalBench, flushing, until
from tests.support.clocks import SystemClock
from tests.support.proxies import Proxy, proxying


async def begin_life(url: str) -> None:
    """What a server process does with a store that it has not seen before."""
    store = RedisStore(url, SystemClock())
    await store.live("anybody")
    await store.stop()


@dataclass
class Failover:
    """An address, the primary that it leads to, and the one that it leads to after `happens`."""

    old: EmbeddedValkey
    new: EmbeddedValkey
    address: Proxy
    bench: JournalBench

    async def write(self, entry_id: str = "*") -> tuple[int, str]:
        """One more commit of the one session there is; answers its partition and id."""
        (session_id,) = self.bench.states
        entry = await self.bench.commit(session_id)
        partition = partition_of(entry.state.listener_id)
        fields: Any = encode_entry(entry)
        async with redis.asyncio.Redis.from_url(self.address.url) as client:
            added: Any = await client.xadd(journal_key(partition), fields, id=entry_id)
            return partition, added.decode()

    async def happens(self) -> None:
        """Whatever the old one had is gone."""
        self.old.kill()
        self.address.target = self.new.socket_path
        await begin_life(self.address.url)

    async def ids(self, partition: int) -> list[str]:
        async with redis.asyncio.Redis.from_url(self.address.url) as client:
            rows: Any = await client.xrange(journal_key(partition))
            return [entry_id.decode() for entry_id, _ in rows]


@pytest.fixture
async def failover(database: Database, start_valkey: Callable[..., EmbeddedValkey]) -> AsyncIterator[Failover]:
    old, new = start_valkey(), start_valkey()
    async with proxying(old.socket_path) as address:
        bench = JournalBench(database, address.url)
        await bench.begin(1)
        await begin_life(address.url)
        yield Failover(old, new, address, bench)


@pytest.fixture
async def journal(failover: Failover) -> AsyncIterator[RedisJournal]:
    journal = RedisJournal(failover.address.url, claim_idle_ms=0)
    await journal.take(1)  # makes the groups
    yield journal
    await journal.stop()


async def again(journal: RedisJournal, failover: Failover) -> None:
    """The journal's connections have noticed, and the groups are there once more."""
    await failover.happens()
    await until(lambda: _answers(journal))


async def _answers(journal: RedisJournal) -> bool:
    try:
        await journal.take(1)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("held_by_somebody", [False, True])
async def test_what_was_taken_in_another_life_takes_nothing_off_in_this_one(
    failover: Failover, journal: RedisJournal, held_by_somebody: bool
) -> None:
    partition, entry_id = await failover.write()
    (before,) = await journal.take(1)
    await again(journal, failover)
    await failover.write(entry_id)
    if held_by_somebody:
        (after,) = await journal.take(1)
        assert after.entry_id == before.entry_id and after.key != before.key
    await journal.done([before])
    assert await failover.ids(partition) == [entry_id], "another entry, which nobody has stored"
    (found,) = await (journal.claim(64) if held_by_somebody else journal.take(64))
    assert found.entry is not None and before.entry is not None
    assert found.entry.state.version == before.entry.state.version + 1
    await journal.done([found])
    assert await failover.ids(partition) == []
    assert await failover.bench.pending() == 0


async def test_what_was_claimed_in_another_life_takes_nothing_off_in_this_one(
    failover: Failover, journal: RedisJournal
) -> None:
    partition, entry_id = await failover.write()
    await journal.take(1)
    (claimed,) = await journal.claim(64)
    await again(journal, failover)
    await failover.write(entry_id)
    await journal.done([claimed])
    assert await failover.ids(partition) == [entry_id]


async def test_a_bad_entry_of_another_life_is_buried_and_takes_nothing_off(
    failover: Failover, journal: RedisJournal
) -> None:
    partition, entry_id = await failover.write()
    (before,) = await journal.take(1)
    await again(journal, failover)
    await failover.write(entry_id)
    await journal.bury(before, "a rule")
    assert await failover.ids(partition) == [entry_id]
    assert await failover.bench.dead() == 1


async def test_a_store_that_grew_its_epoch_alone_gives_the_entry_again(
    failover: Failover, journal: RedisJournal
) -> None:
    partition, _ = await failover.write()
    (before,) = await journal.take(1)
    store = RedisStore(failover.address.url, SystemClock())
    await store.outgrow((await store.live("anybody")).epoch)
    await store.stop()
    await journal.done([before])
    (after,) = await journal.claim(64)
    assert (after.entry_id, after.entry) == (before.entry_id, before.entry)
    await journal.done([after])
    assert await failover.ids(partition) == []


async def _holds(failover: Failover) -> bool:
    try:
        return await failover.bench.pending() == 1
    except ResponseError:
        return False  # there is no group yet


class Rows:
    """The real rows, which cannot be reached while `away`. `refused`: set when somebody tried."""

    def __init__(self, database: Database) -> None:
        self._rows = JournalRepository(database)
        self.away = True
        self.refused = asyncio.Event()

    async def store(self, entries: Sequence[Entry]) -> None:
        if self.away:
            self.refused.set()
            raise DatabaseUnavailable("PostgreSQL is away.")
        await self._rows.store(entries)


async def test_a_flusher_that_holds_a_batch_through_a_failover_stores_both_entries_of_one_id(
    failover: Failover, database: Database
) -> None:
    rows = Rows(database)
    async with flushing(failover.address.url, rows):
        _, entry_id = await failover.write()
        await asyncio.wait_for(rows.refused.wait(), 30)
        await failover.happens()
        await failover.write(entry_id)
        await until(lambda: _holds(failover))
        rows.away = False
        await failover.bench.until_empty()
    await failover.bench.assert_stored()


@pytest.mark.parametrize("count", [DONE_IDS_MAX, DONE_IDS_MAX + 1, 2 * DONE_IDS_MAX + 1])
async def test_as_many_as_lie_in_one_partition_are_taken_off(
    failover: Failover, journal: RedisJournal, count: int
) -> None:
    await failover.bench.write(count)
    taken = list(await journal.take(count))
    while len(taken) < count:
        taken += await journal.take(count)
    await journal.done(taken)
    assert await failover.bench.lengths() == await failover.bench.pending() == 0

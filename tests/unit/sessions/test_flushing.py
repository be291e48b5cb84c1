"""The flusher over the journal in memory, and rows that fail as a test wants: nothing is lost, nothing is held up."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from playhead.db import DatabaseUnavailable, InvalidValue
from playhead.runtime.metrics import create_metrics
from playhead.sessions import memory_journal
from playhead.sessions.flushing import (
    BATCH_MAX,
    CLAIM_IDLE_MS,
    EMPTY_TURNS_MAX,
    FLUSH_INTERVAL_S,
    QUIET_TIMES,
    RETRY_WAIT_MAX_S,
    RETRY_WAIT_S,
    STRANGE_REFUSALS_MAX,
    Flusher,
    Taken,
)
from playhead.sessions.journal import Entry
from playhead.sessions.memory_journal import MemoryJournal
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.store import StoreUnavailable
from tests.support.sessions import SetClock, new_id
from tests.support.states import make_state

Refuse = Callable[[Entry], Exception | None]


class Rows:
    """What was stored, batch by batch. `refuse`: the error of an entry that may not be stored."""

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []
        self.down = False
        self.refuse: Refuse = lambda entry: None
        self.attempts = 0
        self.down_after: int | None = None
        """Goes away when so many batches are stored."""

    @property
    def entries(self) -> list[Entry]:
        return [entry for batch in self.batches for entry in batch]

    async def store(self, entries: Sequence[Entry]) -> None:
        self.attempts += 1
        if self.down or len(self.batches) == self.down_after:
            raise DatabaseUnavailable("PostgreSQL is away.")
        for entry in entries:
            if error := self.refuse(entry):
                raise error
        self.batches.append(list(entries))


class LooseJournal(MemoryJournal):
    """Loses what tells it that entries are done, while `loose`."""

    loose = False
    away = False
    """Gives nothing either."""

    async def take(self, limit: int) -> Sequence[Taken]:
        if self.away:
            raise StoreUnavailable("the store is away")
        return await super().take(limit)

    async def done(self, taken: Sequence[Taken]) -> None:
        if self.loose or self.away:
            raise StoreUnavailable("the store is away")
        await super().done(taken)


class Bench:
    """One store's journal, and flushers on it."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(self.clock)
        self.journal = LooseJournal(self.store, self.clock)
        self.rows = Rows()
        self.registry = CollectorRegistry()
        self.metrics = create_metrics(self.registry)
        self.flusher = self.another()

    def another(self, **options: float) -> Flusher:
        return Flusher(self.journal, self.rows, self.clock, self.metrics, **options)

    def add(self, count: int, session_id: str | None = None) -> list[Entry]:
        entries = [Entry(state=make_state(session_id=session_id or new_id(), version=n)) for n in range(count)]
        self.store.journal.extend(entries)
        return entries

    async def left(self) -> int:
        return (await self.journal.backlog()).entries

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"playhead_{name}", labels)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def refusing(error: Exception, *bad: Entry) -> Refuse:
    return lambda entry: error if entry in bad else None


async def test_entries_are_stored_in_their_order_and_then_taken_off(bench: Bench) -> None:
    entries = bench.add(5, session_id=new_id())
    assert await bench.flusher.turn() > 0
    assert bench.rows.batches == [entries]
    assert await bench.left() == 0


async def test_an_entry_is_in_the_journal_until_it_is_stored(bench: Bench) -> None:
    left: list[int] = []

    class Watching(Rows):
        async def store(self, entries: Sequence[Entry]) -> None:
            left.append(await bench.left())

    bench.add(5)
    await Flusher(bench.journal, Watching(), bench.clock, bench.metrics).turn()
    assert (left, await bench.left()) == ([5], 0)


async def test_a_batch_has_a_limit_and_the_next_one_follows_at_once(bench: Bench) -> None:
    bench.add(BATCH_MAX + 1)
    assert await bench.flusher.turn() == 0.0
    assert [len(batch) for batch in bench.rows.batches] == [BATCH_MAX]
    assert await bench.flusher.turn() > 0
    assert [len(batch) for batch in bench.rows.batches] == [BATCH_MAX, 1]


async def test_while_nobody_plays_it_looks_less_often(bench: Bench) -> None:
    for _ in range(EMPTY_TURNS_MAX):
        assert await bench.flusher.turn() <= FLUSH_INTERVAL_S
    assert FLUSH_INTERVAL_S < await bench.flusher.turn() <= QUIET_TIMES * FLUSH_INTERVAL_S
    bench.add(1)
    assert await bench.flusher.turn() <= FLUSH_INTERVAL_S


async def test_while_postgresql_is_away_the_batch_waits_and_the_waits_grow(bench: Bench) -> None:
    entries = bench.add(3)
    bench.rows.down = True
    waits = [await bench.flusher.turn() for _ in range(8)]
    assert waits[:3] == [RETRY_WAIT_S, 2 * RETRY_WAIT_S, 4 * RETRY_WAIT_S]
    assert waits[-1] == RETRY_WAIT_MAX_S
    assert await bench.left() == 3
    entries += bench.add(2)
    bench.rows.down = False
    await bench.flusher.turn()
    assert (bench.rows.entries, await bench.left()) == (entries, 0)
    assert bench.value("flush_batches_total", result="unavailable") == 8
    bench.rows.down = True
    bench.add(1)
    assert await bench.flusher.turn() == RETRY_WAIT_S, "the waits begin anew"


async def test_no_more_than_two_batches_are_in_hand_however_long_postgresql_is_away(bench: Bench) -> None:
    """One of them was taken while PostgreSQL was asked to store the other."""
    bench.rows.down = True
    entries = bench.add(3 * BATCH_MAX)
    for _ in range(3):
        assert await bench.flusher.turn() > 0
    assert len(bench.store.journal) == BATCH_MAX
    bench.rows.down = False
    while await bench.left():
        await bench.flusher.turn()
    assert bench.rows.entries == entries


@pytest.mark.parametrize("error", [InvalidValue("a rule"), ValueError("no UUID"), OverflowError("year 300,000")])
async def test_a_row_that_is_to_blame_goes_to_the_dead_letters_and_the_others_are_stored(
    bench: Bench, error: Exception
) -> None:
    entries = bench.add(9)
    bench.rows.refuse = refusing(error, entries[0], entries[5])
    await bench.flusher.turn()
    assert sorted(entry.state.version for entry in bench.rows.entries) == [1, 2, 3, 4, 6, 7, 8]
    assert [taken.entry for taken, _ in bench.journal.dead] == [entries[0], entries[5]]
    assert str(error) in bench.journal.dead[0][1]
    assert await bench.left() == 0
    assert bench.value("journal_buried_total") == 2


async def test_of_too_many_dead_letters_the_oldest_are_forgotten_with_an_alarm(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_journal, "DEAD_LETTERS_MAX", 2)
    entries = bench.add(3)
    bench.rows.refuse = refusing(InvalidValue("a rule"), *entries)
    await bench.flusher.turn()
    assert [taken.entry for taken, _ in bench.journal.dead] == entries[1:]
    assert (bench.value("journal_buried_total"), bench.value("journal_dead_forgotten_total")) == (3, 1)


async def test_a_bad_row_alone_goes_to_the_dead_letters(bench: Bench) -> None:
    entries = bench.add(1)
    bench.rows.refuse = refusing(InvalidValue("a rule"), *entries)
    await bench.flusher.turn()
    assert (len(bench.journal.dead), await bench.left()) == (1, 0)


async def test_what_cannot_be_read_goes_to_the_dead_letters(bench: Bench) -> None:
    class Torn(LooseJournal):
        async def take(self, limit: int) -> Sequence[Taken]:
            return [replace(row, entry=None) for row in await super().take(limit)]

    bench.add(2)
    torn = Torn(bench.store, bench.clock)
    await Flusher(torn, bench.rows, bench.clock, bench.metrics).turn()
    assert (bench.rows.attempts, len(torn.dead)) == (0, 2)


async def test_an_error_that_every_row_meets_buries_none(bench: Bench) -> None:
    """A column that is missing, a right that was taken away: the rows are good, and wait until somebody mends it."""
    bench.add(BATCH_MAX)
    bench.rows.refuse = lambda entry: RuntimeError("no such column")
    assert await bench.flusher.turn() == RETRY_WAIT_S
    assert (bench.journal.dead, await bench.left()) == ([], BATCH_MAX)
    assert bench.rows.attempts <= 2 * STRANGE_REFUSALS_MAX + 20, "PostgreSQL is not asked for each row"
    bench.rows.refuse = lambda entry: None
    await bench.flusher.turn()
    assert (len(bench.rows.entries), await bench.left()) == (BATCH_MAX, 0)


async def test_an_error_that_only_one_row_meets_blames_the_row_and_does_not_quote_it(bench: Bench) -> None:
    entries = bench.add(4)
    bench.rows.refuse = refusing(RuntimeError("Failing row contains (secret)"), entries[2])
    await bench.flusher.turn()
    assert [(taken.entry, reason) for taken, reason in bench.journal.dead] == [(entries[2], "RuntimeError")]
    assert len(bench.rows.entries) == 3


async def test_a_strange_row_alone_waits_for_others_and_is_then_to_blame(bench: Bench) -> None:
    strange = bench.add(1)
    bench.rows.refuse = refusing(RuntimeError("?"), *strange)
    await bench.flusher.turn()
    assert (bench.journal.dead, await bench.left()) == ([], 1)
    bench.add(1)
    await bench.flusher.turn()
    assert (len(bench.journal.dead), await bench.left()) == (1, 0)


async def test_what_is_in_hand_is_stored_though_the_journal_is_gone(bench: Bench) -> None:
    """A state store that lost its data, while PostgreSQL was away: the flusher has the last copy."""
    entries = bench.add(3)
    bench.rows.down = True
    await bench.flusher.turn()
    bench.journal.away = True
    bench.rows.down = False
    assert await bench.flusher.turn() > 0
    assert bench.rows.entries == entries
    bench.journal.away = False
    await bench.flusher.turn()
    assert await bench.left() == 0


async def test_postgresql_that_goes_away_in_the_middle_of_a_refused_batch_blames_no_row(bench: Bench) -> None:
    entries = bench.add(4)
    bench.rows.refuse = refusing(InvalidValue("a rule"), entries[0])
    bench.rows.down_after = 1
    assert await bench.flusher.turn() == RETRY_WAIT_S
    assert (bench.journal.dead, await bench.left()) == ([], 4)
    bench.rows.down_after = None
    await bench.flusher.turn()
    assert [taken.entry for taken, _ in bench.journal.dead] == [entries[0]]
    assert {entry.state.version for entry in bench.rows.entries} == {1, 2, 3}


async def test_what_was_stored_but_not_told_to_be_is_stored_again(bench: Bench) -> None:
    entries = bench.add(3)
    bench.journal.loose = True
    await bench.flusher.turn()
    assert await bench.left() == 3
    bench.journal.loose = False
    bench.clock.advance(CLAIM_IDLE_MS)
    await bench.another().turn()
    assert bench.rows.batches == [entries, entries]
    assert await bench.left() == 0


async def test_what_a_dead_flusher_had_in_hand_is_claimed_when_it_has_been_quiet_for_long_enough(bench: Bench) -> None:
    entries = bench.add(BATCH_MAX)
    bench.rows.down = True
    await bench.flusher.turn()  # and never again
    bench.rows.down = False
    bench.clock.advance(CLAIM_IDLE_MS - 1)
    await bench.another().turn()
    assert bench.rows.batches == []
    bench.clock.advance(1)
    await bench.another().turn()
    assert bench.rows.batches == [entries]


async def test_what_is_claimed_by_its_own_flusher_is_in_hand_once(bench: Bench) -> None:
    entries = bench.add(3)
    bench.rows.down = True
    flusher = bench.another(claim_interval_s=0.0)
    await flusher.turn()
    bench.clock.advance(CLAIM_IDLE_MS)
    bench.rows.down = False
    await flusher.turn()
    assert bench.rows.batches == [entries]


async def test_what_a_flusher_cannot_store_another_one_gets_that_can(bench: Bench) -> None:
    """One that is cut off from PostgreSQL, say. It goes on with what comes: that may be storable."""
    entries = bench.add(3)
    cut_off = Rows()
    cut_off.down = True
    holding = Flusher(bench.journal, cut_off, bench.clock, bench.metrics, claim_interval_s=0.0)
    await holding.turn()
    bench.clock.advance(CLAIM_IDLE_MS)
    await holding.turn()
    await bench.flusher.turn()
    assert bench.rows.batches == [entries]
    entries = bench.add(2)
    await holding.turn()
    cut_off.down = False
    await holding.turn()
    assert cut_off.entries[-2:] == entries
    dead = bench.another()
    lost = bench.add(1)
    bench.rows.down = True
    await dead.turn()
    bench.clock.advance(CLAIM_IDLE_MS)
    await holding.turn()
    assert cut_off.batches[-1] == lost, "and claims again, since it can store"


async def test_it_stops_when_told_with_the_batch_in_hand_stored(bench: Bench) -> None:
    stop, storing, store_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Slow(Rows):
        async def store(self, entries: Sequence[Entry]) -> None:
            storing.set()
            await store_on.wait()
            await super().store(entries)

    rows = Slow()
    entries = bench.add(2)
    running = asyncio.create_task(Flusher(bench.journal, rows, bench.clock, bench.metrics).run(stop))
    await storing.wait()
    stop.set()
    store_on.set()
    await asyncio.wait_for(running, 5)
    assert (rows.entries, await bench.left()) == (entries, 0)


async def test_what_it_has_taken_ahead_is_stored_before_it_stops(bench: Bench) -> None:
    stop = asyncio.Event()

    class Stopping(Rows):
        async def store(self, entries: Sequence[Entry]) -> None:
            await super().store(entries)
            stop.set()

    rows = Stopping()
    entries = bench.add(3 * BATCH_MAX)
    await Flusher(bench.journal, rows, bench.clock, bench.metrics).run(stop)
    assert rows.entries == entries[: 2 * BATCH_MAX]
    assert (await bench.left(), len(bench.store.journal)) == (BATCH_MAX, BATCH_MAX)


async def test_it_stops_while_postgresql_is_away_and_leaves_the_batch_in_the_journal(bench: Bench) -> None:
    stop = asyncio.Event()
    bench.add(2)
    bench.rows.down = True
    running = asyncio.create_task(bench.flusher.run(stop))
    while not bench.rows.attempts:
        await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert await bench.left() == 2


async def test_metrics_tell_what_waits_and_how_late_it_is(bench: Bench) -> None:
    bench.add(3)
    bench.clock.advance(2_000)
    await bench.flusher.measure()
    assert bench.value("journal_entries") == 3
    assert bench.value("journal_oldest_seconds") == 2
    await bench.flusher.turn()
    await bench.flusher.measure()
    assert bench.value("journal_entries") == bench.value("journal_oldest_seconds") == 0
    assert bench.value("flushed_entries_total") == 3
    assert bench.value("flush_lag_seconds_sum") == 2

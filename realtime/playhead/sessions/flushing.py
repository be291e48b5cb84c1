"""The journal's way into PostgreSQL: take entries, store them in one transaction, and only then take them off.

    take (new entries, and those that a dead flusher left) → store → done
    PostgreSQL away → the batch stays in hand, the journal grows, nothing is dropped; who reaches it claims the batch
    the state store away → what is in hand is stored all the same: it may be all that is left of the journal
    a batch that is refused → halves, down to the row that is to blame; that one goes to the dead letters, with an alarm

Any number of flushers may run. An entry that two of them store, or one of them twice, changes nothing the second time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from playhead.db import DatabaseUnavailable
from playhead.runtime.clock import Clock
from playhead.runtime.metrics import Metrics
from playhead.runtime.tasks import cancelled
from playhead.sessions.journal import Entry
from playhead.sessions.store import StoreUnavailable

log = structlog.get_logger(__name__)

FLUSH_INTERVAL_S = 0.25
"""How long entries gather before they are taken, unless more than a batch of them waits."""
EMPTY_TURNS_MAX, QUIET_TIMES = 40, 4
"""After so many turns that found nothing the next ones are so many times as far apart: until somebody plays."""
BATCH_MAX = 2_000
"""Entries that are taken at once and stored in one transaction; those of one session become one row."""
CLAIM_IDLE_MS = 10_000
"""Who has not stored an entry for so long after taking it is taken for dead."""
CLAIM_INTERVAL_S = 2.0
MEASURE_INTERVAL_S = 5.0
RETRY_WAIT_S = 0.25
RETRY_WAIT_MAX_S = 5.0
DEAD_LETTERS_MAX = 10_000
"""Of each partition, about 5 MB. Beyond that the oldest goes, with an alarm: what is refused so often is no single
entry any more."""
STRANGE_REFUSALS_MAX = 20
"""So many rows refused in a row for no fault of theirs, and none stored: then it is not the rows."""
ROW_FAULTS = (ValueError, OverflowError, TypeError)
"""Errors that blame the row, InvalidValue among them. All else may be the database's state, or a bug of ours."""


TakenKey = tuple[int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An entry that was taken from the journal and is still in it. `entry` None: it cannot be read.

    `life`: that of the store it was taken from. In another one the same id may name another entry.
    """

    partition: int
    life: str
    entry_id: str
    committed_at_ms: int
    fields: Mapping[bytes, bytes]
    """As they lie in the journal."""
    entry: Entry | None

    @property
    def key(self) -> TakenKey:
        return (self.partition, self.life, self.entry_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits in the journal, the entries in hand included, and what lies in the dead letters."""

    entries: int
    oldest_at_ms: int | None
    dead: int


class Journal(Protocol):
    """What is on its way to PostgreSQL. Every method may raise StoreUnavailable."""

    async def take(self, limit: int) -> Sequence[Taken]:
        """Entries that nobody has taken yet, of each partition the oldest first; about `limit` at most."""
        ...

    async def claim(self, limit: int) -> Sequence[Taken]:
        """Entries that somebody took `CLAIM_IDLE_MS` ago or longer, and that are not done; about `limit` at most."""
        ...

    async def done(self, taken: Sequence[Taken]) -> None:
        """They are stored: nobody gets them again, unless the store has begun another life since they were taken."""
        ...

    async def bury(self, taken: Taken, reason: str) -> int:
        """It cannot be stored: it goes to the dead letters, and nobody gets it again.

        Answers how many older ones had to go for it: there are never more than DEAD_LETTERS_MAX.
        """
        ...

    async def backlog(self) -> Backlog: ...

    async def leave(self) -> None:
        """This flusher takes no more."""
        ...


class EntryStore(Protocol):
    """Where entries are kept for good."""

    async def store(self, entries: Sequence[Entry]) -> None:
        """All of them or none. Raises DatabaseUnavailable, and one of ROW_FAULTS for an entry that breaks a rule."""
        ...


class Flusher:
    """Run it with `run`; `turn` is one look at the journal."""

    def __init__(
        self,
        journal: Journal,
        rows: EntryStore,
        clock: Clock,
        metrics: Metrics,
        *,
        interval_s: float = FLUSH_INTERVAL_S,
        claim_interval_s: float = CLAIM_INTERVAL_S,
    ) -> None:
        self._journal = journal
        self._rows = rows
        self._clock = clock
        self._metrics = metrics
        self._interval_s = interval_s
        self._claim_interval_s = claim_interval_s
        self._in_hand: dict[TakenKey, Taken] = {}
        self._ahead: asyncio.Task[Sequence[Taken]] | None = None
        """The next batch, taken while PostgreSQL stores this one; only where more waits than one."""
        self._failures = 0
        self._empty_turns = 0
        self._claim_at_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Flushes until `stop` is set and the batch in hand is stored; one that cannot be stays in the journal."""
        measuring = asyncio.create_task(self._measure_for_ever(), name="journal-measure")
        try:
            while not stop.is_set():
                wait_s = await self.turn()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait_s)
            if self._ahead is not None:
                await self.turn(last=True)
        finally:
            await cancelled(self._ahead)
            await cancelled(measuring)
            with suppress(StoreUnavailable):
                await self._journal.leave()

    async def turn(self, *, last: bool = False) -> float:
        """Takes a batch and stores it; answers how many seconds to wait before the next one.

        `last`: only what was taken ahead.
        """
        began_at_s = _now_s()
        try:
            more = await self._once(last)
        except StoreUnavailable as error:
            log.warning("The state store is away; the journal waits.", action="journal_away", error=str(error))
            return self._back_off()
        except DatabaseUnavailable as error:
            self._metrics.flush_batches.labels("unavailable").inc()
            log.warning("PostgreSQL is away; the journal waits.", action="flush_waits", error=str(error))
            return self._back_off()
        except Exception:
            self._metrics.flush_batches.labels("failed").inc()
            log.exception("The journal cannot be stored; it waits.", action="flush_failed")
            return self._back_off()
        self._failures = 0
        quiet = self._empty_turns > EMPTY_TURNS_MAX
        interval_s = self._interval_s * (QUIET_TIMES if quiet else 1)
        return 0.0 if more else max(0.0, began_at_s + interval_s - _now_s())

    def _back_off(self) -> float:
        self._failures += 1
        return min(RETRY_WAIT_MAX_S, RETRY_WAIT_S * 2.0 ** min(self._failures - 1, 10))

    async def _once(self, last: bool) -> bool:
        """Takes and stores; answers whether more waits than was taken."""
        try:
            more = await self._take(last)
        except StoreUnavailable:
            await self._flush()
            raise
        if more and not last:
            self._ahead = asyncio.create_task(self._journal.take(BATCH_MAX), name="journal-ahead")
        await self._flush()
        return more

    async def _take(self, last: bool) -> bool:
        """Fills the hand; answers whether more waits than it holds."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._hold(await ahead)
        # Who cannot store claims nothing, not even what it has in hand: another one may be able to.
        if not last and not self._failures and _now_s() >= self._claim_at_s and self._room > 0:
            claimed = await self._journal.claim(self._room)
            self._hold(claimed)
            # a dead flusher may have left more than one batch
            self._claim_at_s = _now_s() + (0.0 if claimed else self._claim_interval_s)
        if not last and ahead is None and self._room > 0:
            self._hold(await self._journal.take(self._room))
        return self._room <= 0 and not self._failures

    @property
    def _room(self) -> int:
        return BATCH_MAX - len(self._in_hand)

    def _hold(self, taken: Sequence[Taken]) -> None:
        self._in_hand.update((row.key, row) for row in taken)

    async def _flush(self) -> None:
        """Stores what is in hand, takes it off the journal, and buries what cannot be stored."""
        if not self._in_hand:
            self._empty_turns += 1
            return
        self._empty_turns = 0
        batch = list(self._in_hand.values())
        refused = {row.key: "It cannot be read." for row in batch if row.entry is None}
        refused |= await self._stored([row for row in batch if row.entry is not None])
        stored = [row for row in batch if row.key not in refused]
        self._measure_batch(stored)
        await self._journal.done(stored)
        for row in batch:
            if row.key in refused:
                await self._bury(row, refused[row.key])
        self._in_hand.clear()

    async def _stored(self, rows: Sequence[Taken]) -> dict[TakenKey, str]:
        """Stores `rows`; answers the reasons of those that cannot be. Raises what keeps all of them from it."""
        if not rows:
            return {}
        attempt = _Attempt(self._rows)
        refused = await attempt.store(rows)
        if attempt.strange and not attempt.stored:
            raise attempt.strange[0]
        return refused

    async def _bury(self, row: Taken, reason: str) -> None:
        forgotten = await self._journal.bury(row, reason)
        self._metrics.journal_buried.inc()
        if forgotten:
            self._metrics.journal_dead_forgotten.inc(forgotten)
            log.error(
                "There are too many dead letters; the oldest was forgotten.",
                action="dead_letter_forgotten",
                partition=row.partition,
                entries=forgotten,
            )
        log.error(
            "An entry of the journal cannot be stored; it lies in the dead letters.",
            action="entry_buried",
            partition=row.partition,
            entry_id=row.entry_id,
            session_id=row.entry.state.session_id if row.entry else None,
            reason=reason,
        )

    def _measure_batch(self, stored: Sequence[Taken]) -> None:
        if not stored:
            return
        self._metrics.flush_batches.labels("stored").inc()
        self._metrics.flushed_entries.inc(len(stored))
        oldest_at_ms = min(row.committed_at_ms for row in stored)
        self._metrics.flush_lag_seconds.observe(max(0, self._clock.now_ms() - oldest_at_ms) / 1000)

    async def _measure_for_ever(self) -> None:
        while True:
            try:
                await self.measure()
            except StoreUnavailable as error:
                log.debug("The journal cannot be measured.", action="journal_unmeasured", error=str(error))
            except Exception:
                log.exception("The journal cannot be measured.", action="journal_unmeasured")
            await asyncio.sleep(MEASURE_INTERVAL_S)

    async def measure(self) -> None:
        """Sets the gauges. Raises StoreUnavailable."""
        backlog = await self._journal.backlog()
        age_ms = 0 if backlog.oldest_at_ms is None else max(0, self._clock.now_ms() - backlog.oldest_at_ms)
        self._metrics.journal_entries.set(backlog.entries)
        self._metrics.journal_oldest_seconds.set(age_ms / 1000)
        self._metrics.journal_dead_entries.set(backlog.dead)


class _Attempt:
    """One batch on its way: halved where it is refused, until the rows that are to blame stand alone."""

    def __init__(self, rows: EntryStore) -> None:
        self._rows = rows
        self.stored = 0
        self.strange: list[Exception] = []
        """Refusals that do not blame the row by themselves; they do when another row is stored."""

    async def store(self, rows: Sequence[Taken]) -> dict[TakenKey, str]:
        """Answers the reasons of those that were refused."""
        try:
            await self._rows.store([row.entry for row in rows if row.entry is not None])
        except DatabaseUnavailable:
            raise
        except Exception as error:
            if len(rows) == 1:
                return {rows[0].key: self._reason(error)}
        else:
            self.stored += len(rows)
            return {}
        middle = len(rows) // 2
        return await self.store(rows[:middle]) | await self.store(rows[middle:])

    def _reason(self, error: Exception) -> str:
        """What may be told of the error: the driver's own texts quote the row."""
        if isinstance(error, ROW_FAULTS):
            return f"{type(error).__name__}: {error}"
        self.strange.append(error)
        if not self.stored and len(self.strange) >= STRANGE_REFUSALS_MAX:
            raise error
        return type(error).__name__


def _now_s() -> float:
    return asyncio.get_running_loop().time()

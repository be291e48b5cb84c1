"""Many commits in one transaction: who waits for whom, and what each is told when PostgreSQL does not answer well."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace

from playhead.db import DatabaseUnavailable, InvalidValue, LeaseLost
from playhead.playback.state import SessionState
from playhead.sessions import group_keeper
from playhead.sessions.group_keeper import GROUP_ENTRIES_MAX, GroupKeeper
from playhead.sessions.journal import Entry
from playhead.sessions.memory_store import NotKept
from playhead.sessions.store import StoreUnavailable
from tests.support.sessions import new_id
from tests.support.states import make_state


def entry(**fields: object) -> Entry:
    return Entry(state=make_state(session_id=new_id(), **fields))


class Transactions:
    """What PostgreSQL was given, one list a transaction; it does what the test says."""

    def __init__(self) -> None:
        self.stored: list[list[Entry]] = []
        self.begun = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: Exception | None = None
        self.poison: Entry | None = None
        self.away_after: Entry | None = None
        """Goes away once it has refused this one by itself."""
        self.row: SessionState | None = None

    async def store(self, entries: Sequence[Entry]) -> None:
        self.begun.release()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        if self.poison in entries:
            if len(entries) == 1 and self.away_after is self.poison:
                self.error = DatabaseUnavailable("PostgreSQL does not answer.")
            raise InvalidValue("The value breaks the rule `x`.")
        self.stored.append(list(entries))

    async def get(self, session_id: str) -> SessionState | None:
        if self.error is not None:
            raise self.error
        return self.row


class Kept:
    def __init__(self, keep_timeout_s: float = 60.0) -> None:
        self.postgres = Transactions()
        self.losses = 0
        self.keeper = GroupKeeper(self.postgres, self.postgres, self._lost, 10, keep_timeout_s)

    def _lost(self) -> None:
        self.losses += 1

    async def blocked(self) -> "asyncio.Task[None]":
        """A commit that is in its transaction, which does not end before `go_on`."""
        self.postgres.go_on.clear()
        task = asyncio.create_task(self.keeper.keep([entry()]))
        await self.postgres.begun.acquire()
        return task


@pytest.fixture
async def kept(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setattr(group_keeper, "AWAY_S", 0.0)
    made = Kept()
    made.keeper.start()
    yield made
    await made.keeper.stop()


async def waiting(kept: Kept, *groups: Sequence[Entry]) -> "list[asyncio.Task[None]]":
    """Commits that have come to the keeper."""
    tasks = [asyncio.create_task(kept.keeper.keep(entries)) for entries in groups]
    await asyncio.sleep(0)
    return tasks


async def test_a_commit_returns_when_its_transaction_has_ended_and_not_before(kept: Kept) -> None:
    under_way = await kept.blocked()
    assert not under_way.done()
    kept.postgres.go_on.set()
    await under_way
    assert len(kept.postgres.stored) == 1


async def test_what_comes_while_a_transaction_is_under_way_shares_the_next_one(kept: Kept) -> None:
    under_way = await kept.blocked()
    entries = [entry() for _ in range(5)]
    tasks = await waiting(kept, entries[:2], entries[2:4], entries[4:])
    kept.postgres.go_on.set()
    await asyncio.gather(under_way, *tasks)
    assert [len(group) for group in kept.postgres.stored] == [1, 5]
    assert kept.postgres.stored[1] == entries


async def test_a_transaction_has_a_limit_and_a_commit_is_never_divided(kept: Kept) -> None:
    under_way = await kept.blocked()
    kept.keeper._waiting_max = 10 * GROUP_ENTRIES_MAX
    large = [entry()] * (GROUP_ENTRIES_MAX + 1)
    tasks = await waiting(kept, [entry()], large, *([entry()] for _ in range(GROUP_ENTRIES_MAX)), [entry()])
    kept.postgres.go_on.set()
    await asyncio.gather(under_way, *tasks)
    assert [len(group) for group in kept.postgres.stored] == [1, 1, GROUP_ENTRIES_MAX + 1, GROUP_ENTRIES_MAX, 1]


async def test_at_its_limit_it_is_full_and_no_longer_when_they_are_under_way(kept: Kept) -> None:
    under_way = await kept.blocked()
    tasks = await waiting(kept, *([entry()] for _ in range(9)))
    assert kept.keeper.has_room(0)
    tasks += await waiting(kept, [entry()])
    assert not kept.keeper.has_room(0) and kept.keeper.has_room(1)
    tasks += await waiting(kept, [entry()])
    assert not kept.keeper.has_room(1)
    kept.postgres.go_on.set()
    await asyncio.gather(under_way, *tasks)
    assert kept.keeper.has_room(0)


async def test_when_postgresql_is_away_everybody_is_told_and_afterwards_it_goes_on(kept: Kept) -> None:
    under_way = await kept.blocked()
    tasks = await waiting(kept, [entry()], [entry()])
    kept.postgres.error = DatabaseUnavailable("PostgreSQL does not answer.")
    kept.postgres.go_on.set()
    answers = await asyncio.gather(under_way, *tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable, NotKept, NotKept]
    kept.postgres.error = None
    await kept.keeper.keep([entry()])
    assert len(kept.postgres.stored) == 1


async def test_behind_a_transaction_that_failed_nobody_waits_for_another_one(kept: Kept) -> None:
    """A PostgreSQL that hangs would cost each of them a timeout."""
    under_way = await kept.blocked()
    tasks = await waiting(kept, *([entry()] * (GROUP_ENTRIES_MAX - 1) for _ in range(3)))
    kept.postgres.error = DatabaseUnavailable("PostgreSQL does not answer.")
    kept.postgres.go_on.set()
    answers = await asyncio.gather(under_way, *tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable, NotKept, NotKept, NotKept]
    assert kept.postgres.begun.locked() and kept.keeper.has_room(0), "nothing else was tried"
    kept.postgres.error = None
    await kept.keeper.keep([entry()])
    assert len(kept.postgres.stored) == 1


async def test_a_refused_group_is_tried_one_by_one_only_as_long_as_postgresql_answers(kept: Kept) -> None:
    under_way = await kept.blocked()
    groups = [[entry()], [entry()], [entry()]]
    kept.postgres.poison, kept.postgres.away_after = groups[0][0], groups[0][0]
    tasks = await waiting(kept, *groups)
    kept.postgres.go_on.set()
    await under_way
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [InvalidValue, StoreUnavailable, NotKept]


async def test_a_transaction_that_hangs_is_given_up() -> None:
    kept = Kept(keep_timeout_s=0.01)
    kept.keeper.start()
    with pytest.raises(StoreUnavailable) as told:
        await (await kept.blocked())
    assert not isinstance(told.value, NotKept), "nobody knows whether it was committed"
    await kept.keeper.stop()


async def test_a_server_that_is_known_to_be_away_is_left_alone(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_keeper, "AWAY_S", 60.0)
    kept.postgres.error = DatabaseUnavailable("PostgreSQL does not answer.")
    with pytest.raises(StoreUnavailable):
        await kept.keeper.keep([entry()])
    kept.postgres.error = None
    with pytest.raises(NotKept):
        await kept.keeper.keep([entry()])
    with pytest.raises(StoreUnavailable):
        await kept.keeper.has_kept(make_state())
    assert kept.postgres.stored == []


async def test_a_commit_that_postgresql_refuses_fails_alone(kept: Kept) -> None:
    under_way = await kept.blocked()
    groups = [[entry()], [entry(), entry()], [entry()]]
    kept.postgres.poison = groups[1][1]
    tasks = await waiting(kept, *groups)
    kept.postgres.go_on.set()
    await under_way
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), InvalidValue, type(None)]
    assert kept.postgres.stored[1:] == [groups[0], groups[2]]


async def test_whoever_has_lost_the_lease_keeps_nothing_and_says_so(kept: Kept) -> None:
    kept.postgres.error = LeaseLost("Another process keeps the sessions now.")
    with pytest.raises(NotKept):
        await kept.keeper.keep([entry()])
    assert (kept.losses, kept.postgres.stored) == (1, [])


async def test_what_waits_when_it_is_stopped_is_not_kept_and_what_is_under_way_may_be(kept: Kept) -> None:
    under_way = await kept.blocked()
    (task,) = await waiting(kept, [entry()])
    await kept.keeper.stop()
    answers = await asyncio.gather(under_way, task, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable, NotKept]


async def test_when_it_has_stopped_nothing_is_kept_and_nobody_waits(kept: Kept) -> None:
    await kept.keeper.stop()
    async with asyncio.timeout(5):
        with pytest.raises(NotKept):
            await kept.keeper.keep([entry()])


async def test_a_caller_that_goes_away_holds_nobody_up(kept: Kept) -> None:
    under_way = await kept.blocked()
    tasks = await waiting(kept, [entry()], [entry()])
    tasks[0].cancel()
    kept.postgres.go_on.set()
    await asyncio.gather(under_way, tasks[1])
    assert len(kept.postgres.stored[1]) == 2, "it was on its way already"


async def test_a_state_is_kept_only_if_it_is_that_very_one(kept: Kept) -> None:
    state = make_state()
    assert not await kept.keeper.has_kept(state)
    kept.postgres.row = replace(state, listened=((0, 5),))
    assert await kept.keeper.has_kept(state), "what was listened to is merged, and may be more"
    for other in (replace(state, version=8), replace(state, revision=4), replace(state, epoch=8)):
        kept.postgres.row = other
        assert not await kept.keeper.has_kept(state)


async def test_whether_a_state_is_kept_cannot_be_told_while_postgresql_is_away(kept: Kept) -> None:
    kept.postgres.error = DatabaseUnavailable("PostgreSQL does not answer.")
    with pytest.raises(StoreUnavailable):
        await kept.keeper.has_kept(make_state())

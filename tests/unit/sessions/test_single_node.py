"""The lease of the one process that answers for the sessions: taken, renewed, run out, lost; on leases in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from playhead.db import SERVERS_NODE, DatabaseUnavailable, HeldBy
from playhead.sessions import single_node
from playhead.sessions.single_node import EXPIRED, LOST, NOT_OPEN, REFUSED, LeaseRefused, SingleNode
from playhead.sessions.store import StoreUnavailable

EPOCH = 7
AT = datetime(2026, 11, 25, 16, tzinfo=UTC)


class HeldLeases:
    """The row, without a clock: the test says when another process's lease has run out."""

    def __init__(self) -> None:
        self.holder: str | None = None
        self.other_for_s: float | None = None
        self.down = False
        self.asked = asyncio.Condition()
        self.servers_until: datetime | None = None
        """Until when the servers with Redis had renewed it, who do so no more."""
        self.renewals = 0
        self.released: list[str] = []

    async def take(self, holder: str, node: str, lease_s: float, given_up: datetime | None) -> int | HeldBy:
        await self._answer()
        if self.servers_until is not None and given_up != self.servers_until:
            return HeldBy(node=SERVERS_NODE, for_s=-1.0, expires_at=self.servers_until)
        if self.other_for_s is not None and self.other_for_s > 0:
            return HeldBy(node="elsewhere", for_s=self.other_for_s, expires_at=AT)
        self.holder = holder
        return EPOCH

    async def renew(self, holder: str, lease_s: float) -> bool:
        await self._answer()
        self.renewals += 1
        return self.holder == holder

    async def release(self, holder: str) -> None:
        await self._answer()
        self.released.append(holder)

    async def _answer(self) -> None:
        async with self.asked:
            self.asked.notify_all()
        if self.down:
            raise DatabaseUnavailable("PostgreSQL is away.")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Looks whenever it was asked something."""
        async with asyncio.timeout(5), self.asked:
            await self.asked.wait_for(condition)


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> HeldLeases:
    monkeypatch.setattr(single_node, "RETRY_INTERVAL_S", 0.001)
    monkeypatch.setattr(single_node, "TAKE_MARGIN_S", 0.01)
    return HeldLeases()


def make_node(leases: HeldLeases, lease_s: float = 60.0) -> SingleNode:
    return SingleNode(leases, "me", "here", lease_s=lease_s, renew_interval_s=0.001)


class TakenOver:
    """What was read of the process before."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.failures = 0

    async def __call__(self, epoch: int) -> None:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("PostgreSQL is away.")
        self.epochs.append(epoch)


@asynccontextmanager
async def started(
    node: SingleNode, take_over: Callable[[int], Awaitable[None]] | None = None
) -> AsyncIterator[SingleNode]:
    await node.start(take_over or TakenOver())
    try:
        yield node
    finally:
        await node.stop()


async def opened(leases: HeldLeases, node: SingleNode) -> None:
    await leases.until(lambda: node.trouble is None)


async def test_it_opens_when_it_has_the_lease_and_has_read_what_was_left(leases: HeldLeases) -> None:
    node, taken_over = make_node(leases), TakenOver()
    assert node.trouble == NOT_OPEN
    with pytest.raises(StoreUnavailable):
        node.guard()
    async with started(node, taken_over):
        assert node.trouble is None
        assert taken_over.epochs == [EPOCH]
        node.guard()
    assert leases.released == ["me"]
    with pytest.raises(StoreUnavailable):
        node.guard()


async def test_it_waits_for_the_lease_of_a_dead_process_to_run_out(leases: HeldLeases) -> None:
    leases.other_for_s = 20.0
    node = make_node(leases, lease_s=30.0)
    starting = asyncio.create_task(node.start(TakenOver()))
    await leases.until(lambda: True)
    leases.other_for_s = 0.0
    await starting
    assert node.trouble is None
    await node.stop()


async def test_it_refuses_to_start_beside_a_process_that_renews_its_lease(leases: HeldLeases) -> None:
    leases.other_for_s = 0.05
    node = make_node(leases, lease_s=0.05)
    with pytest.raises(LeaseRefused, match=r"elsewhere.*may be only one"):
        await node.start(TakenOver())
    assert node.trouble == NOT_OPEN and leases.holder is None


async def test_while_postgresql_is_away_it_starts_and_opens_later(leases: HeldLeases) -> None:
    leases.down = True
    async with started(make_node(leases)) as node:
        assert node.trouble == NOT_OPEN
        leases.down = False
        await opened(leases, node)


async def test_it_does_not_open_before_it_has_read_what_was_left(leases: HeldLeases) -> None:
    taken_over = TakenOver()
    taken_over.failures = 3
    async with started(make_node(leases), taken_over) as node:
        assert node.trouble == NOT_OPEN
        await opened(leases, node)
        assert taken_over.epochs == [EPOCH]


async def test_while_postgresql_is_away_it_answers_until_the_lease_has_run_out_and_again_afterwards(
    leases: HeldLeases,
) -> None:
    async with started(make_node(leases, lease_s=0.05)) as node:
        leases.down = True
        await leases.until(lambda: node.trouble == EXPIRED)
        with pytest.raises(StoreUnavailable, match="has not confirmed"):
            node.guard()
        leases.down = False
        await opened(leases, node)


async def test_a_machine_that_slept_has_let_its_lease_run_out(
    leases: HeldLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that stands still meanwhile would let it tell what another process has changed long ago."""
    slept_s = 0.0
    monkeypatch.setattr(single_node, "elapsed_s", lambda: 1_000.0 + slept_s)
    node = SingleNode(leases, "me", "here", lease_s=60.0, renew_interval_s=3_600.0)
    async with started(node):
        assert node.trouble is None
        slept_s = 60.0
        assert node.trouble == EXPIRED


async def test_a_lease_counts_from_when_it_was_asked_for_not_from_the_answer(
    leases: HeldLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL has counted since then, and another process may take it when that is over."""
    now_s, answer_takes_s = 1_000.0, 40.0

    async def late() -> None:
        nonlocal now_s
        now_s += answer_takes_s

    monkeypatch.setattr(single_node, "elapsed_s", lambda: now_s)
    node = SingleNode(leases, "me", "here", lease_s=60.0, renew_interval_s=0.001)
    monkeypatch.setattr(leases, "_answer", late)
    async with started(node):
        assert (now_s, node.trouble) == (1_040.0, None)
        now_s = 1_060.0
        assert node.trouble == EXPIRED, "that of the start"
        while leases.renewals == 0:
            await asyncio.sleep(0.001)
        answer_takes_s, renewed_s = 0.0, now_s
        now_s = renewed_s + 20.0
        assert node.trouble == EXPIRED, "that of the renewal"


async def test_when_reading_took_longer_than_the_lease_it_is_renewed_at_once(leases: HeldLeases) -> None:
    async def slow(_epoch: int) -> None:
        await asyncio.sleep(0.03)

    node = SingleNode(leases, "me", "here", lease_s=0.02, renew_interval_s=3_600.0)
    async with started(node, slow):
        await leases.until(lambda: leases.renewals > 0)


async def test_a_lease_that_nobody_else_took_is_its_own_however_long_it_could_not_be_renewed(
    leases: HeldLeases,
) -> None:
    async with started(make_node(leases, lease_s=0.001)) as node:
        await leases.until(lambda: leases.renewals > 2)
        assert not node.lost.is_set()


async def test_when_another_process_has_taken_it_it_answers_never_again(leases: HeldLeases) -> None:
    async with started(make_node(leases)) as node:
        leases.holder = "somebody else"
        async with asyncio.timeout(5):
            await node.lost.wait()
        leases.holder = "me"
        with pytest.raises(StoreUnavailable, match=LOST):
            node.guard()
    assert leases.released == [], "it is not this one's to give back"


async def test_a_commit_that_finds_it_lost_closes_at_once(leases: HeldLeases) -> None:
    async with started(make_node(leases)) as node:
        node.lose()
        assert node.trouble == LOST and node.lost.is_set()


async def test_a_process_that_started_without_postgresql_gives_up_when_the_lease_turns_out_to_be_anothers(
    leases: HeldLeases,
) -> None:
    leases.down = True
    async with started(make_node(leases, lease_s=0.01)) as node:
        leases.other_for_s = 60.0
        leases.down = False
        await leases.until(lambda: node.trouble == REFUSED)
        async with asyncio.timeout(5):
            await node.lost.wait()


async def test_a_stop_does_not_wait_for_a_lease_that_cannot_be_given_back(
    leases: HeldLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_holder: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(single_node, "RELEASE_TIMEOUT_S", 0.01)
    monkeypatch.setattr(leases, "release", hang)
    async with asyncio.timeout(5), started(make_node(leases)):
        pass


async def test_a_lease_that_cannot_be_given_back_runs_out_by_itself(leases: HeldLeases) -> None:
    async with started(make_node(leases)):
        leases.down = True


# the servers with Redis had it


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr(single_node, "elapsed_s", lambda: self.now_s)


async def asked_again(leases: HeldLeases, times: int = 3) -> None:
    async with asyncio.timeout(5), leases.asked:
        for _ in range(times):
            await leases.asked.wait()


async def test_what_servers_with_redis_let_run_out_is_taken_when_they_have_not_renewed_it_for_as_long_again(
    leases: HeldLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(monkeypatch)
    leases.servers_until = AT
    node = make_node(leases, lease_s=15.0)
    starting = asyncio.create_task(node.start(TakenOver()))
    await asked_again(leases)
    hand.now_s += 14.9
    await asked_again(leases)
    assert not starting.done() and leases.holder is None
    hand.now_s += 0.1
    await asyncio.wait_for(starting, 5)
    assert node.trouble is None and leases.holder == "me"
    await node.stop()


async def test_servers_that_renew_it_meanwhile_are_given_all_of_the_time_anew(
    leases: HeldLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(monkeypatch)
    leases.servers_until = AT
    node = make_node(leases, lease_s=15.0)
    starting = asyncio.create_task(node.start(TakenOver()))
    await asked_again(leases)
    leases.servers_until = AT + timedelta(seconds=20)
    hand.now_s += 14.0
    await asked_again(leases)
    hand.now_s += 14.0
    await asked_again(leases)
    assert not starting.done()
    hand.now_s += 1.0
    await asyncio.wait_for(starting, 5)
    await node.stop()


async def test_the_time_in_which_postgresql_was_away_does_not_count_against_servers_with_redis(
    leases: HeldLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could not renew it, and a process that keeps starting must not be faster than they when they can."""
    hand = Hand(monkeypatch)
    leases.servers_until, leases.down = AT, True
    async with started(make_node(leases, lease_s=15.0)) as node:
        leases.down = False
        await leases.until(lambda: node.trouble == REFUSED)
        leases.down = True
        await asked_again(leases)
        hand.now_s += 60.0
        leases.down = False
        await asked_again(leases)
        assert leases.holder is None and not node.lost.is_set(), "it waits"
        hand.now_s += 14.9
        await asked_again(leases)
        assert leases.holder is None
        hand.now_s += 0.1
        await opened(leases, node)

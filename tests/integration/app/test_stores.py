"""What a process does before it serves from Redis: sessions may have been in another one's memory since."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from playhead.app import shared_lease, stores
from playhead.app.stores import Stores, open_stores, server_clock
from playhead.db import DatabaseUnavailable, HeldBy
from playhead.http.health import Check, NotReady
from playhead.runtime.metrics import create_metrics
from playhead.runtime.settings import load
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.single_node import LeaseRefused
from tests.support.states import LISTENER_ID

LATER = 9_000_000_000_000
"""An epoch that no clock has reached."""


class Leases:
    """The rows of the lease, as PostgreSQL answers for them: after a while, or not at all.

    `for_s`: what the lease still runs each time that it is asked for; the last one goes on.
    """

    def __init__(self, *for_s: float) -> None:
        self.up = True
        self.for_s = list(for_s) or [-1.0]
        self.left_s: list[float] = []
        self.error: Exception = DatabaseUnavailable("away")
        self.asked = asyncio.Event()

    async def share(self, _lease_s: float) -> int | HeldBy:
        for _ in range(100):
            await asyncio.sleep(0)
        self.asked.set()
        if not self.up:
            raise self.error
        for_s = self.for_s.pop(0) if len(self.for_s) > 1 else self.for_s[0]
        return LATER if for_s <= 0 else HeldBy(node="before", for_s=for_s, expires_at=datetime.now(UTC))

    async def leave(self, left_s: float) -> None:
        self.left_s.append(left_s)


async def ignore(*_arguments: Any) -> None:
    return None


@asynccontextmanager
async def opened(valkey_url: str, leases: Leases, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stores]:
    monkeypatch.setattr(stores, "LeaseRepository", lambda _database: leases)
    monkeypatch.setattr(shared_lease, "RETRY_INTERVAL_S", 0.01)
    settings = load(redis_url=valkey_url)
    metrics = create_metrics(CollectorRegistry())
    async with (
        server_clock(settings) as clock,
        open_stores(settings, cast(Any, None), clock, metrics, ignore, ignore) as made,
    ):
        await made.open(cast(Any, None), cast(Any, None))
        yield made


async def test_the_first_command_meets_an_epoch_above_that_of_the_memory_before(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(valkey_url, Leases(), monkeypatch) as made:
        assert (await made.store.live(LISTENER_ID)).epoch > LATER
        await made.checks["lease"]()


async def passes(check: Check) -> bool:
    try:
        await check()
    except NotReady:
        return False
    return True


async def test_a_process_that_could_not_ask_yet_serves_and_is_not_ready(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_lease, "PATIENCE_S", 0.01)
    leases = Leases()
    leases.up = False
    async with opened(valkey_url, leases, monkeypatch) as made:
        assert (await made.store.live(LISTENER_ID)).epoch < LATER
        leases.up = True
        async with asyncio.timeout(20):
            while not await passes(made.checks["lease"]):
                await asyncio.sleep(0.01)
        assert (await made.store.live(LISTENER_ID)).epoch > LATER


async def test_as_long_as_it_could_not_ask_its_readiness_says_so(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_lease, "PATIENCE_S", 0.01)
    leases = Leases()
    leases.up = False
    async with opened(valkey_url, leases, monkeypatch) as made:
        await leases.asked.wait()
        leases.up = True
        with pytest.raises(NotReady, match="before"):
            await made.checks["lease"]()


async def test_beside_a_process_that_keeps_the_sessions_in_its_memory_it_does_not_start(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_lease, "LEASE_PATIENCE_S", 0.05)
    with pytest.raises(LeaseRefused, match=r"\(before, PLAYHEAD_STORE=memory\)\. Stop it"):
        async with opened(valkey_url, Leases(15.0), monkeypatch):
            pass


async def test_it_waits_until_the_lease_of_such_a_process_has_run_out_and_only_then_serves(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outgrow = RedisStore.outgrow

    async def slow(store: RedisStore, epoch: int) -> None:
        await asyncio.sleep(0.75)
        await outgrow(store, epoch)

    # the lease lasts nearly as long as the patience, which is Redis' alone then
    monkeypatch.setattr(RedisStore, "outgrow", slow)
    monkeypatch.setattr(shared_lease, "PATIENCE_S", 2.0)
    leases = Leases(*[0.5] * 150, -0.1)
    async with opened(valkey_url, leases, monkeypatch) as made:
        assert leases.for_s == [-0.1]
        assert (await made.store.live(LISTENER_ID)).epoch > LATER
        await made.checks["lease"]()


async def test_what_it_finds_out_only_later_ends_it(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_lease, "PATIENCE_S", 0.01)
    monkeypatch.setattr(shared_lease, "LEASE_PATIENCE_S", 0.05)
    leases = Leases(15.0)
    leases.up = False
    async with opened(valkey_url, leases, monkeypatch) as made:
        assert not made.lost.is_set()
        leases.up = True
        async with asyncio.timeout(20):
            await made.lost.wait()
        with pytest.raises(NotReady, match="another server"):
            await made.checks["lease"]()


async def test_when_a_process_has_taken_the_sessions_into_its_memory_it_ends_and_leaves_the_lease_alone(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_lease, "RENEW_INTERVAL_S", 0.01)
    leases = Leases()
    async with opened(valkey_url, leases, monkeypatch) as made:
        await made.checks["lease"]()
        leases.for_s = [0.5]
        async with asyncio.timeout(5):
            await made.lost.wait()
        with pytest.raises(NotReady, match="another server"):
            await made.checks["lease"]()
    assert leases.left_s == []


async def test_a_server_that_stops_leaves_of_the_lease_what_the_others_need_to_renew_it(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases()
    async with opened(valkey_url, leases, monkeypatch):
        pass
    assert leases.left_s == [shared_lease.LEFT_S]


@pytest.mark.parametrize(
    "error", [DatabaseUnavailable("away"), ValueError("a bug, or what PostgreSQL never said before")]
)
async def test_it_renews_the_lease_again_and_again_and_serves_on_whatever_postgresql_says(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(shared_lease, "RENEW_INTERVAL_S", 0.01)
    leases = Leases()
    leases.error = error
    async with opened(valkey_url, leases, monkeypatch) as made:
        async with asyncio.timeout(20):
            for leases.up in (False, True):
                for _ in range(3):
                    leases.asked.clear()
                    await leases.asked.wait()
        assert not made.lost.is_set()
        await made.checks["lease"]()

"""What a process does before it serves from Redis: sessions may have been in another one's memory since."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from playhead.app import stores
from playhead.app.stores import Stores, open_stores, server_clock
from playhead.db import DatabaseUnavailable
from playhead.db.leases import LastLease
from playhead.http.health import NotReady
from playhead.runtime.metrics import create_metrics
from playhead.runtime.settings import load
from tests.support.states import LISTENER_ID

LATER = 9_000_000_000_000
"""An epoch that no clock has reached."""


class Leases:
    """The rows of the lease, as PostgreSQL answers for them: after a while, or not at all."""

    def __init__(self) -> None:
        self.up = True
        self.asked = asyncio.Event()

    async def latest(self) -> LastLease:
        for _ in range(100):
            await asyncio.sleep(0)
        self.asked.set()
        if not self.up:
            raise DatabaseUnavailable("away")
        return LastLease(node="before", epoch=LATER, for_s=-1.0)


async def ignore(*_arguments: Any) -> None:
    return None


@asynccontextmanager
async def opened(valkey_url: str, leases: Leases, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stores]:
    monkeypatch.setattr(stores, "LeaseRepository", lambda _database: leases)
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


async def test_a_process_that_could_not_ask_yet_serves_and_is_not_ready(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "OUTGROW_PATIENCE_S", 0.01)
    monkeypatch.setattr(stores, "OUTGROW_RETRY_S", 0.01)
    leases = Leases()
    leases.up = False
    async with opened(valkey_url, leases, monkeypatch) as made:
        assert (await made.store.live(LISTENER_ID)).epoch < LATER
        leases.up = True
        async with asyncio.timeout(20):
            while (await made.store.live(LISTENER_ID)).epoch < LATER:
                await asyncio.sleep(0.01)
        await made.checks["lease"]()


async def test_as_long_as_it_could_not_ask_its_readiness_says_so(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "OUTGROW_PATIENCE_S", 0.01)
    leases = Leases()
    leases.up = False
    async with opened(valkey_url, leases, monkeypatch) as made:
        await leases.asked.wait()
        leases.up = True
        with pytest.raises(NotReady, match="before"):
            await made.checks["lease"]()

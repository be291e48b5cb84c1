"""A worker that lives keeps its job, also where PostgreSQL answers it late or not at all for a while."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import CollectorRegistry

from playhead.db import Database, ScriptRepository, open_database
from playhead.db.logins import Logins
from playhead.runtime.metrics import create_metrics
from playhead.transcode import PrepareQueue, Worker
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.work import POLL_S, SHORT_S, SPEECH, Bench, Scripted, working
from tests.support.proxies import Proxy, proxying

HUNG_S, TIMEOUT_S = 2.0, 1.5


@pytest.fixture
async def way(logins: Logins) -> AsyncIterator[Proxy]:
    """The worker's to PostgreSQL."""
    place = {name: values[0] for name, values in parse_qs(urlsplit(logins.service_url).query).items()}
    async with proxying(Path(place["host"]) / f".s.PGSQL.{place['port']}") as proxy:
        yield proxy


def by_way_of(proxy: Proxy, url: str) -> str:
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return f"postgresql://{login}@127.0.0.1:{proxy.port}{parts.path}?sslmode=disable"


async def test_calls_that_hang_give_no_job_away(
    bench: Bench,
    database: Database,
    logins: Logins,
    source: SourceMaker,
    way: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on connections whose other end was lost without a word."""
    monkeypatch.setattr("playhead.db.pool.COMMAND_TIMEOUT_S", HUNG_S)
    script = await bench.upload(source(SPEECH, SHORT_S))
    encoder = Scripted(bench.programs)
    encoder.hold_from = 0
    async with open_database(*(by_way_of(way, url) for url in (logins.app_url, logins.service_url))) as far:
        worker = Worker(
            queue=PrepareQueue(far.jobs(), TIMEOUT_S),
            scripts=ScriptRepository(far),
            storage=bench.storage,
            encoder=encoder,
            metrics=create_metrics(CollectorRegistry()),
            slots=2,
            attempts_max=3,
        )
        async with working(worker):
            await asyncio.wait_for(encoder.held.wait(), 30)
            way.freeze()
            other, loop = PrepareQueue(database.jobs(), TIMEOUT_S), asyncio.get_running_loop()
            ends_s = loop.time() + 1.5 * TIMEOUT_S
            while loop.time() < ends_s:
                assert await other.take() is None
                await asyncio.sleep(POLL_S)
            encoder.released.set()
            await bench.until(script, lambda row: row.status == "ready")
    assert await bench.attempts(script) == 1

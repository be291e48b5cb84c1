"""News of scripts over a real Valkey: from a worker to the nodes that follow, bounded in rate, with the end at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from playhead.app.embedded import EmbeddedValkey
from playhead.runtime.metrics import create_metrics
from playhead.runtime.redis_clients import client_of
from playhead.sessions.script_news import UNTOLD_MAX, News, RedisNews, ScriptTeller, news_of
from tests.support.clusters import Cluster
from tests.support.sessions import make_script, new_id
from tests.support.states import OTHER_SCRIPT_ID, SCRIPT_ID

HALF = make_script(status="processing", progress=0.5)
READY = make_script()
FOR_EVER_S = 3_600.0


class Node:
    """What one process hears."""

    def __init__(self, client: Redis) -> None:
        self.news = RedisNews(client)
        self.heard: asyncio.Queue[tuple[str, News]] = asyncio.Queue()
        self.missed: asyncio.Queue[str] = asyncio.Queue()

    async def next(self) -> tuple[str, News]:
        async with asyncio.timeout(10):
            return await self.heard.get()

    async def hear(self, script_id: str, news: News) -> None:
        await self.heard.put((script_id, news))

    async def miss(self, script_id: str) -> None:
        await self.missed.put(script_id)


@asynccontextmanager
async def running_node(url: str) -> AsyncIterator[Node]:
    client = client_of(url)
    node = Node(client)
    node.news.start(node.hear, node.miss)
    try:
        yield node
    finally:
        await node.news.stop()
        await client.aclose()


@asynccontextmanager
async def running_teller(url: str, interval_s: float = 0.0) -> AsyncIterator[tuple[ScriptTeller, CollectorRegistry]]:
    registry = CollectorRegistry()
    teller = ScriptTeller(url, create_metrics(registry), interval_s)
    teller.start()
    try:
        yield teller, registry
    finally:
        await teller.stop()


@pytest.fixture
async def node(valkey_url: str) -> AsyncIterator[Node]:
    async with running_node(valkey_url) as node:
        yield node


async def test_on_a_cluster_news_are_told_and_heard_wherever_the_scripts_slots_are(cluster: Cluster) -> None:
    async with running_node(cluster.url) as node, running_teller(cluster.url) as (teller, _):
        for _ in range(6):
            news = replace(READY, script_id=new_id())
            await node.news.follow(news.script_id)
            teller.tell(news)
            assert await node.next() == (news.script_id, news_of(news))
        assert node.missed.empty()


async def test_a_node_hears_of_the_scripts_that_it_follows_and_of_no_others(valkey_url: str, node: Node) -> None:
    await node.news.follow(SCRIPT_ID)
    async with running_teller(valkey_url) as (teller, _):
        teller.tell(replace(HALF, script_id=OTHER_SCRIPT_ID))
        teller.tell(HALF)
        assert await node.next() == (SCRIPT_ID, news_of(HALF))
        await node.news.follow(OTHER_SCRIPT_ID)
        node.news.unfollow(SCRIPT_ID)
        teller.tell(READY)
        teller.tell(replace(READY, script_id=OTHER_SCRIPT_ID))
        assert (await node.next())[0] == OTHER_SCRIPT_ID


async def test_of_one_script_at_most_one_piece_of_news_is_told_in_an_interval_and_its_end_at_once(
    valkey_url: str, node: Node
) -> None:
    await node.news.follow(SCRIPT_ID)
    async with running_teller(valkey_url, FOR_EVER_S) as (teller, _):
        teller.tell(HALF)
        await node.next()
        for percent in range(51, 100):
            teller.tell(replace(HALF, progress=percent / 100))
            await asyncio.sleep(0)
        teller.tell(READY)
        assert await node.next() == (SCRIPT_ID, news_of(READY))
    assert node.heard.empty()


async def test_what_waits_is_told_when_its_time_has_come_and_then_only_the_latest(valkey_url: str, node: Node) -> None:
    await node.news.follow(SCRIPT_ID)
    async with running_teller(valkey_url, 0.3) as (teller, _):
        teller.tell(HALF)
        await node.next()
        teller.tell(replace(HALF, progress=0.6))
        teller.tell(replace(HALF, progress=0.7))
        assert await node.next() == (SCRIPT_ID, news_of(replace(HALF, progress=0.7)))


async def test_a_teller_that_stops_still_tells_the_end(valkey_url: str, node: Node) -> None:
    await node.news.follow(SCRIPT_ID)
    async with running_teller(valkey_url) as (teller, _):
        teller.tell(READY)
    assert await node.next() == (SCRIPT_ID, news_of(READY))


async def test_after_a_lost_connection_there_is_a_gap_and_news_are_heard_again(valkey_url: str, node: Node) -> None:
    await node.news.follow(SCRIPT_ID)
    async with client_of(valkey_url) as client:
        await client.client_kill_filter(_type="pubsub")
    async with asyncio.timeout(10):
        assert await node.missed.get() == SCRIPT_ID
    async with running_teller(valkey_url) as (teller, _):
        teller.tell(HALF)
        assert await node.next() == (SCRIPT_ID, news_of(HALF))


async def test_news_that_cannot_be_told_are_counted_and_dropped(start_valkey: Callable[[], EmbeddedValkey]) -> None:
    valkey = start_valkey()
    async with running_teller(valkey.url) as (teller, registry):
        valkey.kill()
        for number in range(UNTOLD_MAX + 1):
            teller.tell(replace(HALF, script_id=f"script-{number}"))
        assert len(teller._untold) == UNTOLD_MAX
        async with asyncio.timeout(30):
            while teller._untold:
                await asyncio.sleep(0.01)
        lost = registry.get_sample_value("playhead_announcements_total", {"event": "prepare", "result": "lost"})
        assert lost == UNTOLD_MAX

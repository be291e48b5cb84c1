"""Which client speaks to the store that a URL names: that of one server, or that of a cluster; for whoever uses either.

Owns: the choice, in one place. The clients themselves are in `redis.py`, `multiplexed.py` and `subscriptions.py`, and
for clusters in `cluster_redis.py`, `cluster.py` and `cluster_subscriptions.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from playhead.runtime.cluster import ClusterCalls
from playhead.runtime.cluster_redis import ClusterRedis
from playhead.runtime.cluster_subscriptions import ClusterSubscriptions
from playhead.runtime.multiplexed import Multiplexed
from playhead.runtime.redis import connect
from playhead.runtime.redis_urls import cluster_url
from playhead.runtime.slots import SlotMap
from playhead.runtime.subscriptions import OnGap, OnMessage, Subscriptions

Calls = Multiplexed | ClusterCalls


def client_of(url: str) -> Redis:
    """As `redis.connect` without `on_connect`; of a cluster only commands that name a key."""
    cluster = cluster_url(url)
    return connect(url) if cluster is None else ClusterRedis(SlotMap(cluster), owns_slots=True)


def calls_of(url: str, client: Redis) -> Calls:
    """Multiplexed calls to where that client of the URL goes, which has to be ended after them."""
    return ClusterCalls(client.slots) if isinstance(client, ClusterRedis) else Multiplexed(url)


def subscriptions_of(client: Redis, on_message: OnMessage, on_gap: OnGap) -> Subscriptions | ClusterSubscriptions:
    if isinstance(client, ClusterRedis):
        return ClusterSubscriptions(client, on_message, on_gap)
    return Subscriptions(client, on_message, on_gap)


async def primaries_of(client: Redis) -> list[Redis]:
    """A client of each server that has anything. Raises RedisError when nobody says who they are."""
    return await client.primaries() if isinstance(client, ClusterRedis) else [client]


@asynccontextmanager
async def primary_of(client: Redis, key: str) -> AsyncIterator[Redis]:
    """The client of the server that has the key, for what names none."""
    if not isinstance(client, ClusterRedis):
        yield client
        return
    async with client.primary_of(key) as server:
        yield server

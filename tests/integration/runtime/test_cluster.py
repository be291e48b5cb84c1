"""Calls to a real cluster of three primaries: to whom each goes, and what becomes of it when a slot moves."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError, ResponseError

from playhead.runtime import redis as connections
from playhead.runtime.cluster import ClusterCalls
from playhead.runtime.redis_clients import client_of, primaries_of, primary_of
from playhead.runtime.redis_urls import cluster_url
from playhead.runtime.slots import SlotMap, slot_of
from playhead.runtime.store_clock import TIME_KEY, RedisTime, TimeUnavailable
from tests.integration.sessions.lines import eventually
from tests.support.clusters import PRIMARIES, REPLICA, Cluster

TAGS = range(64)
FAILOVER_TIMEOUT_S = 60.0


@asynccontextmanager
async def calling(url: str, **options: Any) -> AsyncIterator[ClusterCalls]:
    parts = cluster_url(url)
    assert parts is not None
    slots = SlotMap(parts)
    calls = ClusterCalls(slots, **options)
    try:
        yield calls
    finally:
        await calls.aclose()
        await slots.aclose()


@pytest.fixture
async def calls(cluster: Cluster) -> AsyncIterator[ClusterCalls]:
    async with calling(cluster.url) as calls:
        yield calls


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Redis]:
    client = client_of(cluster.url)
    yield client
    await client.aclose()


def key(tag: int) -> str:
    return f"key:{{{tag}}}"


def keys_of(cluster: Cluster, number: int) -> list[str]:
    """Those of TAGS that lie on the server."""
    return [key(tag) for tag in TAGS if cluster.primary_of(slot_of(key(tag))) == number]


async def works(ask: Callable[[], Awaitable[Any]]) -> bool:
    try:
        await ask()
    except (RedisError, OSError, TimeUnavailable):
        return False
    return True


@pytest.mark.parametrize("name", ["key", "key:{7}", "{7}", "{}key", "a{b}{c}", "{a", "", "{{a}}"])
def test_the_slot_of_a_key_is_what_the_cluster_says(cluster: Cluster, name: str) -> None:
    assert slot_of(name) == cluster.ask(0, "CLUSTER", "KEYSLOT", name)


async def test_each_call_goes_to_the_primary_of_its_slot(cluster: Cluster, calls: ClusterCalls) -> None:
    for tag in TAGS:
        assert await calls.call("SET", key(tag), tag) == b"OK"
    found = await calls.calls([("GET", key(tag)) for tag in reversed(TAGS)])
    assert found == [str(tag).encode() for tag in reversed(TAGS)]
    assert sum(cluster.ask(number, "DBSIZE") for number in range(PRIMARIES)) == len(TAGS)
    assert calls.connected and len(calls.slots.primaries) == PRIMARIES


async def test_a_slot_that_has_moved_is_followed_and_every_command_is_carried_out_once(
    cluster: Cluster, calls: ClusterCalls, client: Redis
) -> None:
    slot = slot_of(key(0))
    old = cluster.primary_of(slot)
    new = (old + 1) % PRIMARIES
    for each in (calls.call, client.execute_command):
        cluster.clear()
        assert await each("INCR", key(0)) == 1
        cluster.begin_move(slot, old, new)
        # the key is here still, and a key that is not is asked for there
        assert await each("INCR", key(0)) == 2
        assert await each("INCR", "other:{0}") == 1
        assert cluster.ask(new, "DBSIZE") == 1
        cluster.move_keys(slot, old, new)
        assert await each("INCR", key(0)) == 3
        cluster.end_move(slot, new)
        assert await each("INCR", key(0)) == 4
        old, new = new, old
    # moved there and back, which neither was told of in the meantime
    assert await calls.answers([("INCR", key(0)), ("INCR", "other:{0}")]) == [5, 2]
    async with client.pipeline(transaction=False) as pipe:
        pipe.incr(key(0))
        pipe.incr("other:{0}")
        assert await pipe.execute() == [6, 3]


async def test_while_keys_move_one_by_one_a_call_on_both_sides_is_refused_and_nothing_of_it_happens(
    cluster: Cluster, calls: ClusterCalls
) -> None:
    slot = slot_of(key(0))
    old = cluster.primary_of(slot)
    new = (old + 1) % PRIMARIES
    await calls.call("MSET", key(0), "here", "other:{0}", "here")
    cluster.begin_move(slot, old, new)
    cluster.ask(old, "MIGRATE", "127.0.0.1", cluster.ports[new], key(0), 0, 5_000)
    with pytest.raises(ResponseError, match="TRYAGAIN"):
        await calls.call("MSET", key(0), "both", "other:{0}", "both")
    # a script that meets a key which it has not named, and which has gone, does not take it for one that never was
    with pytest.raises(ResponseError, match="non local key"):
        await calls.call("EVAL", "return redis.call('GET', ARGV[1])", 1, "other:{0}", key(0))
    cluster.move_keys(slot, old, new)
    cluster.end_move(slot, new)
    assert await calls.call("MGET", key(0), "other:{0}") == [b"here", b"here"]


async def test_a_primary_that_is_away_fails_its_own_calls_alone_and_server_time_is_that_of_partition_0(
    cluster: Cluster, calls: ClusterCalls, client: Redis
) -> None:
    await calls.calls([("SET", key(tag), tag) for tag in TAGS])
    number = cluster.primary_of(slot_of(TIME_KEY))
    source = RedisTime(cluster.url)
    assert (await source.ask(lambda: 0.0)).t1_ms > 0
    async with primary_of(client, TIME_KEY) as server:
        assert (await server.info("server"))["tcp_port"] == cluster.ports[number]
    lost = keys_of(cluster, number)
    cluster.kill(number)
    with pytest.raises(TimeUnavailable):
        await source.ask(lambda: 0.0)
    answers = await calls.answers([("GET", key(tag)) for tag in TAGS])
    async with client.pipeline(transaction=False) as pipe:
        for tag in TAGS:
            pipe.get(key(tag))
        staged = await pipe.execute(raise_on_error=False)
    for found in (answers, staged):
        assert {key(tag) for tag in TAGS if isinstance(found[tag], Exception)} == set(lost)
        assert all(found[tag] == str(tag).encode() for tag in TAGS if key(tag) not in lost)
    with pytest.raises((LostConnection, OSError)):
        await calls.calls([("GET", key(tag)) for tag in TAGS])
    cluster.servers[number].start()
    await eventually(lambda: works(lambda: calls.calls([("GET", key(tag)) for tag in TAGS])), FAILOVER_TIMEOUT_S)
    await eventually(lambda: works(lambda: source.ask(lambda: 0.0)), FAILOVER_TIMEOUT_S)
    await source.stop()


async def test_a_primary_that_hangs_is_replaced_by_its_replica_which_is_followed(
    cluster: Cluster, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.hurry()
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.3)
    async with calling(cluster.url) as calls:
        first = keys_of(cluster, 0)[0]
        await calls.call("SET", first, "value")
        assert await client.get(first) == b"value"
        cluster.replicated()
        hanging = cluster.servers[0]._server
        assert hanging is not None
        hanging.send_signal(signal.SIGSTOP)
        try:
            await eventually(lambda: works(lambda: calls.call("GET", first)), FAILOVER_TIMEOUT_S)
            assert calls.slots.primary(slot_of(first)) == ("127.0.0.1", cluster.ports[REPLICA])
            await eventually(lambda: works(lambda: client.get(first)), FAILOVER_TIMEOUT_S)
        finally:
            hanging.send_signal(signal.SIGCONT)
        assert await calls.call("GET", first) == b"value" and await client.get(first) == b"value"


async def test_a_transaction_lies_in_one_slot(cluster: Cluster, client: Redis) -> None:
    async with client.pipeline() as pipe:
        pipe.set(key(0), "value")
        pipe.get(key(0))
        assert await pipe.execute() == [True, b"value"]
    with pytest.raises(ValueError, match="of one slot"):
        async with client.pipeline() as pipe:
            pipe.set(key(1), "value")
            pipe.set(key(0), "value")
            await pipe.execute()
    assert len(await primaries_of(client)) == PRIMARIES
    assert await client.get(key(1)) is None


async def test_a_command_without_a_key_is_sent_to_nobody(client: Redis) -> None:
    with pytest.raises(ValueError, match="names no key"):
        await client.flushall()


async def test_where_no_server_of_the_cluster_answers_the_error_says_so(free_port: int) -> None:
    async with calling(f"redis+cluster://127.0.0.1:{free_port}") as calls:
        with pytest.raises(LostConnection, match="No server of the cluster answers"):
            await calls.call("GET", "key")
        assert not calls.connected
    client = client_of(f"redis+cluster://127.0.0.1:{free_port}")
    with pytest.raises(LostConnection, match="No server of the cluster answers"):
        await client.get("key")
    await client.aclose()


async def test_a_server_that_is_no_cluster_is_said_to_be_none(
    valkey_server: Any, start_valkey: Any, free_port: int
) -> None:
    start_valkey(settings={"port": str(free_port)})
    async with calling(f"redis+cluster://127.0.0.1:{free_port}") as calls:
        with pytest.raises(LostConnection, match="cluster support disabled"):
            await calls.call("GET", "key")

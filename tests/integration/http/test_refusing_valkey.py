"""A Valkey that answers and keeps nothing: every command would be refused, so nobody may send any here."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from playhead.app.embedded import EmbeddedValkey
from playhead.http import valkey_check
from playhead.http.health import run_checks
from playhead.runtime.redis import connect
from tests.integration.sessions.flushing import until

FULL_DISK = Path("/dev/full")


@pytest.fixture
def valkey(start_valkey: Callable[..., EmbeddedValkey]) -> EmbeddedValkey:
    return start_valkey()


@pytest.fixture
async def client(valkey: EmbeddedValkey) -> AsyncIterator[Redis]:
    client = connect(valkey.url)
    yield client
    await client.aclose()


async def told(client: Redis) -> str:
    return (await run_checks({"valkey": valkey_check(client)}))["valkey"]


async def refused(write: Awaitable[object]) -> bool:
    try:
        await write
    except ResponseError:
        return True
    return False


async def test_one_that_is_full(client: Redis) -> None:
    await client.config_set("maxmemory", "1gb")
    assert await told(client) == "ok"
    await client.config_set("maxmemory", "100kb")
    assert await refused(client.set("key", "value"))
    assert (await told(client)).startswith("it is full (maxmemory 102400 bytes) and refuses what is to be kept; ")
    await client.config_set("maxmemory", "0")
    assert await told(client) == "ok"


async def test_one_that_has_lost_the_replicas_without_which_it_may_not_write(client: Redis) -> None:
    await client.config_set("min-replicas-to-write", "2")
    assert await refused(client.set("key", "value"))
    said = await told(client)
    assert said.startswith("0 of its replicas keep up, min-replicas-to-write asks for 2, ")
    await client.config_set("min-replicas-max-lag", "0")  # as good as not set
    assert await told(client) == "ok" and not await refused(client.set("key", "value"))


async def test_where_settings_may_not_be_read_one_replica_is_asked_for(valkey: EmbeddedValkey, client: Redis) -> None:
    await client.config_set("min-replicas-to-write", "2")
    await client.acl_setuser("default", commands=["-config"], enabled=True)
    assert (await told(client)).startswith("0 of its replicas keep up, min-replicas-to-write asks for more, ")


@pytest.mark.skipif(not FULL_DISK.exists(), reason="no device that is always full")
async def test_one_that_cannot_write_its_file(valkey: EmbeddedValkey, client: Redis) -> None:
    files = valkey.data_dir / "appendonlydir"
    (files / "appendonly.aof.2.incr.aof").symlink_to(FULL_DISK)
    await client.bgrewriteaof()

    async def no_longer_writes() -> bool:
        return await refused(client.set("key", "value"))

    await until(no_longer_writes)
    assert (await told(client)).startswith("it cannot write its append-only file ")


async def test_one_that_may_not_go_on_without_a_snapshot(valkey: EmbeddedValkey, client: Redis) -> None:
    (valkey.data_dir / "dump.rdb").mkdir()
    await client.bgsave()

    async def not_saved() -> bool:
        return bool((await client.info("persistence"))["rdb_last_bgsave_status"] == "err")

    await until(not_saved)
    assert await told(client) == "ok" and not await refused(client.set("key", "value")), "none is asked for"
    await client.config_set("save", "3600 1")
    assert await refused(client.set("key", "value"))
    assert (await told(client)).startswith("it could not save its snapshot ")
    await client.config_set("stop-writes-on-bgsave-error", "no")
    assert await told(client) == "ok" and not await refused(client.set("key", "value"))
    await client.config_set("save", "")  # it would not end without a snapshot, either

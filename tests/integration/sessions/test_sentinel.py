"""Real sentinels over a primary and its replica: whoever uses the store follows when they promote the replica."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as LostConnection
from structlog.testing import capture_logs

from playhead.app.embedded import EmbeddedValkey
from playhead.cache import CacheUnavailable, RedisBackend
from playhead.http.health import run_checks, valkey_check
from playhead.runtime.redis import connect
from playhead.runtime.sentinel import NoPrimary
from playhead.runtime.store_clock import RedisTime, TimeUnavailable
from playhead.sessions.redis_journal import RedisJournal
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import Change, Committed, StoreUnavailable
from tests.integration.sessions.lines import eventually, redis_line
from tests.support.sentinels import PASSWORD, SERVICE, Guarded, guarded
from tests.support.sessions import SetClock
from tests.support.states import LISTENER_ID, SESSION_ID, make_state

FAILOVER_TIMEOUT_S = 60.0


@pytest.fixture
def servers(
    start_valkey: Callable[..., EmbeddedValkey], free_ports: Callable[[], int], tmp_path: Path
) -> Iterator[Guarded]:
    with guarded(start_valkey, free_ports, tmp_path) as found:
        yield found


async def replicated(servers: Guarded) -> None:
    """The replica has all that the primary has acknowledged."""
    async with redis.asyncio.Redis(port=servers.ports[0], password=PASSWORD) as client:
        assert await client.wait(1, 30_000) == 1


async def following(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Its answer, as soon as it has one: connections of before are dead, and a sentinel may be a moment behind."""
    answer: Any = None

    async def answered() -> bool:
        nonlocal answer
        try:
            answer = await ask()
        except (StoreUnavailable, TimeUnavailable, CacheUnavailable):
            return False
        return True

    await eventually(answered, FAILOVER_TIMEOUT_S)
    return answer


async def create(store: RedisStore) -> int:
    """A session; answers its epoch."""
    epoch = (await store.live(LISTENER_ID)).epoch
    change = Change(after=make_state(version=1, revision=1, epoch=epoch), expected_version=None)
    assert await store.commit(LISTENER_ID, epoch, [change], []) is Committed.DONE
    return epoch


async def test_when_the_primary_dies_everybody_goes_on_with_the_promoted_replica_in_a_grown_epoch(
    servers: Guarded,
) -> None:
    async with redis_line(servers.url, SetClock()) as line:
        store, bus = line.store, line.bus
        assert isinstance(store, RedisStore)
        journal, source = RedisJournal(servers.url), RedisTime(servers.url)
        cache, check = RedisBackend(store.client, timeout_s=5), valkey_check(store.client)
        await bus.subscribe(LISTENER_ID)
        await cache.put("key", b"value", 600)
        assert await run_checks({"valkey": check}) == {"valkey": "ok"}
        await source.ask(time.monotonic)
        assert await journal.take(1) == [], "makes the groups"
        epoch = await create(store)
        await replicated(servers)

        servers.primary.kill()
        with pytest.raises(StoreUnavailable):
            await store.load(LISTENER_ID, SESSION_ID)
        loaded = await following(lambda: store.load(LISTENER_ID, SESSION_ID))
        assert loaded.epoch > epoch
        assert [state.session_id for state in loaded.states] == [SESSION_ID], "what the replica had is there"
        assert await line.gap() == LISTENER_ID
        await store.publish(LISTENER_ID, b"of the new one")
        assert await line.arrived() == (LISTENER_ID, b"of the new one")
        assert await following(lambda: cache.get("key")) == b"value"
        await following(lambda: source.ask(time.monotonic))
        assert len(await following(lambda: journal.take(10))) == 1

        async def ready() -> bool:
            return await run_checks({"valkey": check}) == {"valkey": "ok"}

        await eventually(ready, FAILOVER_TIMEOUT_S)
        await source.stop()
        await journal.stop()


async def test_a_primary_that_hangs_is_given_up_and_when_it_wakes_as_a_replica_nobody_is_there(
    servers: Guarded,
) -> None:
    async with redis_line(servers.url, SetClock()) as line:
        store, bus = line.store, line.bus
        assert isinstance(store, RedisStore)
        store.on_moved = bus.reopen  # type: ignore[attr-defined]
        await bus.subscribe(LISTENER_ID)
        epoch = await create(store)
        await replicated(servers)
        hanging = servers.primary._server
        assert hanging is not None
        hanging.send_signal(signal.SIGSTOP)
        try:
            assert (await following(lambda: store.load(LISTENER_ID, SESSION_ID))).epoch > epoch
            assert await line.gap() == LISTENER_ID, "the bus has left it too, though nothing was closed"
        finally:
            hanging.send_signal(signal.SIGCONT)
        async with redis.asyncio.Redis(port=servers.ports[0], password=PASSWORD) as woken:

            async def demoted() -> bool:
                return bool((await woken.info("replication"))["role"] == "slave")

            await eventually(demoted, FAILOVER_TIMEOUT_S)
        await store.publish(LISTENER_ID, b"of the new one")
        assert await line.arrived() == (LISTENER_ID, b"of the new one")
        assert [state.session_id for state in (await store.live(LISTENER_ID)).states] == [SESSION_ID]


async def test_a_failover_that_an_operator_asks_for_is_followed_before_the_old_primary_is_demoted(
    servers: Guarded,
) -> None:
    async with redis_line(servers.url, SetClock()) as line:
        store, bus = line.store, line.bus
        assert isinstance(store, RedisStore)
        store.on_moved = bus.reopen  # type: ignore[attr-defined]
        await bus.subscribe(LISTENER_ID)
        epoch = await create(store)
        await servers.heard(1)
        await replicated(servers)
        with closing(redis.Redis(port=servers.sentinel_ports[0])) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)  # type: ignore[no-untyped-call]

        async def grown() -> bool:
            return bool((await following(lambda: store.live(LISTENER_ID))).epoch > epoch)

        with capture_logs() as logs:
            await eventually(grown, FAILOVER_TIMEOUT_S)
        actions = [row["action"] for row in logs]
        assert actions.index("primary_switched") < actions.index("store_epoch_opened"), "nobody waited to be refused"
        loaded = await store.live(LISTENER_ID)
        assert [state.session_id for state in loaded.states] == [SESSION_ID]
        assert await line.gap() == LISTENER_ID
        change = Change(after=make_state(version=2, epoch=loaded.epoch), expected_version=1)
        assert await store.commit(LISTENER_ID, loaded.epoch, [change], [b"packet"]) is Committed.DONE
        assert await line.arrived() == (LISTENER_ID, b"packet")


async def test_one_sentinel_is_enough_to_ask_and_one_that_hangs_is_not_waited_for(servers: Guarded) -> None:
    servers.processes[0].send_signal(signal.SIGSTOP)
    client = connect(servers.url)
    try:
        assert await client.ping()
        servers.processes[1].kill()
        servers.processes[1].wait()
        await client.connection_pool.disconnect()
        assert await client.ping()
    finally:
        servers.processes[0].send_signal(signal.SIGCONT)
        await client.aclose()


async def test_without_sentinels_nothing_is_answered_and_the_error_says_why(servers: Guarded) -> None:
    for process in servers.processes:
        process.kill()
        process.wait()
    client, source = connect(servers.url), RedisTime(servers.url)
    with pytest.raises(NoPrimary, match=f"No sentinel names a primary of '{SERVICE}'"):
        await client.ping()
    with pytest.raises(TimeUnavailable):
        await source.ask(time.monotonic)
    await client.aclose()
    await source.stop()


async def test_a_service_that_no_sentinel_knows_is_no_store(servers: Guarded) -> None:
    client = connect(servers.url.replace(f"/{SERVICE}/", "/another/"))
    with pytest.raises(NoPrimary, match="No such master"):
        await client.ping()
    await client.aclose()


async def test_a_wrong_password_is_refused_by_the_server(servers: Guarded) -> None:
    client = connect(servers.url.replace(PASSWORD, "another"))
    with pytest.raises(LostConnection):
        await asyncio.wait_for(client.ping(), 10)
    await client.aclose()

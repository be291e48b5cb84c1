"""A primary that was demoted and lives on as a replica: it closes nothing, so whoever is connected has to leave it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from playhead.app.embedded import EmbeddedValkey
from playhead.http.health import run_checks, valkey_check
from playhead.runtime.redis import connect
from playhead.runtime.store_clock import RedisTime, TimeUnavailable
from playhead.sessions.redis_bus import RedisBus
from playhead.sessions.redis_journal import RedisJournal
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import Change, Committed, StoreUnavailable
from tests.integration.sessions.lines import Line, eventually, redis_line
from tests.support.proxies import Proxy, proxying
from tests.support.sessions import SetClock
from tests.support.states import LISTENER_ID, SESSION_ID, make_state

COMMANDS = 64
FIRST = make_state(version=1, revision=1)


@dataclass(slots=True)
class Pair:
    """Two servers, and an address that leads to the old one until the test says otherwise."""

    old: EmbeddedValkey
    new: EmbeddedValkey
    address: Proxy
    nowhere: int

    async def demote(self, **settings: str) -> None:
        """The old one is a replica from now on, of nobody who can be reached."""
        async with redis.asyncio.Redis.from_url(self.old.url) as client:
            for name, value in settings.items():
                await client.config_set(name.replace("_", "-"), value)
            await client.replicaof("127.0.0.1", str(self.nowhere))

    def move(self) -> None:
        self.address.target = self.new.socket_path

    async def left(self) -> None:
        """Returns when nobody is connected to the old one any more."""
        async with redis.asyncio.Redis.from_url(self.old.url) as client:
            await eventually(lambda: _alone(client))


async def _alone(client: Any) -> bool:
    return len(await client.client_list()) == 1


@pytest.fixture
async def pair(start_valkey: Callable[..., EmbeddedValkey], free_port: int) -> AsyncIterator[Pair]:
    old, new = start_valkey(), start_valkey()
    async with proxying(old.socket_path) as address:
        yield Pair(old, new, address, free_port)


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, SetClock())
    try:
        yield store
    finally:
        await store.stop()


async def create(store: RedisStore) -> int:
    """A session; answers its epoch."""
    epoch = (await store.live(LISTENER_ID)).epoch
    change = Change(after=make_state(version=1, revision=1, epoch=epoch), expected_version=None)
    assert await store.commit(LISTENER_ID, epoch, [change], []) is Committed.DONE
    return epoch


async def commit(store: RedisStore, epoch: int) -> Committed:
    change = Change(after=make_state(version=2, epoch=epoch), expected_version=1)
    return await store.commit(LISTENER_ID, epoch, [change], [])


# the store


@pytest.mark.parametrize("stale_data", ["yes", "no"])
async def test_a_server_that_became_a_replica_is_left_for_whoever_has_its_address_by_then(
    pair: Pair, stale_data: str
) -> None:
    async with open_store(pair.address.url) as store:
        moves: list[str] = []
        store.on_moved = lambda: moves.append("moved")
        epoch = await create(store)
        await pair.demote(replica_serve_stale_data=stale_data)
        pair.move()
        with pytest.raises(StoreUnavailable):
            await commit(store, epoch)
        assert moves == ["moved"], "whoever listens there is told to leave"
        loaded = await store.load(LISTENER_ID, SESSION_ID)
        assert loaded.states == () and loaded.epoch >= epoch, "it is the new one that answers"
        assert moves == ["moved", "moved"], "and to come here"
        await create(store)


async def test_a_replica_that_tells_nothing_while_its_primary_is_away_is_left_by_readers_as_well(pair: Pair) -> None:
    async with open_store(pair.address.url) as store:
        await create(store)
        await pair.demote(replica_serve_stale_data="no")
        pair.move()
        with pytest.raises(StoreUnavailable):
            await store.load(LISTENER_ID, SESSION_ID)
        assert (await store.load(LISTENER_ID, SESSION_ID)).states == ()


async def test_until_the_address_leads_to_a_primary_nothing_is_answered_not_even_what_the_replica_knows(
    pair: Pair,
) -> None:
    async with open_store(pair.address.url) as store:
        epoch = await create(store)
        await pair.demote()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await commit(store, epoch)
            with pytest.raises(StoreUnavailable, match="replica"):
                await store.load(LISTENER_ID, SESSION_ID)
        told = (await run_checks({"valkey": valkey_check(store.client)}))["valkey"]
        assert told == "its address leads to a replica; PLAYHEAD_REDIS_URL has to lead to the primary"
        pair.move()
        assert (await store.load(LISTENER_ID, SESSION_ID)).states == ()
        assert (await run_checks({"valkey": valkey_check(store.client)}))["valkey"] == "ok"


async def test_commands_in_flight_at_a_demotion_fail_cleanly_and_their_connection_is_not_used_again(
    pair: Pair,
) -> None:
    async with open_store(pair.address.url) as store:
        epoch = await create(store)
        async with redis.asyncio.Redis.from_url(pair.old.url) as client:
            await client.client_pause(60_000, all=False)
            blocked = [asyncio.create_task(commit(store, epoch)) for _ in range(COMMANDS)]
            await eventually(lambda: _blocked(client))
            await pair.demote()
            await client.client_unpause()
            pair.move()
            answers = await asyncio.gather(*blocked, return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        loads = await asyncio.gather(*(store.load(LISTENER_ID, SESSION_ID) for _ in range(COMMANDS)))
        assert all(loaded.states == () for loaded in loads), "none asked the old one, which has a session"
        await pair.left()


async def _blocked(client: Any) -> bool:
    return int((await client.info("clients"))["blocked_clients"]) > 0


async def test_one_connection_in_use_that_did_nothing_meanwhile_is_left_as_well(pair: Pair) -> None:
    async with open_store(pair.address.url) as store:
        epoch = await create(store)
        pool: Any = store.client.connection_pool
        idle, *in_use = [await pool.get_connection() for _ in range(4)]
        await pool.release(idle)
        await pair.demote()
        pair.move()
        with pytest.raises(StoreUnavailable):
            await commit(store, epoch)
        for connection in in_use:
            await pool.release(connection)
        for loaded in await asyncio.gather(*(store.load(LISTENER_ID, SESSION_ID) for _ in range(4))):
            assert loaded.states == (), "a stale one would answer what it had"


# who else is connected


@asynccontextmanager
async def following(pair: Pair) -> AsyncIterator[tuple[Line, RedisBus, RedisStore]]:
    async with redis_line(pair.address.url, SetClock()) as line:
        assert isinstance(line.bus, RedisBus) and isinstance(line.store, RedisStore)
        line.store.on_moved = line.bus.reopen
        await line.bus.subscribe(LISTENER_ID)
        yield line, line.bus, line.store


async def test_a_bus_leaves_a_demoted_server_and_says_so_until_it_listens_to_a_primary_again(pair: Pair) -> None:
    async with following(pair) as (line, bus, store), redis_line(pair.new.url, SetClock()) as other:
        epoch = await create(store)
        await pair.demote()
        with pytest.raises(StoreUnavailable):
            await commit(store, epoch)

        async def deaf() -> bool:
            return not bus.connected

        await eventually(deaf)
        await pair.left()
        assert not bus.connected and line.gaps.empty()
        pair.move()
        assert await line.gap() == LISTENER_ID
        assert bus.connected
        await other.store.publish(LISTENER_ID, b"of the new one")
        assert await line.arrived() == (LISTENER_ID, b"of the new one")
        assert line.gaps.empty(), "one gap is enough"


async def test_a_bus_follows_when_another_server_answers_and_is_told_of_it_once(pair: Pair) -> None:
    async with following(pair) as (line, _, store), redis_line(pair.new.url, SetClock()) as other:
        await store.client.connection_pool.disconnect(inuse_connections=False)
        pair.move()
        with capture_logs() as logs:
            await store.load(LISTENER_ID, SESSION_ID)
            assert await line.gap() == LISTENER_ID
            assert await line.arrived_until(LISTENER_ID, b"marker") == []
        assert [row["action"] for row in logs] == ["store_epoch_opened", "bus_lost"]
        assert line.gaps.empty()
        await other.store.publish(LISTENER_ID, b"of the new one")
        assert await line.arrived() == (LISTENER_ID, b"of the new one")


async def test_a_bus_that_listens_anew_asks_whoever_has_the_address_by_then_not_an_older_connection(pair: Pair) -> None:
    async with following(pair) as (line, bus, store), redis_line(pair.new.url, SetClock()) as other:
        pool: Any = store.client.connection_pool
        to_the_old_one = await pool.get_connection()
        pair.move()
        bus.reopen()

        async def left() -> bool:
            return not bus.connected

        await eventually(left)
        await pool.release(to_the_old_one)  # the next that the pool gives away
        assert await line.gap() == LISTENER_ID
        await other.store.publish(LISTENER_ID, b"of the new one")
        assert await line.arrived() == (LISTENER_ID, b"of the new one")


async def test_server_time_is_never_that_of_a_replica(pair: Pair) -> None:
    source = RedisTime(pair.address.url)
    try:
        await source.ask(time.monotonic)
        await pair.demote()
        for _ in range(2):
            with pytest.raises(TimeUnavailable, match="replica"):
                await source.ask(time.monotonic)
        await pair.left()
        pair.move()
        await source.ask(time.monotonic)
    finally:
        await source.stop()


async def test_a_flusher_takes_nothing_from_a_replica_and_follows_to_the_new_primary(pair: Pair) -> None:
    journal = RedisJournal(pair.address.url)
    try:
        await journal.take(1)
        await pair.demote()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await journal.take(1)
        with pytest.raises(StoreUnavailable, match="replica"):
            await journal.backlog()
        await pair.left()
        pair.move()
        async with open_store(pair.new.url) as store:
            await create(store)
        assert await journal.take(1) == [], "makes the groups"
        assert len(await journal.take(1)) == 1
    finally:
        await journal.stop()


async def test_a_client_is_connected_to_no_replica(pair: Pair) -> None:
    await pair.demote()
    client = connect(pair.address.url)
    with pytest.raises(redis.exceptions.ConnectionError, match="Lead it to the primary"):
        await client.ping()
    pair.move()
    assert await client.ping()
    await client.aclose()

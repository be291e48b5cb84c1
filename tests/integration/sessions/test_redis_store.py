"""What only a real Valkey shows: its lives and epochs, its functions, its outages, and what it forgets when."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from playhead.app.embedded import EmbeddedValkey
from playhead.playback.state import SessionState
from playhead.runtime import redis as connections
from playhead.sessions.keys import PARTITIONS, ListenerKeys, epoch_key, partition_of
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import (
    ENDED_TTL_MS,
    LEFT_TTL_MS,
    PRESENCE_LEASE_MS,
    SESSION_TTL_MS,
    Change,
    Committed,
    Connection,
    DueSession,
    StoreUnavailable,
)
from tests.support.sessions import SetClock, new_id
from tests.support.states import LISTENER_ID, NOW_MS, SCRIPT_ID, SESSION_ID, make_state

FIRST = make_state(version=1, revision=1)
KEYS = ListenerKeys(LISTENER_ID)
CONNECTION = Connection(
    connection_id="c", device_id="d", name="n", kind="phone", connected_at_ms=NOW_MS, expires_at_ms=NOW_MS
)
OpenStore = Callable[..., AbstractAsyncContextManager[RedisStore]]


@asynccontextmanager
async def open_store(url: str, clock: SetClock | None = None) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, clock or SetClock())
    try:
        yield store
    finally:
        await store.stop()


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[RedisStore]:
    async with open_store(valkey_url) as store:
        yield store


async def restart(valkey: EmbeddedValkey) -> None:
    """Kills the server and starts it again; the loop has seen every connection end."""
    valkey.kill()
    valkey.start()
    for _ in range(5):
        await asyncio.sleep(0)


async def create(store: RedisStore, state: SessionState = FIRST) -> SessionState:
    epoch = (await store.live(LISTENER_ID)).epoch
    created = replace(state, epoch=epoch)
    assert await store.commit(LISTENER_ID, epoch, [Change(after=created, expected_version=None)], []) is Committed.DONE
    return created


async def commit_at(store: RedisStore, epoch: int, version: int) -> Committed:
    change = Change(after=make_state(version=version + 1, epoch=epoch), expected_version=version)
    return await store.commit(LISTENER_ID, epoch, [change], [])


# lives of the store


async def test_after_a_crash_the_sessions_are_there_and_the_epoch_has_grown(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey(append_sync="always")
    async with open_store(valkey.url) as store:
        created = await create(store)
        await restart(valkey)
        loaded = await store.load(LISTENER_ID, SESSION_ID)
        assert loaded.states == (created,) and loaded.epoch > created.epoch
        assert await commit_at(store, created.epoch, 1) is Committed.LOST
        assert await commit_at(store, loaded.epoch, 1) is Committed.DONE


async def test_the_epoch_grows_in_every_partition_even_when_the_clock_went_back(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey, clock = start_valkey(append_sync="always"), SetClock()
    async with open_store(valkey.url, clock) as store:
        before = [int(await store.client.hget(epoch_key(number), "epoch") or 0) for number in range(PARTITIONS)]
        clock.advance(-3_600_000)
        await restart(valkey)
        after = [int(await store.client.hget(epoch_key(number), "epoch") or 0) for number in range(PARTITIONS)]
    assert all(old < new for old, new in zip(before, after, strict=True))


async def test_processes_that_come_and_go_leave_the_epoch_alone(valkey_url: str) -> None:
    epochs = set()
    for elapsed_ms in range(3):
        async with open_store(valkey_url, SetClock(NOW_MS + elapsed_ms)) as store:
            epochs.add((await store.live(LISTENER_ID)).epoch)
    assert epochs == {NOW_MS}


async def test_of_many_first_connections_one_opens_the_store_for_all(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey()
    async with open_store(valkey.url) as store, open_store(valkey.url) as watcher:
        await watcher.live(LISTENER_ID)
        for lives in (1, 2):
            await watcher.client.config_resetstat()
            with capture_logs() as logs:
                await asyncio.gather(*(store.live(LISTENER_ID) for _ in range(10)))
            told = [entry["action"] for entry in logs]
            assert told == ["store_epoch_opened"] * (lives - 1)
            calls = await watcher.client.info("commandstats")
            assert calls["cmdstat_function|load"]["calls"] == 1
            if lives == 1:
                await restart(valkey)
                await watcher.live(LISTENER_ID)


async def test_an_emptied_store_has_no_sessions_and_a_higher_epoch(valkey_url: str) -> None:
    clock = SetClock()
    async with open_store(valkey_url, clock) as store:
        created = await create(store)
        await store.client.flushall()
        clock.advance(1)
        assert await commit_at(store, created.epoch, 1) is Committed.LOST
        loaded = await store.load(LISTENER_ID, SESSION_ID)
        assert loaded.states == () and loaded.epoch > created.epoch
        assert (await store.live(LISTENER_ID)).epoch == loaded.epoch
        await create(store)


async def test_whoever_asks_an_emptied_store_for_its_orders_begins_a_higher_one(valkey_url: str) -> None:
    clock = SetClock()
    async with open_store(valkey_url, clock) as store:
        created = await create(store)
        await store.client.flushall()
        clock.advance(1)
        epoch, _ = (await store.orders([LISTENER_ID]))[LISTENER_ID].present
        assert epoch > created.epoch
        assert epoch == (await store.live(LISTENER_ID)).epoch


async def test_sessions_that_lived_elsewhere_meanwhile_are_of_an_older_life_here(valkey_url: str) -> None:
    async with open_store(valkey_url) as store:
        created = await create(store)
        later = created.epoch + 3_600_000
        for _ in range(2):
            await store.outgrow(later)
            loaded = await store.load(LISTENER_ID, SESSION_ID)
            assert (loaded.states, loaded.epoch) == ((created,), later + 1)
        await store.outgrow(created.epoch)
        assert (await store.live(LISTENER_ID)).epoch == later + 1
        assert await commit_at(store, created.epoch, 1) is Committed.LOST
        assert await commit_at(store, later + 1, 1) is Committed.DONE
    async with open_store(valkey_url) as store:
        assert (await store.live(LISTENER_ID)).epoch == later + 1, "it is the same life"


@pytest.mark.parametrize("emptied", [False, True])
async def test_functions_that_were_removed_are_loaded_again(store: RedisStore, emptied: bool) -> None:
    created = await create(store)
    await store.client.function_flush()
    if emptied:
        await store.client.flushall()
        assert (await store.live(LISTENER_ID)).states == ()
        return
    assert await commit_at(store, created.epoch, 1) is Committed.DONE
    await store.client.function_flush()
    assert len((await store.orders([LISTENER_ID]))[LISTENER_ID].sessions) == 1
    await store.client.function_flush()
    assert len((await store.live(LISTENER_ID)).states) == 1


# outages


def calls(store: RedisStore) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Every call of the contract."""
    row = Connection(
        connection_id="c", device_id="d", name="n", kind="phone", connected_at_ms=NOW_MS, expires_at_ms=NOW_MS + 1
    )
    change = Change(after=FIRST, expected_version=None)
    return {
        "load": lambda: store.load(LISTENER_ID, SESSION_ID),
        "live": lambda: store.live(LISTENER_ID),
        "orders": lambda: store.orders([LISTENER_ID]),
        "last_ended": lambda: store.last_ended(LISTENER_ID, SCRIPT_ID),
        "commit": lambda: store.commit(LISTENER_ID, 1, [change], [b"packet"]),
        "publish": lambda: store.publish(LISTENER_ID, b"packet"),
        "hold_connections": lambda: store.hold_connections(LISTENER_ID, [row]),
        "drop_connection": lambda: store.drop_connection(LISTENER_ID, "c", NOW_MS),
        "connections": lambda: store.connections(LISTENER_ID, NOW_MS),
        "present": lambda: store.present(LISTENER_ID, NOW_MS),
        "moves": lambda: store.moves(LISTENER_ID, SESSION_ID),
        "left_at_ms": lambda: store.left_at_ms(LISTENER_ID),
        "due": lambda: store.due(NOW_MS, 1),
        "forget_due": lambda: store.forget_due(DueSession(listener_id=LISTENER_ID, session_id=SESSION_ID)),
    }


async def refusals(store: RedisStore) -> dict[str, str]:
    answers = await asyncio.gather(*(call() for call in calls(store).values()), return_exceptions=True)
    return {name: type(answer).__name__ for name, answer in zip(calls(store), answers, strict=True)}


async def test_while_the_server_is_down_every_call_says_so_and_afterwards_every_call_works(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey(append_sync="always")
    async with open_store(valkey.url) as store:
        await asyncio.gather(*(store.live(LISTENER_ID) for _ in range(10)))
        valkey.kill()
        for _ in range(2):
            assert set((await refusals(store)).values()) == {StoreUnavailable.__name__}
        valkey.start()
        for call in calls(store).values():
            await call()


async def test_connections_that_died_in_a_pause_cost_no_command(start_valkey: Callable[..., EmbeddedValkey]) -> None:
    valkey = start_valkey(append_sync="always")
    async with open_store(valkey.url) as store:
        await asyncio.gather(*(store.live(LISTENER_ID) for _ in range(10)))
        await restart(valkey)
        await asyncio.gather(*(store.live(LISTENER_ID) for _ in range(20)))


async def test_a_server_that_hangs_is_given_up_in_time(
    start_valkey: Callable[..., EmbeddedValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.2)
    valkey = start_valkey()
    async with open_store(valkey.url) as store:
        await store.live(LISTENER_ID)
        await store.client.client_pause(1_000)
        began_s = time.monotonic()
        assert set((await refusals(store)).values()) == {StoreUnavailable.__name__}
        assert time.monotonic() - began_s < 1.0


# what is forgotten when


async def test_a_live_session_outlives_its_idle_time_and_every_commit_renews_it(store: RedisStore) -> None:
    created = await create(store)
    for key in (KEYS.session(SESSION_ID), KEYS.live):
        assert SESSION_TTL_MS - 5_000 < await store.client.pttl(key) <= SESSION_TTL_MS
        await store.client.pexpire(key, 100_000)
    await commit_at(store, created.epoch, 1)
    for key in (KEYS.session(SESSION_ID), KEYS.live):
        assert SESSION_TTL_MS - 5_000 < await store.client.pttl(key)


async def test_an_ended_session_is_kept_for_a_while_and_then_gone_without_a_trace(store: RedisStore) -> None:
    created = await create(store)
    ended = replace(created, version=2, ended_at_ms=NOW_MS)
    await store.commit(LISTENER_ID, created.epoch, [Change(after=ended, expected_version=1)], [])
    for key in (KEYS.session(SESSION_ID), KEYS.ended(SCRIPT_ID)):
        assert ENDED_TTL_MS - 5_000 < await store.client.pttl(key) <= ENDED_TTL_MS
    await store.client.delete(KEYS.session(SESSION_ID))
    assert await store.last_ended(LISTENER_ID, SCRIPT_ID) is None
    assert not await store.client.hexists(KEYS.live, SCRIPT_ID)


async def test_a_session_that_has_run_out_leaves_the_index_and_makes_room(store: RedisStore) -> None:
    await create(store)
    await store.client.delete(KEYS.session(SESSION_ID))
    assert await store.client.hexists(KEYS.live, SCRIPT_ID)
    assert (await store.orders([LISTENER_ID]))[LISTENER_ID].sessions == {}
    assert (await store.live(LISTENER_ID)).states == ()
    assert not await store.client.hexists(KEYS.live, SCRIPT_ID)
    await create(store, replace(FIRST, session_id=new_id()))


async def test_leases_that_ran_out_are_removed_and_all_of_them_in_the_end(store: RedisStore) -> None:
    row = Connection(
        connection_id="c", device_id="d", name="n", kind="phone", connected_at_ms=NOW_MS, expires_at_ms=NOW_MS + 5
    )
    await store.hold_connections(LISTENER_ID, [row])
    assert PRESENCE_LEASE_MS < await store.client.pttl(KEYS.presence) <= 2 * PRESENCE_LEASE_MS
    assert await store.connections(LISTENER_ID, NOW_MS + 5) == ()
    await store.drop_connection(LISTENER_ID, "c", NOW_MS + 5)
    assert await store.client.exists(KEYS.presence) == 0


async def test_every_renewal_keeps_the_count_of_the_list_and_one_that_has_run_out_begins_above_it(
    store: RedisStore,
) -> None:
    lease_ms = NOW_MS + PRESENCE_LEASE_MS
    row = Connection(
        connection_id="c", device_id="d", name="n", kind="phone", connected_at_ms=NOW_MS, expires_at_ms=lease_ms
    )
    await store.hold_connections(LISTENER_ID, [row])
    (_, version) = (await store.present(LISTENER_ID, NOW_MS)).order
    await store.client.pexpire(KEYS.presence_version, 100_000)
    await store.hold_connections(LISTENER_ID, [row])
    assert LEFT_TTL_MS - 5_000 < await store.client.pttl(KEYS.presence_version)
    assert (await store.present(LISTENER_ID, NOW_MS)).order[1] == version
    await store.client.delete(KEYS.presence_version)
    await store.hold_connections(LISTENER_ID, [row])
    assert (await store.present(LISTENER_ID, NOW_MS)).order[1] > version


async def test_everything_of_a_listener_lies_in_the_slot_of_its_partition(
    start_valkey: Callable[..., EmbeddedValkey], free_ports: Callable[[], int]
) -> None:
    ports = {"port": str(free_ports()), "cluster-port": str(free_ports())}
    valkey = start_valkey(settings={"cluster-enabled": "yes", **ports})
    client: Any = connections.connect(valkey.url)
    async with client:
        for listener_id in (LISTENER_ID, *(new_id() for _ in range(20))):
            slot = await client.execute_command("CLUSTER", "KEYSLOT", listener_id)
            assert partition_of(listener_id) == slot % PARTITIONS
            keys = ListenerKeys(listener_id)
            names = (keys.epoch, keys.live, keys.presence, keys.channel, keys.session(SESSION_ID), keys.ended("s"))
            slots = {await client.execute_command("CLUSTER", "KEYSLOT", name) for name in names}
            assert slots == {await client.execute_command("CLUSTER", "KEYSLOT", str(partition_of(listener_id)))}


# what is due


def a_listener_of(partition: int) -> str:
    return next(listener_id for listener_id in iter(new_id, "") if partition_of(listener_id) == partition)


async def lapse(store: RedisStore, listener_id: str, count: int) -> None:
    """So many connections of a node that is dead."""
    rows = [replace(CONNECTION, connection_id=f"connection-{number}") for number in range(count)]
    await store.hold_connections(listener_id, rows)


async def test_one_look_takes_of_all_partitions_alike_and_what_some_leave_of_the_others(store: RedisStore) -> None:
    full, half, single = (a_listener_of(partition) for partition in range(3))
    for listener_id, count in ((full, 400), (half, 50), (single, 1)):
        await lapse(store, listener_id, count)
    counts = [Counter(item.listener_id for item in await store.due(NOW_MS, 200)) for _ in range(4)]
    assert [row.total() for row in counts] == [200, 200, 51, 0]
    assert counts[0][single] == 1 and counts[0][half] == 50


async def test_with_work_in_every_partition_a_look_takes_no_more_than_its_limit(store: RedisStore) -> None:
    for partition in range(PARTITIONS):
        await lapse(store, a_listener_of(partition), 4)
    looks = [await store.due(NOW_MS, 200), await store.due(NOW_MS, 200)]
    assert [len(items) for items in looks] == [200, 4 * PARTITIONS - 200]
    each = Counter(item.listener_id for item in looks[0])
    assert len(each) == PARTITIONS and set(each.values()) == {3, 4}


async def test_a_session_does_not_wait_until_all_that_a_dead_node_held_is_done(store: RedisStore) -> None:
    await lapse(store, LISTENER_ID, 300)
    await create(store, replace(FIRST, sleep_at_ms=NOW_MS + 5))
    found = await store.due(NOW_MS + 5, 2 * PARTITIONS)
    assert len(found) == 2 * PARTITIONS
    assert [item for item in found[:2] if isinstance(item, DueSession)] != []


async def test_who_is_gone_with_all_that_was_known_of_it_is_missed_once(store: RedisStore) -> None:
    await lapse(store, LISTENER_ID, 1)
    await store.client.delete(KEYS.presence)
    before = (await store.present(LISTENER_ID, NOW_MS)).order
    assert await store.drop_connection(LISTENER_ID, "connection-0", NOW_MS, lapsed_by_ms=NOW_MS)
    after = (await store.present(LISTENER_ID, NOW_MS)).order
    assert after > before, "lists that others have seen still name it"
    assert not await store.drop_connection(LISTENER_ID, "connection-0", NOW_MS, lapsed_by_ms=NOW_MS)
    assert (await store.present(LISTENER_ID, NOW_MS)).order == after

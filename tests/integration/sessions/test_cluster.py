"""The session layer on a real cluster of three primaries: what is lost or anew on one of them is so there alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from playhead.cache import RedisBackend
from playhead.http.health import run_checks, valkey_check
from playhead.runtime.cluster import ClusterCalls
from playhead.runtime.cluster_redis import ClusterRedis
from playhead.runtime.cluster_subscriptions import ClusterSubscriptions
from playhead.runtime.slots import slot_of
from playhead.sessions.dead_letters import DeadLetters
from playhead.sessions.keys import PARTITIONS, ListenerKeys, journal_key, partition_of
from playhead.sessions.redis_bus import RedisBus
from playhead.sessions.redis_journal import RedisJournal
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import Change, Committed, DueSession, StoreUnavailable
from tests.integration.sessions.lines import Line, eventually, redis_line
from tests.support.clusters import PRIMARIES, REPLICA, Cluster
from tests.support.sessions import SetClock, new_id
from tests.support.states import NOW_MS, make_state

LATER_MS = NOW_MS + 30 * 24 * 3_600_000
"""When every session has come to its end."""
FAILOVER_TIMEOUT_S = 60.0
PING_EVERY_S = 0.4
"""A connection that is well is heard within the two and a half of them, on a busy machine too."""


@pytest.fixture
async def line(cluster: Cluster) -> AsyncIterator[Line]:
    async with redis_line(cluster.url, SetClock()) as line:
        yield line


@pytest.fixture
def store(line: Line) -> RedisStore:
    assert isinstance(line.store, RedisStore)
    return line.store


@pytest.fixture
async def journal(cluster: Cluster) -> AsyncIterator[RedisJournal]:
    journal = RedisJournal(cluster.url)
    yield journal
    await journal.stop()


def one_listener_of_each() -> list[str]:
    found: dict[int, str] = {}
    while len(found) < PARTITIONS:
        listener_id = new_id()
        found.setdefault(partition_of(listener_id), listener_id)
    return [found[partition] for partition in range(PARTITIONS)]


LISTENERS = one_listener_of_each()


def listeners_at(cluster: Cluster, number: int) -> set[str]:
    """Those whose partitions are there."""
    rows = [(row, slot_of(ListenerKeys(row).epoch)) for row in LISTENERS]
    return {listener_id for listener_id, slot in rows if cluster.primary_of(slot) == number}


def listener_at(cluster: Cluster, number: int) -> str:
    return min(listeners_at(cluster, number))


async def create(store: RedisStore, listener_id: str) -> str:
    """A session; answers its id."""
    session_id, epoch = new_id(), (await store.live(listener_id)).epoch
    state = structs.replace(make_state(version=1, revision=1, epoch=epoch), listener_id=listener_id)
    change = Change(after=structs.replace(state, session_id=session_id), expected_version=None)
    assert await store.commit(listener_id, epoch, [change], [b"packet"]) is Committed.DONE
    return session_id


async def following(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Its answer, as soon as it has one."""
    answer: Any = None

    async def answered() -> bool:
        nonlocal answer
        try:
            answer = await ask()
        except StoreUnavailable:
            return False
        return True

    await eventually(answered, FAILOVER_TIMEOUT_S)
    return answer


async def epochs_of(store: RedisStore) -> dict[str, int]:
    """By listener, of all partitions."""
    return {listener_id: row.present[0] for listener_id, row in (await store.orders(LISTENERS)).items()}


async def grown_after(store: RedisStore, before: Any) -> set[str]:
    after = await following(lambda: epochs_of(store))
    return {listener_id for listener_id in LISTENERS if after[listener_id] > before[listener_id]}


async def subscribed_at(cluster: Cluster, number: int, channel: str) -> None:
    """Returns when somebody listens to the channel there."""

    async def there() -> bool:
        return bool(cluster.ask(number, "PUBSUB", "SHARDCHANNELS", channel))

    await eventually(there)


async def arrived_in_the_end(line: Line, listener_id: str) -> tuple[str, bytes]:
    """What is published to the listener, as often as it takes: a server that learns late of a moved slot ends
    subscriptions to it, of which the listener is told."""
    async with asyncio.timeout(20):
        while line.packets.empty():
            await line.store.publish(listener_id, b"packet")
            await asyncio.sleep(0.1)
    return await line.arrived()


async def gaps_until(line: Line, wanted: set[str]) -> None:
    """Returns when each of them was told of one, and fails when another one is."""
    missing = set(wanted)
    while missing:
        listener_id = await line.gap()
        assert listener_id in wanted
        missing.discard(listener_id)


async def test_sessions_of_all_partitions_are_found_looked_at_and_compared(store: RedisStore) -> None:
    sessions = {listener_id: await create(store, listener_id) for listener_id in LISTENERS}
    for listener_id, session_id in sessions.items():
        assert [state.session_id for state in (await store.load(listener_id, session_id)).states] == [session_id]
    epochs, orders = await epochs_of(store), await store.orders(LISTENERS)
    for listener_id, session_id in sessions.items():
        assert orders[listener_id].sessions == {session_id: (epochs[listener_id], 1)}
    due = await store.due(LATER_MS, 200)
    found = {(item.listener_id, item.session_id) for item in due if isinstance(item, DueSession)}
    assert found == set(sessions.items())
    await store.forget_due(due[0])
    assert isinstance(store.calls, ClusterCalls) and len(store.calls.slots.primaries) == PRIMARIES


async def test_functions_that_were_lost_are_loaded_again_where_they_were(cluster: Cluster, store: RedisStore) -> None:
    await epochs_of(store)
    for number in range(PRIMARIES):
        cluster.ask(number, "FUNCTION", "FLUSH")
    for number in range(PRIMARIES):
        await create(store, listener_at(cluster, number))


async def test_when_a_primary_without_a_replica_starts_anew_only_its_own_partitions_were_away_and_have_grown(
    cluster: Cluster, line: Line, store: RedisStore, journal: RedisJournal
) -> None:
    before = await epochs_of(store)
    here = listeners_at(cluster, 1)
    lost, (kept, later) = min(here), sorted(listeners_at(cluster, 2))[:2]
    check = {"valkey": valkey_check(store.client)}
    assert await journal.take(1) == [], "makes the groups"
    for listener_id in (lost, kept):
        await line.bus.subscribe(listener_id)
        await create(store, listener_id)
        assert await line.arrived() == (listener_id, b"packet")
    taken = await journal.take(100)
    assert len(taken) == 2

    cluster.kill(1)
    with pytest.raises(StoreUnavailable):
        await store.live(lost)
    await line.bus.subscribe(later)
    await create(store, later)
    assert await line.arrived() == (later, b"packet"), "the other primaries' listeners notice nothing"
    assert {item.listener_id for item in await store.due(LATER_MS, 200)} == {kept, later}
    assert [row.partition for row in await journal.take(100)] == [partition_of(later)]
    await journal.done(taken)
    assert (await journal.backlog()).entries == 1
    assert await run_checks(check) == {"valkey": "ok"}

    cluster.servers[1].start()
    assert await grown_after(store, before) == here
    await gaps_until(line, {lost})
    await store.publish(lost, b"again")
    assert await line.arrived() == (lost, b"again")


async def test_after_a_failover_to_the_replica_and_back_its_partitions_alone_have_grown_each_time(
    cluster: Cluster, line: Line, store: RedisStore
) -> None:
    here, kept = listeners_at(cluster, 0), listener_at(cluster, 1)
    heard = sorted(here)[:5]
    sessions = {listener_id: await create(store, listener_id) for listener_id in (*heard, kept)}
    for listener_id in sessions:
        await line.bus.subscribe(listener_id)
    before = await epochs_of(store)
    cluster.replicated()
    cluster.hurry()
    cluster.kill(0)
    with pytest.raises(StoreUnavailable):
        await store.live(heard[0])
    loaded = await following(lambda: store.live(heard[0]))
    assert [state.session_id for state in loaded.states] == [sessions[heard[0]]], "what the replica had is there"
    assert cluster.primary_of(slot_of(ListenerKeys(heard[0]).epoch)) == REPLICA
    assert await grown_after(store, before) == here
    await gaps_until(line, set(heard))
    await store.publish(heard[0], b"of the new one")
    assert await line.arrived() == (heard[0], b"of the new one")

    before = await epochs_of(store)
    cluster.heal()
    assert await grown_after(store, before) == here, "the first one's run id has come back with it"
    await gaps_until(line, set(heard))
    await subscribed_at(cluster, 0, ListenerKeys(heard[0]).channel)
    await store.publish(heard[0], b"of the first one")
    assert await line.arrived() == (heard[0], b"of the first one")


async def test_a_slot_that_moves_takes_its_listeners_along_who_have_a_gap_and_no_session_is_forgotten(
    cluster: Cluster, line: Line, store: RedisStore
) -> None:
    moving, kept = listener_at(cluster, 1), listener_at(cluster, 2)
    sessions = {listener_id: await create(store, listener_id) for listener_id in (moving, kept)}
    for listener_id in sessions:
        await line.bus.subscribe(listener_id)
    keys = ListenerKeys(moving)
    slot, before = slot_of(keys.epoch), (await store.live(moving)).epoch
    cluster.begin_move(slot, 1, 2)
    cluster.ask(1, "MIGRATE", "127.0.0.1", cluster.ports[2], keys.session(sessions[moving]), 0, 5_000)
    # half of the keys are elsewhere: whoever asks is told so, and nothing is taken for ended
    for ask in (lambda: store.live(moving), lambda: create(store, moving)):
        with pytest.raises(StoreUnavailable):
            await ask()
    cluster.move_keys(slot, 1, 2)
    cluster.end_move(slot, 2)
    await gaps_until(line, {moving})
    loaded = await store.live(moving)
    assert [state.session_id for state in loaded.states] == [sessions[moving]] and loaded.epoch >= before
    for listener_id in (moving, kept):
        await store.publish(listener_id, b"packet")
        assert await line.arrived() == (listener_id, b"packet")
    # a subscription that goes to where the slot was is sent on
    other = same_partition(moving)
    await line.bus.unsubscribe(moving)
    cluster.begin_move(slot, 2, 1)
    cluster.move_keys(slot, 2, 1)
    cluster.end_move(slot, 1)
    await line.bus.subscribe(other)
    await subscribed_at(cluster, 1, ListenerKeys(other).channel)
    assert await arrived_in_the_end(line, other) == (other, b"packet")
    told = {line.gaps.get_nowait() for _ in range(line.gaps.qsize())}
    assert told <= {other}, "nobody else listened when it moved back"


async def test_a_slot_that_comes_back_and_goes_again_leaves_nobody_deaf(cluster: Cluster, line: Line) -> None:
    """Nobody but the subscription asks for anything: what it hears is all that tells it."""
    moving = listener_at(cluster, 1)
    await line.bus.subscribe(moving)
    slot = slot_of(ListenerKeys(moving).epoch)
    for old, new in ((1, 2), (2, 1), (1, 2), (2, 1)):
        cluster.begin_move(slot, old, new)
        cluster.move_keys(slot, old, new)
        cluster.end_move(slot, new)
        await gaps_until(line, {moving})
        await subscribed_at(cluster, new, ListenerKeys(moving).channel)


async def test_a_slot_that_moves_in_one_step_refuses_nobody(cluster: Cluster, line: Line, store: RedisStore) -> None:
    """As Valkey 9 can move it."""
    moving = listener_at(cluster, 1)
    await line.bus.subscribe(moving)
    session_id, slot = await create(store, moving), slot_of(ListenerKeys(moving).epoch)
    assert await line.arrived() == (moving, b"packet")
    cluster.ask(1, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", cluster.node_id(2))

    async def followed() -> bool:
        assert [state.session_id for state in (await store.live(moving)).states] == [session_id]
        return store.calls.slots.primary(slot) == ("127.0.0.1", cluster.ports[2])  # type: ignore[union-attr]

    await eventually(followed, FAILOVER_TIMEOUT_S)
    await gaps_until(line, {moving})
    await store.publish(moving, b"there")
    assert await line.arrived() == (moving, b"there")


def same_partition(listener_id: str) -> str:
    while True:
        other = new_id()
        if partition_of(other) == partition_of(listener_id):
            return other


async def test_a_connection_to_one_primary_that_has_died_without_a_word_is_opened_anew_and_no_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps: asyncio.Queue[str] = asyncio.Queue()

    async def on_packet(_listener_id: str, _packet: bytes) -> None:
        raise AssertionError("what a process tells itself is no packet")

    store = RedisStore(cluster.url, SetClock())
    bus = RedisBus(store.client, on_packet, gaps.put, ping_every_s=PING_EVERY_S)
    bus.start()
    try:
        listeners = [listener_at(cluster, number) for number in range(PRIMARIES)]
        for listener_id in listeners:
            await bus.subscribe(listener_id)
        assert isinstance(bus._subscriptions, ClusterSubscriptions)
        deaf = bus._subscriptions._lines["127.0.0.1", cluster.ports[1]]

        async def heard() -> bool:
            return bus.ping_s > 0 and bus.connected and bus.silent_s < 5

        await eventually(heard)

        async def silence(_connection: Any) -> None:
            await asyncio.Event().wait()

        with monkeypatch.context() as patched:
            patched.setattr(deaf, "_read", silence)
            deaf.reopen()

            async def silent() -> bool:
                return asyncio.get_running_loop().time() - deaf.heard_s > 0.1

            await eventually(silent)
        async with asyncio.timeout(10):
            assert await gaps.get() == listeners[1]
        assert gaps.empty()
    finally:
        await bus.stop()
        await store.stop()


async def test_what_is_cached_and_dead_letters_lie_wherever_their_slots_are(
    cluster: Cluster, store: RedisStore
) -> None:
    cache = RedisBackend(store.client, timeout_s=5)
    for number in range(10):
        await cache.put(f"key-{number}", str(number).encode(), 600)
    assert [await cache.get(f"key-{number}") for number in range(10)] == [str(number).encode() for number in range(10)]
    await cache.drop("key-1")
    assert await cache.get("key-1") is None

    letters, client = DeadLetters(cluster.url), store.client
    assert isinstance(client, ClusterRedis)
    for partition in (3, 50):
        await client.xadd(f"audio:dead:{{{partition}}}", {"s": "torn", "x": "", "reason": "why", "entry_id": "1-1"})
    names = [letter.name async for letter in letters.all()]
    assert [name.partition(":")[0] for name in names] == ["3", "50"] and await letters.count() == 2
    assert await letters.retry(names[0]) and await letters.drop(names[1])
    assert await client.xlen(journal_key(3)) == 1 and await letters.count() == 0
    await letters.stop()


async def test_every_primary_has_to_keep_what_it_was_given(cluster: Cluster, store: RedisStore) -> None:
    check = {"valkey": valkey_check(store.client)}
    assert await run_checks(check) == {"valkey": "ok"}
    cluster.ask(2, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert (await run_checks(check))["valkey"] == "maxmemory-policy is allkeys-lru; set it to noeviction"
    finally:
        cluster.ask(2, "CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_a_primary_that_is_full_takes_no_other_ones_listeners_their_places(
    cluster: Cluster, store: RedisStore
) -> None:
    check = {"valkey": valkey_check(store.client)}
    try:
        for number in range(PRIMARIES):
            assert await run_checks(check) == {"valkey": "ok"}
            cluster.ask(number, "CONFIG", "SET", "maxmemory", "100kb")
        assert (await run_checks(check))["valkey"].startswith("it is full ")
    finally:
        for number in range(PRIMARIES):
            cluster.ask(number, "CONFIG", "SET", "maxmemory", "0")

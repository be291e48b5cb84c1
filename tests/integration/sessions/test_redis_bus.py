"""Packets over a real Valkey's sharded pub/sub: what a node gets, and how it notices what it may have missed."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection
from structlog.testing import capture_logs

from playhead.app.embedded import EmbeddedValkey
from playhead.runtime import redis as connections
from playhead.runtime import subscriptions
from playhead.sessions.keys import ListenerKeys
from playhead.sessions.redis_bus import RedisBus
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import StoreUnavailable
from tests.integration.sessions.lines import Line, eventually, redis_line
from tests.support.sessions import SetClock, new_id
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID

BOTH = {LISTENER_ID, OTHER_LISTENER_ID}


@pytest.fixture
async def line(valkey_url: str) -> AsyncIterator[Line]:
    async with redis_line(valkey_url, SetClock()) as line:
        yield line


def client_of(line: Line) -> Any:
    assert isinstance(line.store, RedisStore)
    return line.store.client


async def cut_off(line: Line) -> None:
    """The server ends the bus's connection."""
    assert await client_of(line).client_kill_filter(_type="pubsub") == 1


async def listener_channels(line: Line) -> set[str]:
    """The listeners' channels that anybody is subscribed to, as the server sees it."""
    names = await client_of(line).execute_command("PUBSUB", "SHARDCHANNELS", "audio:listener:*")
    return {name.decode() for name in names}


async def test_a_node_is_subscribed_to_exactly_the_listeners_it_holds(line: Line) -> None:
    listeners = [new_id() for _ in range(20)]
    await asyncio.gather(*(line.bus.subscribe(listener_id) for listener_id in listeners))
    assert await listener_channels(line) == {ListenerKeys(listener_id).channel for listener_id in listeners}
    await asyncio.gather(*(line.bus.unsubscribe(listener_id) for listener_id in listeners[1:]))
    expected = {ListenerKeys(listeners[0]).channel}

    async def left() -> bool:
        return await listener_channels(line) == expected

    await eventually(left)


async def test_a_packet_reaches_every_node_that_holds_a_device_and_no_other(valkey_url: str) -> None:
    async with (
        redis_line(valkey_url, SetClock()) as one,
        redis_line(valkey_url, SetClock()) as two,
        redis_line(valkey_url, SetClock()) as three,
    ):
        await asyncio.gather(one.bus.subscribe(LISTENER_ID), two.bus.subscribe(LISTENER_ID))
        await three.bus.subscribe(OTHER_LISTENER_ID)
        await three.store.publish(LISTENER_ID, b"for both")
        for node in (one, two):
            assert await node.arrived() == (LISTENER_ID, b"for both")
        assert await three.arrived_until(OTHER_LISTENER_ID, b"marker") == []


async def test_a_first_subscription_is_no_gap(line: Line) -> None:
    await line.bus.subscribe(LISTENER_ID)
    await line.bus.unsubscribe(LISTENER_ID)
    await line.bus.subscribe(LISTENER_ID)
    assert await line.arrived_until(LISTENER_ID, b"marker") == []
    assert line.gaps.empty()


async def test_a_connection_that_was_cut_off_is_opened_anew_and_each_listener_has_a_gap(line: Line) -> None:
    for listener_id in BOTH:
        await line.bus.subscribe(listener_id)
    for _ in range(3):
        await cut_off(line)
        assert {await line.gap(), await line.gap()} == BOTH
        for listener_id in BOTH:
            assert await line.arrived_until(listener_id, b"marker") == []


async def test_listeners_that_have_gone_are_not_subscribed_again(line: Line) -> None:
    await line.bus.subscribe(OTHER_LISTENER_ID)
    await line.bus.subscribe(LISTENER_ID)
    await line.bus.unsubscribe(OTHER_LISTENER_ID)
    await cut_off(line)
    assert await line.gap() == LISTENER_ID
    assert await listener_channels(line) == {ListenerKeys(LISTENER_ID).channel}


async def test_after_a_restart_of_the_server_every_listener_has_a_gap_and_packets_again(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey()
    async with redis_line(valkey.url, SetClock()) as line:
        for listener_id in BOTH:
            await line.bus.subscribe(listener_id)
        valkey.kill()
        valkey.start()
        assert {await line.gap(), await line.gap()} == BOTH
        for listener_id in BOTH:
            assert await line.arrived_until(listener_id, b"marker") == []


async def test_in_an_outage_a_subscription_is_refused_in_time_and_works_again_afterwards(
    start_valkey: Callable[..., EmbeddedValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "CONFIRM_TIMEOUT_S", 0.2)
    valkey = start_valkey()
    async with redis_line(valkey.url, SetClock()) as line:
        await line.bus.subscribe(OTHER_LISTENER_ID)
        valkey.kill()
        for _ in range(2):
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await line.bus.subscribe(LISTENER_ID)
            assert time.monotonic() - began_s < 1.0
        await line.bus.unsubscribe(LISTENER_ID)
        valkey.start()
        assert await line.gap() == OTHER_LISTENER_ID
        await line.bus.subscribe(LISTENER_ID)
        assert await line.arrived_until(LISTENER_ID, b"marker") == []


async def test_a_subscription_asked_for_in_a_short_outage_is_there_after_it(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey()
    async with redis_line(valkey.url, SetClock()) as line:
        await line.bus.subscribe(OTHER_LISTENER_ID)
        valkey.kill()

        async def down() -> bool:
            assert isinstance(line.bus, RedisBus)
            return not line.bus.connected

        await eventually(down)
        asked = asyncio.create_task(line.bus.subscribe(LISTENER_ID))
        await asyncio.sleep(0)
        valkey.start()
        await asked
        assert await line.arrived_until(LISTENER_ID, b"marker") == []


async def test_a_bus_that_starts_before_its_server_waits_for_it(start_valkey: Callable[..., EmbeddedValkey]) -> None:
    valkey = start_valkey()
    valkey.stop()
    async with redis_line(valkey.url, SetClock()) as line:
        asked = asyncio.create_task(line.bus.subscribe(LISTENER_ID))
        await asyncio.sleep(0)
        valkey.start()
        await asked
        assert await line.arrived_until(LISTENER_ID, b"marker") == []
        assert line.gaps.empty()


async def test_a_quiet_connection_is_no_dead_one(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.2)
    async with redis_line(valkey_url, SetClock()) as line:
        await line.bus.subscribe(LISTENER_ID)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await line.gaps.get()
        assert await line.arrived_until(LISTENER_ID, b"marker") == []


async def test_a_packet_that_cannot_be_delivered_costs_nobody_else_anything(valkey_url: str) -> None:
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def on_packet(_listener_id: str, packet: bytes) -> None:
        if packet == b"poison":
            raise ValueError("cannot be read")
        await arrived.put(packet)

    async def on_gap(_listener_id: str) -> None:
        await arrived.put(b"gap")

    store = RedisStore(valkey_url, SetClock())
    bus = RedisBus(store.client, on_packet, on_gap)
    bus.start()
    try:
        await bus.subscribe(LISTENER_ID)
        for packet in (b"before", b"poison", b"after"):
            await store.publish(LISTENER_ID, packet)
        async with asyncio.timeout(5):
            assert [await arrived.get(), await arrived.get()] == [b"before", b"after"]
    finally:
        await bus.stop()
        await store.stop()


async def test_a_writer_that_loses_its_cancellation_leaves_nobody_deaf(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose write ends in the very moment in which the connection is lost."""
    assert isinstance(line.bus, RedisBus)
    carrier = line.bus._subscriptions
    assert isinstance(carrier, subscriptions.Subscriptions)
    write, lost = carrier._write, 0

    async def losing(connection: AbstractConnection) -> None:
        nonlocal lost
        try:
            await write(connection)
        except asyncio.CancelledError:
            lost += 1
            await asyncio.Event().wait()

    monkeypatch.setattr(carrier, "_write", losing)
    await line.bus.subscribe(LISTENER_ID)
    for _ in range(3):
        await cut_off(line)
        assert await line.gap() == LISTENER_ID
        assert await line.arrived_until(LISTENER_ID, b"marker") == []
    assert lost > 0


async def test_a_bus_that_shall_listen_anew_has_a_gap_and_then_packets_again(line: Line) -> None:
    await line.bus.subscribe(LISTENER_ID)
    assert isinstance(line.bus, RedisBus)
    for _ in range(3):
        line.bus.reopen()
        assert await line.gap() == LISTENER_ID
        assert await line.arrived_until(LISTENER_ID, b"marker") == []


async def test_a_storm_of_subscriptions_and_cuts_ends_with_exactly_what_is_wanted(line: Line) -> None:
    listeners = [new_id() for _ in range(12)]

    async def restless(number: int) -> None:
        for turn in range(9):
            try:
                await line.bus.subscribe(listeners[number])
            except StoreUnavailable:
                pass
            if turn < 8 or number % 2:
                await line.bus.unsubscribe(listeners[number])

    async def cut() -> None:
        for _ in range(8):
            await client_of(line).client_kill_filter(_type="pubsub")
            await client_of(line).ping()

    await asyncio.gather(cut(), *(restless(number) for number in range(len(listeners))))
    wanted = {ListenerKeys(listener_id).channel for listener_id in listeners[::2]}

    async def settled() -> bool:
        return await listener_channels(line) == wanted

    await eventually(settled, timeout_s=10)
    for listener_id in listeners[::2]:
        assert await line.arrived_until(listener_id, b"marker") == []


async def test_a_bus_that_stopped_leaves_no_connection_behind(valkey_url: str) -> None:
    async with redis_line(valkey_url, SetClock()) as line, redis_line(valkey_url, SetClock()) as other:
        await line.bus.subscribe(LISTENER_ID)
        assert isinstance(line.bus, RedisBus)
        await line.bus.stop()

        async def gone() -> bool:
            return not await listener_channels(other)

        await eventually(gone)


# health


@asynccontextmanager
async def pinging(url: str) -> AsyncIterator[tuple[RedisBus, RedisStore, "asyncio.Queue[str]"]]:
    """A bus that tells itself something all the time, and the gaps that it tells of."""
    gaps: asyncio.Queue[str] = asyncio.Queue()

    async def on_packet(_listener_id: str, _packet: bytes) -> None:
        raise AssertionError("what a process tells itself is no packet")

    store = RedisStore(url, SetClock())
    bus = RedisBus(store.client, on_packet, gaps.put, ping_every_s=0.02)
    bus.start()
    try:
        yield bus, store, gaps
    finally:
        await bus.stop()
        await store.stop()


async def test_what_a_process_tells_itself_comes_back_and_says_how_long_it_took(valkey_url: str) -> None:
    async with pinging(valkey_url) as (bus, _, gaps):

        async def back() -> bool:
            return bus.ping_s > 0

        await eventually(back)
        first = bus.ping_s

        async def again() -> bool:
            return bus.ping_s != first

        await eventually(again)
        assert bus.connected and bus.silent_s < 5 and gaps.empty()


async def test_before_the_first_connection_nothing_was_ever_heard(free_port: int) -> None:
    async with pinging(f"redis://127.0.0.1:{free_port}") as (bus, _, _gaps):
        assert not bus.connected and bus.silent_s == math.inf


async def test_a_connection_that_has_died_without_a_word_is_opened_anew_with_a_gap(
    start_valkey: Callable[..., EmbeddedValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey = start_valkey()
    async with pinging(valkey.url) as (bus, _, gaps):
        await bus.subscribe(LISTENER_ID)
        # this subscription ends and nobody says so: as where a middle box has forgotten the connection
        with capture_logs() as logs:
            monkeypatch.setattr(bus._subscriptions, "_read", silence)
            bus.reopen()

            async def deaf() -> bool:
                return "bus_deaf" in [row["action"] for row in logs]

            await eventually(deaf)
        monkeypatch.undo()
        assert await asyncio.wait_for(gaps.get(), 5) == LISTENER_ID
        assert bus.connected


async def silence(_connection: AbstractConnection) -> None:
    await asyncio.Event().wait()

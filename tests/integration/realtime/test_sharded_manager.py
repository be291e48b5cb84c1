"""Rooms over two nodes: real servers, real clients, one real Valkey, or a cluster."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from prometheus_client import CollectorRegistry

from playhead.app.embedded import EmbeddedValkey
from playhead.realtime import sharded_manager
from playhead.runtime.metrics import links_of_rooms
from playhead.runtime.slots import slot_of
from tests.integration.realtime.rooms import ARRIVAL_TIMEOUT_S, OF_ALL, Node, gaps_of_rooms, join, start_node
from tests.integration.sessions.lines import eventually
from tests.support.clusters import PRIMARIES, Cluster
from tests.support.sentinels import guarded

FAILOVER_TIMEOUT_S = 60.0


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def nodes(valkey_url: str, stack: AsyncExitStack) -> tuple[Node, Node]:
    one, two = [await stack.enter_async_context(start_node(valkey_url)) for _ in range(2)]
    return one, two


async def channels(valkey_url: str) -> set[str]:
    client: Any = redis.asyncio.Redis.from_url(valkey_url)
    async with client:
        return {name.decode() for name in await client.execute_command("PUBSUB", "SHARDCHANNELS")}


async def test_an_event_reaches_its_room_on_every_node_and_nobody_else(
    nodes: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    one, two = nodes
    here, there, outside = await join(stack, one, "r"), await join(stack, two, "r"), await join(stack, two, "s")
    for node in nodes:
        await node.server.emit("said", {"by": "room"}, room="r")
        await node.server.emit("said", ("several", b"bytes"), room="r", skip_sid=[here.sid])
        await node.server.emit("end", room=[here.sid, "r", "s"])
        await there.expect("said", {"by": "room"})
        await here.expect("said", {"by": "room"})
        await there.expect("said", "several", b"bytes")
        for socket in (here, there, outside):
            await socket.expect("end")
    assert all(socket.events.empty() for socket in (here, there, outside)), "each once"


async def test_an_event_to_all_or_to_one_socket_finds_it_on_whatever_node(
    nodes: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    one, two = nodes
    here, there = await join(stack, one), await join(stack, two)
    await one.server.emit("one", 1, to=there.sid)
    await one.server.emit("all", 2)
    await there.expect("one", 1)
    for socket in (here, there):
        await socket.expect("all", 2)


async def test_a_node_hears_nothing_of_rooms_that_it_has_no_sockets_in(
    nodes: tuple[Node, Node], stack: AsyncExitStack, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = nodes
    heard = []
    decode = sharded_manager.decode
    monkeypatch.setattr(sharded_manager, "decode", lambda content: heard.append(content) or decode(content))  # type: ignore[func-returns-value]
    first, second = await join(stack, two, "r"), await join(stack, two, "r")
    await one.server.emit("before", room="elsewhere")
    await one.server.emit("in", room="r")
    await first.expect("in")
    assert [content for content in heard if b"before" in content] == []
    room = two.manager._room("/", "r")
    await two.server.leave_room(first.sid, "r")
    assert room in await channels(valkey_url)
    await two.server.leave_room(second.sid, "r")

    async def left() -> bool:
        return room not in await channels(valkey_url)

    await eventually(left)
    await first.client.disconnect()

    async def gone() -> bool:
        return two.manager._room("/", first.sid) not in await channels(valkey_url)

    await eventually(gone)
    assert two.manager._room("/", second.sid) in await channels(valkey_url)


async def test_rooms_are_entered_left_and_closed_from_other_nodes(
    nodes: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    one, two = nodes
    there = await join(stack, two)

    async def there_is(present: bool) -> None:
        async def seen() -> bool:
            return ("r" in two.server.rooms(there.sid)) is present

        await eventually(seen)

    for _ in range(2):
        await one.server.enter_room(there.sid, "r")
        await there_is(True)
        await two.server.emit("in", room="r")
        await there.expect("in")
        await one.server.leave_room(there.sid, "r")
        await there_is(False)
    await two.server.enter_room(there.sid, "r")
    await one.server.close_room("r")
    await there_is(False)
    await one.server.emit("closed", room="r")
    await one.server.emit("last", to=there.sid)
    await there.expect("last")


async def test_an_event_right_after_a_room_was_entered_elsewhere_comes_or_is_told_as_a_gap(
    nodes: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    one, two = nodes
    there = await join(stack, two)
    for number in range(20):
        room = f"r{number}"
        await one.server.enter_room(there.sid, room)
        await one.server.emit("at once", room=room)
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            assert await two.gaps.get() == ("/", room)
        while not there.events.empty():
            assert there.events.get_nowait() == ("at once",)
        await one.server.emit("later", room=room)
        await there.expect("later")


async def test_rooms_whose_names_run_into_each_other_are_two(nodes: tuple[Node, Node], stack: AsyncExitStack) -> None:
    one, two = nodes
    there = await join(stack, two, "5")
    await two.server.enter_room(there.sid, 5)
    await two.server.leave_room(there.sid, 5)
    await one.server.emit("five", room="5")
    await there.expect("five")
    names = [("/a", "b:c"), ("/a:b", "c"), ("/", 5), ("/", "5"), ("/", "a"), ("/a", "")]
    assert len({one.manager._room(*name) for name in names}) == len(names)


async def test_one_that_hears_nothing_listens_anew(valkey_url: str, stack: AsyncExitStack) -> None:
    node = await stack.enter_async_context(start_node(valkey_url, ping_every_s=0.05))
    there = await join(stack, node, "r")

    async def nowhere(_channel: str, _content: bytes) -> None:
        """What it tells itself is lost from now on."""

    node.manager._pings._publish = nowhere
    async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
        gaps = {await node.gaps.get() for _ in range(4)}
    assert ("/", "r") in gaps and ("/", there.sid) in gaps


async def test_a_socket_of_another_node_is_disconnected_and_its_handler_is_told(
    nodes: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    one, two = nodes
    there = await join(stack, two, "r")
    await one.server.disconnect(there.sid)
    async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
        assert await two.gone.get() == there.sid
    assert two.manager._places == {}


async def test_a_callback_runs_where_it_was_given_whichever_node_has_the_socket(
    nodes: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    one, two = nodes
    there = await join(stack, two)
    answer = await one.server.call("asked", 7, to=there.sid, timeout=ARRIVAL_TIMEOUT_S)
    await there.expect("asked", 7)
    assert answer == f"{there.sid} has it"


async def test_after_an_outage_every_room_has_a_gap_and_events_arrive_again(
    start_valkey: Callable[..., EmbeddedValkey], stack: AsyncExitStack
) -> None:
    valkey = start_valkey()
    one, two = [await stack.enter_async_context(start_node(valkey.url)) for _ in range(2)]
    here, there = await join(stack, one, "r"), await join(stack, two, "r")
    valkey.kill()
    await one.server.emit("alone", room="r")
    await here.expect("alone")
    valkey.start()
    gaps: set[tuple[str, str]] = set()
    async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
        while len(gaps) < 3:
            gaps.add(await two.gaps.get())
    assert gaps == {("", ""), ("/", "r"), ("/", there.sid)}
    await one.server.emit("again", room="r")
    await there.expect("again")


async def test_a_room_may_have_a_number_for_a_name(nodes: tuple[Node, Node], stack: AsyncExitStack) -> None:
    one, two = nodes
    there = await join(stack, two)
    await two.server.enter_room(there.sid, 5)
    await one.server.emit("five", room=5)
    await there.expect("five")


async def test_when_another_server_has_the_messages_it_listens_there_and_has_gaps(
    nodes: tuple[Node, Node], stack: AsyncExitStack
) -> None:
    one, two = nodes
    there = await join(stack, two, "r")
    await one.server.emit("first", room="r")
    await there.expect("first")
    assert two.gaps.empty(), "to enter is no gap"
    two.manager.reopen()
    async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
        while await two.gaps.get() != ("/", "r"):
            pass
    await one.server.emit("again", room="r")
    await there.expect("again")


async def test_on_a_cluster_a_room_is_at_its_slot_and_has_a_gap_when_that_moves(
    cluster: Cluster, stack: AsyncExitStack
) -> None:
    one, two = [await stack.enter_async_context(start_node(cluster.url)) for _ in range(2)]
    here, there = await join(stack, one, *map(str, range(9))), await join(stack, two, *map(str, range(9)))
    for number in range(9):
        await one.server.emit("said", number, room=str(number))
        await there.expect("said", number)
        await here.expect("said", number)
    assert gaps_of_rooms(two) == [], "to enter is no gap"
    slot = slot_of(two.manager._room("/", "5"))
    old = cluster.primary_of(slot)
    new = (old + 1) % PRIMARIES
    cluster.begin_move(slot, old, new)
    cluster.end_move(slot, new)
    for node in (one, two):
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            while (gap := await node.gaps.get()) == OF_ALL:
                pass
            assert gap == ("/", "5")
    await two.server.emit("all")
    await one.server.emit("again", room="5")
    for socket in (here, there):
        assert {await socket.events.get() for _ in range(2)} == {("all",), ("again",)}
    assert gaps_of_rooms(one) == gaps_of_rooms(two) == []


async def test_who_takes_too_many_requests_of_others_waits_for_them(
    nodes: tuple[Node, Node], stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_manager, "TASKS_MAX", 1)
    one, two = nodes
    sockets = [await join(stack, two) for _ in range(5)]
    for socket in sockets:
        await one.server.disconnect(socket.sid)
    async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
        assert {await two.gone.get() for _ in sockets} == {socket.sid for socket in sockets}


async def test_its_health_is_how_long_ago_it_heard_and_how_long_a_ping_takes_and_gauges_show_it(
    valkey_url: str,
) -> None:
    registry = CollectorRegistry()

    def shown(name: str) -> float | None:
        return registry.get_sample_value(f"playhead_rooms_{name}")

    async def pinged() -> bool:
        return shown("ping_seconds") is not None

    async with start_node(valkey_url, ping_every_s=0.01, metrics=links_of_rooms(registry)) as node:
        assert node.manager.ping_s is None
        await eventually(pinged)
        for ping_s in (shown("ping_seconds"), node.manager.ping_s):
            assert ping_s is not None and 0 < ping_s < ARRIVAL_TIMEOUT_S
        for silent_s in (shown("silent_seconds"), node.manager.silent_s):
            assert silent_s is not None and 0 <= silent_s < ARRIVAL_TIMEOUT_S
        assert shown("connected") == 1 and node.manager.connected
    assert shown("connected") == 0


async def test_behind_sentinels_rooms_go_on_with_the_promoted_replica(
    start_valkey: Callable[..., EmbeddedValkey], free_ports: Callable[[], int], tmp_path: Path
) -> None:
    with guarded(start_valkey, free_ports, tmp_path) as servers:
        async with AsyncExitStack() as stack:
            one, two = [await stack.enter_async_context(start_node(servers.url)) for _ in range(2)]
            there = await join(stack, two, "r")
            servers.primary.kill()
            async with asyncio.timeout(FAILOVER_TIMEOUT_S):
                while await two.gaps.get() != ("/", "r"):
                    pass

            async def arrives() -> bool:
                await one.server.emit("again", room="r")
                await asyncio.sleep(0.1)
                return not there.events.empty()

            await eventually(arrives, FAILOVER_TIMEOUT_S)
            await there.expect("again")

"""The sockets of a node, and the subscription that is held exactly as long as a listener has one."""

import asyncio
import gc
from typing import Any

import pytest

from playhead.realtime.connections import Connection, Connections
from playhead.sessions.requests import Device
from playhead.sessions.store import StoreUnavailable
from tests.support.sessions import make_principal
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID


class Line:
    """A bus that notes what is asked of it, and answers when the test lets it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.subscribed: set[str] = set()
        self.gate: asyncio.Event | None = None
        self.fails = False

    async def subscribe(self, listener_id: str) -> None:
        self.calls.append(("subscribe", listener_id))
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise StoreUnavailable("away")
        self.subscribed.add(listener_id)

    async def unsubscribe(self, listener_id: str) -> None:
        self.calls.append(("unsubscribe", listener_id))
        await asyncio.sleep(0)
        self.subscribed.discard(listener_id)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def connections(line: Line) -> Connections:
    return Connections(line)


def connection(number: int, listener_id: str = LISTENER_ID, **fields: Any) -> Connection:
    return Connection(
        connection_id=f"c{number}",
        principal=make_principal(listener_id),
        device=Device(id="phone", name="n", kind="phone"),
        last_packet_at_ms=NOW_MS,
    )


async def test_a_listener_is_subscribed_with_the_first_socket_and_left_with_the_last(
    connections: Connections, line: Line
) -> None:
    await connections.enter(connection(1))
    await connections.enter(connection(2))
    await connections.enter(connection(3, OTHER_LISTENER_ID))
    assert line.subscribed == {LISTENER_ID, OTHER_LISTENER_ID} and len(connections) == 3
    assert connections.of_listener(LISTENER_ID) == {"c1", "c2"}
    await connections.leave("c1")
    assert LISTENER_ID in line.subscribed
    left = await connections.leave("c2")
    assert left is not None and left.connection_id == "c2"
    assert line.subscribed == {OTHER_LISTENER_ID}
    assert connections.of_listener(LISTENER_ID) == frozenset()
    assert connections.get("c2") is None and connections.get("c3") is not None


async def test_leaving_twice_or_never_having_been_there_changes_nothing(connections: Connections, line: Line) -> None:
    assert await connections.leave("c1") is None
    await connections.enter(connection(1))
    await connections.enter(connection(2))
    assert await connections.leave("c1") is not None
    assert await connections.leave("c1") is None
    assert line.subscribed == {LISTENER_ID}


async def test_where_the_store_is_away_nothing_is_held(connections: Connections, line: Line) -> None:
    line.fails = True
    with pytest.raises(StoreUnavailable):
        await connections.enter(connection(1))
    assert len(connections) == 0 and connections.get("c1") is None
    assert line.calls[-1] == ("unsubscribe", LISTENER_ID)
    line.fails = False
    await connections.enter(connection(1))
    line.fails = True
    with pytest.raises(StoreUnavailable):
        await connections.enter(connection(2))
    assert line.subscribed == {LISTENER_ID} and connections.of_listener(LISTENER_ID) == {"c1"}


async def test_a_socket_that_comes_while_the_last_one_goes_stays_subscribed(
    connections: Connections, line: Line
) -> None:
    await connections.enter(connection(1))
    await asyncio.gather(connections.leave("c1"), connections.enter(connection(2)))
    assert line.subscribed == {LISTENER_ID} and connections.of_listener(LISTENER_ID) == {"c2"}


async def test_one_listener_that_waits_holds_up_no_other(connections: Connections, line: Line) -> None:
    line.gate = asyncio.Event()
    waiting = asyncio.create_task(connections.enter(connection(1)))
    await asyncio.sleep(0)
    gate, line.gate = line.gate, None
    await connections.enter(connection(2, OTHER_LISTENER_ID))
    assert not waiting.done()
    gate.set()
    await waiting


async def test_a_listener_that_has_gone_leaves_nothing_behind(connections: Connections) -> None:
    for number in range(20):
        listener_id = f"{number:08}-0000-4000-8000-000000000000"
        await connections.enter(connection(number, listener_id))
        await connections.leave(f"c{number}")
    gc.collect()
    kept = {name: getattr(connections, name) for name in ("_by_id", "_by_listener", "_turns")}
    assert {name: len(held) for name, held in kept.items()} == dict.fromkeys(kept, 0)

"""One connection's messages: in order, each after the one before, inline while nothing waits."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.engine.turns import WAITING_CUT, WAITING_MAX, Turns


class Connection:
    """`paused`: every call of its `pause`, in order."""

    def __init__(self) -> None:
        self.paused: list[bool] = []
        self.order: list[str] = []
        self.turns = Turns(asyncio.get_running_loop(), self.paused.append)

    def work(
        self, name: str, waits_for: "asyncio.Future[None] | None" = None
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        async def handle() -> None:
            self.order.append(f"{name} begins")
            if waits_for is not None:
                await waits_for
            self.order.append(f"{name} ends")

        return handle

    def take(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        if self.turns.busy:
            return self.turns.queue(work)
        self.turns.run(work())
        return True

    async def idle(self) -> None:
        while self.turns.busy:
            await asyncio.sleep(0)


async def test_what_does_not_wait_is_handled_where_it_comes() -> None:
    connection = Connection()
    connection.take(connection.work("a"))
    connection.take(connection.work("b"))
    assert connection.order == ["a begins", "a ends", "b begins", "b ends"]


async def test_what_comes_while_one_waits_is_handled_after_it() -> None:
    connection, other = Connection(), Connection()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection.take(connection.work("a", future))
    connection.take(connection.work("b"))
    other.take(other.work("other"))
    assert connection.order == ["a begins"] and other.order == ["other begins", "other ends"]
    future.set_result(None)
    await connection.idle()
    assert connection.order == ["a begins", "a ends", "b begins", "b ends"]
    connection.take(connection.work("c"))
    assert connection.order[-1] == "c ends"


async def test_reading_pauses_at_the_limit_and_goes_on_at_half_of_it() -> None:
    connection = Connection()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection.take(connection.work("first", future))
    for _ in range(WAITING_MAX - 1):
        connection.take(connection.work("x"))
    assert connection.paused == [] and not connection.turns.paused
    connection.take(connection.work("x"))
    connection.take(connection.work("x"))
    assert connection.paused == [True] and connection.turns.paused
    future.set_result(None)
    await connection.idle()
    assert connection.paused == [True, False] and not connection.turns.paused


async def test_past_the_last_limit_nothing_is_taken_but_the_end() -> None:
    connection = Connection()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection.take(connection.work("first", future))
    assert all([connection.take(connection.work("x")) for _ in range(WAITING_CUT)])
    assert not connection.take(connection.work("too many"))
    connection.turns.last(connection.work("last"))
    future.set_result(None)
    await connection.idle()
    assert connection.order[-1] == "last ends" and "too many begins" not in connection.order


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=12), st.randoms(use_true_random=False))
def test_whatever_waits_the_order_is_that_of_arrival(waits: list[bool], random: Any) -> None:
    async def scenario() -> list[str]:
        connection = Connection()
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() if wait else None for wait in waits]
        for number, future in enumerate(futures):
            connection.take(connection.work(str(number), future))
        pending = [future for future in futures if future is not None]
        random.shuffle(pending)
        for future in pending:
            future.set_result(None)
            await asyncio.sleep(0)
        await connection.idle()
        return connection.order

    expected = [text for number in range(len(waits)) for text in (f"{number} begins", f"{number} ends")]
    assert asyncio.run(scenario()) == expected


@pytest.mark.parametrize("waits", [False, True])
async def test_the_end_comes_at_once_or_after_what_waits(waits: bool) -> None:
    connection = Connection()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection.take(connection.work("a", future if waits else None))
    connection.turns.last(connection.work("end"))
    assert (connection.order[-1] == "end ends") is not waits
    if waits:
        future.set_result(None)
        await connection.idle()
    assert connection.order[-1] == "end ends"


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("end_waits", [False, True])
async def test_what_ends_its_own_connection_is_handled_to_its_end_before(waits: bool, end_waits: bool) -> None:
    connection = Connection()
    loop = asyncio.get_running_loop()
    future, end = loop.create_future(), loop.create_future()
    rest = connection.work("rest", future if waits else None)

    async def handle() -> None:
        connection.turns.last(connection.work("end", end if end_waits else None))
        await rest()

    connection.take(handle)
    for waited_for in (future, end):
        waited_for.set_result(None)
        await asyncio.sleep(0)
    await connection.idle()
    assert connection.order == ["rest begins", "rest ends", "end begins", "end ends"]
    assert not connection.turns.busy and len(connection.turns) == 0

"""Single flight: one making at a time for each key."""

import asyncio

import pytest

from playhead.cache import Flights


class _Making:
    """Counts how often it is asked for, and answers when told."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.calls += 1
        await self.may_end.wait()
        return self.calls


async def test_those_who_ask_at_once_get_one_answer_made_once() -> None:
    flights: Flights[int] = Flights()
    making = _Making()
    askers = [asyncio.create_task(flights.join("key", making)) for _ in range(5)]
    await asyncio.sleep(0)
    making.may_end.set()
    assert await asyncio.gather(*askers) == [1] * 5
    assert making.calls == 1


async def test_who_asks_afterwards_has_it_made_anew() -> None:
    flights: Flights[int] = Flights()
    making = _Making()
    making.may_end.set()
    assert [await flights.join("key", making), await flights.join("key", making)] == [1, 2]


async def test_other_keys_do_not_wait() -> None:
    flights: Flights[int] = Flights()
    slow, quick = _Making(), _Making()
    quick.may_end.set()
    waiting = asyncio.create_task(flights.join("slow", slow))
    assert await flights.join("quick", quick) == 1
    assert not waiting.done()
    slow.may_end.set()
    assert await waiting == 1


async def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    flights: Flights[int] = Flights()
    may_fail = asyncio.Event()

    async def fail() -> int:
        await may_fail.wait()
        raise ValueError("no")

    askers = [asyncio.create_task(flights.join("key", fail)) for _ in range(2)]
    await asyncio.sleep(0)
    may_fail.set()
    for asker in askers:
        with pytest.raises(ValueError, match="no"):
            await asker
    making = _Making()
    making.may_end.set()
    assert await flights.join("key", making) == 1


async def test_one_who_is_cancelled_does_not_take_the_others_along() -> None:
    flights: Flights[int] = Flights()
    making = _Making()
    first = asyncio.create_task(flights.join("key", making))
    second = asyncio.create_task(flights.join("key", making))
    await asyncio.sleep(0)
    first.cancel()
    making.may_end.set()
    assert await second == 1
    with pytest.raises(asyncio.CancelledError):
        await first
    assert making.calls == 1

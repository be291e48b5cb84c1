"""Turns by name: in order, one by one, also when somebody gives up; and nothing is kept of them."""

import asyncio

import pytest

from playhead.runtime.one_at_a_time import OneAtATime


class Work:
    """Tasks that take turns, and stop in theirs until they are let go."""

    def __init__(self) -> None:
        self.turns = OneAtATime()
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def begin(self, label: str, name: str = "a") -> "asyncio.Task[None]":
        gate = self.gates[label] = asyncio.Event()

        async def work() -> None:
            async with self.turns.of(name):
                self.begun.append(label)
                await gate.wait()

        task = asyncio.create_task(work())
        await settled()
        return task

    async def end(self, label: str) -> None:
        self.gates[label].set()
        await settled()


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_works_at_a_time_in_the_order_they_came() -> None:
    work = Work()
    for label in ("first", "second", "third"):
        await work.begin(label)
    assert work.begun == ["first"]
    await work.end("first")
    assert work.begun == ["first", "second"]
    await work.end("second")
    await work.end("third")
    assert work.begun == ["first", "second", "third"] and len(work.turns) == 0


async def test_another_name_waits_for_nobody() -> None:
    work = Work()
    await work.begin("first", "a")
    await work.begin("second", "b")
    assert work.begun == ["first", "second"] and len(work.turns) == 2


async def test_whoever_gives_up_while_waiting_is_passed_over() -> None:
    work = Work()
    await work.begin("first")
    leaving = await work.begin("second")
    await work.begin("third")
    leaving.cancel()
    await settled()
    assert leaving.cancelled()
    await work.end("first")
    assert work.begun == ["first", "third"]


async def test_whoever_gives_up_just_when_its_turn_comes_passes_it_on() -> None:
    work = Work()
    await work.begin("first")
    leaving = await work.begin("second")
    await work.begin("third")
    work.gates["first"].set()
    while len(work.turns._awaiting["a"] or ()) > 1:
        await asyncio.sleep(0)
    leaving.cancel()
    await settled()
    assert leaving.cancelled() and work.begun == ["first", "third"]


async def test_whoever_gives_up_in_the_moment_in_which_the_turn_goes_on_is_passed_over() -> None:
    work = Work()
    first = await work.begin("first")
    leaving = await work.begin("second")
    work.gates["first"].set()
    leaving.cancel()
    await asyncio.wait([first, leaving])
    assert leaving.cancelled() and work.begun == ["first"] and len(work.turns) == 0


async def test_a_turn_ends_with_an_error_as_well() -> None:
    turns = OneAtATime()
    with pytest.raises(ValueError):
        async with turns.of("a"):
            raise ValueError
    assert len(turns) == 0

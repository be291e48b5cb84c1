"""Turns of encoder runs: how many at once, and who goes first."""

import asyncio

import pytest

from playhead.transcode.demand_slots import DemandSlots, Need, Ticket

SLOTS = 2
NEEDS = {"n": Need.NEWCOMER, "s": Need.STARVED, "f": Need.FILLING}


class Runs:
    """Runs that hold their slot until they are let go, in the order in which they got one."""

    def __init__(self) -> None:
        self.slots = DemandSlots(SLOTS)
        self.begun: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._let_go: dict[str, asyncio.Event] = {}

    async def ask(self, *names: str) -> None:
        """What it needs is the first letter of its name."""
        for name in names:
            self._let_go[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._run(name))
            await asyncio.sleep(0)

    async def _run(self, name: str) -> None:
        async with self.slots.turn(Ticket(NEEDS[name[0]])):
            self.begun.append(name)
            await self._let_go[name].wait()

    async def let_go(self, *names: str) -> None:
        for name in names:
            self._let_go[name].set()
            await self._tasks[name]
            await asyncio.sleep(0)

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)


@pytest.mark.parametrize("need", NEEDS)
async def test_no_more_run_at_once_than_there_are_slots_and_in_the_order_they_came(need: str) -> None:
    runs, names = Runs(), [f"{need}{n}" for n in range(4)]
    await runs.ask(*names)
    assert runs.begun == names[:2]
    await runs.let_go(names[1], names[0])
    assert runs.begun == names


async def test_newcomers_have_slots_of_their_own_and_the_starved_go_before_who_fills_a_buffer() -> None:
    runs = Runs()
    await runs.ask("f0", "f1", "f2", "s0", "s1", "s2", "n0", "n1", "n2")
    assert runs.begun == ["f0", "f1", "n0", "n1"] and runs.slots.newcomers_waiting == 1
    await runs.let_go("f0", "f1", "s0", "s1")
    assert runs.begun[4:] == ["s0", "s1", "s2"], "and the third of those who fill waits for the third newcomer"
    await runs.let_go("n0")
    assert runs.begun[7:] == ["n2", "f2"] and runs.slots.newcomers_waiting == 0


async def test_one_that_stops_waiting_holds_nobody_up_and_takes_no_slot() -> None:
    runs = Runs()
    await runs.ask("n0", "n1", "n2", "f0", "f1", "f2")
    assert runs.begun == ["n0", "n1"]
    await runs.cancel("n2")
    await asyncio.sleep(0)
    assert runs.begun == ["n0", "n1", "f0", "f1"]
    await runs.cancel("f1")
    await asyncio.sleep(0)
    assert runs.begun[4:] == ["f2"]
    await runs.let_go("n0", "n1", "f0", "f2")
    assert runs.slots.idle


async def test_one_that_is_needed_more_than_before_goes_to_the_other_queue() -> None:
    slots, begun = DemandSlots(1), []
    tickets = {name: Ticket(NEEDS[name[0]]) for name in ("f0", "f1", "f2")}

    async def run(name: str) -> None:
        async with slots.turn(tickets[name]):
            begun.append(name)
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(run(name)) for name in tickets]
    await asyncio.sleep(0)
    slots.promote(tickets["f2"], Need.NEWCOMER)
    slots.promote(tickets["f0"], Need.NEWCOMER)
    await asyncio.sleep(0)
    assert begun == ["f0", "f2"] and tickets["f0"].need is Need.FILLING, "what runs is what it was"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert slots.idle


async def test_one_that_is_given_a_slot_in_the_moment_of_its_end_passes_it_on() -> None:
    runs = Runs()
    await runs.ask("n0", "n1", "n2", "n3")
    runs._let_go["n0"].set()
    await asyncio.sleep(0)  # n0 has ended and its slot is n2's, which has not run yet
    await runs.cancel("n2")
    await asyncio.sleep(0)
    assert runs.begun == ["n0", "n1", "n3"]
    await runs.let_go("n1", "n3")
    assert runs.slots.idle

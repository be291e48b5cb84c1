"""Turns of encoder runs: how many at once, and who goes first."""

import asyncio

from playhead.transcode.demand_slots import DemandSlots

SLOTS = 2


class Runs:
    """Runs that hold their slot until they are let go, in the order in which they got one."""

    def __init__(self) -> None:
        self.slots = DemandSlots(SLOTS)
        self.begun: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._let_go: dict[str, asyncio.Event] = {}

    async def ask(self, *names: str) -> None:
        """Names that begin with `u` are urgent."""
        for name in names:
            self._let_go[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._run(name))
            await asyncio.sleep(0)

    async def _run(self, name: str) -> None:
        async with self.slots.turn(name.startswith("u")):
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


async def test_no_more_run_at_once_than_there_are_slots_and_in_the_order_they_came() -> None:
    runs = Runs()
    await runs.ask("a", "b", "c", "d")
    assert runs.begun == ["a", "b"]
    await runs.let_go("b", "a")
    assert runs.begun == ["a", "b", "c", "d"]


async def test_urgent_ones_run_beside_the_others_and_none_of_these_begins_while_one_waits() -> None:
    runs = Runs()
    await runs.ask("a", "b", "c", "u0", "u1", "u2")
    assert runs.begun == ["a", "b", "u0", "u1"] and runs.slots.urgent_waiting == 1
    await runs.let_go("a", "b")
    assert "c" not in runs.begun
    await runs.let_go("u0")
    assert runs.begun[4:] == ["u2", "c"] and runs.slots.urgent_waiting == 0


async def test_an_urgent_one_that_stops_waiting_holds_nobody_up() -> None:
    runs = Runs()
    await runs.ask("u0", "u1", "u2", "a")
    assert runs.begun == ["u0", "u1"]
    await runs.cancel("u2")
    await asyncio.sleep(0)
    assert runs.begun == ["u0", "u1", "a"]


async def test_who_stops_waiting_leaves_no_gap_and_takes_no_slot() -> None:
    runs = Runs()
    await runs.ask("a", "b", "c", "d")
    await runs.cancel("c")
    await runs.let_go("a")
    assert runs.begun == ["a", "b", "d"]
    await runs.cancel("b")
    await runs.let_go("d")
    assert runs.slots.idle
    await runs.ask("e", "f")
    assert runs.begun[-2:] == ["e", "f"]


async def test_one_that_is_given_a_slot_in_the_moment_of_its_end_passes_it_on() -> None:
    runs = Runs()
    await runs.ask("a", "b", "c", "d")
    runs._let_go["a"].set()
    await asyncio.sleep(0)  # a has ended and its slot is c's, which has not run yet
    await runs._tasks["a"]  # its slot has been given to c, which has not run yet
    await runs.cancel("c")
    await asyncio.sleep(0)
    assert runs.begun == ["a", "b", "d"]
    await runs.let_go("b", "d")
    assert runs.slots.idle

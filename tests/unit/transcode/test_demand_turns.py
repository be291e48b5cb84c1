"""Turns of encoder runs: how many at once, and who goes first; and what that does to a crowd."""

import asyncio

import pytest

from playhead.transcode.demand_slots import DemandSlots
from playhead.transcode.demand_turns import Need, Ticket, Turns

NEEDS = {"n": Need.NEWCOMER, "l": Need.LISTENING, "a": Need.AHEAD}


def tickets(names: str) -> dict[str, Ticket]:
    """What it needs is the first letter of its name, when it is due the number."""
    return {name: Ticket(NEEDS[name[0]], float(name[1:])) for name in names.split()}


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_no_more_run_at_once_than_there_are_slots_the_neediest_first(slots: int) -> None:
    made = tickets("a1 l9 n5 l2 a0 n3")
    turns, order = Turns(slots), ["n3", "n5", "l2", "l9", "a0", "a1"]
    for ticket in made.values():
        turns.wait(ticket)
    begun = list(turns.begin())
    assert begun == [made[name] for name in order[:slots]] and not turns.begin()
    for ended in range(len(made)):
        turns.leave(begun[ended])
        begun += turns.begin()
    assert begun == [made[name] for name in order] and turns.idle


def test_who_has_a_turn_is_told_whether_somebody_needs_it_more() -> None:
    made = tickets("l5 l4 a1 l6")
    turns = Turns(1)
    turns.wait(made["l5"])
    turns.begin()
    for name, more in (("a1", False), ("l6", False), ("l4", True)):
        turns.wait(made[name])
        assert turns.is_needed_more_than_by(made["l5"]) is more


async def test_one_that_stops_waiting_holds_nobody_up_and_takes_no_slot() -> None:
    slots, made = DemandSlots(1), tickets("n0 n1 n2 n3")
    await slots.take(made["n0"])
    waiting = {name: asyncio.create_task(slots.take(made[name])) for name in ("n1", "n2", "n3")}
    await asyncio.sleep(0)
    waiting["n1"].cancel()  # before its turn
    await asyncio.sleep(0)
    slots.end(made["n0"])
    waiting["n2"].cancel()  # in the moment in which it is given its turn
    await asyncio.wait_for(waiting["n3"], 1)
    assert slots.has(made["n3"]) and not slots.idle
    slots.end(made["n3"])
    assert slots.idle
    await asyncio.gather(*waiting.values(), return_exceptions=True)

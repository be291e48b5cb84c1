"""When whose leases are renewed: a round is spread over a time, and every listener has one turn in it.

A turn stays the same whoever else comes and goes, so that nobody waits for it longer than a round takes: neither who
has just come, nor who is left when many others go.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence

TURNS = 377
"""Of a round. With 12,500 listeners each is of 33."""
TURN_STEP = 233
"""From one newcomer's turn to the next one's. These are two Fibonacci numbers in a row: however many come one after the
other, their turns are spread evenly."""


class Turns:
    """Of the listeners that were added and not removed."""

    def __init__(self) -> None:
        self._turns: tuple[dict[str, None], ...] = tuple({} for _ in range(TURNS))
        self._by_listener: dict[str, int] = {}
        self._next = 0

    def add(self, listener_id: str) -> None:
        """The same again changes nothing."""
        if listener_id not in self._by_listener:
            self._by_listener[listener_id] = self._next
            self._turns[self._next][listener_id] = None
            self._next = (self._next + TURN_STEP) % TURNS

    def remove(self, listener_id: str) -> None:
        del self._turns[self._by_listener.pop(listener_id)][listener_id]

    async def parts(self, over_s: float, length_max: int) -> AsyncGenerator[Sequence[str], None]:
        """Everybody in their turn, spread over that time, those who come before their turn as well."""
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        for number, turn in enumerate(self._turns, 1):
            if turn or over_s:
                await asyncio.sleep(max(0.0, began_s + number * over_s / TURNS - now_s()))
            async for part in at_once(turn, length_max):
                yield part

    def parts_in_a_round(self, length_max: int) -> int:
        return sum(-(-len(turn) // length_max) for turn in self._turns)


async def at_once(listeners: Iterable[str], length_max: int) -> AsyncGenerator[Sequence[str], None]:
    """These in parts, as they are now."""
    now = tuple(listeners)
    for first in range(0, len(now), length_max):
        yield now[first : first + length_max]

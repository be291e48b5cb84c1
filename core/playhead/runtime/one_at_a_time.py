"""Turns by name: whoever works on a thing of that name has it alone, the others come one after the other.

    async with turns.of(listener_id): …

A name is remembered only while somebody has or awaits its turn, and a turn that is free costs next to nothing.
"""

import asyncio
from collections import deque


class OneAtATime:
    """Turns of one event loop."""

    __slots__ = ("_awaiting",)

    def __init__(self) -> None:
        self._awaiting: dict[str, deque[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return len(self._awaiting)

    def of(self, name: str) -> "Turn":
        return Turn(self, name)

    async def _take(self, name: str) -> None:
        awaiting = self._awaiting.get(name)
        if awaiting is None:
            self._awaiting[name] = deque()
            return
        given = asyncio.get_running_loop().create_future()
        awaiting.append(given)
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():
                # cancelled after the turn had been given
                self._give(name)
            elif given in awaiting:
                # else it has been passed over already
                awaiting.remove(given)
            raise

    def _give(self, name: str) -> None:
        awaiting = self._awaiting[name]
        while awaiting:
            given = awaiting.popleft()
            if not given.done():
                given.set_result(None)
                return
        del self._awaiting[name]


class Turn:
    """One turn, to be taken once."""

    __slots__ = ("_name", "_turns")

    def __init__(self, turns: OneAtATime, name: str) -> None:
        self._turns = turns
        self._name = name

    async def __aenter__(self) -> None:
        await self._turns._take(self._name)

    async def __aexit__(self, *_error: object) -> None:
        self._turns._give(self._name)

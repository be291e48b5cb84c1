"""Turns by name: whoever works on a thing of that name has it alone, the others come one after the other.

    async with turns.of(listener_id): …

Where it is asked for with every command, `take` and `give` are the same without an object, and without a coroutine
where the turn is free. A name is remembered only while somebody has or awaits its turn.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable


class OneAtATime:
    """Turns of one event loop."""

    __slots__ = ("_awaiting",)

    def __init__(self) -> None:
        self._awaiting: dict[str, deque[asyncio.Future[None]] | None] = {}
        """Names whose turn somebody has; None: nobody awaits it."""

    def __len__(self) -> int:
        return len(self._awaiting)

    def of(self, name: str) -> "Turn":
        return Turn(self, name)

    def take(self, name: str) -> Awaitable[None] | None:
        """Takes the turn, to be given back with `give`; where somebody has it, what to await at once: then it is taken.

        Whoever is cancelled while waiting has no turn.
        """
        if name in self._awaiting:
            return self._wait(name)
        self._awaiting[name] = None
        return None

    async def _wait(self, name: str) -> None:
        awaiting = self._awaiting[name]
        if awaiting is None:
            awaiting = self._awaiting[name] = deque()
        given = asyncio.get_running_loop().create_future()
        awaiting.append(given)
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():
                # cancelled after the turn had been given
                self.give(name)
            elif given in awaiting:
                # else it has been passed over already
                awaiting.remove(given)
            raise

    def give(self, name: str) -> None:
        """The turn is over: the next one has it, if there is one."""
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
        if (before := self._turns.take(self._name)) is not None:
            await before

    async def __aexit__(self, *_error: object) -> None:
        self._turns.give(self._name)

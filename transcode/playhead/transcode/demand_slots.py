"""Who encodes next of those that somebody waits for.

NEWCOMER   has nothing to listen to yet: up to the slots at once, for themselves
STARVED    listens, and may have played what there was   ┐ up to the slots at once beside them, at less weight
FILLING    listens, and fills a buffer                   ┘ and the filling only while nobody else waits
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum


class Need(IntEnum):
    """How much somebody needs what is to be encoded: the first most."""

    NEWCOMER = 0
    STARVED = 1
    FILLING = 2


class Ticket:
    """One that waits for its turn, or has it."""

    def __init__(self, need: Need) -> None:
        self.need = need
        self.turn: asyncio.Future[None] | None = None


class DemandSlots:
    """Turns for at most `slots` runs for newcomers, and as many others."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: Counter[bool] = Counter()
        """By whether they are for newcomers."""
        self._waiting: dict[Need, deque[asyncio.Future[None]]] = {need: deque() for need in Need}

    @property
    def newcomers_waiting(self) -> int:
        return len(self._waiting[Need.NEWCOMER])

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not any(self._running.values()) and not any(self._waiting.values())

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        """Waits for a slot, and has it for the block."""
        await self._wait(ticket)
        try:
            yield
        finally:
            self._end(ticket.need)

    def promote(self, ticket: Ticket, need: Need) -> None:
        """Somebody needs it more than those who asked before; what has its turn has it."""
        if need >= ticket.need or (ticket.turn is not None and ticket.turn.done()):
            return
        if ticket.turn is not None:
            self._waiting[ticket.need].remove(ticket.turn)
            self._waiting[need].append(ticket.turn)
        ticket.need = need
        self._begin()

    async def _wait(self, ticket: Ticket) -> None:
        """Counted as running when it returns."""
        turn = ticket.turn = asyncio.get_running_loop().create_future()
        self._waiting[ticket.need].append(turn)
        self._begin()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had been given a slot in the same moment
                self._end(ticket.need)
            elif turn in self._waiting[ticket.need]:
                self._waiting[ticket.need].remove(turn)
                self._begin()
            raise

    def _end(self, need: Need) -> None:
        self._running[need is Need.NEWCOMER] -= 1
        self._begin()

    def _begin(self) -> None:
        for need in Need:
            group = need is Need.NEWCOMER
            while self._waiting[need] and self._running[group] < self._slots and self._may_begin(need):
                turn = self._waiting[need].popleft()
                if not turn.done():  # else its task is being cancelled
                    self._running[group] += 1
                    turn.set_result(None)

    def _may_begin(self, need: Need) -> bool:
        return need is not Need.FILLING or not (self._waiting[Need.NEWCOMER] or self._waiting[Need.STARVED])

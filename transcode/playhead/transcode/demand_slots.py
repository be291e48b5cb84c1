"""Who encodes next of those that somebody waits for: whoever has heard nothing yet goes before whoever has a buffer.

urgent       up to twice the slots at once: a start or a jump shares the cores with what runs, rather than wait for it
not urgent   up to the slots: the next segments of somebody who listens, and what may be wanted soon
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

URGENT_SHARE = 2
"""Urgent runs may take so many times the slots, others included."""


class DemandSlots:
    """Turns for at most `slots` runs, and as many urgent ones beside them."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._urgent) + len(self._others)

    @property
    def idle(self) -> bool:
        """Whether one that is not urgent would begin at once."""
        return self._running < self._slots and not self.waiting

    @asynccontextmanager
    async def turn(self, urgent: bool) -> AsyncIterator[None]:
        """Waits for a slot, and has it for the block."""
        await self._wait(urgent)
        try:
            yield
        finally:
            self._running -= 1
            self._next()

    async def _wait(self, urgent: bool) -> None:
        """Counted as running when it returns."""
        queue = self._urgent if urgent else self._others
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._next()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had been given a slot in the same moment
                self._running -= 1
                self._next()
            else:
                queue.remove(turn)
            raise

    def _next(self) -> None:
        while self._urgent and self._running < URGENT_SHARE * self._slots:
            self._begin(self._urgent)
        while self._others and self._running < self._slots:
            self._begin(self._others)

    def _begin(self, queue: "deque[asyncio.Future[None]]") -> None:
        self._running += 1
        queue.popleft().set_result(None)

"""Who encodes next of those that somebody waits for: whoever has heard nothing yet goes before whoever has a buffer.

urgent       up to the slots at once
not urgent   up to the slots beside them, but none begins while an urgent one waits: the next segments of somebody
             who listens, and what may be wanted soon
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DemandSlots:
    """Turns for at most `slots` urgent runs and as many others."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: Counter[bool] = Counter()
        """By whether they are urgent."""
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}

    @property
    def urgent_waiting(self) -> int:
        return len(self._waiting[True])

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits that somebody could be waiting for."""
        return not any(self._running.values()) and not any(self._waiting.values())

    @asynccontextmanager
    async def turn(self, urgent: bool) -> AsyncIterator[None]:
        """Waits for a slot, and has it for the block."""
        await self._wait(urgent)
        try:
            yield
        finally:
            self._end(urgent)

    async def _wait(self, urgent: bool) -> None:
        """Counted as running when it returns."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[urgent].append(turn)
        self._begin()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had been given a slot in the same moment
                self._end(urgent)
            else:
                self._waiting[urgent].remove(turn)
                self._begin()
            raise

    def _end(self, urgent: bool) -> None:
        self._running[urgent] -= 1
        self._begin()

    def _begin(self) -> None:
        for urgent in (True, False):
            while self._waiting[urgent] and self._running[urgent] < self._slots:
                self._running[urgent] += 1
                self._waiting[urgent].popleft().set_result(None)
            if self._waiting[urgent]:
                return

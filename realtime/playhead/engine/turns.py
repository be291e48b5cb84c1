"""One connection's messages in order: each is handled when the one before it has been, whichever of them wait.

    nothing runs → the next is handled at once, where it comes in
    one waits    → what comes is queued, and a task handles it as soon as that one has ended

A queue of WAITING_MAX makes the connection's reading pause; at WAITING_CUT (what had been read already) it is over.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from playhead.engine import inline

WAITING_MAX = 64
"""Messages of one connection that may wait before its reading pauses."""
WAITING_CUT = 4_096
"""Messages that may wait in any case: more cannot come from a connection whose reading has paused, but by intent."""

Work = Callable[[], Coroutine[Any, Any, None]]


class Turns:
    """`pause(True)`: enough for now; `pause(False)`: go on. The work may not raise."""

    __slots__ = ("_loop", "_pause", "_running", "_task", "_waiting", "paused")

    def __init__(self, loop: asyncio.AbstractEventLoop, pause: Callable[[bool], None]) -> None:
        self._loop = loop
        self._pause = pause
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Work] | None = None
        self._running = False
        self.paused = False

    @property
    def busy(self) -> bool:
        """Whether what comes next has to wait."""
        return self._running or self._waiting is not None

    def __len__(self) -> int:
        return 0 if self._waiting is None else len(self._waiting)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Handles what came, now. Only where nothing is `busy`."""
        self._running = True
        try:
            self._task = inline.run(work, self._loop, self._go_on)
        finally:
            self._running = False
        if self._task is not None:
            self._waiting = self._waiting or deque()
        elif self._waiting is not None:
            # it has asked for something itself, as one does that ends its own connection
            self._task = inline.run(self._rest(), self._loop)

    def queue(self, work: Work) -> bool:
        """After what is busy. False: too many wait."""
        if len(self) >= WAITING_CUT:
            return False
        self._wait(work)
        if not self.paused and len(self) >= WAITING_MAX:
            self.paused = True
            self._pause(True)
        return True

    def last(self, work: Work) -> None:
        """After all that waits, however much: nothing comes after it."""
        if self.busy:
            self._wait(work)
        else:
            self.run(work())

    def _wait(self, work: Work) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(work)

    async def _go_on(self, first: Awaitable[None]) -> None:
        await first
        await self._rest()

    async def _rest(self) -> None:
        waiting = self._waiting
        assert waiting is not None
        while waiting:
            work = waiting.popleft()
            if self.paused and len(waiting) <= WAITING_MAX // 2:
                self.paused = False
                self._pause(False)
            await work()
        self._waiting = self._task = None

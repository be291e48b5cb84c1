"""How fast a process lets newcomers in while it has too much to do: as fast as its event loop stays on time.

Additive increase, multiplicative decrease, as TCP finds its place on a line that it does not know (RFC 5681, 3.1): no
setting can say what a machine carries, for that depends on who is there already, and on its neighbours.

    at a look, every LOOK_S:   late by more than LATE_S → share x DOWN, SHARE_MIN at least
                               on time                  → share + UP, 1 at most

What is held back so are arrivals alone. Who is here is served with what the machine has.
"""

import asyncio
from collections.abc import Callable

LOOK_S = 0.1
LATE_S = 0.1
"""Longer than cores that are shared keep a process waiting, shorter than what a person notices."""
DOWN = 0.8
UP = 0.02
SHARE_MIN = 0.25
"""Of the pace: nobody is kept out for good by those who are in, and what another process lets go is always taken."""


class Strain:
    """`share` of its pace that a process has to spare. `on_change`: told each new one."""

    def __init__(self, on_change: Callable[[float], None]) -> None:
        self.share = 1.0
        self._on_change = on_change
        self._handle: asyncio.TimerHandle | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks from now on, until `stop`; harmless when repeated."""
        if self._handle is None:
            self._look_later(loop)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def looked(self, late_s: float) -> None:
        """The loop woke up so late. However late, it is one step: nothing was seen in between."""
        wanted = self.share * DOWN if late_s > LATE_S else self.share + UP
        share = min(1.0, max(SHARE_MIN, wanted))
        if share != self.share:
            self.share = share
            self._on_change(share)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = loop.time() + LOOK_S
        self._handle = loop.call_at(due_s, self._look, loop, due_s)

    def _look(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        self.looked(loop.time() - due_s)
        self._look_later(loop)

"""Timers of any number of sockets for the price of one: buckets of equal time, and one callback for the next of them.

    slot = ⌈due / tick⌉     so that a timer is late by one tick at most, and never early

Setting, moving and taking out a timer are each one dict operation.
"""

import asyncio
from typing import Protocol

TICK_SHARE = 20
"""A tick is this part of the shortest time limit."""
TICK_S_MIN, TICK_S_MAX = 0.005, 1.0


class Timed(Protocol):
    """What has one timer at a time. `slot`: where it is in the wheel; 0: nowhere. Only the wheel sets it."""

    slot: int

    def on_time(self) -> None:
        """Its time has come. Must not raise."""


class Wheel:
    """Timers on the running loop."""

    def __init__(self, shortest_s: float) -> None:
        self.tick_s = min(max(shortest_s / TICK_SHARE, TICK_S_MIN), TICK_S_MAX)
        self._buckets: dict[int, dict[Timed, None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._now = 0
        """The slot that was served last."""

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def set(self, timed: Timed, after_s: float) -> None:
        """Its time comes `after_s` from now, whatever was set before."""
        self.unset(timed)
        loop = self._loop = self._loop or asyncio.get_running_loop()
        slot = max(int((loop.time() + after_s) / self.tick_s) + 1, self._now + 1)
        timed.slot = slot
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = {}
        bucket[timed] = None
        if self._handle is None:
            self._turn_at(loop)

    def unset(self, timed: Timed) -> None:
        slot, timed.slot = timed.slot, 0
        if slot and (bucket := self._buckets.get(slot)) is not None:
            bucket.pop(timed, None)

    def stop(self) -> None:
        """Forgets every timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._buckets.clear()

    def _turn_at(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wakes up for the next tick; while there is nothing to wait for, never."""
        slot = int(loop.time() / self.tick_s) + 1
        self._handle = loop.call_at(slot * self.tick_s, self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = None
        now = int(loop.time() / self.tick_s)
        if len(self._buckets) < now - self._now:
            due = sorted(slot for slot in self._buckets if slot <= now)
        else:
            due = [slot for slot in range(self._now + 1, now + 1) if slot in self._buckets]
        self._now = now
        for slot in due:
            for timed in self._buckets.pop(slot):
                if timed.slot == slot:
                    timed.slot = 0
                    timed.on_time()
        if self._buckets and self._handle is None:
            self._turn_at(loop)

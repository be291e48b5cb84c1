"""What somebody waits for is encoded before what nobody does, by whichever processes of a machine share a folder.

    who encodes on demand    holds a shared lock on a file there meanwhile
    who encodes in advance   stands still while anybody has one, two seconds of three at most

Niceness alone does not do: with a fifteenth of the weight two encoders still make a seek half as slow again, and with
less they starve beside neighbours that never rest (docs/decisions/0021-on-demand.md). A lock ends with its process, so
nobody stands still for one that was killed.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

FILE = ".on-demand"
"""In a data folder, on a disk of the machine."""
CLAIM_ATTEMPTS = 10
"""Who looks has the file for some microseconds, and is let go on in between."""
LOOK_S = 0.02
STILL_S_MAX = 2.0
"""In one go. The first sound and a seek take less; a crowd may go on for ever."""
STILL_PER_S = 2.0
"""Each second of work earns so many of standing still."""


class Precedence:
    """Of those who encode on demand, in `folder`. Where that cannot be written to, or has no locks, nobody has any.

    On NFS nobody sees it: to look takes a lock that it gives to no reader.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._descriptor: int | None = None
        self._of_use = True

    def claim(self) -> None:
        """For this process, until `give_up`."""
        if self._descriptor is not None or not self._of_use:
            return
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            for _ in range(CLAIM_ATTEMPTS):
                if self._locked(descriptor, fcntl.LOCK_SH):
                    self._descriptor = descriptor
                    return
                os.sched_yield()
            _close(descriptor)

    def give_up(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _close(descriptor)

    @property
    def is_claimed(self) -> bool:
        """By any process."""
        if not self._of_use:
            return False
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not self._locked(descriptor, fcntl.LOCK_EX) and self._of_use
        finally:
            _close(descriptor)

    def _locked(self, descriptor: int, kind: int) -> bool:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # the disk has no such locks, and will have none
            self._of_use = False
            return False
        return True


class GivesWay:
    """Stands still for others. One for all encoders of a process; `stood` is told for how many seconds they did."""

    def __init__(
        self,
        precedence: Precedence,
        stood: Callable[[float], None],
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._precedence = precedence
        self._stood = stood
        self._now_s = now_s
        self._sleep = sleep
        self._look_at_s = 0.0
        self._still = 0
        self._credit_s = STILL_S_MAX
        """For so long it may stand still."""
        self._reckoned_s = now_s()
        self._earning = False
        """It was used up, and is to be whole again first."""

    async def __call__(self) -> None:
        """Returns when nobody has precedence, or too little was done meanwhile. Costs little where just asked."""
        if self._may_go_on(self._now_s()):
            return
        self._still += 1
        try:
            while not self._may_go_on(self._now_s()):
                await self._sleep(LOOK_S)
        finally:
            self._reckon(self._now_s())
            self._still -= 1

    def _may_go_on(self, now_s: float) -> bool:
        self._reckon(now_s)
        if self._earning or now_s < self._look_at_s:
            return True
        if self._precedence.is_claimed:
            return False
        self._look_at_s = now_s + LOOK_S
        return True

    def _reckon(self, now_s: float) -> None:
        """What was stood still, or earned, since the last time."""
        passed_s, self._reckoned_s = now_s - self._reckoned_s, now_s
        if self._still:
            self._stood(passed_s)
            self._credit_s = max(0.0, self._credit_s - passed_s)
            self._earning = self._earning or self._credit_s <= 0
        else:
            self._credit_s = min(STILL_S_MAX, self._credit_s + STILL_PER_S * passed_s)
            self._earning = self._earning and self._credit_s < STILL_S_MAX


def _close(descriptor: int) -> None:
    """The lock goes with it. A disk that is gone by then changes nothing."""
    with suppress(OSError):
        os.close(descriptor)

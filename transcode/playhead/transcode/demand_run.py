"""One encoder run and those who wait for its segments: bookkeeping, in the loop's thread, without input or output."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from playhead.db import Script
from playhead.media import Rung, segment_key
from playhead.transcode.demand_turns import Ticket

AHEAD_SEGMENTS = 5
"""How far a run goes beyond what was asked for: what a player keeps in its buffer, 29 s."""
RUN_SEGMENTS = 50
"""Most that one encoder makes, 5 min: it takes 10 s of CPU, and is ended when it takes 300."""

Wanted = Callable[[], bool]
"""Whether somebody who asked for a segment is still there to get it."""


class DemandRun:
    """Segments of one rung, [next, end), of which somebody needs the first.

    `warming`: or soon may, and nobody waits. `listener`: who asked first.
    """

    def __init__(
        self, script: Script, rung: Rung, segments: range, *, ticket: Ticket, listener: str | None, warming: bool
    ) -> None:
        self.script = script
        self.rung = rung
        self.next = segments.start
        self.end = segments.stop
        self.ticket = ticket
        self.listener = listener
        self.encoding: asyncio.Task[None] | None = None
        self.evicted = False
        self.claim: tuple[str, float] | None = None
        """The key that this process holds for it, as far as it knows, and since when."""
        self._ahead_end = min(self.end, self.next + AHEAD_SEGMENTS)
        self._warming = warming
        self._expected_until_s = 0.0
        self._asked = asyncio.Event()
        self._waiting: dict[object, tuple[int, Wanted, asyncio.Future[bytes]]] = {}
        self._made: dict[int, asyncio.Future[bytes]] = {}

    def covers(self, segment: int) -> bool:
        """Whether it has it, or will soon."""
        return segment in self._made or segment in self.unmade

    @property
    def ahead(self) -> bool:
        """Whether it is as far as it should go until somebody asks."""
        return self.next >= self._ahead_end

    def wanted(self, now_s: float) -> bool:
        """Whether it is worth its work."""
        return self._warming or self.awaited_at(now_s)

    def awaited_at(self, now_s: float) -> bool:
        """Whether somebody waits for it, or was told to ask again and will."""
        here = any(wanted() and not future.done() for _, wanted, future in self._waiting.values())
        return here or now_s < self._expected_until_s

    @property
    def awaited(self) -> Sequence[int]:
        """Segments that somebody waits for, and that are not there."""
        return sorted({segment for segment, _, future in self._waiting.values() if not future.done()})

    def key(self, segment: int) -> str:
        return segment_key(self.script.script_id, self.script.media_version, self.rung.name, segment)

    @contextmanager
    def asking(self, segment: int, wanted: Wanted) -> "Iterator[asyncio.Future[bytes]]":
        """Somebody waits in the block for the segment's bytes, or what kept them from being made."""
        asker, future = object(), self._future(segment)
        self._waiting[asker] = (segment, wanted, future)
        self._ahead_end = min(self.end, max(self._ahead_end, segment + AHEAD_SEGMENTS))
        self._asked.set()
        try:
            yield future
        finally:
            del self._waiting[asker]

    def expect(self, until_s: float) -> None:
        """Who was told to ask again keeps the place in the queue until then."""
        self._expected_until_s = until_s

    async def asked(self, timeout_s: float) -> bool:
        """Waits until somebody asks for what comes next. False: nobody did."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.ahead:
                    self._asked.clear()
                    await self._asked.wait()
        except TimeoutError:
            return False
        return True

    def made(self, segment: int, body: bytes, *, kept: bool) -> None:
        """`kept`: it lies in the storage, where it is found from now on."""
        future = self._future(segment)
        if not future.done():
            future.set_result(body)
        if kept:
            del self._made[segment]
        if segment == self.next:
            self.next += 1
        self._expected_until_s = 0.0

    def failed(self, error: Exception) -> None:
        """Nothing more will come of it."""
        for future in self._made.values():
            if not future.done():
                future.set_exception(error)

    def evict(self) -> None:
        """Ends the encoder, for others; where somebody waits, another one is started when it has its turn."""
        self.evicted = True
        if self.encoding is not None:
            self.encoding.cancel()

    @property
    def unmade(self) -> range:
        """What it makes next."""
        return range(self.next, min(self.end, max(self._ahead_end, self.next + 1)))

    def _future(self, segment: int) -> "asyncio.Future[bytes]":
        if segment not in self._made:
            future = self._made[segment] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_look_at)
        return self._made[segment]


def _look_at(future: "asyncio.Future[bytes]") -> None:
    """An error that nobody waits for is no news."""
    if not future.cancelled():
        future.exception()

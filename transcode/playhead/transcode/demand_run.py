"""One encoder run for segments that are asked for: who waits for which of them, and what came of it."""

import asyncio
from collections.abc import Callable, Sequence

from playhead.db import Script
from playhead.media import Rung, segment_key
from playhead.transcode.demand_slots import Need, Ticket

Wanted = Callable[[], bool]
"""Whether somebody who asked for a segment is still there to get it."""


class DemandRun:
    """Segments of one rung, of which somebody needs the first; `read_ahead`: or soon may, and nobody waits."""

    def __init__(self, script: Script, rung: Rung, segments: range, *, need: Need, read_ahead: bool) -> None:
        self.script = script
        self.rung = rung
        self.segments = segments
        self.ticket = Ticket(need)
        self.counted_as = need
        self.encoding: asyncio.Task[None] | None = None
        self.gave_way = False
        self.read_ahead = read_ahead
        self._waiting: dict[object, tuple[int, Wanted]] = {}
        loop = asyncio.get_running_loop()
        self._made: dict[int, asyncio.Future[bytes]] = {segment: loop.create_future() for segment in segments}
        for future in self._made.values():
            future.add_done_callback(_look_at)

    @property
    def wanted(self) -> bool:
        """Whether it is worth its work, before that has begun."""
        return self.read_ahead or not self.idle

    @property
    def idle(self) -> bool:
        """Whether nobody waits for any of it."""
        return not any(wanted() for _, wanted in self._waiting.values())

    def give_way(self) -> None:
        """Ends the encoding, for others."""
        self.gave_way = True
        if self.encoding is not None:
            self.encoding.cancel()

    @property
    def awaited(self) -> Sequence[int]:
        """Segments that somebody waits for, and that are not there."""
        return sorted({segment for segment, _ in self._waiting.values() if not self._made[segment].done()})

    @property
    def unmade(self) -> Sequence[int]:
        return [segment for segment, future in self._made.items() if not future.done()]

    def key(self, segment: int) -> str:
        return segment_key(self.script.script_id, self.script.media_version, self.rung.name, segment)

    async def wait(self, segment: int, wanted: Wanted, timeout_s: float) -> bytes:
        """The segment's bytes, or what kept them from being made. Raises TimeoutError."""
        asker = object()
        self._waiting[asker] = (segment, wanted)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._made[segment])
        finally:
            del self._waiting[asker]

    def made(self, segment: int, body: bytes) -> None:
        if not self._made[segment].done():
            self._made[segment].set_result(body)

    def failed(self, error: Exception) -> None:
        """Nothing more will come of it."""
        for segment in self.unmade:
            self._made[segment].set_exception(error)


def _look_at(future: "asyncio.Future[bytes]") -> None:
    """An error that nobody waits for is no news."""
    if not future.cancelled():
        future.exception()

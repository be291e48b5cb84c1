"""What a device plays while it has no connection, and how it is told afterwards. Pure: times come in.

The sound goes on from `base`, the last state that was shown. Each stretch is noted with its places and times; back on
line, all of it is told in batches small enough for one event, each on the state that the one before has made.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil

from playhead.client.core.wire import State
from playhead.client.core.wishes import Wish
from playhead.playback.commands import RATE_MAX

STRETCHES_PER_BATCH = 100
"""About 10,000 characters; an event may have 16,384."""
STRETCHES_MAX = 5_000
"""Kept by one log; past it the oldest is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Audio from `start` to `end` (seconds), played between two times of this device (ms since the epoch)."""

    start: float
    end: float
    started_at: int
    ended_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some stretches, and where the sound was after them."""

    stretches: tuple[Stretch, ...]
    position: float

    def wish(self, script_id: str, base: State | None) -> Wish:
        """The `offline` event. `base` None: the listener wants this place, whatever happened meanwhile."""
        told = base and {"session_id": base.session_id, "epoch": base.epoch, "revision": base.revision}
        intervals = [asdict(stretch) for stretch in self.stretches]
        known = {} if told is None else {"base": told}
        return Wish("offline", {"script_id": script_id, "intervals": intervals, "position": self.position, **known})


class OfflineLog:
    """Say `runs` whenever the sound starts to run somewhere, `stands` whenever it stops."""

    def __init__(self, base: State) -> None:
        self.base = base
        self.forgotten = 0
        """Stretches that did not fit."""
        self._stretches: deque[Stretch] = deque()
        self._running: tuple[float, int] | None = None
        self._position = base.position

    def runs(self, position: float, at_ms: int) -> None:
        """The sound runs on from `position` (seconds)."""
        self._running, self._position = (position, at_ms), position

    def stands(self, position: float, at_ms: int) -> None:
        """The sound has come to `position`, and stands. A jump is a `stands` and a `runs`."""
        if self._running is not None:
            start, started_at = self._running
            if position > start:
                # a clock that was set back meanwhile: more than can be played in a time is not believed, nor its batch
                ended_at = max(at_ms, started_at + ceil((position - start) * 1_000 / RATE_MAX))
                self._stretches.append(Stretch(start=start, end=position, started_at=started_at, ended_at=ended_at))
        if len(self._stretches) > STRETCHES_MAX:
            self._stretches.popleft()
            self.forgotten += 1
        self._running, self._position = None, position

    def batches(self) -> Iterator[Batch]:
        """What to tell, oldest first: at least one batch, as the place may have moved without a sound."""
        stretches = tuple(self._stretches)
        rows = [
            stretches[first : first + STRETCHES_PER_BATCH] for first in range(0, len(stretches), STRETCHES_PER_BATCH)
        ]
        for number, row in enumerate(rows or [()], 1):
            yield Batch(stretches=row, position=self._position if number >= len(rows) else row[-1].end)


class OpenLogs:
    """Logs that are not told yet. What is pressed for their scripts meanwhile, and every report, comes after them."""

    def __init__(self) -> None:
        self._logs: list[OfflineLog] = []

    def __len__(self) -> int:
        return len(self._logs)

    def __contains__(self, log: OfflineLog | None) -> bool:
        return log in self._logs

    def open(self, log: OfflineLog) -> None:
        if log not in self._logs:
            self._logs.append(log)

    def close(self, log: OfflineLog) -> None:
        """Told, or given up."""
        if log in self._logs:
            self._logs.remove(log)

    def of(self, script_id: str | None) -> OfflineLog | None:
        """The latest of that script."""
        return next((log for log in reversed(self._logs) if log.base.script_id == script_id), None)

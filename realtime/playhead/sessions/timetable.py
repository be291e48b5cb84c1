"""Things by the time at which something is to be done with them, and values that are forgotten when theirs is over.

Both in one process's memory, and both as small as what they hold: a heap remembers each change to an earlier time, so
it is made anew when most of it is out of date. A change to a later time, as most are, costs nothing until the earlier
one has come. Times are ms in the caller's clock.
"""

import heapq
import itertools
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

STALE_MIN = 64
"""Entries out of date that are not worth the work of making the heap anew."""
FORGET_MAX = 10_000
"""Values that one look lets go of, so that it does not hold up everything else; the rest goes with the next."""


class Timetable(Generic[K]):
    """Each key at one time."""

    def __init__(self) -> None:
        self._at_ms: dict[K, int] = {}
        self._queued_ms: dict[K, int] = {}
        """When the heap comes to the key at the earliest: never later than its time."""
        self._heap: list[tuple[int, int, K]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._at_ms)

    def __contains__(self, key: object) -> bool:
        return key in self._at_ms

    def put(self, key: K, at_ms: int) -> None:
        """Comes up at `at_ms`, and no longer when it would have."""
        self._at_ms[key] = at_ms
        queued_ms = self._queued_ms.get(key)
        if queued_ms is None or at_ms < queued_ms:
            self._queue(key, at_ms)
            if len(self._heap) > 2 * len(self._at_ms) + STALE_MIN:
                self._queued_ms = dict(self._at_ms)
                self._heap = [(at_ms, next(self._numbers), key) for key, at_ms in self._at_ms.items()]
                heapq.heapify(self._heap)

    def _queue(self, key: K, at_ms: int) -> None:
        self._queued_ms[key] = at_ms
        # the number keeps keys from being compared, and those of one time in the order they came
        heapq.heappush(self._heap, (at_ms, next(self._numbers), key))

    def drop(self, key: K) -> None:
        """Does not come up any more."""
        self._at_ms.pop(key, None)

    def take(self, now_ms: int, limit: int) -> list[K]:
        """Removes at most `limit` keys whose time has come, the earliest first."""
        taken: list[K] = []
        while self._heap and self._heap[0][0] <= now_ms and len(taken) < limit:
            queued_ms, _, key = heapq.heappop(self._heap)
            if self._queued_ms.get(key) != queued_ms:
                continue
            del self._queued_ms[key]
            at_ms = self._at_ms.get(key)
            if at_ms is None:
                continue
            if at_ms > queued_ms:
                self._queue(key, at_ms)
            else:
                del self._at_ms[key]
                taken.append(key)
        return taken

    def clear(self) -> None:
        self._at_ms.clear()
        self._queued_ms.clear()
        self._heap.clear()


class Fading(Generic[K, V]):
    """A map whose values all have equally long from when they are put: they go in the order in which they came."""

    def __init__(self) -> None:
        self._rows: dict[K, tuple[int, V]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: K, value: V, until_ms: int) -> None:
        """Holds `value` until `until_ms`, which is never less than that of one before; in place of what was there."""
        self._rows.pop(key, None)
        self._rows[key] = (until_ms, value)

    def get(self, key: K, now_ms: int) -> V | None:
        row = self._rows.get(key)
        return row[1] if row is not None and now_ms < row[0] else None

    def pop(self, key: K) -> None:
        self._rows.pop(key, None)

    def forget(self, now_ms: int, limit: int) -> None:
        """Lets go of at most `limit` values whose time is over."""
        over: list[K] = []
        for key, (until_ms, _) in self._rows.items():
            if now_ms < until_ms or len(over) == limit:
                break
            over.append(key)
        for key in over:
            del self._rows[key]


class Expiring(Generic[K, V]):
    """A map whose values are not there any more once their time is over; `forget` gives back what they took."""

    def __init__(self) -> None:
        self._rows: dict[K, tuple[int, V]] = {}
        self._times: Timetable[K] = Timetable()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def put(self, key: K, value: V, until_ms: int) -> None:
        """Holds `value` until `until_ms`, in place of what was there."""
        self._rows[key] = (until_ms, value)
        self._times.put(key, until_ms)

    def get(self, key: K, now_ms: int) -> V | None:
        row = self._rows.get(key)
        return row[1] if row is not None and now_ms < row[0] else None

    def pop(self, key: K) -> V | None:
        self._times.drop(key)
        return self._rows.pop(key, (0, None))[1]

    def forget(self, now_ms: int, limit: int) -> None:
        """Lets go of at most `limit` values whose time is over."""
        for key in self._times.take(now_ms, limit):
            del self._rows[key]

    def clear(self) -> None:
        self._rows.clear()
        self._times.clear()

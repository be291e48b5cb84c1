"""Values in this process's memory, bounded: what was used longest ago goes first."""

from collections.abc import Callable

from playhead.cache.backend import VALUE_BYTES_MAX
from playhead.cache.bounded import BoundedMap

MEMORY_ENTRIES_MAX = 10_000
MEMORY_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of values; keys and bookkeeping come on top, bounded by the number of entries."""

_Entry = tuple[float, bytes]
"""When it ends (in the seconds of the clock that was given), and the value."""


class MemoryBackend:
    """Backend of a single process. `now_s`: a clock that never runs backwards, in seconds."""

    def __init__(
        self, now_s: Callable[[], float], entries_max: int = MEMORY_ENTRIES_MAX, bytes_max: int = MEMORY_BYTES_MAX
    ) -> None:
        self._now_s = now_s
        self._entries: BoundedMap[str, _Entry] = BoundedMap(entries_max, bytes_max, lambda entry: len(entry[1]))

    async def get(self, key: str) -> bytes | None:
        return self.at_once(key)

    def at_once(self, key: str) -> bytes | None:
        """As `get`, for who need not wait."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        ends_s, value = entry
        if ends_s <= self._now_s():
            self._entries.drop(key)
            return None
        return value

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        if len(value) <= VALUE_BYTES_MAX:
            self._entries.put(key, (self._now_s() + ttl_s, value))

    async def drop(self, key: str) -> None:
        self._entries.drop(key)

    def clear(self) -> None:
        self._entries.clear()

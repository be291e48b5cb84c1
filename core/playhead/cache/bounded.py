"""A map that holds so much and no more: what was used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """At most `entries_max` entries whose weights add up to at most `weight_max`. Reading an entry counts as use."""

    def __init__(self, entries_max: int, weight_max: int, weigh: Callable[[V], int]) -> None:
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._entries_max = entries_max
        self._weight_max = weight_max
        self._weigh = weigh
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def weight(self) -> int:
        return self._weight

    def get(self, key: K) -> V | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Holds `value`, and lets go of others for it; a value heavier than everything may weigh is not held."""
        self.drop(key)
        if self._weigh(value) > self._weight_max:
            return
        self._entries[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._weight_max or len(self._entries) > self._entries_max:
            self.drop(next(iter(self._entries)))

    def drop(self, key: K) -> None:
        value = self._entries.pop(key, None)
        if value is not None:
            self._weight -= self._weigh(value)

    def clear(self) -> None:
        self._entries.clear()
        self._weight = 0

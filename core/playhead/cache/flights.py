"""Single flight: of many who want the same thing at once, one makes it and the others wait for it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Flights(Generic[V]):
    """The makings under way in this process, by key."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[V]] = {}

    async def join(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        """What `make` answers or raises, called once for all who ask while it is under way.

        A caller that is cancelled leaves the flight; it goes on for the others.
        """
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._fly(key, make))
            task.add_done_callback(_look_at)
            self._under_way[key] = task
        return await asyncio.shield(task)

    async def _fly(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        try:
            return await make()
        finally:
            del self._under_way[key]


def _look_at(task: "asyncio.Task[V]") -> None:
    """An error that nobody waits for any more is no news."""
    if not task.cancelled():
        task.exception()

"""Where the client's events go: to callbacks, and to readers that take them at their own pace, up to a limit."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

from playhead.client.core.errors import ClientError
from playhead.client.core.events import Event

log = logging.getLogger(__name__)

UNREAD_MAX = 1_000
"""Events that one reader may leave unread."""
Wanted = TypeVar("Wanted", bound=Event)


class TooSlow(ClientError):
    """A reader left too many events unread, and is cut off. What the client knows is not affected: read on anew."""


class Inbox:
    """Events for one client's app."""

    def __init__(self) -> None:
        self._callbacks: list[tuple[type[Any], Callable[[Any], None]]] = []
        self._readers: set[_Reader] = set()

    def put(self, event: Event) -> None:
        for kind, callback in tuple(self._callbacks):
            if isinstance(event, kind):
                try:
                    callback(event)
                except Exception:
                    log.exception("A callback for %s failed.", kind.__name__)
        for reader in tuple(self._readers):
            reader.put(event)

    def subscribe(self, kind: type[Wanted], callback: Callable[[Wanted], None]) -> Callable[[], None]:
        """Answers what ends the subscription."""
        row = (kind, callback)
        self._callbacks.append(row)
        return lambda: self._callbacks.remove(row) if row in self._callbacks else None

    def reader(self) -> AsyncGenerator[Event, None]:
        """Gets everything from now on."""
        reader = _Reader()
        self._readers.add(reader)
        return reader.read(lambda: self._readers.discard(reader))

    def close(self) -> None:
        """Nothing more will come."""
        for reader in self._readers:
            reader.close()


class _Reader:
    def __init__(self) -> None:
        self._unread: deque[Event] = deque()
        self._something = asyncio.Event()
        self._closed = False
        self._too_slow = False

    def put(self, event: Event) -> None:
        self._too_slow = self._too_slow or len(self._unread) >= UNREAD_MAX
        if not self._too_slow:
            self._unread.append(event)
        self._something.set()

    def close(self) -> None:
        self._closed = True
        self._something.set()

    async def read(self, done: Callable[[], None]) -> AsyncGenerator[Event, None]:
        try:
            while True:
                while self._unread:
                    yield self._unread.popleft()
                if self._too_slow:
                    raise TooSlow(f"More than {UNREAD_MAX} events were left unread.")
                if self._closed:
                    return
                self._something.clear()
                await self._something.wait()
        finally:
            done()

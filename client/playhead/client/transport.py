"""What the client needs of the world: a network and a clock. Both are replaced where a test simulates them."""

import asyncio
import time
from typing import Any, Protocol

from playhead.client.core.wire import Payload, Refusal


class Listener(Protocol):
    """Who is told what becomes of a connection; `connection` is the number that it was opened under."""

    def opened(self, connection: int) -> None: ...

    def open_failed(self, connection: int, refusal: Refusal | None) -> None:
        """`refusal`: what the server said; None: it could not be reached."""
        ...

    def received(self, connection: int, event: str, data: Any) -> None: ...

    def answered(self, connection: int, request: int, ack: Any) -> None: ...

    def closed(self, connection: int) -> None: ...


class Transport(Protocol):
    """Carries events. Nothing here waits, and nothing raises: what happens is told to the listener, later, in order."""

    def open(self, connection: int, url: str, auth: Payload, listener: Listener) -> None:
        """Connects: `opened` or `open_failed`, then what arrives, at last `closed`."""
        ...

    def send(self, connection: int, request: int, event: str, payload: Payload) -> None:
        """Sends an event, after those sent before. On a connection that is gone it is lost."""
        ...

    def close(self, connection: int) -> None:
        """Ends a connection, also one that is not open yet; nothing of it is told any more."""
        ...

    async def shutdown(self) -> None:
        """Ends all connections, and returns when nothing of them is left."""
        ...


class Timing(Protocol):
    """Local time. It need not be right, but must not run backwards."""

    def now_ms(self) -> float: ...

    async def sleep(self, wait_ms: float) -> None: ...


class SystemTiming:
    """The machine's wall clock at the start, and from then on the clock that nobody sets."""

    def __init__(self) -> None:
        self._origin_s = time.time() - time.monotonic()

    def now_ms(self) -> float:
        return (self._origin_s + time.monotonic()) * 1000

    async def sleep(self, wait_ms: float) -> None:
        await asyncio.sleep(wait_ms / 1000)

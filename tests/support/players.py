"""Devices as tests drive them: the reference client with a memory of what it was told, and a cable that can fail.

`expect` waits for an event with certain fields, also for one that came already.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

from playhead.client import Client, Device, Event, State, StateChanged

EXPECT_TIMEOUT_S = 10.0
CHUNK_BYTES = 65_536
Wanted = TypeVar("Wanted", bound=Event)
Found = TypeVar("Found")
FetchToken = Callable[[], Awaitable[str]]


class Player(Client):
    """A client that remembers its events."""

    def __init__(
        self, urls: str | list[str], token: str | FetchToken, device_id: str = "phone", **options: Any
    ) -> None:
        super().__init__(urls, token, Device(id=device_id, name=device_id.title(), kind="phone"), **options)
        self.seen: list[Event] = []
        for kind in get_args(Event):
            self.on(kind, self.seen.append)

    async def expect(self, kind: type[Wanted], timeout_s: float = EXPECT_TIMEOUT_S, **fields: Any) -> Wanted:
        """The first event of that kind whose fields have these values."""

        def found(event: Event) -> Wanted | None:
            return event if isinstance(event, kind) and _has(event, fields) else None

        return await self._first(found, f"{kind.__name__} with {fields}", timeout_s)

    async def expect_state(self, timeout_s: float = EXPECT_TIMEOUT_S, **fields: Any) -> State:
        """The first state with these fields, wherever it came from."""

        def found(event: Event) -> State | None:
            return event.state if isinstance(event, StateChanged) and _has(event.state, fields) else None

        return await self._first(found, f"state with {fields}", timeout_s)

    async def _first(self, found: Callable[[Event], Found | None], wanted: str, timeout_s: float) -> Found:
        try:
            # the reader comes first, so that nothing falls between it and the memory
            async with contextlib.aclosing(self.events()) as coming, asyncio.timeout(timeout_s):
                for event in self.seen:
                    if (result := found(event)) is not None:
                        return result
                async for event in coming:
                    if (result := found(event)) is not None:
                        return result
        except TimeoutError:
            pass
        raise AssertionError(f"{self.device.id} saw no {wanted}, but {self.seen}")


def _has(value: object, fields: dict[str, Any]) -> bool:
    return all(getattr(value, name) == wanted for name, wanted in fields.items())


class Cable:
    """Between clients and a server: passes everything on, until it is made to fail."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.swallows_answers = False
        """What the server says is lost from now on; what clients say still arrives."""

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @contextlib.asynccontextmanager
    async def plugged_in(self) -> AsyncIterator["Cable"]:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self.cut()
            self._server.close()

    def cut(self) -> None:
        """Breaks every connection, without a word to either end. New ones are taken."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pass_on(reader, back, False), self._pass_on(there, writer, True))
        self._writers -= {writer, back}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if not (answers and self.swallows_answers):
                    writer.write(data)
        writer.transport.abort()

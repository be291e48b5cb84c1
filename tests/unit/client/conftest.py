"""The client around its logic: a network that the test plays, and a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from playhead.client import (
    Client,
    Device,
    FollowingSound,
)
from playhead.client.core.wire import Payload, State
from playhead.client.transport import Listener
from tests.unit.client.core.recording import (
    NOW_MS,
    wire,
)

PHONE = Device(id="phone", name="Phone", kind="phone")
CREDITED = {"saved": True, "total_listened": 10.0, "progress_percent": 3.1}


class PlayedTransport:
    """A network on which nothing happens but what the test does."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.opened: list[tuple[int, str, Payload]] = []
        self.sent: asyncio.Queue[tuple[int, int, str, Payload]] = asyncio.Queue()
        self.closed: list[int] = []
        self.down = False
        self.clock: tuple[int, int, Payload] | None = None

    def open(self, connection: int, url: str, auth: Payload, listener: Listener) -> None:
        self.listener = listener
        self.opened.append((connection, url, auth))

    def send(self, connection: int, request: int, event: str, payload: Payload) -> None:
        if event == "clock":
            self.clock = (connection, request, payload)
        else:
            self.sent.put_nowait((connection, request, event, payload))

    def close(self, connection: int) -> None:
        self.closed.append(connection)

    async def shutdown(self) -> None:
        self.down = True

    @property
    def told(self) -> Listener:
        assert self.listener is not None, "nothing was opened"
        return self.listener

    def tell_time(self, elapsed_ms: int = 0) -> None:
        """Answers the last question for it."""
        assert self.clock is not None
        connection, request, payload = self.clock
        now_ms = NOW_MS + elapsed_ms
        self.told.answered(
            connection, request, {"ok": True, **payload, "t1": now_ms, "t2": now_ms, "server_time": now_ms}
        )

    async def answer(self, event: str, ack: Any) -> Payload:
        """Waits for the next event, which must be this one, and answers it; answers its payload."""
        connection, request, sent, payload = await asyncio.wait_for(self.sent.get(), 5)
        assert sent == event
        self.told.answered(connection, request, ack)
        return payload


class SetTiming:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.time_ms = float(NOW_MS)
        self._moved = asyncio.Condition()

    def now_ms(self) -> float:
        return self.time_ms

    async def sleep(self, wait_ms: float) -> None:
        until_ms = self.time_ms + wait_ms
        async with self._moved:
            await self._moved.wait_for(lambda: self.time_ms >= until_ms)

    async def advance(self, elapsed_ms: float) -> None:
        await settled()
        async with self._moved:
            self.time_ms += elapsed_ms
            self._moved.notify_all()
        await settled()


async def settled() -> None:
    """Whatever the event loop has to do without anything new is done."""
    for _ in range(20):
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.network = PlayedTransport()
        self.timing = SetTiming()

    def client(self, token: str | Callable[[], Awaitable[str]] = "t-1", **options: Any) -> Client:
        network, timing = self.network, self.timing
        return Client(
            options.pop("urls", "one"), token, PHONE, transport=network, timing=timing, chance=lambda: 0.5, **options
        )

    async def connect(self) -> None:
        await settled()
        self.network.told.opened(self.network.opened[-1][0])

    def snapshot(self, state: State | None) -> Payload:
        told = None if state is None else wire(state)
        devices = {"devices": [], "devices_order": {"epoch": 1, "version": 1}}
        return {"ok": True, "state": told, "place": None, **devices, "server_time": NOW_MS}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def phone(world: World) -> AsyncIterator[Client]:
    """Connected, with nothing joined."""
    async with world.client(sound=FollowingSound()) as client:
        await world.connect()
        yield client

"""A store and its bus as one process has them, whichever implementation stands behind; and what arrives on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playhead.db import Logins, open_database
from playhead.runtime.clock import Clock
from playhead.sessions.redis_bus import RedisBus
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import Bus, SessionStore
from tests.integration.sessions.memory_process import memory_process

ARRIVAL_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Line:
    """One process's store and bus, with a list of everything that was delivered to it."""

    store: SessionStore
    bus: Bus
    packets: "asyncio.Queue[tuple[str, bytes]]" = field(default_factory=asyncio.Queue)
    gaps: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)

    async def on_packet(self, listener_id: str, packet: bytes) -> None:
        await self.packets.put((listener_id, packet))

    async def on_gap(self, listener_id: str) -> None:
        await self.gaps.put(listener_id)

    async def arrived(self) -> tuple[str, bytes]:
        """The next packet."""
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            return await self.packets.get()

    async def arrived_until(self, listener_id: str, marker: bytes) -> list[tuple[str, bytes]]:
        """Everything that arrived before `marker`, which is published now: what is not in the list did not arrive."""
        await self.store.publish(listener_id, marker)
        found = []
        while (row := await self.arrived()) != (listener_id, marker):
            found.append(row)
        return found

    async def gap(self) -> str:
        """The next listener some of whose packets may have been lost."""
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            return await self.gaps.get()


@asynccontextmanager
async def redis_line(url: str, clock: Clock) -> AsyncIterator[Line]:
    store = RedisStore(url, clock)

    async def on_packet(listener_id: str, packet: bytes) -> None:
        await line.on_packet(listener_id, packet)

    async def on_gap(listener_id: str) -> None:
        await line.on_gap(listener_id)

    bus = RedisBus(store.client, on_packet, on_gap)
    line = Line(store, bus)
    bus.start()
    try:
        yield line
    finally:
        await bus.stop()
        await store.stop()


@asynccontextmanager
async def durable_line(logins: Logins, clock: Clock) -> AsyncIterator[Line]:
    """The store in memory as the only server process has it: nothing is committed that PostgreSQL has not."""
    async with (
        open_database(logins.app_url, logins.service_url, connections_max=2) as database,
        memory_process(database, clock) as process,
    ):
        yield Line(process.store, process.store, packets=process.sent)


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float = ARRIVAL_TIMEOUT_S) -> None:
    """Asks until it is true, without a pause but for what the question itself waits for."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0)

"""One node's way to the shared store: every call takes its time, may fail before or after it was carried out, and is
never answered once the node is dead.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.sessions.store import (
    Answer,
    Change,
    Committed,
    Connection,
    DueSession,
    LapsedConnection,
    Loaded,
    Orders,
    Present,
    StoreUnavailable,
)
from tests.simulation.chance import Chance
from tests.simulation.loop import US_PER_MS, VirtualLoop
from tests.simulation.record import ASKED
from tests.simulation.schedule import Plan
from tests.simulation.valkey import Valkey

T = TypeVar("T")

REFUSED_MS = (0, 30)
TIMEOUT_MS = (200, 2_000)


class Life(Protocol):
    """Whether a process still runs."""

    @property
    def dead(self) -> bool: ...

    @property
    def over(self) -> bool:
        """The schedule is over: whoever waits is to be let go."""
        ...


class Wire:
    """How long a call takes on its way, and whether it fails there."""

    def __init__(self, loop: VirtualLoop, plan: Plan, chance: Chance, life: Life) -> None:
        self._loop = loop
        self._longest_ms = plan.store_ms
        self._chance = chance
        self._life = life
        self._hanging: list[asyncio.Future[None]] = []
        self._before = plan.faults.store_before
        self._after = plan.faults.store_after
        self.calm = False
        """No faults any more."""

    async def pause(self, least_ms: int, most_ms: int) -> None:
        await self._loop.sleep(self._chance.ms(least_ms, most_ms) * US_PER_MS)
        await self.hang_if_dead()

    async def hang_if_dead(self) -> None:
        if self._life.dead or self._life.over:
            await self.hang()

    async def hang(self) -> None:
        """Of a process that is dead, until the schedule is over."""
        if self._life.over:
            raise asyncio.CancelledError
        nobody = self._loop.create_future()
        # held, or the task that waits for it would be swept up
        self._hanging.append(nobody)
        await nobody

    async def way(self, leaves: bool = False) -> None:
        """One way; half of them take no time at all, and a few take ten times the usual.

        `leaves`: what is on its way arrives, or not, also when whoever sent it has died meanwhile.
        """
        life = self._life
        if life.dead or life.over:
            await self.hang()
        draw = self._chance.random()
        if draw < 0.5 or not self._longest_ms:
            return
        longest_ms = self._longest_ms if draw < 0.96 else 10 * self._longest_ms
        await self._loop.sleep(self._chance.ms(0, longest_ms) * US_PER_MS)
        if (life.dead or life.over) and not (leaves and life.dead and self._chance.happens(0.5)):
            await self.hang()

    def fails_before(self) -> bool:
        return not self.calm and bool(self._before) and self._chance.happens(self._before)

    def fails_after(self) -> bool:
        return not self.calm and bool(self._after) and self._chance.happens(self._after)


class NodeStore:
    """SessionStore of one node."""

    def __init__(self, valkey: Valkey, wire: Wire) -> None:
        self._valkey = valkey
        self._wire = wire
        self._chance = wire._chance

    async def call(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        wire, valkey = self._wire, self._valkey
        await wire.way(leaves=True)
        if not valkey.up:
            await wire.pause(*REFUSED_MS)
            raise _failed("The store does not answer.")
        if wire.fails_before():
            await wire.pause(*TIMEOUT_MS)
            raise _failed("The question was lost.")
        life = valkey.life
        found = await call()
        if wire.fails_after():
            await wire.pause(*TIMEOUT_MS)
            raise _failed("The answer was lost.")
        await wire.way()
        if valkey.life != life and self._chance.happens(0.5):
            raise _failed("The store died before its answer came.")
        return found

    async def load(self, listener_id: str, session_id: str, command_id: str | None = None) -> Loaded:
        loaded = await self.call(lambda: self._valkey.load(listener_id, session_id, command_id))
        return loaded

    async def live(self, listener_id: str, command_id: str | None = None) -> Loaded:
        return await self.call(lambda: self._valkey.live(listener_id, command_id))

    async def orders(self, listener_ids: Sequence[str]) -> Mapping[str, Orders]:
        return await self.call(lambda: self._valkey.orders(listener_ids))

    async def count_beginning(self, listener_id: str) -> int:
        """Has no way of its own: what can become of it there becomes of the commit behind it, and changes as little."""
        if not self._valkey.up:
            raise _failed("The store does not answer.")
        return await self._valkey.count_beginning(listener_id)

    async def last_ended(self, listener_id: str, script_id: str) -> SessionState | None:
        return await self.call(lambda: self._valkey.last_ended(listener_id, script_id))

    async def moves(self, listener_id: str, session_id: str) -> tuple[Move, ...]:
        return await self.call(lambda: self._valkey.moves(listener_id, session_id))

    async def commit(
        self,
        listener_id: str,
        epoch: int,
        changes: Sequence[Change],
        packets: Sequence[bytes],
        answer: Answer | None = None,
        live: int | None = None,
    ) -> Committed:
        return await self.call(lambda: self._valkey.commit(listener_id, epoch, changes, packets, answer, live))

    async def publish(self, listener_id: str, packet: bytes) -> None:
        await self.call(lambda: self._valkey.publish(listener_id, packet))

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        await self.call(lambda: self._valkey.hold_connections(listener_id, connections))
        self._valkey.on_due()

    async def enter(self, listener_id: str, connection: Connection, now_ms: int) -> Present:
        await self.hold_connections(listener_id, [connection])
        return await self.present(listener_id, now_ms)

    async def drop_connection(
        self, listener_id: str, connection_id: str, now_ms: int, lapsed_by_ms: int | None = None
    ) -> bool:
        return await self.call(lambda: self._valkey.drop_connection(listener_id, connection_id, now_ms, lapsed_by_ms))

    async def connections(self, listener_id: str, now_ms: int) -> tuple[Connection, ...]:
        return await self.call(lambda: self._valkey.connections(listener_id, now_ms))

    async def present(self, listener_id: str, now_ms: int) -> Present:
        return await self.call(lambda: self._valkey.present(listener_id, now_ms))

    async def left_at_ms(self, listener_id: str) -> int | None:
        return await self.call(lambda: self._valkey.left_at_ms(listener_id))

    async def due(self, now_ms: int, limit: int) -> tuple[DueSession | LapsedConnection, ...]:
        return await self.call(lambda: self._valkey.due(now_ms, limit))

    async def forget_due(self, item: DueSession | LapsedConnection) -> None:
        await self.call(lambda: self._valkey.forget_due(item))


def _failed(reason: str) -> StoreUnavailable:
    asked = ASKED.get()
    if asked is not None:
        asked.unavailable = True
    return StoreUnavailable(reason)

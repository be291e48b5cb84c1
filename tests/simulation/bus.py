"""One node's end of pub/sub: packets in order, late or doubled; a lost one is followed by a sign of the gap.

As on a real connection: while it is down nothing arrives, and when it is up again every subscription is confirmed a
second time, which is the sign that packets may be missing.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from playhead.sessions.store import OnGap, OnPacket, StoreUnavailable
from tests.simulation.chance import Chance
from tests.simulation.loop import VirtualLoop
from tests.simulation.node_store import Wire
from tests.simulation.schedule import Plan
from tests.simulation.valkey import Valkey

CONFIRM_TIMEOUT_S = 2.0
BROKEN_MS = (50, 1_500)
"""From a lost packet to the new connection."""
LATE_MS = (10, 2_000)


class NodeBus:
    """Bus of one node."""

    def __init__(
        self,
        loop: VirtualLoop,
        valkey: Valkey,
        wire: Wire,
        plan: Plan,
        chance: Chance,
        on_packet: OnPacket,
        on_gap: OnGap,
        note: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._valkey = valkey
        self._wire = wire
        self._chance = chance
        self._faults = plan.faults
        self._longest_ms = plan.store_ms
        self._on_packet = on_packet
        self._on_gap = on_gap
        self._note = note
        self._connected = True
        self._wanted: set[str] = set()
        self._confirmed: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._last_us = 0
        self._connection = 0
        self._queue: deque[tuple[str, bytes | None]] = deque()
        self._reading = False
        self.dead = False

    # what Connections asks

    async def subscribe(self, listener_id: str) -> None:
        await self._wire.hang_if_dead()
        self._wanted.add(listener_id)
        if listener_id in self._confirmed:
            return
        waiting = self._waiting.setdefault(listener_id, self._loop.create_future())
        if self._connected and self._valkey.up:
            self._confirm_later(listener_id)
        try:
            await asyncio.wait_for(asyncio.shield(waiting), CONFIRM_TIMEOUT_S)
        except TimeoutError as error:
            raise StoreUnavailable("The subscription was not confirmed in time.") from error
        await self._wire.hang_if_dead()

    async def unsubscribe(self, listener_id: str) -> None:
        self._wanted.discard(listener_id)
        self._confirmed.discard(listener_id)
        self._waiting.pop(listener_id, None)
        self._valkey.listening.get(listener_id, {}).pop(self, None)

    # the connection

    def cut(self, lasts_ms: int) -> None:
        """Nothing arrives until it is opened anew."""
        if not self._connected or self.dead:
            return
        self._connected = False
        self._connection += 1
        for listening in self._valkey.listening.values():
            listening.pop(self, None)
        self._loop.call_later(lasts_ms / 1000, self._reconnect)

    def _reconnect(self) -> None:
        if self.dead:
            return
        if not self._valkey.up:
            self._loop.call_later(self._chance.ms(50, 1_000) / 1000, self._reconnect)
            return
        self._connected = True
        for listener_id in sorted(self._wanted):
            self._confirm_later(listener_id)

    def _confirm_later(self, listener_id: str) -> None:
        """From the moment of the confirmation every packet of the listener comes."""
        self._loop.call_later(self._delay_ms() / 1000, self._confirm, listener_id, self._connection)

    def _confirm(self, listener_id: str, connection: int) -> None:
        if connection != self._connection or listener_id not in self._wanted or self.dead:
            return
        self._valkey.listening.setdefault(listener_id, {})[self] = None
        if listener_id in self._confirmed:
            self._arrived(listener_id, None, connection)
        self._confirmed.add(listener_id)
        if (waiting := self._waiting.pop(listener_id, None)) is not None and not waiting.done():
            waiting.set_result(None)

    # packets

    def arrive(self, listener_id: str, packet: bytes) -> None:
        """The store has sent a packet on its way."""
        chance, faults = self._chance, self._faults
        calm = self._wire.calm
        if not calm and faults.bus_drop and chance.happens(faults.bus_drop):
            self._note("bus", "loses a packet and its connection")
            self.cut(chance.ms(*BROKEN_MS))
            return
        if not calm and faults.bus_lost and chance.happens(faults.bus_lost):
            self._note("bus", "loses a packet, and nobody sees it")
            return
        times = 2 if not calm and faults.bus_double and chance.happens(faults.bus_double) else 1
        for _ in range(times):
            late = not calm and bool(faults.bus_late) and chance.happens(faults.bus_late)
            delay_ms = chance.ms(*LATE_MS) if late else self._delay_ms()
            # a connection keeps its order: what comes late holds up what comes after it, and other nodes are earlier
            self._last_us = max(self._last_us, self._loop.now_us + delay_ms * 1000)
            self._loop.at_us(self._last_us, self._arrived, listener_id, packet, self._connection)

    def _delay_ms(self) -> int:
        return self._chance.ms(0, self._longest_ms) if self._longest_ms and self._chance.happens(0.5) else 0

    def _arrived(self, listener_id: str, packet: bytes | None, connection: int) -> None:
        if connection != self._connection or self.dead:
            return
        self._queue.append((listener_id, packet))
        if not self._reading:
            self._reading = True
            self._loop.create_task(self._read())

    async def _read(self) -> None:
        """One after the other, as the one task that reads the connection does."""
        while self._queue:
            listener_id, packet = self._queue.popleft()
            if listener_id not in self._wanted:
                continue
            await self._wire.hang_if_dead()
            if packet is None:
                await self._on_gap(listener_id)
            else:
                await self._on_packet(listener_id, packet)
        self._reading = False

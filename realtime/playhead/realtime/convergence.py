"""That every device ends with the state that the store has, though pub/sub may lose a packet, even the last one.

| what                                         | then                                                         |
| -------------------------------------------- | ------------------------------------------------------------ |
| packets may have been lost (a new connection | the listener's states and devices are sent as the store has  |
| to the store, see `redis_bus.py`)            | them                                                         |
| the store has a later order than was told    | that state, or that list of devices, is sent; looked for     |
| here                                         | every COMPARE_INTERVAL_S, in batches of one partition,       |
|                                              | spread over that time                                        |
| one of them was told of a session that is    | `resync`: the devices ask anew, and get what a snapshot says |
| live no more, or the store is behind, or     |                                                              |
| cannot be asked, or may have lost an end     |                                                              |

Must not know: commands, what is in a state. What was told is in `told.py`, kept with the listener's sockets.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from playhead.playback.state import SessionState
from playhead.realtime.connections import Connections
from playhead.realtime.outbox import Outbox
from playhead.runtime.metrics import Metrics
from playhead.runtime.seldom import Seldom
from playhead.runtime.tasks import cancelled
from playhead.sessions.codec import ToldState, state_payload, told_devices
from playhead.sessions.keys import partition_of
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.store import Order, Orders, StoreUnavailable

log = structlog.get_logger(__name__)

COMPARE_INTERVAL_S = 30.0
RETRY_INTERVAL_S = 1.0
"""While the store does not answer for a gap."""
BATCH_LISTENERS_MAX = 200
"""Listeners that the store is asked for at once."""
NEVER: Order = (0, 0)

GAP, MISSED, BEHIND = "gap", "missed", "store_behind"
"""Reasons of a `resync`: after a gap the store could not be asked; a session is live no more; the store lost states."""


class Convergence:
    """Run it with `start`. `suspect` is for gaps, `compare` is one batch."""

    def __init__(
        self,
        connections: Connections,
        service: SessionService,
        presence: Presence,
        outbox: Outbox,
        metrics: Metrics,
    ) -> None:
        self._connections = connections
        self._service = service
        self._presence = presence
        self._outbox = outbox
        self._metrics = metrics
        self._suspects: dict[str, None] = {}
        """Listeners some of whose packets may have been lost, each once, in order."""
        self._suspected = asyncio.Event()
        self._open: dict[str, None] = {}
        """Listeners whose gap could not be closed, as the store did not answer; their devices were told to ask."""
        self._still_open = Seldom()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._close_gaps_for_ever(), name="gaps"),
                asyncio.create_task(self._compare_for_ever(), name="comparison"),
            ]

    async def stop(self) -> None:
        for task in self._tasks:
            await cancelled(task)

    def delivered(self, listener_id: str, state: ToldState | None, devices: Order | None = None) -> None:
        """A `state` or `devices` was sent to all of the listener's sockets here; the one that made it has the same, or
        what is later, in an ack."""
        if state is not None:
            order = (state.epoch, state.revision)
            self._connections.told(listener_id).tell_all(state.session_id, order, state.ended)
        if devices is not None:
            self._connections.told(listener_id).tell_devices(devices)

    # gaps

    def suspect(self, listener_id: str) -> None:
        """Packets of this listener may have been lost. Not waited for: whoever noticed has packets to deliver."""
        self._suspects[listener_id] = None
        self._suspected.set()

    async def _close_gaps_for_ever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_INTERVAL_S if self._open else None):
                    await self._suspected.wait()
            self._suspected.clear()
            while self._suspects:
                listener_id = next(iter(self._suspects))
                # a gap that opens while this one is closed is another one
                del self._suspects[listener_id]
                await self._close(listener_id)
            # a store that does not answer for the first will not do so for the others
            while self._open and await self._close(next(iter(self._open))):
                pass

    async def _close(self, listener_id: str) -> bool:
        if not self._connections.of_listener(listener_id):
            # gone meanwhile; who comes begins with a snapshot
            self._open.pop(listener_id, None)
            return True
        try:
            return await self.catch_up(listener_id)
        except Exception:
            self._open.pop(listener_id, None)
            log.exception("A gap was not closed.", action="gap_failed")
            return True

    async def catch_up(self, listener_id: str) -> bool:
        """Sends live sessions and devices as the store has them; False, and to be tried again, when it does not answer.

        The store may have lost something as well: connections here that it has lost are told to it again.
        """
        before = set(self._connections.told(listener_id).some)
        try:
            await self._presence.restore(listener_id)
            states = await self._service.live_states(listener_id)
            devices = await self._presence.present(listener_id)
        except StoreUnavailable as error:
            if listener_id not in self._open:
                if times := self._still_open.take():
                    log.warning("A gap could not be closed.", action="gap_open", times=times, error=str(error))
                self._open[listener_id] = None
                await self._resync(listener_id, GAP)
            return False
        self._open.pop(listener_id, None)
        for state in states:
            await self._tell(listener_id, state, "gap")
        await self._tell_devices(listener_id, devices)
        live = {state.session_id for state in states}
        if self._connections.told(listener_id).forget(before - live):
            await self._resync(listener_id, MISSED)
        return True

    # comparison

    async def _compare_for_ever(self) -> None:
        while True:
            batches = self._batches() or [()]
            for batch in batches:
                await asyncio.sleep(COMPARE_INTERVAL_S / len(batches))
                try:
                    await self.compare(batch)
                except StoreUnavailable as error:
                    log.warning("What was told could not be compared.", action="comparison_off", error=str(error))
                except Exception:
                    log.exception("A comparison failed.", action="comparison_failed")

    def _batches(self) -> list[tuple[str, ...]]:
        """The listeners connected here, by partition: one call of the store for each batch."""
        by_partition: dict[int, list[str]] = defaultdict(list)
        for listener_id in self._connections.listeners():
            by_partition[partition_of(listener_id)].append(listener_id)
        return [
            tuple(listeners[first : first + BATCH_LISTENERS_MAX])
            for listeners in by_partition.values()
            for first in range(0, len(listeners), BATCH_LISTENERS_MAX)
        ]

    async def compare(self, listener_ids: Sequence[str]) -> None:
        """Sends what these listeners' devices were not told. Raises StoreUnavailable."""
        if not listener_ids:
            return
        before = {listener_id: dict(self._connections.told(listener_id).some) for listener_id in listener_ids}
        orders = await self._service.orders(listener_ids)
        for listener_id in listener_ids:
            if self._connections.of_listener(listener_id):
                await self._compare_sessions(listener_id, before[listener_id], orders[listener_id])
                await self._compare_devices(listener_id, orders[listener_id].present)

    async def _compare_devices(self, listener_id: str, present: Order) -> None:
        if self._connections.told(listener_id).devices < present:
            self._metrics.devices_caught_up.inc()
            await self._tell_devices(listener_id, await self._presence.present(listener_id))

    async def _compare_sessions(self, listener_id: str, before: Mapping[str, Order], orders: Orders) -> None:
        """`before`: what some knew before the store was asked for its `orders`; packets go on arriving."""
        told, live = self._connections.told(listener_id), orders.sessions
        # an end that was told in an earlier life of the store may be lost in this one
        doubtful = 0 < told.ended_epoch < orders.present[0]
        if any(told.all.get(session_id, NEVER) < order for session_id, order in live.items()):
            for state in await self._service.live_states(listener_id):
                known = told.all.get(state.session_id)
                if (known or NEVER) < state.order:
                    await self._tell(listener_id, state, "missed" if known else "untold")
        behind = [session_id for session_id, order in live.items() if order < before.get(session_id, NEVER)]
        for session_id in behind:
            told.go_back(session_id, live[session_id])
        if doubtful:
            told.ended_epoch = 0
        if told.forget(before.keys() - live.keys()):
            await self._resync(listener_id, MISSED)
        elif behind or doubtful:
            await self._resync(listener_id, BEHIND)

    # what both do

    async def _tell(self, listener_id: str, state: SessionState, cause: str) -> None:
        self._metrics.states_caught_up.labels(cause).inc()
        await self._outbox.tell(listener_id, "state", state_payload(state))
        ended = state.ended_at_ms is not None
        self._connections.told(listener_id).tell_all(state.session_id, state.order, ended)

    async def _tell_devices(self, listener_id: str, devices: Mapping[str, Any]) -> None:
        await self._outbox.tell(listener_id, "devices", dict(devices))
        self._connections.told(listener_id).tell_devices(told_devices(devices))

    async def _resync(self, listener_id: str, reason: str) -> None:
        self._metrics.resyncs.labels(reason).inc()
        await self._outbox.tell(listener_id, "resync", {"reason": reason})

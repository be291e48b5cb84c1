"""Which devices a listener has connected, anywhere in the cluster: connections with leases in the state store.

A node renews the leases of the connections that it holds; when it dies, they run out by themselves. Whoever changes the
set publishes the `devices` event. Lists have an order that the store makes, so that one which comes late is known by
every device, and all end with the same.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

import structlog
from msgspec.structs import replace

from playhead.playback.commands import REST_DEVICE_ID, Origin
from playhead.runtime.clock import Clock
from playhead.runtime.seldom import Seldom
from playhead.runtime.tasks import cancelled
from playhead.sessions.codec import Packet, encode_packet
from playhead.sessions.ghosts import Ghosts
from playhead.sessions.store import (
    LEASE_ENDED_MS,
    PRESENCE_LEASE_MS,
    PRESENCE_RENEWAL_MS,
    Connection,
    Present,
    SessionStore,
    StoreUnavailable,
)
from playhead.sessions.turns import Turns, at_once

log = structlog.get_logger(__name__)

RENEW_INTERVAL_S = PRESENCE_RENEWAL_MS / 1000
"""What a round of renewals is spread over."""
RENEWED_AT_ONCE = 50
"""Listeners whose leases go to the store together at most: those whose turn it is."""
PARTS_UNDER_WAY_MIN = 8
"""So many such parts may wait for the store; of many, one in `PARTS_PER_PLACE`. Were it one alone, the calls' own time
would be added to the interval: with 12,000 sockets on a busy machine leases ran out before their turn came."""
PARTS_PER_PLACE = 15
"""Calls of up to 2 s do not hold up a round then, however many listeners there are."""
RTT_TOLD_AT_ONCE_MS = 125
"""A round trip up to this never decides how far ahead `together` anchors, whoever else is there."""
RTT_GROWTH = 1.5
"""One that has grown by less can wait for the next renewal."""
RTT_NOTED_MS_MAX = 500
"""A longer one is noted as this one: it lets `together` anchor no further ahead."""
RTTS_TOLD_AT_ONCE = 100
"""Connections whose round trips may be on their way to the store out of turn. Where trips are long because the store is
slow, or this process, those of the others go with the next renewal."""
RETRY_INTERVAL_S = 1.0
"""While the store is away: leases run out meanwhile."""


class Presence:
    """The connections of this node, kept alive in the store, and a view of all others."""

    def __init__(self, store: SessionStore, clock: Clock, connections_max: int) -> None:
        self._store = store
        self._clock = clock
        self.connections_max = connections_max
        """Of one listener."""
        self._held: dict[str, dict[str, Connection]] = defaultdict(dict)
        self._turns = Turns()
        """Of the listeners with connections held here."""
        self._late: dict[str, None] = {}
        """Listeners whose leases could not be renewed, those that were tried longest ago first."""
        self._ghosts = Ghosts(self._end_if_known)
        self._tasks: list[asyncio.Task[None]] = []
        self._rtt_told_ms: dict[str, int] = {}
        """What the store knows of the round trips of the connections held here."""
        self._telling: dict[str, asyncio.Task[None]] = {}
        """Connections whose round trips are on their way to it."""
        self._untold = Seldom()

    def start(self) -> None:
        for call in (self._renew_for_ever(), self._retry_for_ever()):
            self._tasks.append(asyncio.create_task(call, name="presence"))

    async def stop(self) -> None:
        for task in self._tasks:
            await cancelled(task)
        for telling in tuple(self._telling.values()):
            await cancelled(telling)
        await self._ghosts.stop()

    async def attach(self, listener_id: str, connection_id: str, device_id: str, name: str, kind: str) -> bool:
        """Adds a connection and tells the listener's devices. False, and nothing held here, at the listener's limit.

        Raises StoreUnavailable; then nothing is held here, and what the store may have got is ended when it answers.
        """
        now_ms = self._clock.now_ms()
        connection = Connection(
            connection_id=connection_id,
            device_id=device_id,
            name=name,
            kind=kind,
            connected_at_ms=now_ms,
            expires_at_ms=now_ms + PRESENCE_LEASE_MS,
        )
        try:
            # counted afterwards: those that come at once see each other, so that the limit holds
            present = await self._store.enter(listener_id, connection, now_ms)
            if len(present.connections) > self.connections_max:
                await self._end(listener_id, connection)
                return False
            await self._tell(listener_id, present, connection_id)
        except StoreUnavailable:
            self._ghosts.add(listener_id, connection_id)
            raise
        self._held[listener_id][connection_id] = connection
        self._turns.add(listener_id)
        return True

    async def detach(self, listener_id: str, connection_id: str) -> Connection | None:
        """Removes a connection and tells the listener's devices; while the store is away its lease does it.

        Answers what was held here.
        """
        row = self.forget(listener_id, connection_id)
        if row is None:
            return None
        try:
            await self.drop(listener_id, connection_id)
        except StoreUnavailable as error:
            if times := self._untold.take():
                log.warning("A departure could not be told.", action="presence_untold", times=times, error=str(error))
        return row

    def forget(self, listener_id: str, connection_id: str) -> Connection | None:
        """Renews its lease no more; answers what was held here."""
        held = self._held.get(listener_id, {})
        row = held.pop(connection_id, None)
        self._rtt_told_ms.pop(connection_id, None)
        if row is not None and not held:
            del self._held[listener_id]
            self._turns.remove(listener_id)
            self._late.pop(listener_id, None)
        return row

    async def drop(self, listener_id: str, connection_id: str, lapsed_by_ms: int | None = None) -> None:
        """Removes a connection of any node, and tells the listener's devices if it was there. Raises StoreUnavailable.

        `lapsed_by_ms`: only if its lease ends no later.
        """
        now_ms = self._clock.now_ms()
        if await self._store.drop_connection(listener_id, connection_id, now_ms, lapsed_by_ms):
            await self._announce(listener_id)

    async def _end(self, listener_id: str, row: Connection) -> None:
        """It counts no more, and is removed by whoever sweeps, who looks first whether something sounds on its device:
        as long as it counted, others took the device for connected. Raises StoreUnavailable."""
        await self._store.hold_connections(listener_id, [replace(row, expires_at_ms=LEASE_ENDED_MS)])

    def look_again(self, listener_id: str, row: Connection) -> None:
        """A connection was removed, and the look after it at what sounds on its device failed: whoever sweeps sees to
        that, as soon as the store has taken the connection back as one whose lease has ended.
        """
        self._ghosts.add(listener_id, row.connection_id, row)

    async def _end_if_known(self, listener_id: str, connection_id: str, row: Connection | None) -> None:
        row = row or await self.known(listener_id, connection_id)
        if row is not None:
            await self._end(listener_id, row)

    async def known(self, listener_id: str, connection_id: str) -> Connection | None:
        """The connection, its lease run out or not; None when the store has it no longer. Raises StoreUnavailable."""
        rows = await self._store.connections(listener_id, 0)
        return next((row for row in rows if row.connection_id == connection_id), None)

    async def restore(self, listener_id: str) -> None:
        """The store was away, or has lost something: those of this node's connections that ran out are known again.

        Raises StoreUnavailable.
        """
        now_ms = self._clock.now_ms()
        known = {row.connection_id for row in await self._store.connections(listener_id, now_ms)}
        held, expires_at_ms = self._held.get(listener_id, {}), now_ms + PRESENCE_LEASE_MS
        lost = [replace(row, expires_at_ms=expires_at_ms) for key, row in held.items() if key not in known]
        if lost:
            await self._hold(listener_id, lost)
            await self._announce(listener_id)

    def note_rtt(self, listener_id: str, connection_id: str, rtt_ms: int) -> None:
        """The connection's latest round trip; the store learns it with the next renewal.

        At once, though nobody waits for it, where other nodes would let all begin too early for this device. What has
        grown is measured by what the store knows: trips that swing with our own load would cost a write each time.
        """
        held = self._held.get(listener_id, {})
        before = held.get(connection_id)
        if before is None:
            return
        noted_ms = min(rtt_ms, RTT_NOTED_MS_MAX)
        held[connection_id] = replace(before, rtt_ms=noted_ms)
        urgent = noted_ms > max(RTT_TOLD_AT_ONCE_MS, RTT_GROWTH * self._rtt_told_ms.get(connection_id, 0))
        if urgent and connection_id not in self._telling and len(self._telling) < RTTS_TOLD_AT_ONCE:
            telling = asyncio.create_task(self._tell_rtt(listener_id, connection_id), name="round-trip")
            self._telling[connection_id] = telling
            telling.add_done_callback(lambda _: self._telling.pop(connection_id, None))

    async def _tell_rtt(self, listener_id: str, connection_id: str) -> None:
        row = self._held.get(listener_id, {}).get(connection_id)
        if row is None:
            return
        # with a lease of now: what is held here has that of its beginning
        lease_ms = self._clock.now_ms() + PRESENCE_LEASE_MS
        with suppress(StoreUnavailable):
            await self._hold(listener_id, [replace(row, expires_at_ms=lease_ms)])

    async def slowest_rtt_ms(self, listener_id: str) -> int:
        """The longest round trip of the listener's connections; 0 while none has told one.

        Of our own it is what they told last; of connections that others hold, one that matters is known at once.
        """
        rows = await self._store.connections(listener_id, self._clock.now_ms())
        held = self._held.get(listener_id, {})
        return max((held.get(row.connection_id, row).rtt_ms or 0 for row in rows), default=0)

    async def devices(self, listener_id: str) -> list[dict[str, Any]]:
        """The connected devices, as clients see them, oldest first."""
        return _devices(await self._store.connections(listener_id, self._clock.now_ms()))

    async def present(self, listener_id: str) -> dict[str, Any]:
        """The same with its order, as events and snapshots carry it."""
        return _payload(await self._store.present(listener_id, self._clock.now_ms()))

    async def connected(self, listener_id: str, origin: Origin) -> Mapping[str, str | None]:
        """Connected devices to their newest connection. The REST device is there when it asks itself."""
        rows = await self._store.connections(listener_id, self._clock.now_ms())
        found: dict[str, str | None] = {row.device_id: row.connection_id for row in rows}
        return {**found, REST_DEVICE_ID: None} if origin.device_id == REST_DEVICE_ID else found

    async def _announce(self, listener_id: str) -> None:
        await self._tell(listener_id, await self._store.present(listener_id, self._clock.now_ms()))

    async def _tell(self, listener_id: str, present: Present, skip_connection_id: str | None = None) -> None:
        packet = Packet(
            event="devices",
            data=_payload(present),
            skip_connection_id=skip_connection_id,
            published_at_ms=self._clock.now_ms(),
        )
        await self._store.publish(listener_id, encode_packet(packet))

    async def _renew_for_ever(self) -> None:
        while True:
            try:
                await self.renew(RENEW_INTERVAL_S)
            except StoreUnavailable as error:
                log.warning("Leases could not be renewed.", action="presence_unrenewed", error=str(error))
            except Exception:
                log.exception("Leases could not be renewed.", action="presence_failed")

    async def _retry_for_ever(self) -> None:
        """Without leases every device here would be taken for gone: what failed does not wait for the next round."""
        while True:
            await asyncio.sleep(RETRY_INTERVAL_S)
            if self._late:
                await self._renew_all(at_once(self._late, RENEWED_AT_ONCE), gives_up=True)

    async def renew(self, over_s: float = 0.0) -> None:
        """Renews the lease of every connection held here, spread over that time.

        What fails keeps nobody else from being renewed. Raises the first failure at the end.
        """
        failure = await self._renew_all(self._turns.parts(over_s, RENEWED_AT_ONCE))
        if failure is not None:
            raise failure

    async def _renew_all(self, parts: AsyncGenerator[Sequence[str], None], gives_up: bool = False) -> Exception | None:
        """The first failure. `gives_up`: when so many parts in a row have failed that the store is away."""
        under_way_max = max(PARTS_UNDER_WAY_MIN, self._turns.parts_in_a_round(RENEWED_AT_ONCE) // PARTS_PER_PLACE)
        tries, room = _Tries(), asyncio.Semaphore(under_way_max)
        async with asyncio.TaskGroup() as under_way, aclosing(parts):
            async for part in parts:
                await room.acquire()
                # as many may fail with one wire that is lost
                if gives_up and tries.failed_in_a_row > under_way_max:
                    break
                task = under_way.create_task(self._renew_part(part, tries))
                task.add_done_callback(lambda _: room.release())
        return tries.failure

    async def _renew_part(self, listeners: Sequence[str], tries: "_Tries") -> None:
        expires_at_ms = self._clock.now_ms() + PRESENCE_LEASE_MS
        tries.note(await asyncio.gather(*(self._renew(listener_id, expires_at_ms) for listener_id in listeners)))

    async def _renew(self, listener_id: str, expires_at_ms: int) -> Exception | None:
        """Why it could not be."""
        rows = [replace(row, expires_at_ms=expires_at_ms) for row in self._held.get(listener_id, {}).values()]
        failure: Exception | None = None
        try:
            if rows:
                await self._hold(listener_id, rows)
        except Exception as error:
            failure = error
        self._late.pop(listener_id, None)
        if failure is not None and listener_id in self._held:
            self._late[listener_id] = None
        return failure

    async def _hold(self, listener_id: str, rows: list[Connection]) -> None:
        await self._store.hold_connections(listener_id, rows)
        for row in rows:
            # gone while its lease was being renewed: it must not live on as a ghost
            if row.connection_id not in self._held.get(listener_id, {}):
                await self._end(listener_id, row)
            elif row.rtt_ms is not None:
                self._rtt_told_ms[row.connection_id] = row.rtt_ms


class _Tries:
    """How a round of renewals goes."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        """The first one."""
        self.failed_in_a_row = 0
        """Parts of which nothing was renewed."""

    def note(self, failures: Sequence[Exception | None]) -> None:
        """What has become of each listener of a part."""
        self.failure = next(filter(None, (self.failure, *failures)), None)
        self.failed_in_a_row = 0 if None in failures or not failures else self.failed_in_a_row + 1


def _payload(present: Present) -> dict[str, Any]:
    epoch, version = present.order
    return {"devices": _devices(present.connections), "devices_order": {"epoch": epoch, "version": version}}


def _devices(connections: Iterable[Connection]) -> list[dict[str, Any]]:
    devices: dict[str, dict[str, Any]] = {}
    for row in connections:
        first = devices.setdefault(row.device_id, {"id": row.device_id, "connected_at": row.connected_at_ms})
        first.update(name=row.name, kind=row.kind)
    return list(devices.values())

"""Sharded pub/sub of a cluster: a channel's messages are at the primary of its slot, on a connection to each primary.

Owns: which connection has which channel. When a slot moves its channels are subscribed to elsewhere, and whatever was
said meanwhile may be missing, which is told to `on_gap`. That it has moved is learned from the map, from a subscription
that is answered MOVED, and from a server that ends subscriptions by itself; `subscriptions.py` has one connection.
"""

import asyncio
import math
from collections.abc import Mapping, Set

import structlog
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import MovedError

from playhead.runtime.cluster_redis import ClusterRedis
from playhead.runtime.redis_urls import Address
from playhead.runtime.slots import slot_of
from playhead.runtime.subscriptions import CONFIRM_TIMEOUT_S, NotConfirmed, OnGap, OnMessage, Subscriptions
from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
"""While messages of some primary cannot arrive, its replica may have become one."""
TAGS_MAX = 1_024
"""Tags that are tried for a channel of one primary: with 64 primaries each has some of them."""


class ClusterSubscriptions:
    """Subscriptions on all primaries, with the methods of `Subscriptions`. Run with `start`; end with `stop`."""

    def __init__(self, client: ClusterRedis, on_message: OnMessage, on_gap: OnGap) -> None:
        self._client = client
        self._slots = client.slots
        self._on_message = on_message
        self._on_gap = on_gap
        self._lines: dict[Address, Subscriptions] = {}
        self._wanted: dict[int, set[str]] = {}
        """Channels by their slot."""
        self._places: dict[int, Address] = {}
        """By slot: whose connection its channels are asked for on."""
        self._gaps_before: set[str] = set()
        """Channels of no known place, of which something may have been said already."""
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._slots.watch(self._settle)

    @property
    def connected(self) -> bool:
        """Whether messages of all primaries can arrive."""
        lines = [self._lines.get(address) for address in self._slots.primaries]
        return bool(lines) and all(line is not None and line.connected for line in lines)

    @property
    def heard_s(self) -> float:
        """When the one that has been silent for longest last said anything, by the loop's clock."""
        return min((line.heard_s for line in self._lines.values()), default=-math.inf)

    def own_channels(self, name: str) -> Mapping[str, Subscriptions]:
        """A channel of that name for each primary, with the connection that it is heard on."""
        found = {}
        for tag in range(TAGS_MAX):
            channel = f"{name}:{{{tag}}}"
            address = self._slots.primary(slot_of(channel))
            if address is not None and address in self._lines and address not in found:
                found[address] = channel
            if len(found) == len(self._lines):
                break
        return {channel: self._lines[address] for address, channel in found.items()}

    def reopen(self) -> None:
        for line in self._lines.values():
            line.reopen()

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_for_ever(), name="cluster-subscriptions")
        for line in self._lines.values():
            line.start()
        self._settle(frozenset())

    async def stop(self) -> None:
        await cancelled(self._task)
        self._task = None
        for line in list(self._lines.values()):
            await line.stop()
        for task in list(self._ending):
            await task

    def want(self, channel: str, *, gap_before: bool = False) -> None:
        slot = slot_of(channel)
        channels = self._wanted.setdefault(slot, set())
        if channel in channels:
            return
        channels.add(channel)
        if slot not in self._places:
            address = self._slots.primary(slot)
            if address is None:
                # asked for when the map is known
                if gap_before:
                    self._gaps_before.add(channel)
                self._slots.renew_soon()
                return
            self._places[slot] = address
        self._line(self._places[slot]).want(channel, gap_before=gap_before)

    async def subscribe(self, channel: str) -> None:
        """Returns when every later message will arrive. Raises NotConfirmed."""
        self.want(channel)
        slot = slot_of(channel)
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                await self._slots.primary_now(slot)
                # a wait ends also when the channel has gone to another connection
                while channel in self._wanted.get(slot, ()) and not self._line(self._places[slot]).confirmed(channel):
                    await self._line(self._places[slot]).subscribe(channel)
        except (TimeoutError, LostConnection) as error:
            raise NotConfirmed("The subscription was not confirmed in time.") from error

    def unsubscribe(self, channel: str) -> None:
        slot = slot_of(channel)
        channels = self._wanted.get(slot, set())
        channels.discard(channel)
        self._gaps_before.discard(channel)
        if slot in self._places:
            self._line(self._places[slot]).unsubscribe(channel)
        if not channels:
            self._wanted.pop(slot, None)
            self._places.pop(slot, None)

    def _settle(self, changed: Set[int]) -> None:
        """Brings the channels of these slots to where the map says. There is a connection to each primary, no other."""
        for slot in changed & self._wanted.keys():
            if (address := self._slots.primary(slot)) is not None and address != self._places.get(slot):
                self._move(slot, address)
        if self._task is None:
            return
        for address in self._slots.primaries:
            self._line(address)
        used = self._slots.primaries | set(self._places.values())
        for address in self._lines.keys() - used:
            task = asyncio.create_task(self._lines.pop(address).stop(), name="subscriptions-end")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _move(self, slot: int, address: Address) -> None:
        before = self._places.get(slot)
        self._places[slot] = address
        for channel in self._wanted[slot]:
            gap = channel in self._gaps_before or (before is not None and self._line(before).confirmed(channel))
            self._gaps_before.discard(channel)
            if before is not None:
                self._line(before).unsubscribe(channel)
            self._line(address).want(channel, gap_before=gap)

    def _line(self, address: Address) -> Subscriptions:
        if (line := self._lines.get(address)) is None:

            def moved(error: MovedError) -> None:
                self._slots.redirected(error, address)

            server = self._client.server(address)
            line = self._lines[address] = Subscriptions(server, self._on_message, self._on_gap, slot_of, moved)
            if self._task is not None:
                line.start()
        return line

    async def _look_for_ever(self) -> None:
        while True:
            if not self.connected:
                self._slots.renew_soon()
            await asyncio.sleep(LOOK_EVERY_S)

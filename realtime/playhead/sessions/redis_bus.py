"""Packets of the listeners that this process holds devices of: a channel of sharded pub/sub for each of them.

How the connection is kept, and what a gap is: `playhead.runtime.subscriptions`. Whoever is told of one reads the truth
from the store again. Calls for one listener must not overlap: the owner of the subscriptions sees to that.
A connection that has died without a word is noticed by what the process tells itself: `playhead.runtime.self_pings`.
"""

import asyncio
import secrets

from redis.asyncio import Redis

from playhead.runtime.redis_clients import subscriptions_of
from playhead.runtime.self_pings import PING_EVERY_S, SelfPings
from playhead.runtime.subscriptions import NotConfirmed
from playhead.runtime.tasks import cancelled
from playhead.sessions.keys import ListenerKeys, node_channel
from playhead.sessions.store import OnGap, OnPacket, StoreUnavailable


class RedisBus:
    """Bus on one Valkey/Redis primary, or on all of a cluster. Run it with `start`; end it with `stop`."""

    def __init__(
        self, client: Redis, on_packet: OnPacket, on_gap: OnGap, *, ping_every_s: float = PING_EVERY_S
    ) -> None:
        self._subscriptions = subscriptions_of(client, self._arrived, self._missed)
        self._on_packet = on_packet
        self._on_gap = on_gap
        self._listeners: dict[str, str] = {}
        self._pings = SelfPings(self._subscriptions, client.spublish, node_channel(secrets.token_hex(8)), ping_every_s)
        self._pinging: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether packets can arrive, from every primary."""
        return self._subscriptions.connected

    @property
    def ping_s(self) -> float:
        """How long the process's last message to itself took; 0 before one has come back."""
        return self._pings.ping_s or 0.0

    @property
    def silent_s(self) -> float:
        """How long nothing has been heard, of the most silent primary; infinite before the first connection."""
        return self._pings.silent_s

    def reopen(self) -> None:
        """Another server has the packets, or will soon: the connection is opened anew, and every listener has a gap."""
        self._subscriptions.reopen()

    def start(self) -> None:
        self._subscriptions.start()
        self._pings.want()
        self._pinging = asyncio.create_task(self._pings.ping_for_ever(), name="bus-ping")

    async def stop(self) -> None:
        await cancelled(self._pinging)
        await self._subscriptions.stop()

    async def subscribe(self, listener_id: str) -> None:
        channel = ListenerKeys(listener_id).channel
        self._listeners[channel] = listener_id
        try:
            await self._subscriptions.subscribe(channel)
        except NotConfirmed as error:
            raise StoreUnavailable(str(error)) from error

    async def unsubscribe(self, listener_id: str) -> None:
        channel = ListenerKeys(listener_id).channel
        self._listeners.pop(channel, None)
        self._subscriptions.unsubscribe(channel)

    async def _arrived(self, channel: str, packet: bytes) -> None:
        if self._pings.is_own(channel):
            self._pings.take(packet)
        else:
            await self._on_packet(self._listeners[channel], packet)

    async def _missed(self, channel: str) -> None:
        if not self._pings.is_own(channel):
            await self._on_gap(self._listeners[channel])

"""Packets of the listeners that this process holds devices of: a channel of sharded pub/sub for each of them.

How the connection is kept, and what a gap is: `playhead.runtime.subscriptions`. Whoever is told of one reads the truth
from the store again. Calls for one listener must not overlap: the owner of the subscriptions sees to that.
"""

from redis.asyncio import Redis

from playhead.runtime.subscriptions import NotConfirmed, Subscriptions
from playhead.sessions.keys import ListenerKeys
from playhead.sessions.store import OnGap, OnPacket, StoreUnavailable


class RedisBus:
    """Bus on one Valkey/Redis primary. Run it with `start`; end it with `stop`."""

    def __init__(self, client: Redis, on_packet: OnPacket, on_gap: OnGap) -> None:
        self._subscriptions = Subscriptions(client, self._arrived, self._missed)
        self._on_packet = on_packet
        self._on_gap = on_gap
        self._listeners: dict[str, str] = {}

    @property
    def connected(self) -> bool:
        """Whether packets can arrive."""
        return self._subscriptions.connected

    def reopen(self) -> None:
        """Another server has the packets, or will soon: the connection is opened anew, and every listener has a gap."""
        self._subscriptions.reopen()

    def start(self) -> None:
        self._subscriptions.start()

    async def stop(self) -> None:
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
        await self._on_packet(self._listeners[channel], packet)

    async def _missed(self, channel: str) -> None:
        await self._on_gap(self._listeners[channel])

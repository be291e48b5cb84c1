"""Packets of the listeners that this process holds devices of: a channel of sharded pub/sub for each of them.

How the connection is kept, and what a gap is: `playhead.runtime.subscriptions`. Whoever is told of one reads the truth
from the store again. Calls for one listener must not overlap: the owner of the subscriptions sees to that.
The process tells itself something every PING_EVERY_S, over each server that has messages: so a connection that has died
without a word is told from one on which nobody has anything to say.
"""

import asyncio
import secrets

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from playhead.runtime.redis_clients import subscriptions_of
from playhead.runtime.subscriptions import NotConfirmed, Subscriptions
from playhead.runtime.tasks import cancelled
from playhead.sessions.keys import ListenerKeys, node_channel
from playhead.sessions.store import OnGap, OnPacket, StoreUnavailable

log = structlog.get_logger(__name__)

PING_EVERY_S = 10.0
DEAF_AFTER_S = 25.0
"""Silence after which the connection is opened anew: two pings have not come back."""


class RedisBus:
    """Bus on one Valkey/Redis primary, or on all of a cluster. Run it with `start`; end it with `stop`."""

    def __init__(
        self, client: Redis, on_packet: OnPacket, on_gap: OnGap, *, ping_every_s: float = PING_EVERY_S
    ) -> None:
        self._client = client
        self._subscriptions = subscriptions_of(client, self._arrived, self._missed)
        self._on_packet = on_packet
        self._on_gap = on_gap
        self._listeners: dict[str, str] = {}
        self._own = node_channel(secrets.token_hex(8))
        self._ping_every_s = ping_every_s
        self._pinging: asyncio.Task[None] | None = None
        self.ping_s = 0.0
        """How long the process's last message to itself took, once one has come back."""

    @property
    def connected(self) -> bool:
        """Whether packets can arrive, from every primary."""
        return self._subscriptions.connected

    @property
    def silent_s(self) -> float:
        """How long nothing has been heard, of the most silent primary; infinite before the first connection."""
        return asyncio.get_running_loop().time() - self._subscriptions.heard_s

    def reopen(self) -> None:
        """Another server has the packets, or will soon: the connection is opened anew, and every listener has a gap."""
        self._subscriptions.reopen()

    def start(self) -> None:
        self._subscriptions.start()
        for channel in self._subscriptions.own_channels(self._own):
            self._subscriptions.want(channel)
        self._pinging = asyncio.create_task(self._ping_for_ever(), name="bus-ping")

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
        if channel.startswith(self._own):
            self.ping_s = asyncio.get_running_loop().time() - float(packet)
        else:
            await self._on_packet(self._listeners[channel], packet)

    async def _missed(self, channel: str) -> None:
        if not channel.startswith(self._own):
            await self._on_gap(self._listeners[channel])

    async def _ping_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._ping_every_s)
            for channel, line in self._subscriptions.own_channels(self._own).items():
                if line.connected:
                    await self._ping(channel, line)

    async def _ping(self, channel: str, line: Subscriptions) -> None:
        silent_s = asyncio.get_running_loop().time() - line.heard_s
        if silent_s > DEAF_AFTER_S / PING_EVERY_S * self._ping_every_s:
            log.warning("Nothing is heard from the state store.", action="bus_deaf", silent_s=round(silent_s))
            line.reopen()
            return
        self._subscriptions.want(channel)
        try:
            await self._client.spublish(channel, str(asyncio.get_running_loop().time()))
        except (RedisError, OSError, TimeoutError) as error:
            log.info("The state store takes no message.", action="bus_ping_failed", error=str(error))

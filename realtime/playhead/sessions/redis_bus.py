"""Packets of the listeners that this process holds devices of: a channel of sharded pub/sub for each of them.

How the connection is kept, and what a gap is: `playhead.runtime.subscriptions`. Whoever is told of one reads the truth
from the store again. Calls for one listener must not overlap: the owner of the subscriptions sees to that.
The process tells itself something every PING_EVERY_S, over the server: so a connection that has died without a word is
told from one on which nobody has anything to say.
"""

import asyncio
import secrets

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from playhead.runtime.subscriptions import NotConfirmed, Subscriptions
from playhead.runtime.tasks import cancelled
from playhead.sessions.keys import ListenerKeys, node_channel
from playhead.sessions.store import OnGap, OnPacket, StoreUnavailable

log = structlog.get_logger(__name__)

PING_EVERY_S = 10.0
DEAF_AFTER_S = 25.0
"""Silence after which the connection is opened anew: two pings have not come back."""


class RedisBus:
    """Bus on one Valkey/Redis primary. Run it with `start`; end it with `stop`."""

    def __init__(
        self, client: Redis, on_packet: OnPacket, on_gap: OnGap, *, ping_every_s: float = PING_EVERY_S
    ) -> None:
        self._client = client
        self._subscriptions = Subscriptions(client, self._arrived, self._missed)
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
        """Whether packets can arrive."""
        return self._subscriptions.connected

    @property
    def silent_s(self) -> float:
        """How long nothing has been heard; infinite before the first connection."""
        return asyncio.get_running_loop().time() - self._subscriptions.heard_s

    def reopen(self) -> None:
        """Another server has the packets, or will soon: the connection is opened anew, and every listener has a gap."""
        self._subscriptions.reopen()

    def start(self) -> None:
        self._subscriptions.start()
        self._subscriptions.want(self._own)
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
        if channel == self._own:
            self.ping_s = asyncio.get_running_loop().time() - float(packet)
        else:
            await self._on_packet(self._listeners[channel], packet)

    async def _missed(self, channel: str) -> None:
        if channel != self._own:
            await self._on_gap(self._listeners[channel])

    async def _ping_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._ping_every_s)
            if self.connected:
                await self._ping()

    async def _ping(self) -> None:
        if self.silent_s > DEAF_AFTER_S / PING_EVERY_S * self._ping_every_s:
            log.warning("Nothing is heard from the state store.", action="bus_deaf", silent_s=round(self.silent_s))
            self.reopen()
            return
        try:
            await self._client.spublish(self._own, str(asyncio.get_running_loop().time()))
        except (RedisError, OSError, TimeoutError) as error:
            log.info("The state store takes no message.", action="bus_ping_failed", error=str(error))

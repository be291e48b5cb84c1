"""What a process tells itself over each server that has messages for it, so that a connection that has died without a
word is told from one on which nobody has anything to say. One that stays silent is opened anew.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from redis.exceptions import RedisError

from playhead.runtime.cluster_subscriptions import ClusterSubscriptions
from playhead.runtime.subscriptions import Subscriptions

log = structlog.get_logger(__name__)

PING_EVERY_S = 10.0
DEAF_AFTER = 2.5
"""Pings; silence after which the connection is opened anew: two have not come back."""

Publish = Callable[[str, bytes], Awaitable[object]]
"""To a channel. May raise RedisError, OSError and TimeoutError."""


class SelfPings:
    """Run `ping_for_ever`, and give `take` what arrives. `own`: the beginning of channels that nobody else has."""

    def __init__(
        self, subscriptions: Subscriptions | ClusterSubscriptions, publish: Publish, own: str, every_s: float
    ) -> None:
        self._subscriptions = subscriptions
        self._publish = publish
        self._own = own
        self._every_s = every_s
        self.ping_s: float | None = None
        """How long the last ping took to come back; None: none has."""

    @property
    def silent_s(self) -> float:
        """How long nothing has been heard, of the most silent server; infinite before the first connection."""
        return asyncio.get_running_loop().time() - self._subscriptions.heard_s

    def is_own(self, channel: str) -> bool:
        return channel.startswith(self._own)

    def take(self, content: bytes) -> None:
        """A ping that has come back."""
        self.ping_s = asyncio.get_running_loop().time() - float(content)

    def want(self) -> None:
        for channel in self._subscriptions.own_channels(self._own):
            self._subscriptions.want(channel)

    async def ping_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            for channel, line in self._subscriptions.own_channels(self._own).items():
                if line.connected:
                    await self._ping(channel, line)

    async def _ping(self, channel: str, line: Subscriptions) -> None:
        now_s = asyncio.get_running_loop().time()
        silent_s = now_s - line.heard_s
        if silent_s > DEAF_AFTER * self._every_s:
            log.warning("Nothing is heard from the state store.", action="bus_deaf", silent_s=round(silent_s))
            line.reopen()
            return
        self._subscriptions.want(channel)
        try:
            await self._publish(channel, str(now_s).encode())
        except (RedisError, OSError, TimeoutError) as error:
            log.info("The state store takes no message.", action="bus_ping_failed", error=str(error))

"""Hears from the sentinels when they have made another server the primary.

A primary that is gone is noticed by itself. One that lives on, because an operator asked for the failover or because it
only lost the sentinels, takes commands for seconds before it is demoted, and what it acknowledges then is lost: it has
to be left at once. `on_switch` is called when a majority of the sentinels has said so, as those are asked who it is.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable

import structlog
from redis.exceptions import RedisError

from playhead.runtime.redis_urls import Address
from playhead.runtime.sentinel import Sentinels
from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

CHANNEL = "+switch-master"
RETRY_S = 1.0


class Switches:
    """Run it with `start`, which may be called again; end it with `stop`."""

    def __init__(self, sentinels: Sentinels, on_switch: Callable[[], Awaitable[None]]) -> None:
        self._sentinels = sentinels
        self._on_switch = on_switch
        self._said: dict[Address, Address] = {}
        """By sentinel: the primary that it has told of last."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._listen(address)) for address in self._sentinels.addresses]

    async def stop(self) -> None:
        for task in self._tasks:
            await cancelled(task)

    async def _listen(self, sentinel: Address) -> None:
        while True:
            try:
                await self._hear(sentinel)
            except (RedisError, OSError, TimeoutError) as error:
                log.info("A sentinel is not listened to.", action="sentinel_lost", error=str(error))
            except Exception:
                log.exception("Listening to a sentinel failed.", action="sentinel_failed")
            await asyncio.sleep(RETRY_S)

    async def _hear(self, sentinel: Address) -> None:
        connection = self._sentinels.connection(*sentinel)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("SUBSCRIBE", CHANNEL, check_health=False)
            while True:
                # without a limit: they seldom have anything to say
                message = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
                if isinstance(message, list) and message[0] == b"message":
                    await self._take(sentinel, message[2].decode())
        finally:
            await connection.disconnect(nowait=True)

    async def _take(self, sentinel: Address, text: str) -> None:
        """`text`: the service, the old primary's host and port, and the new one's."""
        service, _, _, host, port = text.split(" ")
        if service != self._sentinels.service:
            return
        self._said[sentinel] = (host, int(port))
        majority = len(self._sentinels.addresses) // 2 + 1
        if list(self._said.values()).count(self._said[sentinel]) == majority:
            log.warning("The sentinels have made another server the primary.", action="primary_switched")
            await self._on_switch()

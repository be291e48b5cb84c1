"""Epochs of the partitions of a server: opened on each new connection to it, before any command can pass.

A server with another `run_id` than the one that a partition was seen on last is another life of the store (a restart, a
failover): the library is loaded there and the epoch of each of its partitions grows. In a cluster these are the
partitions of that primary alone.
"""

import asyncio
from collections.abc import Iterable

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError

from playhead.runtime.clock import Clock
from playhead.runtime.redis import ask, info_field
from playhead.runtime.slots import own_slots, slot_of
from playhead.sessions.keys import PARTITIONS, epoch_key
from playhead.sessions.library import Library

log = structlog.get_logger(__name__)

ALL = range(PARTITIONS)


class Epochs:
    """What one process has opened. `library` is loaded with them."""

    def __init__(self, clock: Clock, library: Library) -> None:
        self._clock = clock
        self._library = library
        self._run_ids: dict[int, str] = {}
        """By partition: the server that it was opened on last."""
        self._opening = asyncio.Lock()

    def run_id(self, partition: int) -> str:
        return self._run_ids.get(partition, "")

    async def open(self, connection: AbstractConnection, partitions: Iterable[int] = ALL) -> bool:
        """Whether any has begun another life since this process has seen it."""
        run_id = info_field(await ask(connection, "INFO", "server"), "run_id")
        async with self._opening:  # of many new connections one opens for all
            others = [partition for partition in partitions if self._run_ids.get(partition) != run_id]
            if not others:
                return False
            await self._library.load(connection)
            anew = any(partition in self._run_ids for partition in others)
            now_ms = self._clock.now_ms()
            for partition in others:
                await self._open(connection, partition, run_id, now_ms)
            if anew:
                log.warning("The state store has started anew; its epoch grows.", action="store_epoch_opened")
            self._run_ids.update(dict.fromkeys(others, run_id))
            return anew

    async def _open(self, connection: AbstractConnection, partition: int, run_id: str, now_ms: int) -> None:
        """Not where the partition has gone to another primary meanwhile: whoever has it opens it there."""
        try:
            function = self._library.function("open")
            await ask(connection, "FCALL", function, 1, epoch_key(partition), run_id, now_ms)
        except AskError as error:
            log.info(
                "A partition has moved meanwhile.", action="partition_moved", partition=partition, error=str(error)
            )


async def partitions_there(connection: AbstractConnection) -> list[int]:
    """Those that this primary of a cluster has."""
    slots = await own_slots(connection)
    return [partition for partition in ALL if slot_of(epoch_key(partition)) in slots]

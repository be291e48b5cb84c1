"""redis-py's client with its commands, for a cluster: each command goes to the primary that has its key's slot.

Owns: a client of `redis.connect` for each primary. Must not know: what is called. redis-py's own client for clusters
asks the server for the place of the keys of many commands, each time, and repeats what may have happened.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import AskError, RedisError

from playhead.runtime.redis import connect
from playhead.runtime.redis_urls import Address
from playhead.runtime.slots import LOST, SlotMap, slot_of, slot_of_command

FAILURES = (RedisError, OSError, TimeoutError)

Staged = tuple[Sequence[Any], Mapping[str, Any]]
"""A command in a pipeline, and redis-py's options for its answer."""


class ClusterRedis(Redis):
    """Only commands that name a key. A pipeline's commands lie anywhere, those of a transaction in one slot.

    `slots` is its owner's, who ends it; without one the client has one of its own.
    """

    def __init__(self, slots: SlotMap, *, owns_slots: bool = False) -> None:
        unused = connect(slots.url.node_url(slots.url.nodes[0]))
        super().__init__(connection_pool=unused.connection_pool)
        self.slots = slots
        self._owns_slots = owns_slots
        self._servers: dict[Address, Redis] = {}

    def server(self, address: Address) -> Redis:
        """The client of that one; this one's owner ends it with this one."""
        if (found := self._servers.get(address)) is None:
            found = self._servers[address] = connect(self.slots.url.node_url(address))
        return found

    async def primaries(self) -> list[Redis]:
        """A client of each. Raises LostConnection when nobody says who they are."""
        await self.slots.renew()
        return [self.server(address) for address in sorted(self.slots.primaries)]

    @asynccontextmanager
    async def primary_of(self, key: str) -> AsyncIterator[Redis]:
        """The client of the one that has the key now, for commands without a key."""
        await self.execute_command("EXISTS", key)
        try:
            yield self.server(await self.slots.primary_now(slot_of(key)))
        except LOST:
            self.slots.renew_soon()
            raise

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async def send(address: Address, asking: bool) -> Any:
            if not asking:
                return await self.server(address).execute_command(*args, **options)  # type: ignore[no-untyped-call]
            async with self.server(address).pipeline(transaction=False) as pipe:
                pipe.execute_command("ASKING")
                pipe.execute_command(*args, **options)
                return (await pipe.execute())[1]

        return await self.slots.follow(slot_of_command(args), send)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return ClusterPipeline(self, transaction)

    async def run_transaction(self, commands: Sequence[Staged]) -> list[Any]:
        """All in one, at the primary of their slot. Raises ValueError where they are of several."""
        if len({slot_of_command(args) for args, _ in commands}) > 1:
            raise ValueError("The commands of a transaction are of one slot.")

        async def send(address: Address, asking: bool) -> list[Any]:
            async with self.server(address).pipeline(transaction=True) as pipe:
                for args, options in commands:
                    pipe.execute_command(*args, **options)
                return list(await pipe.execute())

        return await self.slots.follow(slot_of_command(commands[0][0]), send)

    async def run_each(self, commands: Sequence[Staged]) -> list[Any]:
        """All answers in order, and the error of each that failed in its place. Those of one slot keep their order."""
        answers: list[Any] = [None] * len(commands)
        by_server: dict[Address, list[int]] = {}
        for number, (args, _) in enumerate(commands):
            try:
                address = await self.slots.primary_now(slot_of_command(args))
            except FAILURES as error:
                answers[number] = error
            else:
                by_server.setdefault(address, []).append(number)

        async def fill(address: Address, numbers: Sequence[int]) -> None:
            rows = await self._run_at(address, [commands[number] for number in numbers])
            for number, row in zip(numbers, rows, strict=True):
                answers[number] = row

        await asyncio.gather(*(fill(*each) for each in by_server.items()))
        return answers

    async def _run_at(self, address: Address, commands: Sequence[Staged]) -> list[Any]:
        try:
            async with self.server(address).pipeline(transaction=False) as pipe:
                for args, options in commands:
                    pipe.execute_command(*args, **options)
                rows = await pipe.execute(raise_on_error=False)
        except FAILURES as error:
            self.slots.renew_soon()
            return [error] * len(commands)
        return [
            await self._again(command) if isinstance(row, AskError) else row
            for command, row in zip(commands, rows, strict=True)
        ]

    async def _again(self, command: Staged) -> Any:
        """One that was redirected, so that it has not happened."""
        args, options = command
        try:
            return await self.execute_command(*args, **options)
        except FAILURES as error:
            return error

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        for server in self._servers.values():
            await server.aclose()
        if self._owns_slots:
            await self.slots.aclose()


class ClusterPipeline(Pipeline):
    """Commands that are sent together, to each primary its own. A primary that is away fails its own alone."""

    def __init__(self, cluster: ClusterRedis, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self.command_stack = list(self.command_stack), []
        if not commands:
            return []
        if self.is_transaction:
            return await self._cluster.run_transaction(commands)
        answers = await self._cluster.run_each(commands)
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

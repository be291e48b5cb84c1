"""Calls to a Valkey or Redis cluster: each goes to the primary that has its key's slot, over one connection to each.

Owns: a `Multiplexed` for each primary; `slots.py` knows which one is meant. Must not know: what is called. Commands of
one call may lie on several primaries: then they are sent at once, in no order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, RedisError

from playhead.runtime.multiplexed import Multiplexed, Part
from playhead.runtime.redis_urls import Address
from playhead.runtime.slots import SlotMap, slot_of, slot_of_command

FAILURES = (RedisError, OSError, TimeoutError)

OnNode = Callable[[Address, AbstractConnection], Awaitable[None]]
"""Runs on each new connection to that primary, before any command."""


class ClusterCalls:
    """A client of all primaries, of one event loop. Ended by `aclose`. Calls fail as those of `Multiplexed` do.

    `slots` is its owner's, who ends it.
    """

    def __init__(self, slots: SlotMap, on_node: OnNode | None = None, **options: Any) -> None:
        self._on_node = on_node
        self._options = options
        self._nodes: dict[Address, Multiplexed] = {}
        self.slots = slots
        slots.watch(self._leave_gone)

    @property
    def connected(self) -> bool:
        """Whether there is a connection to each primary that anything was asked of."""
        asked = [node for address, node in self._nodes.items() if address in self.slots.primaries]
        return bool(asked) and all(node.connected for node in asked)

    async def call(self, *command: Part) -> Any:
        """One command with at least one key; its answer as it is on the wire."""

        async def send(address: Address, asking: bool) -> Any:
            if asking:
                return (await self._node(address).calls([("ASKING",), command]))[1]
            return await self._node(address).call(*command)

        return await self.slots.follow(slot_of_command(command), send)

    async def call_beside(self, key: str, *command: Part) -> Any:
        """One command without a key, at the primary that has this one."""
        return await self._node(await self.slots.primary_now(slot_of(key))).call(*command)

    async def calls(self, commands: Iterable[Sequence[Part]]) -> list[Any]:
        """Several; all answers in order. Fails with the first error of them."""
        answers = await self.answers(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def answers(self, commands: Iterable[Sequence[Part]]) -> list[Any]:
        """Several; all answers in order, and the error of each that failed in its place."""
        asked = list(commands)
        answers: list[Any] = [None] * len(asked)
        by_node: dict[Address, list[int]] = {}
        for number, command in enumerate(asked):
            try:
                address = await self.slots.primary_now(slot_of_command(command))
            except FAILURES as error:
                answers[number] = error
            else:
                by_node.setdefault(address, []).append(number)

        async def fill(address: Address, numbers: Sequence[int]) -> None:
            rows = await self._of_one(address, [asked[number] for number in numbers])
            for number, row in zip(numbers, rows, strict=True):
                answers[number] = row

        await asyncio.gather(*(fill(*each) for each in by_node.items()))
        return answers

    async def _of_one(self, address: Address, commands: Sequence[Sequence[Part]]) -> list[Any]:
        try:
            rows = await self._node(address).answers(commands)
        except FAILURES as error:
            self.slots.renew_soon()
            return [error] * len(commands)
        return [
            await self._again(command) if isinstance(row, AskError) else row
            for command, row in zip(commands, rows, strict=True)
        ]

    async def _again(self, command: Sequence[Part]) -> Any:
        """One that was redirected, so that it has not happened."""
        try:
            return await self.call(*command)
        except FAILURES as error:
            return error

    def leave(self) -> None:
        for node in self._nodes.values():
            node.leave()

    async def aclose(self) -> None:
        for node in self._nodes.values():
            await node.aclose()

    def _leave_gone(self, _changed: Set[int]) -> None:
        """A server that has no slot any more may be a replica, and come back with other data."""
        for address in set(self._nodes) - self.slots.primaries:
            self._nodes[address].leave()

    def _node(self, address: Address) -> Multiplexed:
        if (node := self._nodes.get(address)) is None:
            url = self.slots.url.node_url(address)
            node = self._nodes[address] = Multiplexed(url, self._greet(address), **self._options)
        return node

    def _greet(self, address: Address) -> Callable[[AbstractConnection], Awaitable[None]] | None:
        on_node = self._on_node
        if on_node is None:
            return None

        async def greet(connection: AbstractConnection) -> None:
            await on_node(address, connection)

        return greet

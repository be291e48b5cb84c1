"""Listeners who seek again and again while servers and stores die, with a record of every acknowledgement.

A command that was not answered, or answered with `retry`, is sent again under its id; a lost connection is opened anew.
"""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import socketio.exceptions

from tests.support.sockets import Client
from tests.support.system import RunningSystem

WAIT_S = 0.02
WAIT_TIMEOUT_S = 60.0
GONE = (socketio.exceptions.SocketIOError, ConnectionError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class Ack:
    epoch: int
    revision: int
    position: float

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Ack":
        return cls(state["epoch"], state["revision"], state["position"])

    @property
    def order(self) -> tuple[int, int]:
        return (self.epoch, self.revision)


class Seeker:
    """One listener with one device. Made by `seekers`."""

    def __init__(self, system: RunningSystem, number: int) -> None:
        self._system = system
        self._number = number
        self._token = system.token(str(uuid.uuid4()))
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self.client: Client
        self.session_id = ""
        self.acks: list[Ack] = []
        self.unavailable = 0
        self.reconnects = 0

    async def begin(self) -> None:
        await self._connect()
        played = await self.client.call("play", {"script_id": self._system.script_id})
        self.session_id = played["state"]["session_id"]
        self.acks.append(Ack.of(played["state"]))
        self._task = asyncio.create_task(self._seek_on())

    async def stop(self) -> None:
        """After the answer to the command that is under way."""
        self._stopped = True
        assert self._task is not None
        await asyncio.wait_for(self._task, WAIT_TIMEOUT_S)

    async def state(self) -> Ack:
        """The session as a device that joins sees it."""
        return Ack.of((await self.client.call("join", {"session_id": self.session_id}))["state"])

    @property
    def last(self) -> Ack:
        return self.acks[-1]

    async def _connect(self) -> None:
        while True:
            try:
                self.client = await Client.open(self._system.base_urls[self._number], self._token, "phone")
                return
            except GONE:
                await asyncio.sleep(WAIT_S)

    async def _seek_on(self) -> None:
        while not self._stopped:
            command = {
                "session_id": self.session_id,
                "position": float(random.randrange(3_600)),
                "command_id": str(uuid.uuid4()),
            }
            self.acks.append(await self._answered(command))

    async def _answered(self, command: dict[str, Any]) -> Ack:
        while True:
            try:
                answer = await self.client.call("seek", command)
            except GONE:
                await self.client.abandon()
                self.reconnects += 1
                await self._connect()
                continue
            if answer["ok"]:
                return Ack.of(answer["state"])
            assert answer["error"]["retry"], answer
            self.unavailable += 1
            await asyncio.sleep(WAIT_S)


class Seekers(list[Seeker]):
    """All of them."""

    @property
    def acked(self) -> int:
        return sum(len(seeker.acks) for seeker in self)

    @property
    def unavailable(self) -> int:
        return sum(seeker.unavailable for seeker in self)

    async def until_acked(self, each: int) -> None:
        """Each of them has been acknowledged so many more commands."""
        enough = [len(seeker.acks) + each for seeker in self]
        await until(lambda: all(len(seeker.acks) >= wanted for seeker, wanted in zip(self, enough, strict=True)))

    async def until_refused(self, each: int) -> None:
        """Each of them was told so many more times that commands are unavailable."""
        enough = [seeker.unavailable + each for seeker in self]
        await until(lambda: all(seeker.unavailable >= wanted for seeker, wanted in zip(self, enough, strict=True)))

    async def stop(self) -> None:
        await asyncio.gather(*(seeker.stop() for seeker in self))

    async def assert_nothing_acknowledged_is_missing(self) -> None:
        """Every acknowledged state came after the one before, and the last one is what everybody sees."""
        for seeker in self:
            orders = [ack.order for ack in seeker.acks]
            assert orders == sorted(set(orders))
            state = await seeker.state()
            assert state.order >= seeker.last.order
            assert (state.revision, state.position) == (seeker.last.revision, seeker.last.position)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT_S):
        while not condition():
            await asyncio.sleep(WAIT_S)


@asynccontextmanager
async def seekers(system: RunningSystem, count: int = 6) -> AsyncIterator[Seekers]:
    """Begun on the system's servers in turn; ended with the block."""
    made = Seekers(Seeker(system, number % len(system.ports)) for number in range(count))
    try:
        await asyncio.gather(*(seeker.begin() for seeker in made))
        yield made
    finally:
        for seeker in made:
            if seeker._task is not None:
                seeker._task.cancel()
        await asyncio.gather(*(seeker._task for seeker in made if seeker._task is not None), return_exceptions=True)
        for seeker in made:
            await seeker.client.abandon()

"""What a listener with the reference client meets while servers are killed and replaced: nothing.

Each listener has a phone that sends commands without a break, to whichever server it reaches, and a desk on the server
that stays, which sees everything. What was answered is held against what was seen.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from playhead.client import FollowingSound, State, StateChanged, Status, StatusChanged
from tests.support.players import Player
from tests.support.system import RunningSystem

LISTENERS = 4
BEFORE, AFTER = 15, 15
"""Answered commands of each listener before the server goes, and after all of them have gone on elsewhere."""
PATIENCE_MS = 30_000.0
TEST_TIMEOUT_S = 50.0


@dataclass
class Listener:
    """Two devices, and what the phone was answered."""

    phone: Player
    desk: Player
    session_id: str = ""
    answers: list[State] = field(default_factory=list)
    after: int = 0

    async def begin(self, script_id: str) -> None:
        await self.desk.join(script_id=script_id)
        played = await self.phone.play(script_id=script_id, position=0.5)
        self.session_id = played.state.session_id
        self.answers.append(played.state)

    async def press(self, gone: asyncio.Event, begun: asyncio.Event) -> None:
        """Presses on and on; each press must be answered."""
        position = 0.0
        while self.after < AFTER:
            position = (position + 0.5) % 50
            answer = await self.phone.seek(self.session_id, position)
            assert answer.state.position == position
            self.answers.append(answer.state)
            self.after += gone.is_set() and self.moved
            if len(self.answers) >= BEFORE:
                begun.set()

    @property
    def moved(self) -> bool:
        """Whether the phone has a new connection."""
        statuses = [event.status for event in self.phone.seen if isinstance(event, StatusChanged)]
        return statuses.count(Status.CONNECTED) > 1 and statuses[-1] is Status.CONNECTED

    async def check(self) -> None:
        """Every press was done once, in its order, and seen by the other device; nothing else was."""
        last = self.answers[-1]
        await self.desk.expect_state(revision=last.revision)
        seen = [event.state for event in self.desk.seen if isinstance(event, StateChanged)]
        assert [state.revision for state in seen] == list(range(1, last.revision + 1)), "no hole, none twice"
        assert [_known(state) for state in seen] == [_known(state) for state in self.answers]
        assert all(state.playing for state in seen), "nobody was paused"
        assert self.phone.state(self.session_id) == self.desk.state(self.session_id)


def _known(state: State) -> tuple[int, float, str | None]:
    return (state.revision, state.position, None if state.cause is None else state.cause.command_id)


@pytest.fixture
async def listeners(running_system: RunningSystem) -> AsyncIterator[list[Listener]]:
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(LISTENERS):
            token = running_system.token(str(uuid.uuid4()))
            urls = list(running_system.base_urls)
            phone = Player(urls, token, "phone", patience_ms=PATIENCE_MS, sound=FollowingSound())
            desk = Player(urls[1], token, "desk")
            made.append(Listener(await stack.enter_async_context(phone), await stack.enter_async_context(desk)))
        yield made


@asynccontextmanager
async def all_pressing(listeners: list[Listener], script_id: str) -> AsyncIterator[Callable[[], None]]:
    """While every phone presses. The block may take a server away, and then says so with what it is given."""
    gone = asyncio.Event()
    async with asyncio.timeout(TEST_TIMEOUT_S), asyncio.TaskGroup() as pressing:
        for listener in listeners:
            begun = asyncio.Event()
            await listener.begin(script_id)
            pressing.create_task(listener.press(gone, begun))
            await begun.wait()
        yield gone.set


async def test_a_server_that_is_killed_under_commands_loses_none_and_does_none_twice(
    running_system: RunningSystem, listeners: list[Listener]
) -> None:
    async with all_pressing(listeners, running_system.script_id) as gone:
        running_system.servers[0].kill()
        gone()
    running_system.servers[0].start()
    for listener in listeners:
        await listener.check()
    await asyncio.to_thread(running_system.wait_ready, 0)


async def test_a_server_that_is_replaced_under_commands_loses_none_and_does_none_twice(
    running_system: RunningSystem, listeners: list[Listener]
) -> None:
    async with all_pressing(listeners, running_system.script_id) as gone:
        assert await asyncio.to_thread(running_system.servers[0].stop) == 0
        gone()
    running_system.servers[0].start()
    for listener in listeners:
        await listener.check()
    await asyncio.to_thread(running_system.wait_ready, 0)

"""A server is replaced while its clients go on: no command is lost, none is left unanswered, and nobody is paused.

Each listener has a device that sends commands without a break, first on the server that is stopped, and one on the
other server that sees everything. What was acked is held against what was seen and against the state in the end.
"""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import socketio

from tests.support.sockets import Client
from tests.support.system import RunningSystem

LISTENERS = 6
STUBBORN = 2
"""Of these, the devices take no notice of `draining`, and are closed in the end."""
BEFORE, AFTER = 15, 15
"""Acked commands of each listener before the stop, and after the change to the other server."""
TEST_TIMEOUT_S = 60.0


@dataclass
class Sender:
    """A device that seeks without a break, goes elsewhere when it is told to, and writes down what it was answered."""

    system: RunningSystem
    listener_id: str
    stubborn: bool
    phone: Client
    session_id: str = ""
    acked: dict[str, int] = field(default_factory=dict)
    """Command ids to the revisions that they made."""
    refused: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """Commands that were never answered, and whose sender knows."""
    moved: int = 0
    """Acked commands since the change."""
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until it has changed servers, and has been answered often enough there."""
        position = 0.0
        while self.moved < AFTER:
            if self._must_go():
                await self._move()
            position = (position + 0.5) % 50
            await self._send(position)
        await self.phone.close()

    def _must_go(self) -> bool:
        told = any(event == "draining" for event, _ in self.phone.events)
        return not self.moved and (not self.phone.connected or (told and not self.stubborn))

    async def _move(self) -> None:
        for event, data in self.phone.events:
            if event == "draining":
                await asyncio.sleep(data["retry_after_ms"] / 1000)
        if self.phone.connected:
            await self.phone.close()
        token = self.system.token(self.listener_id)
        self.phone = await Client.open(self.system.base_urls[1], token, device_id="phone")
        joined = await self.phone.call("join", {"session_id": self.session_id})
        assert joined["ok"] and joined["state"]["revision"] >= max(self.acked.values()), joined
        self.moved = 1

    async def _send(self, position: float) -> None:
        command_id = str(uuid.uuid4())
        payload = {"session_id": self.session_id, "position": position, "command_id": command_id}
        try:
            answer = await self._answered(payload)
        except (TimeoutError, socketio.exceptions.SocketIOError):
            self.failed.append(command_id)
            return
        if answer["ok"]:
            self.acked[command_id] = answer["state"]["revision"]
            self.moved += bool(self.moved)
        else:
            assert answer["error"]["retry"], answer
            self.refused[command_id] = answer["error"]["code"]
            await asyncio.sleep(answer["error"].get("retry_after_ms", 50) / 1000)
        if len(self.acked) >= BEFORE:
            self.has_begun.set()

    async def _answered(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The ack; raises when the connection ends first, as python-socketio's own call would only after its time."""
        asking = asyncio.create_task(self.phone.call("seek", payload))
        ending = asyncio.create_task(self.phone.ended())
        await asyncio.wait({asking, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            asking.cancel()
            raise socketio.exceptions.DisconnectedError
        ending.cancel()
        return await asking


@pytest.fixture
def restarted(running_system: RunningSystem) -> Iterator[RunningSystem]:
    """The system, whose first server the test stops; it runs again afterwards."""
    yield running_system
    running_system.servers[0].start()
    running_system.wait_ready(0)


async def test_no_command_is_lost_and_nobody_is_paused_when_a_server_is_replaced(restarted: RunningSystem) -> None:
    listeners = [str(uuid.uuid4()) for _ in range(LISTENERS)]
    desks = {each: await Client.open(restarted.base_urls[1], restarted.token(each), "desk") for each in listeners}
    senders = [await begin(restarted, each, number < STUBBORN) for number, each in enumerate(listeners)]
    async with asyncio.timeout(TEST_TIMEOUT_S), asyncio.TaskGroup() as tasks:
        for sender in senders:
            tasks.create_task(sender.run())
        for sender in senders:
            await sender.has_begun.wait()
        stopping = asyncio.create_task(asyncio.to_thread(restarted.servers[0].stop))
        await senders[0].phone.expect_event("draining")
        await check_that_nobody_new_is_wanted(restarted)
    assert await stopping == 0, restarted.servers[0].log()

    for sender in senders:
        await check_nothing_is_lost(sender, desks[sender.listener_id])
    for desk in desks.values():
        await desk.close()


async def begin(system: RunningSystem, listener_id: str, stubborn: bool) -> Sender:
    """A listener's phone that plays on the first server."""
    phone = await Client.open(system.base_urls[0], system.token(listener_id), device_id="phone")
    played = await phone.call("play", {"script_id": system.script_id, "position": 0.5})
    return Sender(system, listener_id, stubborn, phone, session_id=played["state"]["session_id"])


async def check_that_nobody_new_is_wanted(system: RunningSystem) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{system.base_urls[0]}/readyz") as answer:
        checks = (await answer.json())["checks"]
        assert answer.status == 503 and "going away" in checks["process"]
    with pytest.raises(socketio.exceptions.ConnectionError):
        await Client.open(system.base_urls[0], system.token(str(uuid.uuid4())), device_id="late")


async def check_nothing_is_lost(sender: Sender, desk: Client) -> None:
    """Every acked command made the revision that it was told, in everybody's eyes; every refused one made none."""
    joined = await desk.call("join", {"session_id": sender.session_id})
    state = joined["state"]
    assert state["playing"] and state["revision"] >= max(sender.acked.values())
    await desk.expect_event("state", revision=state["revision"])
    seen = [data for event, data in desk.events if event == "state"]
    assert [data["revision"] for data in seen] == list(range(1, state["revision"] + 1)), "no hole, none twice"
    assert all(data["playing"] for data in seen), [data for data in seen if not data["playing"]]
    made = {data["cause"]["command_id"]: data["revision"] for data in seen}
    assert sender.acked.items() <= made.items()
    assert not made.keys() & sender.refused.keys()
    unanswered = made.keys() - sender.acked.keys() - {None}
    assert unanswered <= set(sender.failed), "whatever was done without an ack is known to its sender"

"""Several server processes on one port, under one supervisor, as its operator and its listeners meet them."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio.exceptions
from socketio.exceptions import ConnectionError as Refused

from playhead.runtime.tasks import cancelled
from tests.support.orphans import ends
from tests.support.sockets import Client
from tests.support.system import Process, RunningSystem
from tests.support.systems import StartSystem, add_script

PROCESSES = 2
CLIENTS = 6
WAITING = 40
TIMEOUT_S = 60.0
POLL_S = 0.05
ESTABLISHED = "01"
"""A state in /proc/net/tcp."""
KNOCK_S = 0.002
STOP_TIMEOUT_S = 40.0
MANY = 20
DRAIN_S = 5.0
"""As the setting is by default."""
AFTER = 5
"""Acked commands of each client after it has changed processes."""


@pytest.fixture
async def system(make_system: StartSystem, valkey_url: str) -> RunningSystem:
    return await started(make_system, valkey_url)


async def started(make_system: StartSystem, valkey_url: str, **settings: str) -> RunningSystem:
    """Two processes on one port, ready, and a script; nothing runs beside them."""
    ours = {"PLAYHEAD_PROCESSES": str(PROCESSES), "PLAYHEAD_LOG_FORMAT": "json"}
    system = make_system(valkey_url, helper_commands=(), settings={**ours, **settings})
    await asyncio.to_thread(system.start)
    system.script_id = await add_script(system)
    await until(lambda: len(lines(system, "serving")) == PROCESSES)
    return system


def lines(system: RunningSystem, action: str) -> list[dict[str, Any]]:
    """What was logged under this action, so far."""
    rows = system.servers[0].log_path.read_text(errors="replace").splitlines()
    parsed = [json.loads(row) for row in rows if row.startswith("{") and row.endswith("}")]
    return [row for row in parsed if row.get("action") == action]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not true():
            await asyncio.sleep(POLL_S)


def pids(system: RunningSystem) -> list[int]:
    """Of all that were ever started."""
    return [row["pid"] for row in lines(system, "process_started")]


def is_held_by(client: Client, pid: int) -> bool:
    """Whether a process is at the other end of a client's connection: it has a socket from our port to its own.

    The kernel shows its sockets page by page, so a list may lack one that was there all the time, while others come
    and go beside it: False may mean that it was not seen.
    """
    port = client.local_port()
    inodes = set()
    for row in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]):
        if row[3] == ESTABLISHED and int(row[2].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{row[9]}]")
    return bool(inodes & descriptors(pid))


def descriptors(pid: int) -> set[str]:
    """What a process has open; nothing when it has ended."""
    folder = Path(f"/proc/{pid}/fd")
    try:
        return {os.readlink(entry) for entry in folder.iterdir()}
    except FileNotFoundError:
        return set()


async def opened(system: RunningSystem, listener_id: str, device_id: str) -> Client:
    """As a client does that is refused with `retry`: again, until it is let in."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return await Client.open(system.base_url, system.token(listener_id), device_id)
            except (Refused, aiohttp.ClientError):
                await asyncio.sleep(POLL_S)


async def on(system: RunningSystem, pid: int, listener_id: str, device_id: str) -> Client:
    """A device that is connected to process `pid`."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            client = await opened(system, listener_id, device_id)
            if is_held_by(client, pid):
                return client
            await client.close()


async def test_two_processes_on_one_port_share_the_devices_of_a_listener_and_keep_them_in_sync(
    system: RunningSystem,
) -> None:
    listener_id = str(uuid.uuid4())
    one, two = pids(system)
    phone, desk = await on(system, one, listener_id, "phone"), await on(system, two, listener_id, "desk")
    played = await phone.call("play", {"script_id": system.script_id, "position": 3.0})
    await desk.expect_event("state", revision=played["state"]["revision"], playing=True)
    paused = await desk.call("pause", {"session_id": played["state"]["session_id"]})
    await phone.expect_event("state", revision=paused["state"]["revision"], playing=False)
    await until(lambda: system.metric("playhead_sockets") == 2)  # both processes in one answer
    assert {row["process"] for row in lines(system, "serving")} == {"0", "1"}
    await phone.close()
    await desk.close()


async def test_long_polling_is_refused_with_the_way_out(system: RunningSystem) -> None:
    url = f"{system.base_url}/socket.io/?EIO=4&transport=polling"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.status == 400
        assert 'transports: ["websocket"]' in await answer.json()


async def test_connections_that_wait_for_a_process_that_is_killed_are_answered_by_the_next_one(
    system: RunningSystem,
) -> None:
    killed = pids(system)[1]
    os.kill(killed, signal.SIGSTOP)  # it takes no connections, so that about half of these wait in its listener
    waiting = [await asyncio.open_connection("127.0.0.1", system.ports[0]) for _ in range(WAITING)]
    os.kill(killed, signal.SIGKILL)
    for _, writer in waiting:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(TIMEOUT_S):
        answers = await asyncio.gather(*(reader.readline() for reader, _ in waiting))
    assert {answer.split()[1] for answer in answers} == {b"200"}
    for _, writer in waiting:
        writer.close()
    phone = await on(system, pids(system)[-1], str(uuid.uuid4()), "phone")
    assert (await phone.call("join", {"script_id": system.script_id}))["ok"]
    await phone.close()


@dataclass
class Knocking:
    """Connection attempts without a break; how many were accepted, and what those that were not were told."""

    accepted: int = 0
    refused: list[str] = field(default_factory=list)


@asynccontextmanager
async def knocking(port: int) -> AsyncIterator[Knocking]:
    async def knock() -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                found.accepted += 1
            except OSError as error:
                found.refused.append(str(error))
            await asyncio.sleep(KNOCK_S)

    found = Knocking()
    task = asyncio.create_task(knock())
    try:
        yield found
    finally:
        await cancelled(task)


async def test_while_a_killed_process_comes_back_no_connection_is_refused(system: RunningSystem) -> None:
    async with knocking(system.ports[0]) as found:
        os.kill(pids(system)[0], signal.SIGKILL)
        await until(lambda: len(lines(system, "serving")) == PROCESSES + 1)
        accepted = found.accepted
        await until(lambda: found.accepted > accepted)
    assert found.refused == []


@dataclass
class Sender:
    """A device that seeks without a break and goes where it is let in when it is told to go, or its connection ends."""

    system: RunningSystem
    listener_id: str
    phone: Client
    session_id: str
    revision: int
    """The last one that was acked."""
    moves: int = 0
    since: int = 0
    """Acked commands since the last move."""
    enough: bool = False

    async def run(self) -> None:
        while not (self.enough and self.since >= AFTER):
            if not self.phone.connected or any(event == "draining" for event, _ in self.phone.events):
                await self._move()
            await self._seek()
        await self.phone.close()

    async def _move(self) -> None:
        if self.phone.connected:
            await self.phone.close()
        self.phone = await opened(self.system, self.listener_id, "phone")
        joined = await self.phone.call("join", {"session_id": self.session_id})
        assert joined["ok"] and joined["state"]["revision"] >= self.revision, "an acked command is lost"
        self.moves, self.since = self.moves + 1, 0

    async def _seek(self) -> None:
        payload = {"session_id": self.session_id, "position": 5.0 + self.since % 50, "command_id": str(uuid.uuid4())}
        try:
            answer = await self.phone.call("seek", payload)
        except (TimeoutError, socketio.exceptions.SocketIOError):
            return
        if answer["ok"]:
            self.revision, self.since = answer["state"]["revision"], self.since + 1
        else:
            assert answer["error"]["retry"], answer
            await asyncio.sleep(answer["error"].get("retry_after_ms", 50) / 1000)


async def sender(system: RunningSystem) -> Sender:
    listener_id = str(uuid.uuid4())
    phone = await opened(system, listener_id, "phone")
    state = (await phone.call("play", {"script_id": system.script_id}))["state"]
    return Sender(system, listener_id, phone, state["session_id"], state["revision"])


async def test_a_rolling_restart_replaces_every_process_and_loses_nothing_that_was_acknowledged(
    system: RunningSystem,
) -> None:
    old = pids(system)
    senders = [await sender(system) for _ in range(CLIENTS)]
    async with knocking(system.ports[0]) as found, asyncio.timeout(2 * TIMEOUT_S), asyncio.TaskGroup() as tasks:
        for each in senders:
            tasks.create_task(each.run())
        system.servers[0].popen.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        await until(lambda: bool(lines(system, "restarted")))
        for each in senders:
            each.enough = True
    assert found.refused == []
    assert [each.moves for each in senders if each.moves == 0] == []
    new = pids(system)[PROCESSES:]
    assert len(new) == PROCESSES and all(ends(pid) for pid in old)
    for each in senders:
        desk = await opened(system, each.listener_id, "desk")
        state = (await desk.call("join", {"session_id": each.session_id}))["state"]
        assert state["revision"] >= each.revision
        await desk.close()


async def test_what_dead_processes_have_counted_stays_and_their_files_do_not(
    make_system: StartSystem, valkey_url: str, tmp_path: Path
) -> None:
    system = await started(make_system, valkey_url, PLAYHEAD_METRICS_DIR=str(tmp_path))
    phones = [await opened(system, str(uuid.uuid4()), "phone") for _ in range(CLIENTS)]
    await until(lambda: system.metric("playhead_sockets_admitted_total") == CLIENTS)
    old = pids(system)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: len(lines(system, "serving")) == 2 * PROCESSES)
    for phone in phones:
        await phone.ended()
    left = {path.name for path in tmp_path.iterdir()}
    assert [name for name in left for pid in old if f"_{pid}." in name] == []
    assert {"counter_0.db", "histogram_0.db"} <= left
    assert (system.metric("playhead_sockets_admitted_total"), system.metric("playhead_sockets")) == (CLIENTS, 0)


async def test_sigterm_ends_all_in_order(system: RunningSystem) -> None:
    phone = await opened(system, str(uuid.uuid4()), "phone")
    assert (await phone.call("join", {"script_id": system.script_id}))["ok"]
    server = system.servers[0]
    assert server.popen is not None
    server.popen.send_signal(signal.SIGTERM)
    await phone.expect_event("draining")
    await phone.ended()
    assert await asyncio.to_thread(server.popen.wait, STOP_TIMEOUT_S) == 0, server.log()
    assert all(ends(pid) for pid in pids(system))
    assert lines(system, "process_killed") == []


async def test_one_that_is_replaced_lets_sockets_go_as_slowly_as_others_take_them_unless_all_is_to_end(
    make_system: StartSystem, valkey_url: str
) -> None:
    system = await started(make_system, valkey_url, PLAYHEAD_PROCESS_SOCKETS_PER_S="1")
    phones = [await opened(system, str(uuid.uuid4()), "phone") for _ in range(MANY)]
    server = system.servers[0]
    assert server.popen is not None
    server.popen.send_signal(signal.SIGHUP)
    await until(lambda: any(data["retry_after_ms"] > DRAIN_S * 1_000 for data in drained(phones)))
    server.popen.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.popen.wait, STOP_TIMEOUT_S) == 0, server.log()
    assert lines(system, "process_killed") == []


def drained(phones: list[Client]) -> list[Any]:
    return [data for phone in phones for event, data in phone.events if event == "draining"]


async def test_a_process_that_does_not_end_in_time_is_killed(make_system: StartSystem, valkey_url: str) -> None:
    settings = {"PLAYHEAD_DRAIN_S": "0", "PLAYHEAD_SHUTDOWN_GRACE_S": "0"}
    system = await started(make_system, valkey_url, **settings)
    frozen = pids(system)[0]
    os.kill(frozen, signal.SIGSTOP)
    server = system.servers[0]
    assert server.popen is not None
    server.popen.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.popen.wait, STOP_TIMEOUT_S) == 0, server.log()
    assert [row["pid"] for row in lines(system, "process_killed")] == [frozen]
    assert all(ends(pid) for pid in pids(system))


async def test_a_supervisor_that_is_killed_leaves_no_process_behind(system: RunningSystem) -> None:
    await asyncio.to_thread(system.servers[0].kill)
    assert all(ends(pid) for pid in pids(system))


async def test_what_keeps_a_process_from_starting_is_told_once_and_ends_everything(
    make_system: StartSystem, valkey_url: str
) -> None:
    system = make_system(valkey_url, helper_commands=(), settings={"PLAYHEAD_PROCESSES": str(PROCESSES)})
    media = system.folder / "in-the-way"
    media.write_text("a file where the media folder should be")
    system.settings["PLAYHEAD_MEDIA_DIR"] = str(media)
    await asyncio.to_thread(system.begin)
    popen = system.servers[0].popen
    assert popen is not None
    assert await asyncio.to_thread(popen.wait, STOP_TIMEOUT_S) == 1
    assert system.servers[0].log().count("The media folder") == 1


async def test_a_port_that_another_supervisor_has_is_not_shared_with_it(system: RunningSystem) -> None:
    environment = {**system.servers[0].environment, "PLAYHEAD_METRICS_PORT": "0"}
    second = Process("second", ("serve",), environment, system.folder / "second.log")
    second.start()
    assert second.popen is not None
    assert await asyncio.to_thread(second.popen.wait, STOP_TIMEOUT_S) == 1
    assert "PLAYHEAD_PORT" in second.log()

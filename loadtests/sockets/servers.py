"""The servers that are measured, each in processes of its own: the peers, and playhead with either store.

| kind                         | what                                                                             |
| ---------------------------- | -------------------------------------------------------------------------------- |
| bare/uvloop                  | the exchange straight on aiohttp's websockets, without any library of Socket.IO  |
| stock/asyncio, stock/uvloop  | python-socketio as it comes, on aiohttp                                          |
| engine/asyncio, …/uvloop     | the same handlers on our engine                                                  |
| node                         | Socket.IO 4.8 on Node.js                                                         |
| playhead/memory              | playhead's sockets on the memory store, without a journal                        |
| playhead/durable             | `playhead serve` as it is, with Valkey, PostgreSQL and the flusher               |
"""

import asyncio
import os
import secrets
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.chaos.system import System, running
from loadtests.sockets.clients import Load
from loadtests.sockets.peers import node_command
from loadtests.sockets.spoken import PeerSpoken, PlayheadSpoken, Spoken
from playhead.app.__main__ import METRICS_DIR_VARIABLE
from playhead.app.embedded import EmbeddedValkey

SERVER, VALKEY, POSTGRES, FLUSHER = "server", "valkey", "postgres", "flusher"
ROOMY_SETTINGS = {
    "PLAYHEAD_CONNECTION_EVENTS_PER_S": "10000",
    "PLAYHEAD_CONNECTION_EVENTS_BURST": "100000",
    "PLAYHEAD_CONNECTIONS_PER_LISTENER_MAX": "1000",
    "PLAYHEAD_PROCESS_SOCKETS_PER_S": "100000",
    "PLAYHEAD_PROCESS_SOCKETS_BURST": "100000",
}
"""A load's sockets send more than any hand does, come all at once, and a room is a listener with as many of them."""


@dataclass(frozen=True, slots=True)
class Started:
    """Servers of one kind, and the processes behind them by what they do."""

    ports: Sequence[int]
    spoken: Spoken
    processes: Mapping[str, Sequence[psutil.Process]]
    system: System | None = None

    def cpu_s(self) -> dict[str, float]:
        """CPU time so far, by what the processes do."""
        return {what: sum(map(_cpu_s, processes)) for what, processes in self.processes.items()}

    def rss_bytes(self) -> int:
        """Memory of the servers themselves."""
        return sum(int(process.memory_info().rss) for process in self.processes[SERVER])

    @asynccontextmanager
    async def load(self, spoken: Spoken | None = None) -> AsyncIterator[Load]:
        """Clients of these servers; gone at the end."""
        load = Load(self.ports, spoken or self.spoken)
        try:
            yield load
        finally:
            load.close()


def _cpu_s(process: psutil.Process) -> float:
    """With its children: PostgreSQL has a process for each connection, which come and go."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


@asynccontextmanager
async def started(kind: str) -> AsyncIterator[Started]:
    """One server of this kind. Raises NoPeer where it cannot be had here."""
    match kind.split("/"):
        case ["node"]:
            serving = one_process(node_command(), PeerSpoken())
        case ["playhead", "memory"]:
            key, script_id = secrets.token_urlsafe(32), str(uuid.uuid4())
            command = [sys.executable, "-m", "loadtests.sockets.memory_server", key, script_id]
            serving = one_process(command, PlayheadSpoken(key, script_id))
        case ["playhead", "durable"]:
            serving = durable(servers=1)
        case ["bare", "uvloop"]:
            serving = one_process([sys.executable, "-m", "loadtests.sockets.bare_server"], PeerSpoken())
        case ["stock" | "engine" as library, "asyncio" | "uvloop" as loop]:
            command = [sys.executable, "-m", "loadtests.sockets.python_server", library, loop]
            serving = one_process(command, PeerSpoken())
        case _:
            raise SystemExit(f"There is no kind {kind!r}.")
    async with serving as found:
        yield found


@asynccontextmanager
async def one_process(command: Sequence[str], spoken: Spoken) -> AsyncIterator[Started]:
    """A program that prints its port, and ends when its input does."""
    async with _program(command) as (port, process):
        yield Started([port], spoken, {SERVER: [process]})


@asynccontextmanager
async def _program(command: Sequence[str]) -> AsyncIterator[tuple[int, psutil.Process]]:
    with tempfile.TemporaryDirectory(prefix="playhead-metrics-") as metrics:
        pipe = asyncio.subprocess.PIPE
        environment = {**os.environ, METRICS_DIR_VARIABLE: metrics}
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=environment)
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError(f"{' '.join(command)} ended with {await process.wait()}.")
            yield int(line), psutil.Process(process.pid)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def durable(servers: int) -> AsyncIterator[Started]:
    """playhead with all that belongs to it; of its two server processes so many are used."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with running(Path(folder), "everysec", ROOMY_SETTINGS) as system:
            assert system.flusher is not None
            processes = {
                SERVER: [psutil.Process(each.pid) for each in system.servers[:servers]],
                VALKEY: _children("valkey"),
                POSTGRES: _children("postgres"),
                FLUSHER: [psutil.Process(system.flusher.pid)],
            }
            spoken = PlayheadSpoken(system.processes.jwt_key, system.script_id)
            yield Started(system.processes.ports[:servers], spoken, processes, system)


@asynccontextmanager
async def node_pair() -> AsyncIterator[Started]:
    """Two Node.js servers whose rooms go over sharded pub/sub. Raises NoPeer."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        valkey = stack.enter_context(EmbeddedValkey(Path(folder) / "valkey"))
        command = node_command(str(valkey.socket_path))
        found = [await stack.enter_async_context(_program(command)) for _ in range(2)]
        processes = {SERVER: [process for _, process in found], VALKEY: _children("valkey")}
        yield Started([port for port, _ in found], PeerSpoken(), processes)


def _children(name: str) -> list[psutil.Process]:
    """Processes that this one has started, by name; without the children of such."""
    found = [child for child in psutil.Process().children(recursive=True) if name in child.name()]
    return [child for child in found if child.ppid() not in {each.pid for each in found}]

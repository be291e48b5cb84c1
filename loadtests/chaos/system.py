"""The processes of a whole system on this machine, each of which can be killed and started again.

PostgreSQL and Valkey are the embedded ones; the rest is the `playhead` command, as in tests/support/system.py.
"""

import asyncio
import re
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import asyncpg
import redis.asyncio as redis

from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from playhead.app.embedded.valkey import AppendSync
from playhead.db import ScriptRepository, Source, open_database, stored_logins
from tests.support.media_files import begin_media
from tests.support.system import Process, RunningSystem

PREPARED = """
set session_replication_role = replica;
update audio_scripts set status = 'ready', progress = 1, updated_at = now() - interval '2 hours'
"""
"""As what people listen to mostly is: prepared long ago, so that nobody follows how far it is, and no `play` or `seek`
looks whether there is something to encode."""
START_TIMEOUT_S = 60.0
POLL_S = 0.01
SOURCE = Source(
    source_key="sources/hour",
    source_bytes=57_600_000,
    source_codec="mp3",
    source_rate=48_000,
    source_samples=172_800_000,
    source_start_s=0.0,
    duration_ms=3_600_000,
    total_samples=172_800_000,
    media_version="0123456789abcdef",
)
"""An hour of sound that nobody fetches: the players here only say where they are in it."""
NO_SETTINGS: Mapping[str, str] = {}
T = TypeVar("T")


class System:
    """Start it with `running`. Two servers on ports of their own, a flusher, PostgreSQL and Valkey."""

    def __init__(self, folder: Path, append_sync: AppendSync, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.append_sync = append_sync
        self._settings = dict(settings)
        self.postgres = EmbeddedPostgres(folder / "pg" / "data")
        self.valkey = EmbeddedValkey(folder / "vk" / "data", append_sync=append_sync)
        self.script_id = ""
        self._system: RunningSystem | None = None
        self.servers: list[Process] = []
        self.flusher: Process | None = None
        # the kernel ends a database with the thread that started it, so one thread starts them all and stays
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="databases")

    async def on_keeper(self, work: Callable[[], T]) -> T:
        """Runs what starts or ends a database, while the loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._keeper, work)

    @property
    def processes(self) -> RunningSystem:
        assert self._system is not None
        return self._system

    @property
    def urls(self) -> tuple[str, ...]:
        return self.processes.base_urls

    @property
    def aof_folder(self) -> Path:
        return self.valkey.data_dir / "appendonlydir"

    async def start(self) -> None:
        """Returns when every server is ready and there is a script to play."""
        await asyncio.gather(self.on_keeper(self.postgres.start), self.on_keeper(self.valkey.start))
        ports = free_ports(5)
        self._system = RunningSystem(
            folder=self.folder,
            database_url=self.postgres.url(),
            redis_url=self.valkey.url,
            ports=ports[:2],
            metrics_ports=ports[2:4],
            settings=self._settings,
        )
        migrating = self._process("migrate", "migrate")
        migrating.start()
        assert migrating.popen is not None
        if await asyncio.to_thread(migrating.popen.wait, START_TIMEOUT_S):
            raise RuntimeError(f"migrate failed:\n{migrating.log()}")
        begin_media(self.folder)
        self.servers = [
            self._process(f"server-{number}", "serve", port, metrics_port)
            for number, (port, metrics_port) in enumerate(zip(ports[:2], ports[2:4], strict=True))
        ]
        self.flusher = self._process("flusher", "flush", 0, ports[4])
        for process in (*self.servers, self.flusher):
            process.start()
        self.script_id = await uploaded(self.postgres.url(), self.folder, self.processes.listener_id)
        await asyncio.gather(*(self.ready(number) for number in range(len(self.servers))))

    def _process(self, name: str, command: str, port: int = 0, metrics_port: int = 0) -> Process:
        environment = self.processes.environment(port, metrics_port)
        return Process(name, (command,), environment, self.folder / f"{name}.log")

    async def ready(self, number: int) -> None:
        """Returns when server `number` answers `/readyz` with 200."""
        await self._answers(f"{self.urls[number]}/readyz", self.servers[number])

    async def _answers(self, url: str, process: Process) -> None:
        timeout = aiohttp.ClientTimeout(total=2.0)
        async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                process.require_alive()
                try:
                    async with http.get(url) as response:
                        if response.status == 200:
                            return
                except (aiohttp.ClientError, OSError, TimeoutError):
                    pass
                await asyncio.sleep(POLL_S)

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection to PostgreSQL that sees everything."""
        connection = await asyncpg.connect(self.postgres.url())
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def store(self) -> AsyncIterator["redis.Redis"]:
        """A bare client of the state store, which opens no epoch."""
        client = redis.Redis.from_url(self.valkey.url)
        try:
            yield client
        finally:
            # not `async with client`, which closes in the background when it is cancelled
            await client.aclose()

    async def sync_valkey(self, append_sync: AppendSync) -> None:
        """Restarts the state store on its data, with another `appendfsync`."""
        await self.on_keeper(self.valkey.stop)
        self.append_sync = append_sync
        self.valkey = EmbeddedValkey(self.valkey.data_dir, append_sync=append_sync)
        await self.on_keeper(self.valkey.start)
        await asyncio.gather(*(self.ready(number) for number in range(len(self.servers))))

    async def stop(self) -> None:
        for process in (*self.servers, *([self.flusher] if self.flusher else [])):
            if process.popen is not None:
                await asyncio.to_thread(process.stop)
        await self.on_keeper(self.valkey.stop)
        await self.on_keeper(self.postgres.stop)
        self._keeper.shutdown()

    def logs(self) -> str:
        """What a failing run should show: the errors of each process with their tracebacks, and the log's end."""
        processes = (*self.servers, *([self.flusher] if self.flusher else []))
        return "\n".join(f"--- {process.name}\n{_errors(process)}\n…\n{process.log()}" for process in processes)


def _errors(process: Process) -> str:
    """The log's entries of level error; an entry begins with its time, and its traceback follows."""
    text = process.log_path.read_text(errors="replace")
    entries = re.split(r"^(?=\d{4}-\d\d-\d\dT)", text, flags=re.MULTILINE)
    return "".join(entry for entry in entries if "[error " in entry)


@asynccontextmanager
async def running(
    folder: Path, append_sync: AppendSync, settings: Mapping[str, str] = NO_SETTINGS
) -> AsyncIterator[System]:
    """The system in a folder of its own (short: sockets lie there), stopped at the end. `settings`: by variable."""
    system = System(folder, append_sync, settings)
    try:
        await system.start()
        yield system
    finally:
        await system.stop()


async def uploaded(database_url: str, folder: Path, listener_id: str) -> str:
    """The id of an hour of sound that every listener may hear. There are neither its source nor its media."""
    logins = stored_logins(database_url, folder)
    listener = {"sub": listener_id, "role": "authenticated"}
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as opened:
        created = await ScriptRepository(opened).create(
            listener, script_id=str(uuid.uuid4()), title="An hour", visibility="listeners", source=SOURCE
        )
    assert created.script is not None
    owner = await asyncpg.connect(database_url)
    try:
        await owner.execute(PREPARED)
    finally:
        await owner.close()
    return created.script.script_id


def free_ports(count: int) -> tuple[int, ...]:
    """TCP ports on 127.0.0.1 that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(probe.getsockname()[1] for probe in probes)
    finally:
        for probe in probes:
            probe.close()

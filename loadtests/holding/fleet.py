"""The system under load: PostgreSQL, Valkey, a flusher, and `playhead serve --processes N` on one port.

Owns: starting and ending them, their settings, which processes they are. Must not know: what the load does.
"""

import asyncio
import os
import secrets
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import asyncpg
import psutil
import redis.asyncio as redis

from loadtests.chaos.system import free_ports, uploaded
from loadtests.holding.usage import family
from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.support.media_files import begin_media
from tests.support.system import Process, RunningSystem

START_TIMEOUT_S = 120.0
POLL_S = 0.05
POOL_SIZE = "4"
"""PostgreSQL connections of a pool: two pools a process, and many processes on one server."""
SERVER, VALKEY, POSTGRES, FLUSHER, SUPERVISOR = "server", "valkey", "postgresql", "flusher", "supervisor"
SETTINGS = {
    "PLAYHEAD_DATABASE_POOL_SIZE_MAX": POOL_SIZE,
    # the defaults of production where the sockets come from all over the world, and not from a few addresses
    "PLAYHEAD_ADDRESS_SOCKETS_MAX": "1000000",
    "PLAYHEAD_ADDRESS_SOCKETS_PER_S": "100000",
    "PLAYHEAD_ADDRESS_SOCKETS_BURST": "100000",
    "PLAYHEAD_LOG_LEVEL": "warning",
    "PLAYHEAD_DRAIN_S": "10",
    "PLAYHEAD_SHUTDOWN_GRACE_S": "15",
}
ROWS_WRITTEN = """
select tup_inserted + tup_updated + tup_deleted from pg_stat_database where datname = current_database()
"""
T = TypeVar("T")


class Fleet:
    """Start it with `running`."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.processes = processes
        self.script_id = ""
        self.jwt_key = secrets.token_urlsafe(32)
        self.port, self._metrics_port, self._flusher_port = free_ports(3)
        self._postgres = EmbeddedPostgres(folder / "pg" / "data")
        self._valkey = EmbeddedValkey(folder / "vk" / "data")
        self._running: list[Process] = []
        # the kernel ends a database with the thread that started it, so one thread starts them all and stays
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="databases")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def supervisor(self) -> Process:
        return self._running[0]

    async def start(self) -> None:
        """Returns when all server processes are ready and there is a script to play."""
        await asyncio.gather(self._on_keeper(self._postgres.start), self._on_keeper(self._valkey.start))
        system = RunningSystem(
            folder=self.folder,
            database_url=self._postgres.url(),
            redis_url=self._valkey.url,
            ports=(self.port,),
            metrics_ports=(self._metrics_port,),
            jwt_key=self.jwt_key,
            settings={**SETTINGS, **_given()},
        )
        migrating = self._process(system, "migrate", ("migrate",), 0, 0)
        migrating.start()
        assert migrating.popen is not None
        if await asyncio.to_thread(migrating.popen.wait, START_TIMEOUT_S):
            raise RuntimeError(f"migrate failed:\n{migrating.log()}")
        await self._upload()
        serve = ("serve", "--processes", str(self.processes))
        self._running = [
            self._process(system, "servers", serve, self.port, self._metrics_port),
            self._process(system, "flusher", ("flush",), 0, self._flusher_port),
        ]
        for process in self._running:
            process.start()
        await self.ready()

    def _process(
        self, system: RunningSystem, name: str, command: tuple[str, ...], port: int, metrics_port: int
    ) -> Process:
        return Process(name, command, system.environment(port, metrics_port), self.folder / f"{name}.log")

    async def _upload(self) -> None:
        begin_media(self.folder)
        self.script_id = await uploaded(self._postgres.url(), self.folder, str(uuid.uuid4()))

    async def ready(self) -> None:
        """Returns when there are as many server processes as there should be, and one of them says that it is ready."""
        async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession() as http:
            while len(self.servers()) < self.processes or not await self._is_ready(http):
                self.supervisor.require_alive()
                await asyncio.sleep(POLL_S)

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(total=2.0)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def servers(self) -> list[psutil.Process]:
        """The server processes; their supervisor is none."""
        return family(self.supervisor.pid)[1:]

    def kill_servers(self) -> list[int]:
        """All at once, as a crash; answers who it was."""
        pids = [process.pid for process in self.servers()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    def restart_servers(self) -> list[int]:
        """One after the other, as an operator would; answers who is there before."""
        pids = [process.pid for process in self.servers()]
        os.kill(self.supervisor.pid, signal.SIGHUP)
        return pids

    async def replaced(self, old: list[int], timeout_s: float) -> bool:
        """Returns when none of the old processes is left and as many new ones are there; False: not in time."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while loop.time() < until_s:
            now = {process.pid for process in self.servers()}
            if not now & set(old) and len(now) >= self.processes:
                return True
            await asyncio.sleep(POLL_S)
        return False

    def groups(self) -> dict[str, list[psutil.Process]]:
        """All processes of the system, by what they do."""
        return {
            SERVER: self.servers(),
            SUPERVISOR: family(self.supervisor.pid)[:1],
            FLUSHER: family(self._running[1].pid),
            VALKEY: [process for process in psutil.process_iter() if self._is_valkey(process)],
            POSTGRES: family(self._postgres.pid),
        }

    def _is_valkey(self, process: psutil.Process) -> bool:
        try:
            return process.ppid() == os.getpid() and "valkey" in process.name()
        except psutil.Error:
            return False

    async def valkey_bytes(self) -> int:
        """What the state store says that it uses."""
        client = redis.Redis.from_url(self._valkey.url)
        try:
            return int((await client.info("memory"))["used_memory"])
        finally:
            await client.aclose()

    async def rows_written(self) -> int:
        """Rows that PostgreSQL has inserted, changed and deleted so far, as it tells; a second late at most."""
        owner = await asyncpg.connect(self._postgres.url())
        try:
            return int(await owner.fetchval(ROWS_WRITTEN))
        finally:
            await owner.close()

    async def stop(self) -> None:
        for process in self._running:
            if process.popen is not None and process.popen.poll() is None:
                process.popen.kill()  # nothing of it is kept
                await asyncio.to_thread(process.popen.wait)
        await self._on_keeper(self._valkey.stop)
        await self._on_keeper(self._postgres.stop)
        self._keeper.shutdown()

    async def _on_keeper(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._keeper, work)

    def logs(self) -> str:
        return "\n".join(f"--- {process.name}\n{process.log()}" for process in self._running)


def _given() -> dict[str, str]:
    """Settings of whoever runs the benchmark go before ours."""
    return {name: value for name, value in os.environ.items() if name in SETTINGS}


@asynccontextmanager
async def running(folder: Path, processes: int) -> AsyncIterator[Fleet]:
    """The system in a folder of its own (short: sockets lie there), ended at the end."""
    fleet = Fleet(folder, processes)
    try:
        await fleet.start()
        yield fleet
    except BaseException:
        print(fleet.logs())
        raise
    finally:
        await fleet.stop()

"""The system that is measured: PostgreSQL, Valkey, one `playhead serve`, a flusher; a worker while it is wanted.

Owns: starting and ending them, uploads, and scripts that nobody has encoded. A source is uploaded once over REST, as a
user does; scripts of it are rows like that one's, each with media of its own, which are not there.
"""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TypeVar

import aiohttp

from loadtests.chaos.system import free_ports
from loadtests.media.sources import SourceFile
from loadtests.media.watching import encoding_s
from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from playhead.auth.tokens import UPLOAD_SCOPE
from playhead.db import Script, ScriptRepository, Source, open_database, stored_logins
from tests.support.system import Process, RunningSystem

API = "/api/v1/audio"
START_TIMEOUT_S = 60.0
UPLOAD_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 10.0
STILL_S = 0.3
"""An encoder that uses no CPU for so long has no turn."""
SETTINGS = {"PLAYHEAD_LOG_LEVEL": "warning", "PLAYHEAD_CONNECTION_EVENTS_PER_S": "1000"}
T = TypeVar("T")


class Place:
    """Start it with `running`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._postgres = EmbeddedPostgres(folder / "pg" / "data")
        self._valkey = EmbeddedValkey(folder / "vk" / "data")
        self._system: RunningSystem | None = None
        self._scripts: ScriptRepository | None = None
        self._held = AsyncExitStack()
        self.encoding: list[int] = []
        """Processes that run encoders, the server first."""
        self._uploaded: dict[str, Source] = {}
        # the kernel ends a database with the thread that started it, so one thread starts them all and stays
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="databases")

    @property
    def system(self) -> RunningSystem:
        assert self._system is not None
        return self._system

    @property
    def scripts(self) -> ScriptRepository:
        assert self._scripts is not None
        return self._scripts

    @property
    def url(self) -> str:
        return self.system.base_url

    @property
    def server(self) -> Process:
        return self.system.servers[0]

    async def start(self) -> None:
        """Returns when the server is ready."""
        await asyncio.gather(self._on_keeper(self._postgres.start), self._on_keeper(self._valkey.start))
        port, metrics_port = free_ports(2)
        self._system = RunningSystem(
            folder=self.folder,
            database_url=self._postgres.url(),
            redis_url=self._valkey.url,
            ports=(port,),
            metrics_ports=(metrics_port,),
            helper_commands=("flush",),
            settings=SETTINGS,
        )
        await self._on_keeper(self._system.start)
        self.encoding.append(self.server.pid)
        logins = stored_logins(self._postgres.url(), self.folder)
        database = await self._held.enter_async_context(
            open_database(logins.app_url, logins.service_url, connections_max=2)
        )
        self._scripts = ScriptRepository(database)

    async def stop(self) -> None:
        """Ends everything. ffmpeg ends with whoever runs it."""
        await self._held.aclose()
        # on the thread that starts them, so that nothing is still being started afterwards
        await self._on_keeper(self._end_all)
        await self._on_keeper(self._valkey.stop)
        await self._on_keeper(self._postgres.stop)
        self._keeper.shutdown()

    def _end_all(self) -> None:
        if self._system is not None:
            for process in (*self._system.servers, *self._system.helpers):
                end(process)

    async def _on_keeper(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._keeper, work)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Process]:
        """A worker for the block."""
        process = Process("worker", ("worker",), self.system.environment(), self.folder / "worker.log")
        process.start()
        self.encoding.append(process.pid)
        try:
            yield process
        finally:
            self.encoding.remove(process.pid)
            await asyncio.to_thread(end, process)

    async def upload(self, file: SourceFile) -> Script:
        """A script of this file, over REST; a worker that runs takes it."""
        token = self.system.token(str(uuid.uuid4()), scopes=(UPLOAD_SCOPE,))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": file.content_type}
        timeout = aiohttp.ClientTimeout(total=UPLOAD_TIMEOUT_S)
        url = f"{self.url}{API}/scripts?title=Bench"
        with file.path.open("rb") as body:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(url, data=body, headers=headers) as answer,
            ):
                if answer.status >= 400:
                    raise RuntimeError(f"{file.path.name} was refused: {await answer.text()}")
                script = await self.scripts.stored((await answer.json())["script_id"])
        assert script is not None
        return script

    async def know(self, kind: str, file: SourceFile) -> None:
        """Uploads a source of which `fresh` then makes scripts."""
        script = await self.upload(file)
        measures = [field.name for field in fields(Source) if field.default is MISSING]
        self._uploaded[kind] = Source(**{name: getattr(script, name) for name in measures})

    async def fresh(self, kind: str, own_of: str | None = None) -> Script:
        """A script of that source, which nobody has encoded, and no worker has heard of.

        For everybody, or for the listener `own_of` alone.
        """
        created = await self.scripts.create(
            {"sub": own_of or str(uuid.uuid4())},
            script_id=str(uuid.uuid4()),
            title=kind,
            visibility="private" if own_of else "listeners",
            source=self._uploaded[kind],
        )
        assert created.script is not None
        return created.script

    def listener_token(self) -> str:
        """Of a listener whom nobody knows yet."""
        return self.system.token(str(uuid.uuid4()))

    async def idle(self) -> None:
        """Returns when the server's encoders have ended or stand still, or after IDLE_TIMEOUT_S."""
        until_s, before = time.monotonic() + IDLE_TIMEOUT_S, -1.0
        while time.monotonic() < until_s and (used_s := encoding_s(self.server.pid)) != before:
            before = used_s
            await asyncio.sleep(STILL_S)

    def logs(self) -> str:
        return self._system.logs() if self._system else ""


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Place]:
    """The system in a folder of its own (short: sockets lie there), ended at the end."""
    place = Place(folder)
    try:
        await place.start()
        yield place
    except Exception:
        print(place.logs(), file=sys.stderr)
        raise
    finally:
        await place.stop()


def end(process: Process) -> None:
    """Kills it: nothing of it is kept."""
    if process.popen is not None and process.popen.poll() is None:
        process.popen.kill()
        process.popen.wait(STOP_TIMEOUT_S)

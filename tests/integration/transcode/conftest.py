"""Real ffmpeg (the wheel's), sources made once per run, storage in a folder of the test, and a migrated database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from playhead.db import Database, Script, ScriptRepository, ensure_logins, migrate, open_database, stored_logins
from playhead.db.logins import Logins
from playhead.runtime.metrics import Metrics, create_metrics
from playhead.storage import LocalStorage
from playhead.transcode import Encoder, Programs, find_programs
from tests.integration.transcode.demanding import DURATION_S, SOURCE, stored_script
from tests.integration.transcode.work import Bench
from tests.support.audio import FFMPEG, FFPROBE, Kind, make
from tests.support.encoders import encoders_weigh_as_much_as_others
from tests.support.postgres import Databases

__all__ = ["encoders_weigh_as_much_as_others"]

SourceMaker = Callable[[Kind, float], Path]


@pytest.fixture(scope="session")
def programs() -> Programs:
    return find_programs({"FFMPEG": FFMPEG, "FFPROBE": FFPROBE, "PATH": "/usr/bin:/bin"})


@pytest.fixture
def encoder(programs: Programs) -> Encoder:
    return Encoder(programs)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceMaker:
    """`source(kind, duration_s)`: such a file, made when first asked for."""
    made: dict[tuple[Kind, float], Path] = {}

    def get(kind: Kind, duration_s: float) -> Path:
        if (kind, duration_s) not in made:
            made[kind, duration_s] = make(tmp_path_factory.mktemp("source"), kind, duration_s)
        return made[kind, duration_s]

    return get


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "media")


@pytest.fixture
def metrics() -> Metrics:
    return create_metrics(CollectorRegistry())


@pytest.fixture
async def script(storage: LocalStorage, source: SourceMaker) -> Script:
    """One that lies in the storage, of which nothing is encoded."""
    return await stored_script(storage, source(SOURCE, DURATION_S).read_bytes())


@pytest.fixture(scope="module")
def logins(databases: Databases, run_folder: Path) -> Iterator[Logins]:
    """The logins of a migrated database, which the module has for itself."""

    async def prepare(url: str) -> None:
        await migrate(url)
        await ensure_logins(url, run_folder / "logins")

    url = databases.create()
    asyncio.run(prepare(url))
    yield stored_logins(url, run_folder / "logins")
    databases.drop(url)


@pytest.fixture
async def database(logins: Logins) -> AsyncIterator[Database]:
    """Pools with the real logins on a database without scripts and jobs."""
    async with open_database(logins.app_url, logins.service_url, connections_max=4) as opened:
        async with opened.as_service() as connection:
            await connection.execute("delete from playhead_queue.pgqueuer")
            await connection.execute(
                "update audio_scripts set status = 'failed', error = 'left over from another test' "
                "where status in ('queued', 'processing')"
            )
        yield opened


@pytest.fixture
def scripts(database: Database) -> ScriptRepository:
    return ScriptRepository(database)


@pytest.fixture
def bench(database: Database, storage: LocalStorage, programs: Programs) -> Bench:
    return Bench(database, storage, programs)

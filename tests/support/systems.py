"""Systems of a test's own, for tests that hurt them: with servers of their own, and without what they do not need."""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from playhead.db import ScriptRepository, Source, open_database, stored_logins
from tests.support.postgres import Databases
from tests.support.system import RunningSystem

StartSystem = Callable[..., RunningSystem]

SOURCE = Source(
    source_key="sources/one",
    source_bytes=14_400_000,
    source_codec="mp3",
    source_rate=44_100,
    source_samples=158_760_000,
    source_start_s=0.025,
    duration_ms=3_600_000,
    total_samples=172_800_000,
    media_version="0123456789abcdef",
)


@pytest.fixture
def make_system(databases: Databases, run_folder: Path, free_ports: Callable[[], int]) -> Iterator[StartSystem]:
    """`make_system(redis_url=…, servers=2, …)`: a system that does not run yet; stopped after the test.

    Without `database_url` it has an empty database of the run's PostgreSQL.
    """
    with ExitStack() as held:

        def make(redis_url: str | None, servers: int = 1, **options: Any) -> RunningSystem:
            if "database_url" not in options:
                options["database_url"] = databases.create()
                held.callback(databases.drop, options["database_url"])
            system = RunningSystem(
                folder=Path(tempfile.mkdtemp(prefix="system-", dir=run_folder)),
                redis_url=redis_url,
                ports=tuple(free_ports() for _ in range(servers)),
                metrics_ports=tuple(free_ports() for _ in range(servers)),
                **options,
            )
            held.callback(system.stop)
            return system

        yield make


async def add_script(system: RunningSystem) -> str:
    """The id of an hour's script that everybody may hear; nobody has encoded it."""
    logins = stored_logins(system.database_url, system.folder)
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as database:
        script_id, owner = str(uuid.uuid4()), {"sub": str(uuid.uuid4())}
        await ScriptRepository(database).create(
            owner, script_id=script_id, title="Script", visibility="listeners", source=SOURCE
        )
    return script_id

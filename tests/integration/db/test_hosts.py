"""An address with several hosts leads to the one that answers and takes writes, in whichever order they stand."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from playhead.app.embedded import EmbeddedPostgres
from playhead.db.errors import DatabaseUnavailable
from playhead.db.logins import ensure_logins, stored_logins
from playhead.db.migrate import migrate
from playhead.db.pool import open_database

STANDBY = {"wal_level": "replica"}


def folder(server: EmbeddedPostgres) -> str:
    return parse_qs(urlsplit(server.url()).query)["host"][0]


def address(*folders: str | Path, user: str = "postgres") -> str:
    hosts, ports = (",".join(parts) for parts in (map(str, folders), ["5432"] * len(folders)))
    return f"postgresql://{user}@/postgres?host={hosts}&port={ports}"


class Silent:
    """Takes connections and says nothing, as long as somebody waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken = 0
        self.open = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self.folder.mkdir()
        async with await asyncio.start_unix_server(self._take, self.folder / ".s.PGSQL.5432"):
            yield

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self.open += 1
        while await reader.read(1_024):
            pass
        self.open -= 1
        writer.close()


@pytest.mark.parametrize("silent_first", [True, False])
async def test_a_machine_that_says_nothing_is_passed_over(
    start_postgres: Callable[..., EmbeddedPostgres], run_folder: Path, tmp_path: Path, silent_first: bool
) -> None:
    silent, server = Silent(run_folder / f"silent-{silent_first}"), start_postgres()
    folders = [str(silent.folder), folder(server)][:: 1 if silent_first else -1]
    async with silent.serving():
        await migrate(address(*folders))
        logins = await ensure_logins(address(*folders), tmp_path)
        async with open_database(logins.app_url, logins.service_url) as database:
            await database.check()
        assert silent.taken or not silent_first
        assert "connect-to-host" not in {task.get_name() for task in asyncio.all_tasks()}
        async with asyncio.timeout(10):
            while silent.open:
                await asyncio.sleep(0)


@pytest.mark.parametrize("standby_first", [True, False])
async def test_a_standby_is_passed_over(
    start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path, standby_first: bool
) -> None:
    primary = start_postgres(settings=STANDBY)
    await migrate(primary.url())
    await ensure_logins(primary.url(), tmp_path)
    primary.stop()
    copy = primary.data_dir.parent / "copy"
    shutil.copytree(primary.data_dir, copy)
    (copy / "standby.signal").touch()
    primary.start()
    with EmbeddedPostgres(copy, settings=STANDBY) as standby:
        folders = [folder(standby), folder(primary)][:: 1 if standby_first else -1]
        logins = stored_logins(address(*folders), tmp_path)
        async with open_database(logins.app_url, logins.service_url) as database:
            await database.check()
            primary.stop()
            with pytest.raises(DatabaseUnavailable):
                await database.check()  # what was open is cut
            with pytest.raises(DatabaseUnavailable, match="name all servers in it and promote one"):
                await database.check()
            primary.start()
            await database.check()


async def test_of_several_errors_the_one_is_told_that_says_most(
    start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    nobody = address(tmp_path, folder(start_postgres()), tmp_path, user="nobody")
    async with open_database(nobody, nobody) as database:
        with pytest.raises(DatabaseUnavailable, match='role "nobody" does not exist'):
            await database.check()
    async with open_database(address(tmp_path, tmp_path), address(tmp_path, tmp_path)) as database:
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            await database.check()

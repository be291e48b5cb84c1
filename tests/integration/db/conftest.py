"""A migrated database per test module, copied from a template that is migrated once, and pools with the real logins."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from playhead.db.bookmarks import BookmarkRepository
from playhead.db.journal import JournalRepository
from playhead.db.logins import Logins, ensure_logins, stored_logins
from playhead.db.migrate import migrate
from playhead.db.pool import Database, open_database
from playhead.db.scripts import ScriptRepository
from playhead.db.sessions import SessionRepository
from tests.integration.db.rows import Store, stored
from tests.support.postgres import Databases


@pytest.fixture(scope="session")
def logins_folder(run_folder: Path) -> Path:
    """The data folder of the logins, which belong to the run's server."""
    return run_folder / "logins"


@pytest.fixture(scope="session")
def migrated_template(databases: Databases, logins_folder: Path) -> str:
    """The name of a migrated database that nobody is connected to."""

    async def prepare(url: str) -> None:
        await migrate(url)
        await ensure_logins(url, logins_folder)

    url = databases.create()
    asyncio.run(prepare(url))
    return databases.name(url)


@pytest.fixture(scope="module")
def owner_url(databases: Databases, migrated_template: str) -> Iterator[str]:
    """The owner's DSN of this module's migrated database."""
    url = databases.create(migrated_template)
    yield url
    databases.drop(url)


@pytest.fixture(scope="module")
def logins(owner_url: str, logins_folder: Path) -> Logins:
    return stored_logins(owner_url, logins_folder)


@pytest.fixture
async def database(logins: Logins) -> AsyncIterator[Database]:
    async with open_database(logins.app_url, logins.service_url, connections_max=4) as opened:
        yield opened


@pytest.fixture
async def owner(owner_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The owner's connection: a superuser, whom no policy binds."""
    connection = await asyncpg.connect(owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def app(logins: Logins) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A bare connection with the login of the app, for SQL that nobody should send."""
    connection = await asyncpg.connect(logins.app_url)
    yield connection
    await connection.close()


@pytest.fixture
def scripts(database: Database) -> ScriptRepository:
    return ScriptRepository(database)


@pytest.fixture
def sessions(database: Database) -> SessionRepository:
    return SessionRepository(database)


@pytest.fixture
def journal(database: Database) -> JournalRepository:
    return JournalRepository(database)


@pytest.fixture
def store(database: Database) -> Store:
    return partial(stored, database)


@pytest.fixture
def bookmarks(database: Database) -> BookmarkRepository:
    return BookmarkRepository(database)

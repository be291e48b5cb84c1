"""Brings a database up to date: the plain SQL files of `migrations/`, each applied once, in order of their versions.

    one runner at a time (advisory lock) → compare what was applied with the files → apply the rest → further steps

File names are the Supabase CLI's: `20261123000100_name.sql`. Each file is one transaction, recorded in the same one. A
file whose first line is `-- no-transaction` (for `create index concurrently`) holds one statement that may be repeated.
Needs a direct connection: a pooler in transaction mode does not keep the lock.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg

from playhead.db.errors import translated, unavailable
from playhead.db.hosts import connect
from playhead.db.limits import OWNER_CONNECT_TIMEOUT_S
from playhead.db.restored import lost_in_restoring

MIGRATIONS = Path(__file__).parent / "migrations"
NO_TRANSACTION = "-- no-transaction"
LOCK_KEY = 0x706C6179_68656164
"""`playhead` in ASCII; taken by everything that changes the schema or the logins."""
LOCK_POLL_S = 0.2
LOCK_WAIT_S = 120.0

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Step = Callable[[Connection], Awaitable[None]]

_FILE_NAME = re.compile(r"(\d{14})_[a-z0-9_]+\.sql")

BOOKKEEPING = """
create schema if not exists playhead;
create table if not exists playhead.migrations (
    version text primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
)
"""


class MigrationError(Exception):
    """The database was not brought up to date; what was applied before stays. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file. `checksum` is the SHA-256 of its text, line endings aside."""

    version: str
    name: str
    sql: str
    checksum: str

    @property
    def in_transaction(self) -> bool:
        return not self.sql.startswith(NO_TRANSACTION)


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """The files of `folder`, oldest version first. Raises MigrationError for a name of another form or given twice."""
    migrations: dict[str, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        named = _FILE_NAME.fullmatch(path.name)
        if named is None:
            raise MigrationError(f"Rename {path.name}: a migration is called YYYYMMDDhhmmss_name.sql.")
        if named[1] in migrations:
            raise MigrationError(f"{path.name} and {migrations[named[1]].name} have the same version: rename one.")
        sql = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        checksum = hashlib.sha256(sql.encode()).hexdigest()
        migrations[named[1]] = Migration(version=named[1], name=path.name, sql=sql, checksum=checksum)
    return list(migrations.values())


def pending(migrations: Sequence[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """Those not in `applied` (version to checksum). Raises MigrationError where files and database contradict."""
    unknown = sorted(applied.keys() - {migration.version for migration in migrations})
    if unknown:
        raise MigrationError(
            f"The database has migrations that this playhead does not know ({', '.join(unknown)}): a newer one has "
            "migrated it. Install that one."
        )
    for migration in migrations:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"{migration.name} has been edited after it was applied. Restore the file, and put the change into a "
                "new migration."
            )
    return [migration for migration in migrations if migration.version not in applied]


async def show_versions(connection: Connection) -> None:
    """Lets the service read which migrations were applied: it is ready only when they are the ones it was built for."""
    await connection.execute(
        "grant usage on schema playhead to service_role; grant select on playhead.migrations to service_role"
    )


async def install_jobs(connection: Connection) -> None:
    """The queue's tables."""
    # pgqueuer takes long to load, and servers need of this module what the migrations are called alone
    from playhead.db.job_queue import install_queue

    await install_queue(connection)


STEPS: Sequence[Step] = (show_versions, install_jobs)
"""What follows the files, at every run."""


async def migrate(
    owner_url: str, *, after: Sequence[Step] = STEPS, folder: Path = MIGRATIONS, lock_wait_s: float = LOCK_WAIT_S
) -> list[str]:
    """Applies what is missing, then runs `after` (each step must be harmless when repeated). Answers the files applied.

    Any number of processes may call it at once: one applies, the others wait and find nothing to do.
    Raises MigrationError, or DatabaseUnavailable.
    """
    async with owner_connection(owner_url) as connection, exclusive(connection, lock_wait_s):
        with translated():
            await connection.execute(BOOKKEEPING)
            rows = await connection.fetch("select version, checksum from playhead.migrations")
        migrations = read_migrations(folder)
        missing = pending(migrations, {row["version"]: row["checksum"] for row in rows})
        await _refuse_half_restored(connection, [migration for migration in migrations if migration not in missing])
        for migration in missing:
            await _apply(connection, migration)
        for step in after:
            with translated():
                await step(connection)
    return [migration.name for migration in missing]


@asynccontextmanager
async def owner_connection(owner_url: str) -> AsyncIterator[Connection]:
    """A connection of its own with the owner's login; statements may take as long as they need."""
    with translated():
        connection = await connect(owner_url, timeout=OWNER_CONNECT_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def exclusive(connection: Connection, wait_s: float = LOCK_WAIT_S) -> AsyncIterator[None]:
    """Holds the lock that keeps changes of the schema and the logins apart. Raises MigrationError after `wait_s`."""
    deadline = asyncio.get_running_loop().time() + wait_s
    with translated():
        # Polled: waiting inside pg_advisory_lock() holds a snapshot that `create index concurrently` waits for.
        while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK_KEY):
            if asyncio.get_running_loop().time() >= deadline:
                raise MigrationError(f"Another process has been migrating this database for {wait_s:g} s. Try again.")
            await asyncio.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.fetchval("select pg_advisory_unlock($1)", LOCK_KEY)


async def _refuse_half_restored(connection: Connection, applied: Sequence[Migration]) -> None:
    with translated():
        lost = await lost_in_restoring(connection, (migration.sql for migration in applied))
    if lost is not None:
        raise MigrationError(
            f"The database was restored without {lost}, so that nobody could read it. Make the roles, empty the "
            'database and restore it again: docs/operations.md, "Restoring".'
        )


async def _apply(connection: Connection, migration: Migration) -> None:
    with translated():
        try:
            if migration.in_transaction:
                async with connection.transaction():
                    await _run(connection, migration)
            else:
                await _run(connection, migration)
        except asyncpg.PostgresError as error:
            if unavailable(error):
                raise
            kept = "Nothing of it was kept." if migration.in_transaction else "Look what it left behind."
            raise MigrationError(f"{migration.name} failed: {error}. {kept}") from error


async def _run(connection: Connection, migration: Migration) -> None:
    """The whole file goes out as one message, so nothing here needs to know where a statement ends."""
    await connection.execute(migration.sql)
    await connection.execute(
        "insert into playhead.migrations (version, name, checksum) values ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )

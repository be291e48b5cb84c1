"""Who may make temporary tables. A database's rights are not copied with it, so each test migrates its own."""

from pathlib import Path

import asyncpg
import pytest

from playhead.db.logins import ensure_logins
from playhead.db.migrate import MIGRATIONS, migrate
from playhead.db.pool import open_database

TEMPORARY = "create temporary table mine (id int)"
REVOKES = MIGRATIONS / "20261123000500_no_temporary_tables.sql"


async def test_neither_login_makes_temporary_tables(postgres_url: str, logins_folder: Path) -> None:
    await migrate(postgres_url)
    logins = await ensure_logins(postgres_url, logins_folder)
    for url in (logins.app_url, logins.service_url):
        connection = await asyncpg.connect(url)
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="temporary"):
                await connection.execute(TEMPORARY)
        finally:
            await connection.close()
    async with open_database(logins.app_url, logins.service_url) as database:
        await database.check()


async def test_the_database_may_have_any_name(owner: asyncpg.Connection, owner_url: str) -> None:
    name = 'it\'s "quoted" %I'
    quoted = '"' + name.replace('"', '""') + '"'
    await owner.execute(f"create database {quoted}")
    try:
        connection = await asyncpg.connect(owner_url, database=name)
        try:
            await connection.execute(REVOKES.read_text())
            assert not await connection.fetchval(
                "select has_database_privilege('playhead_app', current_database(), 'temporary')"
            )
        finally:
            await connection.close()
    finally:
        await owner.execute(f"drop database {quoted} with (force)")


async def test_a_login_that_may_not_revoke_it_is_told_and_not_stopped(
    postgres_url: str, owner: asyncpg.Connection
) -> None:
    told: list[str] = []
    await owner.execute("create role stranger_to_the_database login")
    try:
        connection = await asyncpg.connect(postgres_url, user="stranger_to_the_database")
        try:
            connection.add_log_listener(lambda _, message: told.append(f"{message.severity}: {message.message}"))
            await connection.execute(REVOKES.read_text())
            # what the server says is handed over in a turn of the loop of its own, before this answer
            assert await connection.fetchval("select has_database_privilege(current_database(), 'temporary')")
        finally:
            await connection.close()
    finally:
        await owner.execute("drop role stranger_to_the_database")
    assert told == ["NOTICE: temporary tables stay allowed: stranger_to_the_database does not own the database"]

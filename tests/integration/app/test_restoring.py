"""A backup on a new server, as docs/operations.md says it ("Restoring"), and what is told when it went wrong."""

import asyncio
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.app.cli import run
from playhead.app.embedded import EmbeddedPostgres
from playhead.db import ScriptRepository, ensure_logins, migrate, open_database, stored_logins
from tests.integration.db.rows import uploaded
from tests.support.restoring import NAMES, dump, make_roles, program

TABLES = ("audio_bookmarks", "audio_scripts", "audio_sessions")


@pytest.fixture(scope="module")
def backup(run_folder: Path) -> Path:
    """Of a database with a script. Roles and logins are of a whole server, so it has one of its own."""
    folder = Path(tempfile.mkdtemp(prefix="backup-", dir=run_folder))

    async def fill(url: str) -> None:
        await migrate(url)
        logins = await ensure_logins(url, folder)
        async with open_database(logins.app_url, logins.service_url) as database:
            await uploaded(ScriptRepository(database))

    with EmbeddedPostgres(folder / "data") as server:
        asyncio.run(fill(server.url()))
        dump(server.url(), folder / "playhead.dump")
    return folder / "playhead.dump"


@pytest.fixture
def server(
    start_postgres: Callable[..., EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> EmbeddedPostgres:
    """A new one, on which nobody has run playhead, and a new data folder."""
    server = start_postgres()
    monkeypatch.setenv("PLAYHEAD_DATABASE_URL", server.url())
    monkeypatch.setenv("PLAYHEAD_DATA_DIR", str(tmp_path))
    return server


def titles(url: str, folder: Path) -> list[str]:
    """What a listener finds."""

    async def found() -> list[str]:
        logins = stored_logins(url, folder)
        async with open_database(logins.app_url, logins.service_url) as database:
            await database.check()
            claims = {"sub": str(uuid.uuid4()), "role": "authenticated"}
            return [row.title for row in (await ScriptRepository(database).list_visible(claims)).items]

    return asyncio.run(found())


def test_with_the_roles_made_before_it_is_as_it_was(
    server: EmbeddedPostgres, backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_roles(server.url())
    restored = program("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={server.url()}", str(backup))
    assert restored.returncode == 0, restored.stderr
    assert run(["migrate"]) == 0
    assert "Applied 0 migrations" in capsys.readouterr().out
    assert len(titles(server.url(), tmp_path)) == 1


@pytest.mark.parametrize("roles_after", [False, True])
def test_without_them_migrate_says_what_is_missing_and_what_to_do(
    server: EmbeddedPostgres, backup: Path, capsys: pytest.CaptureFixture[str], roles_after: bool
) -> None:
    restored = program("pg_restore", "--no-owner", f"--dbname={server.url()}", str(backup))
    assert 'role "authenticated" does not exist' in restored.stderr
    if roles_after:
        make_roles(server.url())
    assert run(["migrate"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("playhead: The database was restored without ")
    assert all(name in said for name in (TABLES if roles_after else NAMES))
    assert "restore it again" in said and "docs/operations.md" in said


def test_neither_is_one_without_its_grants_as_it_was(
    server: EmbeddedPostgres, backup: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_roles(server.url())
    given = ("--no-owner", "--no-privileges", f"--dbname={server.url()}", str(backup))
    assert program("pg_restore", *given).returncode == 0
    assert run(["migrate"]) == 1
    assert "audio_scripts" in capsys.readouterr().err

"""`playhead ingest FILE` beside `playhead run`: it finds the database that is up on the same data folder."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from playhead.app.cli import run
from playhead.app.embedded import EmbeddedPostgres
from playhead.db import ensure_logins, migrate
from tests.support.audio import Kind, make
from tests.support.tags import id3, text

AT_ONCE = 3
SOUND = Kind("sound.mp3", "-c:a libmp3lame -b:a 64k")


@pytest.fixture
def data_dir(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the settings name; no database is set."""
    for name in os.environ:
        if name.startswith("PLAYHEAD_") or name in ("DATABASE_URL", "REDIS_URL"):
            monkeypatch.delenv(name)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=run_folder))
    monkeypatch.setenv("PLAYHEAD_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def running(data_dir: Path) -> Iterator[str]:
    """The owner's DSN of a database as `playhead run` leaves it in the folder, up until the test ends."""

    async def prepare(owner_url: str) -> None:
        await migrate(owner_url)
        await ensure_logins(owner_url, data_dir, reset=True)

    with EmbeddedPostgres(data_dir / "postgres", settings={"fsync": "off"}) as server:
        asyncio.run(prepare(server.url()))
        yield server.url()


async def title_of(owner_url: str, script_id: str) -> str:
    connection = await asyncpg.connect(owner_url)
    try:
        return str(await connection.fetchval("select title from audio_scripts where id = $1", script_id))
    finally:
        await connection.close()


def test_a_file_is_taken_in_by_what_is_running(
    running: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make(tmp_path, SOUND, 2.0)
    assert run(["ingest", str(file), "--title", "A lesson"]) == 0
    script_id = capsys.readouterr().out.strip()
    assert asyncio.run(title_of(running, script_id)) == "A lesson"
    assert any((data_dir / "media").rglob("*"))


def test_without_a_title_that_of_the_file_is_taken_and_else_its_name(
    running: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, tagged = make(tmp_path, SOUND, 2.0), tmp_path / "tagged.mp3"
    tagged.write_bytes(id3(text("TIT2", b"What it is called")) + plain.read_bytes())
    for file, title in ((plain, "sound"), (tagged, "What it is called")):
        assert run(["ingest", str(file)]) == 0
        assert asyncio.run(title_of(running, capsys.readouterr().out.strip())) == title


def test_the_same_file_at_the_same_moment_is_one_script(
    running: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make(tmp_path, SOUND, 2.0)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert list(threads.map(lambda _: run(["ingest", str(file)]), range(AT_ONCE))) == [0] * AT_ONCE
    script_ids = capsys.readouterr().out.split()
    assert len(script_ids) == AT_ONCE and len(set(script_ids)) == 1
    sources = data_dir / "media" / "sources"
    assert len([path for path in sources.rglob("*") if path.is_file()]) == 1


def test_a_database_that_is_set_goes_before_the_one_that_runs(
    running: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAYHEAD_DATABASE_URL", f"postgresql://owner@127.0.0.1:{free_port}/playhead")
    assert run(["ingest", str(make(tmp_path, SOUND, 2.0))]) == 1
    assert "PostgreSQL" in capsys.readouterr().err


def test_when_it_has_stopped_the_variables_to_set_are_named(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedPostgres(data_dir / "postgres"):
        pass
    assert run(["ingest", str(make(tmp_path, SOUND, 2.0))]) == 1
    assert "PLAYHEAD_DATABASE_URL" in capsys.readouterr().err

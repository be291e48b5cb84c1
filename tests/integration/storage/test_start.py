"""What a process says at its start of a bucket that it cannot use, or of a folder that is not that of its scripts."""

from pathlib import Path
from typing import cast

import pytest

from playhead.app.machine import check_storage, media_storage
from playhead.db import DatabaseUnavailable, ScriptRepository
from playhead.runtime.settings import Settings, SettingsError, load
from playhead.storage import LocalStorage, S3Storage, StorageFailed
from playhead.storage.local import MARKER
from tests.support.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed


@pytest.fixture
def settings(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of a process whose media are in the run's bucket."""
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "STORAGE_URL": f"s3://{BUCKET}/start",
        "S3_ENDPOINT": seaweed.endpoint,
        "S3_ACCESS_KEY": ACCESS_KEY,
        "S3_SECRET_KEY": SECRET_KEY,
    }.items():
        monkeypatch.setenv(f"PLAYHEAD_{name}", value)
    return monkeypatch


class Rows:
    """The scripts, as PostgreSQL answers for them."""

    def __init__(self, any_source: bool = False) -> None:
        self.found: bool | Exception = any_source

    async def any_source(self) -> bool:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


async def started(settings: Settings, rows: Rows | None = None) -> LocalStorage | S3Storage:
    storage = media_storage(settings)
    await check_storage(storage, cast(ScriptRepository, rows or Rows()))
    return storage


async def test_with_the_right_settings_the_bucket_is_used(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage = await started(load())
    assert isinstance(storage, S3Storage)
    await storage.put("a", b"sound")
    async with storage.local_file("a") as path:
        assert path.is_relative_to(tmp_path / "sources")


async def test_without_a_bucket_the_media_folder_is_used(tmp_path: Path) -> None:
    assert isinstance(await started(load(data_dir=tmp_path)), LocalStorage)


async def test_an_empty_folder_beside_scripts_with_files_is_refused_until_it_is_meant_so(tmp_path: Path) -> None:
    settings, rows = load(data_dir=tmp_path), Rows(any_source=True)
    folder = settings.media_path
    folder.mkdir()
    (folder / ".scratch").mkdir()
    for _ in range(2):
        with pytest.raises(SettingsError, match=f"{folder} is empty, but .* To begin anew .* create {folder}/{MARKER}"):
            await started(settings, rows)
    (folder / MARKER).touch()
    storage = await started(settings, rows)
    await storage.put("a", b"sound")
    assert await (await started(settings, rows)).get("a") == b"sound"


async def test_what_another_process_stores_meanwhile_makes_the_folder_theirs(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    first, second = media_storage(settings), media_storage(settings)
    await second.put("a", b"sound")
    await check_storage(first, cast(ScriptRepository, Rows(any_source=True)))
    assert await first.get("a") == b"sound"


async def test_a_folder_of_before_there_were_markers_is_used(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    (settings.media_path / "media").mkdir(parents=True)
    assert isinstance(await started(settings, Rows(any_source=True)), LocalStorage)


async def test_who_began_such_a_folder_beside_another_process_leaves_it_unused_by_both(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path)
    first, second = media_storage(settings), media_storage(settings)
    with pytest.raises(SettingsError):
        await check_storage(first, cast(ScriptRepository, Rows(any_source=True)))
    for storage in (first, second):
        with pytest.raises(StorageFailed, match="not the folder of the start"):
            await storage.put("a", b"sound")


async def test_while_the_rows_cannot_be_asked_a_folder_is_begun(tmp_path: Path) -> None:
    rows = Rows()
    rows.found = DatabaseUnavailable("away")
    assert isinstance(await started(load(data_dir=tmp_path), rows), LocalStorage)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("S3_SECRET_KEY", "another-secret", "Check the access keys"),
        ("S3_ACCESS_KEY", "another-key", "Check the access keys"),
        ("STORAGE_URL", "s3://no-such-bucket", "no such bucket"),
    ],
)
async def test_what_is_wrong_is_told_with_what_to_look_at(
    settings: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    settings.setenv(f"PLAYHEAD_{name}", value)
    with pytest.raises(SettingsError, match=said) as caught:
        await started(load())
    assert "PLAYHEAD_S3_SECRET_KEY" in str(caught.value) and "PLAYHEAD_STORAGE_URL" in str(caught.value)
    assert not [secret for secret in (SECRET_KEY, ACCESS_KEY, "another") if secret in str(caught.value)]


async def test_a_server_that_is_away_keeps_nobody_from_starting(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("PLAYHEAD_S3_ENDPOINT", "http://127.0.0.1:1")
    assert isinstance(await started(load()), S3Storage)

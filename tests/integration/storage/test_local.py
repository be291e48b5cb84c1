"""What only files on a disk have: leftovers of killed processes, permissions, paths."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from playhead.storage import LocalStorage, StorageFailed
from playhead.storage.local import ABANDONED_AFTER_S

KILLED_IN_AN_UPLOAD = """
import asyncio, os, signal, sys
from pathlib import Path
from playhead.storage import LocalStorage

async def main():
    async with LocalStorage(Path(sys.argv[1])).upload("sources/s/v") as upload:
        await upload.write(bytes(3_000_000))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def test_a_source_is_its_own_local_file(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "root")
    await storage.put("sources/s/v", b"x")
    async with storage.local_file("sources/s/v") as path:
        assert path == tmp_path / "root/sources/s/v"


async def test_a_folder_has_no_addresses(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    await storage.put("a", b"x")
    assert await storage.presigned_url("a", 60) is None


async def test_what_a_killed_process_was_writing_is_no_object_and_goes_when_it_is_old(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_AN_UPLOAD, str(tmp_path)], timeout=30)
    assert killed.returncode == -9
    [left] = files(tmp_path)
    assert not await storage.exists("sources/s/v")
    assert await storage.remove_abandoned() == 0, "it may still be growing"
    long_ago = time.time() - ABANDONED_AFTER_S - 60
    os.utime(left, (long_ago, long_ago))
    assert await storage.remove_abandoned() == 1
    assert files(tmp_path) == []


async def test_nothing_but_the_object_is_left_after_a_put_and_a_delete(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    await storage.put("media/s/v/low/0.m4s", b"x")
    assert files(tmp_path) == [tmp_path / "media/s/v/low/0.m4s"]
    await storage.delete_prefix("media/s")
    assert list(tmp_path.iterdir()) == [], "folders go with their last object"


def test_a_root_that_cannot_be_made_says_which(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="file/root"):
        LocalStorage(tmp_path / "file/root")


async def test_a_write_that_the_system_refuses_is_a_named_error(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    (tmp_path / "a").touch()
    with pytest.raises(StorageFailed, match="a/b"):
        await storage.put("a/b", b"x")
    with pytest.raises(StorageFailed, match="a/b"):
        async with storage.upload("a/b") as upload:
            await upload.write(bytes(3_000_000))

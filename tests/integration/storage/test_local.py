"""What only files on a disk have: leftovers of killed processes, permissions, paths, a disk that is not mounted."""

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from playhead.storage import LocalStorage, StorageFailed, has_content
from playhead.storage.local import ABANDONED_AFTER_S, MARKER

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
    return [path for path in root.rglob("*") if path.is_file() and path.name != MARKER]


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


@pytest.mark.parametrize("gone", ["folder", "file"])
async def test_what_goes_while_it_is_looked_through_is_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Others delete meanwhile: what was just listed is not there any more when its turn comes."""
    storage = LocalStorage(tmp_path)
    left = [tmp_path / "sources" / script / "upload#1" for script in ("a", "b")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    deleted: list[Path] = []

    def delete(path: Path) -> None:
        deleted.append(path)
        path.unlink()
        path.parent.rmdir()

    if gone == "folder":
        scan = os.scandir

        def scandir(folder: str) -> "Iterator[os.DirEntry[str]]":
            if Path(folder) == left[1].parent and not deleted:
                delete(left[1])
            return scan(folder)

        monkeypatch.setattr(os, "scandir", scandir)
    else:
        look = Path.lstat

        def lstat(path: Path) -> os.stat_result:
            if path == left[1]:
                delete(path)
            return look(path)

        monkeypatch.setattr(Path, "lstat", lstat)
    assert await storage.remove_abandoned() == 1
    assert deleted == [left[1]]
    assert files(tmp_path) == []


async def test_leftovers_that_cannot_be_removed_are_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path)
    (tmp_path / "a#1").touch()
    os.utime(tmp_path / "a#1", (0, 0))

    def refused(path: Path) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(StorageFailed, match="read only"):
        await storage.remove_abandoned()


async def test_nothing_but_the_object_is_left_after_a_put_and_a_delete(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    await storage.put("media/s/v/low/0.m4s", b"x")
    assert files(tmp_path) == [tmp_path / "media/s/v/low/0.m4s"]
    await storage.delete_prefix("media/s")
    assert list(tmp_path.iterdir()) == [tmp_path / MARKER], "folders go with their last object"


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


# what a power failure leaves


@pytest.fixture
async def emptied(tmp_path: Path) -> LocalStorage:
    """A storage with an object called a/b of which the disk knows the name and has no byte."""
    storage = LocalStorage(tmp_path)
    await storage.put("a/b", b"sound")
    os.truncate(tmp_path / "a/b", 0)
    return storage


async def test_an_object_that_a_power_failure_emptied_makes_way_for_the_next_and_for_that_alone(
    emptied: LocalStorage, tmp_path: Path
) -> None:
    assert not await has_content(emptied, "a/b") and not await has_content(emptied, "a/c")
    assert not await emptied.put("a/b", b""), "which would be no better"
    assert await emptied.put("a/b", b"sound")
    assert await has_content(emptied, "a/b")
    assert not await emptied.put("a/b", b"another")
    assert await emptied.get("a/b") == b"sound"
    assert files(tmp_path) == [tmp_path / "a/b"]


async def test_of_many_who_replace_an_emptied_object_one_wins(emptied: LocalStorage) -> None:
    bodies = [bytes([n]) * 50_000 for n in range(1, 21)]
    won = await asyncio.gather(*(emptied.put("a/b", body) for body in bodies))
    assert sum(won) == 1
    assert await emptied.get("a/b") == bodies[won.index(True)]


# the disk that the folder is on


@pytest.fixture
async def unmounted(tmp_path: Path) -> LocalStorage:
    """A storage with an object, whose disk went away and left its empty mount point; it comes back by `mount`."""
    storage = LocalStorage(tmp_path / "media")
    await storage.put("sources/s/v", b"x")
    (tmp_path / "media").rename(tmp_path / "disk")
    (tmp_path / "media").mkdir()
    return storage


def mount(tmp_path: Path) -> None:
    (tmp_path / "media").rmdir()
    (tmp_path / "disk").rename(tmp_path / "media")


async def test_while_the_disk_is_away_nothing_is_missing_and_nothing_is_written(
    unmounted: LocalStorage, tmp_path: Path
) -> None:
    async def file() -> None:
        async with unmounted.local_file("sources/s/v"):
            pass

    async def upload() -> None:
        async with unmounted.upload("sources/s/w") as upload:
            await upload.write(b"y")

    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: unmounted.get("sources/s/v"),
        lambda: unmounted.get_range("sources/s/v", 0, 1),
        lambda: unmounted.exists("sources/s/v"),
        lambda: unmounted.put("sources/s/w", b"y"),
        lambda: unmounted.delete_prefix("sources/s"),
        file,
        upload,
    ]
    for attempt in attempts:
        with pytest.raises(StorageFailed, match="Mount its disk again"):
            await attempt()
    assert list((tmp_path / "media").iterdir()) == []
    mount(tmp_path)
    assert await unmounted.get("sources/s/v") == b"x" and await unmounted.put("sources/s/w", b"y")


async def test_a_folder_that_another_process_began_in_the_empty_mount_point_is_another_one(
    unmounted: LocalStorage, tmp_path: Path
) -> None:
    meanwhile = LocalStorage(tmp_path / "media")
    assert await meanwhile.put("sources/s/w", b"y")
    with pytest.raises(StorageFailed, match="or restart if it was replaced"):
        await unmounted.exists("sources/s/v")


async def test_of_processes_that_start_at_once_the_first_marks_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = LocalStorage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda _: False)
        second = LocalStorage(tmp_path)
    assert [await storage.exists("a") for storage in (first, second)] == [False, False]
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


async def test_a_disk_that_is_only_read_is_served_without_a_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    (tmp_path / "a").write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refused)
        storage = LocalStorage(tmp_path)
    assert (await storage.get("a"), await storage.get("b")) == (b"x", None)

"""Objects as files under one folder, through obstore's LocalStore.

obstore writes into `<name>#<n>` beside the object and then links (create) or renames (replace), so readers see whole
objects only. Names with '#' are no keys, so what a killed process left behind can be told apart and removed.
It does not sync to disk: after a power failure the newest objects may be missing or empty. An empty one counts as
missing wherever segments are looked for, and whoever puts it again replaces it.
A hidden file tells the folder from an empty mount point: while its disk is away nothing is taken for missing, and
nothing is written.
"""

import asyncio
import fcntl
import os
import shutil
import stat
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore

from playhead.storage.interface import ObjectMissing, StorageFailed, checked
from playhead.storage.objects import ObjectStorage, ObjectUpload

UPLOAD_BUFFER_BYTES = 1024 * 1024
BUFFERS_AT_ONCE = 2
ABANDONED_AFTER_S = 24 * 3_600.0
"""An upload that has not grown for this long belongs to a process that is gone."""
MARKER = ".playhead-media"
"""Holds what tells this folder from others. No key begins with a dot."""


class LocalStorage(ObjectStorage):
    """The folder `root`, made when it is missing. Everything in it belongs to this storage."""

    def __init__(self, root: Path) -> None:
        with self._failures_named(root):
            root.mkdir(parents=True, exist_ok=True)
            self._root = root.resolve()
            store = LocalStore(self._root, automatic_cleanup=True)
            self.marker = self._root / MARKER
            self._begun = MARKER not in os.listdir(self._root)
            self._mark = _mark(self._root)
        super().__init__(store, part_bytes=UPLOAD_BUFFER_BYTES, parts_at_once=BUFFERS_AT_ONCE)

    def _failure(self, what: object, error: Exception) -> StorageFailed:
        failure = StorageFailed(f"{what}: {error}")
        failure.__cause__ = error
        return failure

    def _check_folder(self) -> None:
        """Raises OSError when the folder is not the one of the start."""
        if self._mark is None:
            return
        with suppress(FileNotFoundError):
            if self.marker.read_text() == self._mark:
                return
        raise OSError(
            f"{self._root} is not the folder of the start. Mount its disk again, or restart if it was replaced."
        )

    @property
    def is_new(self) -> bool:
        """Whether nobody had used the folder before this process, and nothing lies in it yet."""
        return self._begun and all(name.startswith(".") for name in os.listdir(self._root))

    def disown(self) -> None:
        """Leaves a folder that was begun by mistake as it was found. Who uses it takes nothing for missing."""
        self.marker.unlink(missing_ok=True)
        self._mark = ""

    def _check_absence(self, error: FileNotFoundError) -> None:
        self._check_folder()

    async def _create(self, key: str, body: bytes) -> None:
        self._check_folder()
        try:
            await super()._create(key, body)
        except AlreadyExistsError:
            if not body or not await asyncio.to_thread(_makes_way, self._root / key):
                raise
            await super()._create(key, body)

    @asynccontextmanager
    async def upload(self, key: str) -> AsyncIterator[ObjectUpload]:
        with self._failures_named(checked(key)):
            self._check_folder()
        async with super().upload(key) as upload:
            yield upload

    async def free_bytes(self) -> int | None:
        with self._failures_named(self._root):
            return (await asyncio.to_thread(shutil.disk_usage, self._root)).free

    @asynccontextmanager
    async def local_file(self, key: str) -> AsyncIterator[Path]:
        """The object's own file: it goes when the object is deleted."""
        if not await self.exists(key):
            raise ObjectMissing(key)
        yield self._root / key

    async def presigned_url(self, key: str, valid_s: int) -> str | None:
        checked(key)
        return None

    async def remove_abandoned(self, older_than_s: float = ABANDONED_AFTER_S) -> int:
        with self._failures_named(self._root):
            return await asyncio.to_thread(self._remove_abandoned, time.time() - older_than_s)

    def _remove_abandoned(self, before: float) -> int:
        removed = 0
        for folder, _, names in os.walk(self._root):  # which passes folders that go meanwhile; Path.rglob raises
            removed += sum(_removed(Path(folder, name), before) for name in names if "#" in name)
        return removed


def _mark(root: Path) -> str | None:
    """What the folder's marker says, made where there is none; None where that cannot be, as on a disk to read from."""
    marker, fresh = root / MARKER, root / f"{MARKER}#{uuid.uuid4().hex}"
    if not marker.exists():
        try:
            fresh.write_text(uuid.uuid4().hex)
            with suppress(FileExistsError):  # another process was first
                os.link(fresh, marker)
        except OSError:
            return None
        finally:
            fresh.unlink(missing_ok=True)
    return marker.read_text()


def _makes_way(path: Path) -> bool:
    """Removes an object of 0 bytes. The lock is on that very file, so nobody removes what another puts in its place."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        now = path.stat()
        if now.st_size > 0:
            return False
        if os.path.samestat(os.fstat(file.fileno()), now):
            path.unlink()
    return True


def _removed(path: Path, before: float) -> bool:
    """Removes the file if it was last written to before then. False also where it has gone by itself."""
    try:
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode) or state.st_mtime >= before:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True

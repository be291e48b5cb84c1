"""Objects as files under one folder, through obstore's LocalStore.

obstore writes into `<name>#<n>` beside the object and then links (create) or renames (replace), so readers see whole
objects only. Names with '#' are no keys, so what a killed process left behind can be told apart and removed.
It does not sync to disk: after a power failure the newest objects may be missing or empty.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from obstore.store import LocalStore

from playhead.storage.interface import ObjectMissing, StorageFailed, checked
from playhead.storage.objects import ObjectStorage

UPLOAD_BUFFER_BYTES = 1024 * 1024
BUFFERS_AT_ONCE = 2
ABANDONED_AFTER_S = 24 * 3_600.0
"""An upload that has not grown for this long belongs to a process that is gone."""


class LocalStorage(ObjectStorage):
    """The folder `root`, made when it is missing. Everything in it belongs to this storage."""

    def __init__(self, root: Path) -> None:
        with self._failures_named(root):
            root.mkdir(parents=True, exist_ok=True)
            self._root = root.resolve()
            store = LocalStore(self._root, automatic_cleanup=True)
        super().__init__(store, part_bytes=UPLOAD_BUFFER_BYTES, parts_at_once=BUFFERS_AT_ONCE)

    def _failure(self, what: object, error: Exception) -> StorageFailed:
        failure = StorageFailed(f"{what}: {error}")
        failure.__cause__ = error
        return failure

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
        return await asyncio.to_thread(self._remove_abandoned, time.time() - older_than_s)

    def _remove_abandoned(self, before: float) -> int:
        abandoned = [path for path in self._root.rglob("*#*") if path.is_file() and path.stat().st_mtime < before]
        for path in abandoned:
            path.unlink(missing_ok=True)
        return len(abandoned)

"""Objects as files under one folder, through obstore's LocalStore.

obstore writes into `<name>#<n>` beside the object and then links (create) or renames (replace), so readers see whole
objects only. Names with '#' are no keys, so what a killed process left behind can be told apart and removed.
It does not sync to disk: after a power failure the newest objects may be missing or empty.
"""

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore

from playhead.storage.interface import OBJECT_BYTES_MAX, ObjectMissing, ObjectTooLarge, StorageFailed, checked

if TYPE_CHECKING:
    from obstore import AsyncWritableFile

UPLOAD_BUFFER_BYTES = 1024 * 1024
ABANDONED_AFTER_S = 24 * 3_600.0
"""An upload that has not grown for this long belongs to a process that is gone."""


class LocalStorage:
    """The folder `root`, made when it is missing. Everything in it belongs to this storage."""

    def __init__(self, root: Path) -> None:
        with _failures_named(root):
            root.mkdir(parents=True, exist_ok=True)
            self._root = root.resolve()
            self._store = LocalStore(self._root, automatic_cleanup=True)

    async def put(self, key: str, body: bytes) -> bool:
        if len(body) > OBJECT_BYTES_MAX:
            raise ObjectTooLarge(f"{key}: {len(body)} bytes, at most {OBJECT_BYTES_MAX}")
        with _failures_named(checked(key)):
            try:
                await obstore.put_async(self._store, key, body, mode="create")
            except AlreadyExistsError:
                return False
        return True

    async def get(self, key: str) -> bytes | None:
        with _failures_named(checked(key)):
            try:
                found = await obstore.get_async(self._store, key)
                size_bytes = found.meta["size"]
                if size_bytes > OBJECT_BYTES_MAX:
                    raise ObjectTooLarge(f"{key}: {size_bytes} bytes, at most {OBJECT_BYTES_MAX}")
                return (await found.bytes_async()).to_bytes()
            except FileNotFoundError:
                return None

    async def exists(self, key: str) -> bool:
        with _failures_named(checked(key)):
            try:
                await obstore.head_async(self._store, key)
            except FileNotFoundError:
                return False
        return True

    async def delete_prefix(self, prefix: str) -> int:
        deleted = 0
        with _failures_named(checked(prefix)):
            if await self.exists(prefix):
                await obstore.delete_async(self._store, prefix)
                return 1
            async for found in obstore.list(self._store, prefix=prefix):
                await obstore.delete_async(self._store, [meta["path"] for meta in found])
                deleted += len(found)
        return deleted

    async def free_bytes(self) -> int | None:
        with _failures_named(self._root):
            return (await asyncio.to_thread(shutil.disk_usage, self._root)).free

    async def local_path(self, key: str) -> Path:
        if not await self.exists(key):
            raise ObjectMissing(key)
        return self._root / key

    @asynccontextmanager
    async def upload(self, key: str) -> AsyncIterator["LocalUpload"]:
        with _failures_named(checked(key)):
            writer = obstore.open_writer_async(self._store, key, buffer_size=UPLOAD_BUFFER_BYTES)
        try:
            yield LocalUpload(writer, key)
        except BaseException as error:
            await writer.__aexit__(type(error), error, error.__traceback__)  # told of an error, it throws away
            raise
        with _failures_named(key):
            await writer.close()

    async def remove_abandoned(self, older_than_s: float = ABANDONED_AFTER_S) -> int:
        """Removes what killed processes left half-written; answers how many files that were. For a process' start."""
        return await asyncio.to_thread(self._remove_abandoned, time.time() - older_than_s)

    def _remove_abandoned(self, before: float) -> int:
        abandoned = [path for path in self._root.rglob("*#*") if path.is_file() and path.stat().st_mtime < before]
        for path in abandoned:
            path.unlink(missing_ok=True)
        return len(abandoned)


class LocalUpload:
    def __init__(self, writer: "AsyncWritableFile", key: str) -> None:
        self._writer = writer
        self._key = key
        self._hash = hashlib.sha256()
        self._size_bytes = 0

    async def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._size_bytes += len(chunk)
        with _failures_named(self._key):
            await self._writer.write(chunk)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def size_bytes(self) -> int:
        return self._size_bytes


@contextmanager
def _failures_named(what: object) -> Iterator[None]:
    """Turns the store's and the system's errors into ours."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise StorageFailed(f"{what}: {error}") from error

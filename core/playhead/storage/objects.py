"""What storages through obstore have in common: everything but how failures are named and how files are had.

Must not know: which backend it is. A subclass gives the store, `_failure`, and what is its own.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from playhead.storage.interface import OBJECT_BYTES_MAX, ObjectTooLarge, StorageFailed, StoredObject, checked

if TYPE_CHECKING:
    from obstore import AsyncWritableFile, ObjectMeta

LIST_PAGE = 1_000
"""Objects of a listing that are handled at once: what S3 lists, and deletes, with one request."""


class ObjectStorage:
    """`part_bytes` and `parts_at_once` bound the memory of one upload."""

    def __init__(self, store: LocalStore | S3Store, *, part_bytes: int, parts_at_once: int) -> None:
        self._store = store
        self._part_bytes = part_bytes
        self._parts_at_once = parts_at_once

    def _failure(self, what: object, error: Exception) -> StorageFailed:
        """What the store's or the system's error is called here."""
        raise NotImplementedError

    async def _create(self, key: str, body: bytes) -> None:
        """Writes the object. Raises AlreadyExistsError when there is one."""
        await obstore.put_async(self._store, key, body, mode="create", use_multipart=False)

    async def put(self, key: str, body: bytes) -> bool:
        if len(body) > OBJECT_BYTES_MAX:
            raise ObjectTooLarge(f"{key}: {len(body)} bytes, at most {OBJECT_BYTES_MAX}")
        with self._failures_named(checked(key)):
            try:
                await self._create(key, body)
            except AlreadyExistsError:
                return False
        return True

    async def get(self, key: str) -> bytes | None:
        with self._failures_named(checked(key)):
            try:
                found = await obstore.get_async(self._store, key)
                size_bytes = found.meta["size"]
                if size_bytes > OBJECT_BYTES_MAX:
                    raise ObjectTooLarge(f"{key}: {size_bytes} bytes, at most {OBJECT_BYTES_MAX}")
                return (await found.bytes_async()).to_bytes()
            except FileNotFoundError as error:
                self._check_absence(error)
                return None

    async def get_range(self, key: str, start: int, end: int) -> bytes | None:
        if not 0 <= start < end:
            raise ValueError(f"{key}: {start} to {end} is no range")
        if end - start > OBJECT_BYTES_MAX:
            raise ObjectTooLarge(f"{key}: {end - start} bytes, at most {OBJECT_BYTES_MAX}")
        with self._failures_named(checked(key)):
            try:
                return (await obstore.get_range_async(self._store, key, start=start, end=end)).to_bytes()
            except FileNotFoundError as error:
                self._check_absence(error)
                return None
            except BaseError:
                # Backends answer a range behind the end in ways of their own, so the size is asked.
                found = await self.stat(key)
                if found is not None and start < found.size_bytes:
                    raise
                return None if found is None else b""

    async def stat(self, key: str) -> StoredObject | None:
        with self._failures_named(checked(key)):
            try:
                return _stored(await obstore.head_async(self._store, key))
            except FileNotFoundError as error:
                self._check_absence(error)
                return None

    async def exists(self, key: str) -> bool:
        return await self.stat(key) is not None

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        with self._failures_named(checked(prefix)):
            async for page in obstore.list(self._store, prefix=prefix, chunk_size=LIST_PAGE):
                for meta in page:
                    yield _stored(meta)

    async def children(self, prefix: str) -> Sequence[str]:
        with self._failures_named(checked(prefix)):
            found = await obstore.list_with_delimiter_async(self._store, prefix=prefix)
            return sorted(found["common_prefixes"])

    async def delete_prefix(self, prefix: str) -> int:
        deleted = 0
        with self._failures_named(checked(prefix)):
            if await self.exists(prefix):
                await self._delete([prefix])
                deleted = 1
            async for page in obstore.list(self._store, prefix=prefix, chunk_size=LIST_PAGE):
                await self._delete([meta["path"] for meta in page])
                deleted += len(page)
        return deleted

    async def _delete(self, keys: Sequence[str]) -> None:
        """Deletes the objects; one that somebody else has deleted meanwhile is gone as well."""
        try:
            await obstore.delete_async(self._store, list(keys))
        except FileNotFoundError as error:
            self._check_absence(error)
            if len(keys) > 1:
                for key in keys:
                    await self._delete([key])

    @asynccontextmanager
    async def upload(self, key: str) -> AsyncIterator["ObjectUpload"]:
        with self._failures_named(checked(key)):
            writer = obstore.open_writer_async(
                self._store, key, buffer_size=self._part_bytes, max_concurrency=self._parts_at_once
            )
        try:
            yield ObjectUpload(writer, key, self._failures_named)
        except BaseException as error:
            with suppress(BaseError, OSError):  # what cannot be thrown away now is invisible all the same
                await writer.__aexit__(type(error), error, error.__traceback__)  # told of an error, it throws away
            raise
        with self._failures_named(key):
            await writer.close()

    def _check_absence(self, error: FileNotFoundError) -> None:
        """Nothing was found, which is an answer. A backend whose words say that more is missing raises it again."""

    @contextmanager
    def _failures_named(self, what: object) -> Iterator[None]:
        """Turns the store's and the system's errors into ours."""
        try:
            yield
        except (BaseError, OSError) as error:
            failure = self._failure(what, error)
            raise failure from failure.__cause__  # which may be None, so that no traceback shows the store's words


class ObjectUpload:
    """An object on its way, as `playhead.storage.Upload` says."""

    def __init__(
        self, writer: "AsyncWritableFile", key: str, failures_named: Callable[[object], AbstractContextManager[None]]
    ) -> None:
        self._writer = writer
        self._key = key
        self._failures_named = failures_named
        self._hash = hashlib.sha256()
        self._size_bytes = 0

    async def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._size_bytes += len(chunk)
        with self._failures_named(self._key):
            await self._writer.write(chunk)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def size_bytes(self) -> int:
        return self._size_bytes


def _stored(meta: "ObjectMeta") -> StoredObject:
    return StoredObject(
        key=meta["path"],
        size_bytes=meta["size"],
        modified_at_s=meta["last_modified"].timestamp(),
        version=meta["e_tag"],
    )

"""What every storage promises. The promises are tests: tests/integration/storage/test_contract.py runs them on each.

Keys are relative names with parts separated by '/'. A part begins with a letter or digit and goes on with letters,
digits, '.', '_' and '-', so that no key can leave the root, hide, or mean two things on two file systems.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

OBJECT_BYTES_MAX = 16 * 1024 * 1024
"""Largest object that is written or read in one piece. A segment has under 200 kB; sources are streamed."""
DISK_RESERVE_BYTES = 1024**3
"""What uploads leave free: segments, and a database beside them, must still be written."""
KEY_CHARS_MAX = 512
KEY_PART_CHARS_MAX = 128
PRESIGNED_S_MAX = 7 * 24 * 3_600
"""Longest that a presigned address may be valid; Signature V4 knows no longer."""

_PART = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{KEY_PART_CHARS_MAX - 1}}}")


class InvalidKey(ValueError):
    """The key is not a relative name of plain parts. It was made of something that was not checked."""


class ObjectMissing(LookupError):
    """There is no object of this name."""


class ObjectTooLarge(ValueError):
    """The object is larger than OBJECT_BYTES_MAX: stream it with `upload`, read it through `local_file`."""


class StorageFailed(Exception):
    """The storage could not be read or written: disk full, no permission, not reachable. Nothing half-made is left."""


class StorageRefused(StorageFailed):
    """The storage answers and will not serve: wrong keys, missing rights, no such bucket. To try again is no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What is known of an object without reading it. `version` changes with its content, where the backend tells."""

    key: str
    size_bytes: int
    modified_at_s: float
    version: str | None


class Upload(Protocol):
    """An object while it is written."""

    async def write(self, chunk: bytes) -> None:
        """Appends `chunk`. Raises StorageFailed."""
        ...

    @property
    def sha256(self) -> str:
        """Of what was written so far, in 64 hex digits."""
        ...

    @property
    def size_bytes(self) -> int: ...


class Storage(Protocol):
    """Every method may raise InvalidKey and StorageFailed."""

    async def put(self, key: str, body: bytes) -> bool:
        """Stores `body` whole or not at all. False: an object was there already, and stays. Raises ObjectTooLarge.

        An empty object in a folder, as a power failure leaves it, makes way for one that is not.
        When an answer was lost on the way and the request was repeated, False may be said of one's own object.
        """
        ...

    async def get(self, key: str) -> bytes | None:
        """The object, or None. Raises ObjectTooLarge."""
        ...

    async def get_range(self, key: str, start: int, end: int) -> bytes | None:
        """The bytes from `start` up to, not including, `end`: fewer where the object ends before, none from its end
        on; None without an object. Raises ObjectTooLarge for more than OBJECT_BYTES_MAX, ValueError for
        what is no range."""
        ...

    async def stat(self, key: str) -> StoredObject | None: ...

    async def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """The objects whose key begins with `prefix/`, in no order."""
        ...

    async def children(self, prefix: str) -> Sequence[str]:
        """The keys one part below `prefix` under which objects lie, sorted: of a/b/c and a/b/d below `a`, a/b."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """Deletes the object called `prefix` and all whose key begins with `prefix/`; answers how many there were."""
        ...

    async def free_bytes(self) -> int | None:
        """How much can still be written; None where there is no bound that is known."""
        ...

    def local_file(self, key: str) -> AbstractAsyncContextManager[Path]:
        """A file with the object's content, for programs that read files. It is there until the block ends, and must
        not be written to. Raises ObjectMissing."""
        ...

    def upload(self, key: str) -> AbstractAsyncContextManager[Upload]:
        """Writes an object in chunks. It appears whole when the block ends, in place of an older one of that name;
        an exception or a cancellation in the block leaves nothing."""
        ...

    async def presigned_url(self, key: str, valid_s: int) -> str | None:
        """An address from which anybody may GET the object for `valid_s`, up to PRESIGNED_S_MAX. None: the backend has
        no such thing. A secret: it must not be logged. Whether there is an object is not looked at."""
        ...

    async def remove_abandoned(self) -> int:
        """Removes what killed processes left half-written and can be told apart; answers how many files that were."""
        ...


async def has_content(storage: Storage, key: str) -> bool:
    """Whether there is an object that is not empty, as a power failure leaves what was just written to a disk."""
    found = await storage.stat(key)
    return found is not None and found.size_bytes > 0


def checked(key: str) -> str:
    """`key` itself. Raises InvalidKey."""
    if len(key) > KEY_CHARS_MAX or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise InvalidKey(f"not a key: {key[:80]!r}")
    return key

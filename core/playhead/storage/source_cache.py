"""Sources of a storage that is not on this machine, kept as files for ffmpeg: bounded, the least used goes first.

Several processes may share the folder (on a local disk: it lives by flock). For each object:

    <name>.part   being fetched, by whoever holds its exclusive lock; its full size from the start reserves the room
    <name>.source whole. Who uses it holds a shared lock; it can go as soon as nobody does. Modified when last used

The name is made of key and version, so an object that was replaced is fetched anew. Locks go with the process that
holds them, so a killed one leaves a `.part` without a lock, which the next one fetches again or removes.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from playhead.runtime.tasks import in_thread
from playhead.storage.interface import DISK_RESERVE_BYTES, OBJECT_BYTES_MAX, ObjectMissing, StorageFailed, StoredObject

FETCH_BYTES = 8 * 1024 * 1024
"""One request takes so much, so that none takes long."""
FETCHES_AT_ONCE = 4
POLL_S = 0.05
TURN = "turn"
"""A file whose lock is held by who makes room."""
ROOM_TIMEOUT_S = 60.0
"""How long a source waits until others that are in use make room."""

assert FETCH_BYTES <= OBJECT_BYTES_MAX


class Origin(Protocol):
    """Where sources come from; any Storage is one."""

    async def stat(self, key: str) -> StoredObject | None: ...

    async def get_range(self, key: str, start: int, end: int) -> bytes | None: ...


class SourceCache:
    """At most `bytes_max` in `folder`, which is made when it is missing and holds nothing else."""

    def __init__(
        self,
        folder: Path,
        bytes_max: int,
        *,
        room_timeout_s: float = ROOM_TIMEOUT_S,
        reserve_bytes: int = DISK_RESERVE_BYTES,
    ) -> None:
        """`reserve_bytes` stay free on the disk. Raises StorageFailed when the folder cannot be made."""
        self._folder = folder
        self._bytes_max = bytes_max
        self._room_timeout_s = room_timeout_s
        self._reserve_bytes = reserve_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageFailed(f"the cache of sources in {folder} cannot be used: {error}") from error

    @asynccontextmanager
    async def held(self, origin: Origin, key: str) -> AsyncIterator[Path]:
        """The object as a file that stays until the block ends. Raises ObjectMissing and StorageFailed."""
        found = await origin.stat(key)
        if found is None:
            raise ObjectMissing(key)
        path = self._folder / f"{_name(found)}.source"
        try:
            while (pin := _pinned(path)) is None:
                await self._fetch(origin, found, path)
        except OSError as error:
            raise StorageFailed(f"{self._folder}: {error}") from error
        try:
            yield path
        finally:
            os.close(pin)

    async def _fetch(self, origin: Origin, found: StoredObject, path: Path) -> None:
        """Fetches the object, or waits for who does. Afterwards it may be there, or must be looked for again."""
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(descriptor, fcntl.LOCK_EX):
                if path.exists():
                    return
                await asyncio.sleep(POLL_S)
            if not _is_file_of(descriptor, part):
                return  # whoever fetched it has ended, well or badly
            try:
                if not path.exists():
                    await self._reserve(descriptor, found)
                    await _download(origin, found, descriptor)
                    part.rename(path)
            finally:
                if _is_file_of(descriptor, part):
                    part.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    async def _reserve(self, descriptor: int, found: StoredObject) -> None:
        """Gives the part its size, as soon as there is room. Raises StorageFailed when there will be none."""
        if found.size_bytes > self._bytes_max:
            raise StorageFailed(
                f"{found.key} has {found.size_bytes} bytes, the cache of sources at most {self._bytes_max}: enlarge it"
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._room_timeout_s
        while not await in_thread(self._made_room, descriptor, found.size_bytes):
            if loop.time() > deadline:
                raise StorageFailed(f"{found.key}: the cache of sources is in use, or its disk full. Enlarge it")
            await asyncio.sleep(POLL_S)

    def _made_room(self, descriptor: int, size_bytes: int) -> bool:
        """Removes what was used least and is not in use, until there is room. False: not yet.

        One process at a time does this, so that two do not reserve the same room. Who finds another at it does not
        wait here: a thread cannot be cancelled.
        """
        turn = os.open(self._folder / TURN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(turn, fcntl.LOCK_EX):
                return False
            files = sorted(_files(self._folder), key=lambda file: file[0])
            used_bytes = sum(size for _, size, _ in files)
            for _, size, path in files:
                if self._has_room(used_bytes, size_bytes):
                    break
                if _removed(path):
                    used_bytes -= size
            if not self._has_room(used_bytes, size_bytes):
                return False
            os.ftruncate(descriptor, size_bytes)
            return True
        finally:
            os.close(turn)

    def _has_room(self, used_bytes: int, more_bytes: int) -> bool:
        free_bytes = shutil.disk_usage(self._folder).free
        return used_bytes + more_bytes <= self._bytes_max and free_bytes >= more_bytes + self._reserve_bytes


async def _download(origin: Origin, found: StoredObject, descriptor: int) -> None:
    starts = iter(range(0, found.size_bytes, FETCH_BYTES))

    async def fetch() -> None:
        for start in starts:
            end = min(start + FETCH_BYTES, found.size_bytes)
            body = await origin.get_range(found.key, start, end)
            if body is None or len(body) != end - start:
                raise StorageFailed(f"{found.key} was changed while it was read")
            await in_thread(_write_at, descriptor, body, start)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(FETCHES_AT_ONCE):
                group.create_task(fetch())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    now = await origin.stat(found.key)
    if now is None or (now.version, now.size_bytes) != (found.version, found.size_bytes):
        raise StorageFailed(f"{found.key} was changed while it was read")


def _write_at(descriptor: int, body: bytes, at: int) -> None:
    rest = memoryview(body)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written


def _name(found: StoredObject) -> str:
    return hashlib.sha256(f"{found.key}\0{found.version}\0{found.size_bytes}".encode()).hexdigest()[:40]


def _pinned(path: Path) -> int | None:
    """A descriptor whose shared lock keeps the file; None when it is not there, or goes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if _locked(descriptor, fcntl.LOCK_SH) and _is_file_of(descriptor, path):
        os.utime(descriptor)
        return descriptor
    os.close(descriptor)
    return None


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """When each was last used, how large it is, and where; of a part: when it was last written to."""
    found = []
    for path in folder.iterdir():
        if path.name == TURN:
            continue
        with suppress(FileNotFoundError):
            state = path.stat()
            found.append((state.st_mtime, state.st_size, path))
    return found


def _removed(path: Path) -> bool:
    """Removes the file, unless somebody uses or fetches it, or it is gone already."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not _locked(descriptor, fcntl.LOCK_EX) or not _is_file_of(descriptor, path):
            return False
        path.unlink()
        return True
    finally:
        os.close(descriptor)

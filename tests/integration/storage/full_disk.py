"""Writes in a process of its own to a folder that is full, and again when there is room. Arguments: folder, how.

    no room       the folder is on a small disk of its own, which another file fills: ENOSPC
    size limit    no file may have more than ROOM_BYTES (RLIMIT_FSIZE; Python ignores its signal): EFBIG

Prints what each write came to, as JSON, and what files there are besides those of the beginning.
"""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playhead.storage import Blocks, LocalStorage, StorageFailed

ROOM_BYTES = 100_000
PIECE_BYTES = 64 * 1024
SEGMENT = bytes(range(250)) * 1_200
SOURCE = SEGMENT * 10
FORMER = b"former" * 1_000
EMPTY = "media/s/v/low/1.m4s"
"""As a power failure leaves what was just written."""
REPLACED = "sources/s/replaced"
BALLAST = "ballast#"


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), PIECE_BYTES):
        yield body[at : at + PIECE_BYTES]


async def put(storage: LocalStorage, key: str) -> None:
    assert await storage.put(key, SEGMENT), "there is one already"


async def upload(storage: LocalStorage, key: str) -> None:
    async with storage.upload(key) as writing:
        async for piece in pieces(WRITES[key][1]):
            await writing.write(piece)


async def append(storage: LocalStorage, prefix: str) -> None:
    blocks = Blocks(storage, prefix, len(SOURCE), 1_000_000)
    await blocks.append((await blocks.arrived()).size_bytes, pieces(SOURCE))


WRITES: dict[str, tuple[Callable[[LocalStorage, str], Awaitable[None]], bytes]] = {
    "media/s/v/low/0.m4s": (put, SEGMENT),
    EMPTY: (put, SEGMENT),
    "sources/s/v": (upload, SOURCE),
    "sources/s/small": (upload, SEGMENT),  # which is written when it ends
    REPLACED: (upload, SOURCE),
    "uploads/o/u/blocks": (append, SOURCE[:1_000_000]),
}


@contextmanager
def full(root: Path, how: str) -> Iterator[None]:
    if how == "no room":
        ballast = root / BALLAST
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(PIECE_BYTES)):
                    pass
            except OSError:
                file.truncate(file.tell() - ROOM_BYTES)
        yield
        ballast.unlink()
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def told(storage: LocalStorage, key: str) -> str:
    """What the write of `key` came to: the error, if it was one of ours."""
    try:
        await WRITES[key][0](storage, key)
    except StorageFailed as error:
        return str(error)
    return "written"


async def served(storage: LocalStorage) -> dict[str, str]:
    """What is found under each key that there is."""
    names = {b"": "empty", FORMER: "former"} | {body: "whole" for _, body in WRITES.values()}
    found = {}
    for prefix in ("media", "sources", "uploads"):
        async for stored in storage.list(prefix):
            async with storage.local_file(stored.key) as path:
                found[stored.key] = names.get(path.read_bytes(), "half")
    return found


async def main(folder: str, how: str) -> None:
    root = Path(folder)
    storage = LocalStorage(root)
    await storage.put(REPLACED, FORMER)
    (root / EMPTY).parent.mkdir(parents=True)
    (root / EMPTY).touch()
    with full(root, how):
        failures = {key: await told(storage, key) for key in WRITES}
        served_then = await served(storage)
        left = [path.name for path in root.rglob("*#*") if path.name != BALLAST]
    again = {key: await told(storage, key) for key in WRITES}
    print(
        json.dumps(
            {"failures": failures, "then": served_then, "left": left, "again": again, "served": await served(storage)}
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

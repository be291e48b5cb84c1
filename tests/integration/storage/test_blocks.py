"""Objects that come in parts: what breaks off goes on; of who writes at once one wins; on a disk and in a bucket."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from playhead.storage import Blocks, LocalStorage, ObjectMissing, Overtaken, Storage

BLOCK_BYTES = 1_000
BODY = bytes(range(256)) * 18
"""Four blocks and a shorter one."""

KILLED_BETWEEN_TWO_BLOCKS = """
import asyncio, os, signal, sys
from pathlib import Path
from playhead.storage import Blocks, LocalStorage

async def pieces():
    for _ in range(3):
        yield bytes(1_000)
    yield bytes(500)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(Blocks(LocalStorage(Path(sys.argv[1])), "uploads/u", 10_000, 1_000).append(0, pieces()))
"""


def blocks_of(storage: Storage, size_bytes: int = len(BODY)) -> Blocks:
    return Blocks(storage, "uploads/o/u/blocks", size_bytes, BLOCK_BYTES)


async def pieces_of(body: bytes, piece_bytes: int = 700) -> AsyncIterator[bytes]:
    for at in range(0, len(body), piece_bytes):
        await asyncio.sleep(0)
        yield body[at : at + piece_bytes]


async def content(storage: Storage, key: str) -> bytes:
    async with storage.local_file(key) as path:
        return path.read_bytes()


@pytest.mark.parametrize("cuts", [(), (1_000,), (1_000, 4_000), (2_000, 3_000, 4_000)])
async def test_parts_are_joined_to_what_was_sent(storage: Storage, cuts: Sequence[int]) -> None:
    blocks, at = blocks_of(storage), 0
    for end in (*cuts, len(BODY)):
        assert await blocks.append(at, pieces_of(BODY[at:end])) == end
        at = end
        assert (await blocks.arrived()).size_bytes == end
    joined = await blocks.join("sources/s/v")
    assert (joined.size_bytes, joined.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert await content(storage, "sources/s/v") == BODY


@pytest.mark.parametrize("size_bytes", [1, 999, 1_000, 1_001, 2_000])
async def test_an_object_is_whole_with_its_last_byte_and_not_before(storage: Storage, size_bytes: int) -> None:
    blocks, full = blocks_of(storage, size_bytes), (size_bytes - 1) // BLOCK_BYTES * BLOCK_BYTES
    assert await blocks.append(0, pieces_of(BODY[: size_bytes - 1])) == full
    assert await blocks.append(full, pieces_of(BODY[full:size_bytes])) == size_bytes
    assert (await blocks.arrived()).size_bytes == size_bytes


async def test_a_part_that_breaks_off_keeps_its_full_blocks(storage: Storage) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces_of(BODY[:2_500]):
            yield piece
        raise ConnectionResetError

    blocks = blocks_of(storage)
    with pytest.raises(ConnectionResetError):
        await blocks.append(0, broken())
    assert (await blocks.arrived()).size_bytes == 2_000
    assert await blocks.append(2_000, pieces_of(BODY[2_000:])) == len(BODY)
    await blocks.join("sources/s/v")
    assert await content(storage, "sources/s/v") == BODY


async def test_no_more_than_a_block_and_a_piece_is_held_before_it_is_written(storage: Storage) -> None:
    blocks, sent_bytes = blocks_of(storage), 0

    async def watched() -> AsyncIterator[bytes]:
        nonlocal sent_bytes
        async for piece in pieces_of(BODY, 300):
            assert sent_bytes - (await blocks.arrived()).size_bytes < BLOCK_BYTES
            sent_bytes += len(piece)
            yield piece

    assert await blocks.append(0, watched()) == len(BODY)


async def test_of_many_who_send_at_once_one_wins_and_nothing_is_mixed(storage: Storage) -> None:
    bodies = [bytes([number]) * len(BODY) for number in range(8)]
    ended = await asyncio.gather(
        *(blocks_of(storage).append(0, pieces_of(body)) for body in bodies), return_exceptions=True
    )
    [winner] = [number for number, end in enumerate(ended) if end == len(BODY)]
    assert all(isinstance(end, Overtaken) for number, end in enumerate(ended) if number != winner)
    await blocks_of(storage).join("sources/s/v")
    assert await content(storage, "sources/s/v") == bodies[winner]


async def test_a_sender_who_comes_back_late_writes_no_block_again(storage: Storage) -> None:
    blocks = blocks_of(storage)
    await blocks.append(0, pieces_of(BODY[:2_000]))
    with pytest.raises(Overtaken):
        await blocks.append(1_000, pieces_of(bytes(len(BODY) - 1_000)))
    await blocks.append(2_000, pieces_of(BODY[2_000:]))
    await blocks.join("sources/s/v")
    assert await content(storage, "sources/s/v") == BODY


async def test_a_place_where_no_block_begins_is_refused(storage: Storage) -> None:
    with pytest.raises(ValueError, match="no block begins"):
        await blocks_of(storage).append(500, pieces_of(BODY[500:]))


async def test_without_all_blocks_nothing_is_joined(storage: Storage) -> None:
    blocks = blocks_of(storage)
    await blocks.append(0, pieces_of(BODY))
    await storage.delete_prefix("uploads/o/u/blocks/000002")
    assert (await blocks.arrived()).size_bytes == 2_000
    with pytest.raises(ObjectMissing):
        await blocks.join("sources/s/v")
    assert not await storage.exists("sources/s/v")


async def test_a_block_that_lost_its_content_with_the_power_is_written_anew(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    blocks = blocks_of(storage)
    await blocks.append(0, pieces_of(BODY[:3_000]))
    (tmp_path / "uploads/o/u/blocks/000002").write_bytes(b"")
    assert (await blocks.arrived()).size_bytes == 2_000
    assert await blocks.append(2_000, pieces_of(BODY[2_000:])) == len(BODY)
    await blocks.join("sources/s/v")
    assert await content(storage, "sources/s/v") == BODY


async def test_what_a_killed_process_has_written_is_there_and_the_next_one_goes_on(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_BETWEEN_TWO_BLOCKS, str(tmp_path)], timeout=30)
    assert killed.returncode == -9
    blocks = Blocks(LocalStorage(tmp_path), "uploads/u", 10_000, 1_000)
    assert (await blocks.arrived()).size_bytes == 3_000
    assert await blocks.append(3_000, pieces_of(bytes(7_000))) == 10_000

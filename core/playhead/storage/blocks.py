"""An object that comes in parts, over hours and by several processes, until it is whole.

    <prefix>/000000, <prefix>/000001, …    blocks of one size, the last one shorter

A block is written whole or not at all, and only once (`put`). Who writes one has seen that all before it are there, so
none is left out, and of several who write at once one wins each block and the others learn that they are too late: no
lock is needed, and none is left behind by who dies. Where a storage cannot write conditionally, the last of those who
write the same block at the same time wins, and nobody learns of it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count

from playhead.storage.interface import ObjectMissing, Storage, Upload

BLOCK_BYTES = 2 * 1024 * 1024
"""What is lost at most when a part breaks off, and held in memory, for a moment twice. 1,024 of them make 2 GiB."""
UNFINISHED_KEPT_S = 24 * 3_600.0
"""How long after its last block an object that is not whole is kept; and what became of it, when it was."""
PIECE_BYTES = 256 * 1024
"""Of a block that is hashed at once, while nothing else can run."""
_NUMBER_DIGITS = 6


class Overtaken(Exception):
    """Another writer has written the next block. Nothing of this one's is lost but that: ask where it goes on."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """How much is there. `changed_at_s`: when the newest block came, since the Unix epoch; 0 without one."""

    size_bytes: int
    changed_at_s: float


class Blocks:
    """The object of `size_bytes`, one at least, whose blocks lie below `prefix`. All of it may raise StorageFailed."""

    def __init__(self, storage: Storage, prefix: str, size_bytes: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._storage = storage
        self._prefix = prefix
        self._size_bytes = size_bytes
        self._block_bytes = block_bytes

    async def arrived(self) -> Arrived:
        """What lies there without a gap. Costs a listing."""
        sizes, changed_at_s = {}, 0.0
        async for found in self._storage.list(self._prefix):
            sizes[found.key] = found.size_bytes
            changed_at_s = max(changed_at_s, found.modified_at_s)
        blocks = next(number for number in count() if not self._is_whole(number, sizes.get(self._key(number))))
        return Arrived(min(blocks * self._block_bytes, self._size_bytes), changed_at_s)

    async def append(self, at_bytes: int, pieces: AsyncIterator[bytes]) -> int:
        """Writes what comes, from `at_bytes` on, where what has arrived must end; answers where it ends afterwards.

        What does not fill a block is not kept, unless it is the end of the object. Raises Overtaken, and what `pieces`
        raises: then the blocks that were full by then are kept.
        """
        if at_bytes % self._block_bytes:
            raise ValueError(f"{self._prefix}: no block begins at {at_bytes}")
        number, block = at_bytes // self._block_bytes, bytearray()
        async for piece in pieces:
            block += piece
            while (wanted := self._wanted_bytes(number)) and len(block) >= wanted:
                await self._write(number, bytes(memoryview(block)[:wanted]))
                del block[:wanted]
                number += 1
        return min(number * self._block_bytes, self._size_bytes)

    async def join(self, key: str) -> Upload:
        """Makes the object called `key` of all blocks, which stay; answers its size and hash.

        Raises ObjectMissing when one is not there: somebody has removed it.
        """
        async with self._storage.upload(key) as target:
            for number in range(-(-self._size_bytes // self._block_bytes)):
                block = await self._storage.get(self._key(number))
                if block is None or not self._is_whole(number, len(block)):
                    raise ObjectMissing(self._key(number))
                for at in range(0, len(block), PIECE_BYTES):
                    await target.write(block[at : at + PIECE_BYTES])
        return target

    async def _write(self, number: int, block: bytes) -> None:
        key = self._key(number)
        if await self._storage.put(key, block):
            return
        found = await self._storage.stat(key)
        if found is not None and self._is_whole(number, found.size_bytes):
            raise Overtaken(key)
        # A disk that lost its power may have the name without the content: see playhead.storage.local.
        await self._storage.delete_prefix(key)
        if not await self._storage.put(key, block):
            raise Overtaken(key)

    def _key(self, number: int) -> str:
        return f"{self._prefix}/{number:0{_NUMBER_DIGITS}}"

    def _wanted_bytes(self, number: int) -> int:
        """How many bytes that block has; none past the end."""
        return max(0, min(self._block_bytes, self._size_bytes - number * self._block_bytes))

    def _is_whole(self, number: int, size_bytes: int | None) -> bool:
        return bool(size_bytes) and size_bytes == self._wanted_bytes(number)

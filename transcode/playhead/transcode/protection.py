"""Whether an mp4's sound is encrypted (DRM): ffprobe measures it like any other, and ffmpeg decodes noise.

Reads box headers, and of `stsd` and `hdlr` a few bytes (ISO/IEC 14496-12); blocks on the disk. What cannot be followed
counts as not encrypted: whether the file is whole is for others to say.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BOXES_MAX = 10_000
_HEADER_BYTES = 8
ENCRYPTED_ENTRIES = (b"enca", b"drms", b"drmi")
"""Sample entries of encrypted sound: Common Encryption (ISO/IEC 23001-7), and those of Apple's older FairPlay."""


def mp4_sound_is_encrypted(path: Path) -> bool:
    """Whether the first sound track, which is the one that is played, has an encrypted sample entry."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        for moov in _boxes(file, 0, end, b"moov"):
            for trak in _boxes(file, *moov, b"trak"):
                if _handler(file, trak) == b"soun":
                    return _entry(file, trak) in ENCRYPTED_ENTRIES
    return False


def _handler(file: BinaryIO, trak: tuple[int, int]) -> bytes:
    return _bytes_of(file, trak, (b"mdia", b"hdlr"), 8)


def _entry(file: BinaryIO, trak: tuple[int, int]) -> bytes:
    """The name of the first sample entry, which follows its own size."""
    return _bytes_of(file, trak, (b"mdia", b"minf", b"stbl", b"stsd"), 12)


def _bytes_of(file: BinaryIO, place: tuple[int, int], names: tuple[bytes, ...], at: int) -> bytes:
    """Four bytes at `at` in the content of the first box at that path; nothing where there is none."""
    for name in names:
        found = next(_boxes(file, *place, name), None)
        if found is None:
            return b""
        place = found
    file.seek(place[0] + at)
    return file.read(4)


def _boxes(file: BinaryIO, start: int, end: int, name: bytes) -> Iterator[tuple[int, int]]:
    """Where the content of each box of that name between `start` and `end` begins and ends."""
    at = start
    for _ in range(_BOXES_MAX):
        file.seek(at)
        head = file.read(_HEADER_BYTES)
        if at >= end or len(head) < _HEADER_BYTES:
            return
        size, kind = struct.unpack(">I4s", head)
        content = at + _HEADER_BYTES
        if size == 1:
            size, content = int.from_bytes(file.read(8), "big"), content + 8
        elif size == 0:
            size = end - at
        if size < content - at:
            return
        if kind == name:
            yield content, min(at + size, end)
        at += size

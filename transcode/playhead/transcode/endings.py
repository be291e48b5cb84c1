"""What a container says of its own length or end, where ffprobe does not pass it on.

Small reads at known places, ISO and RFC structures only; nothing is decoded. All functions block on the disk.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_RIFF_CHUNKS_MAX = 1_000
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""What a recorder writes that could not come back to fill in the size."""
_STREAMED_SIZE_MIN = 0x7FFFF000
"""Others write the largest size that they can think of, rounded down to whole blocks."""
_OGG_PAGE_BYTES_MAX = 27 + 255 + 255 * 255
"""RFC 3533 section 6."""
_OGG_END_OF_STREAM = 0x04
_MP3_FRAME_BYTES_MAX = 1_441
_ADTS_HEADER_BYTES = 7
_EBML_TOP = (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67")
"""Header and Segment; where several files were joined there are several of both."""
_EBML_HEAD_BYTES = 4 + 8
_EBML_ELEMENTS_MAX = 10_000


def wav_length_s(path: Path) -> float | None:
    """Seconds that the `data` chunk of a RIFF or RF64 file claims to hold; None when it does not say."""
    byte_rate = size64 = 0
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(0)
        if file.read(12)[:4] not in (b"RIFF", b"RF64"):
            return None
        for kind, size in _riff_chunks(file):
            if kind == b"ds64":
                size64 = int.from_bytes(file.read(16)[8:], "little")
            elif kind == b"fmt ":
                byte_rate = int.from_bytes(file.read(12)[8:], "little")
            elif kind == b"data":
                claimed = size64 if size in _UNKNOWN_SIZES else size
                if not size64 and size >= _STREAMED_SIZE_MIN and file.tell() + size > end:
                    return None
                return claimed / byte_rate if claimed and byte_rate else None
    return None


def _riff_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and size of each chunk, with the file at its content; the caller may read of it what it wants."""
    for _ in range(_RIFF_CHUNKS_MAX):
        head = file.read(8)
        if len(head) < 8:
            return
        kind, size = struct.unpack("<4sI", head)
        content_at = file.tell()
        yield kind, size
        file.seek(content_at + size + size % 2)


def ogg_ends(path: Path) -> bool:
    """Whether the file ends with a whole page that is marked as the end of its stream."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * _OGG_PAGE_BYTES_MAX))
        tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return False
    content_at = at + 27 + tail[at + 26]
    page_end = content_at + sum(tail[at + 27 : content_at])
    return page_end <= len(tail) and bool(tail[at + 5] & _OGG_END_OF_STREAM)


def matroska_ends(path: Path) -> bool:
    """Whether the file is as long as its Segments say (RFC 8794 section 6.2). One of unknown size says nothing."""
    at = 0
    with path.open("rb") as file:
        end = file.seek(0, 2)
        for _ in range(_EBML_ELEMENTS_MAX):
            file.seek(at)
            head = file.read(_EBML_HEAD_BYTES)
            if head[:4] not in _EBML_TOP:
                break
            size, digits = _ebml_size(head[4:])
            if size is None:
                break
            at += 4 + digits + size
    return at <= end


def _ebml_size(data: bytes) -> tuple[int | None, int]:
    """A size and of how many bytes it is; None for an unknown one, all of whose bits are set, or what is none."""
    digits = 9 - data[0].bit_length() if data else 9
    if digits > len(data):
        return None, 0
    unknown = (1 << 7 * digits) - 1
    size = int.from_bytes(data[:digits], "big") & unknown
    return (None if size == unknown else size), digits


def adts_ends(path: Path, last_frame_at: int) -> bool:
    """Whether the frame that begins there, which should be the last, is as long as its header says."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(last_frame_at)
        header = file.read(_ADTS_HEADER_BYTES)
    if len(header) < _ADTS_HEADER_BYTES:
        return False
    return last_frame_at + ((header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5) <= size


def mp3_frames(path: Path, first_frame_at: int) -> int | None:
    """How many frames the Xing, Info or VBRI frame before the first audio frame counts; None where none does."""
    with path.open("rb") as file:
        file.seek(max(0, first_frame_at - _MP3_FRAME_BYTES_MAX))
        before = file.read(min(first_frame_at, _MP3_FRAME_BYTES_MAX))
    at, tag = max((before.rfind(tag), tag) for tag in (b"Xing", b"Info", b"VBRI"))
    if at < 0:
        return None
    if tag == b"VBRI":
        count = before[at + 14 : at + 18]
    else:
        count = before[at + 8 : at + 12] if before[at + 4 : at + 8] and before[at + 7] & 1 else b""
    return int.from_bytes(count, "big") or None if len(count) == 4 else None

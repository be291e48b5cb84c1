"""The picture in a file: jpeg or png, as it is there, of bounded size. Never decoded here, only looked at from outside.

What a file says of its picture (its type, its measures) is not asked: the picture itself says it. One that is cut off,
or damaged where that shows without decoding it, is left out, and so is what stands behind its end.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from playhead.transcode.arguments import cover_arguments
from playhead.transcode.processes import OutputTooLong
from playhead.transcode.programs import Limits, Programs
from playhead.transcode.tries import EndedByOthers, ProbeFailed, run_on_file

COVER_BYTES_MAX = 2 * 1024 * 1024
COVER_PIXELS_MAX = 4_096 * 4_096
COVER_TIMEOUT_S = 20.0
COVER_RUN_LIMITS = Limits(cpu_s=20)
PARTS_MAX = 10_000
"""Chunks of a png, or pieces of a jpeg before its first scan: to look at millions would hold up everybody else."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of a frame's head (ITU-T T.81 table B.1); those in between are tables."""
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers that nothing follows."""

log = structlog.get_logger(__name__)


class NotShown(Exception):
    """The picture is left out. The text says why, for the log."""


@dataclass(frozen=True, slots=True)
class Cover:
    """`suffix`: how its name ends where it is stored, jpg or png."""

    suffix: str
    body: bytes


async def read_cover(programs: Programs, path: Path, track: int) -> Cover | None:
    """The picture in that track; None when it is broken, too large or of another kind. Raises EndedByOthers."""
    arguments, limits = cover_arguments(programs.ffmpeg, path, track), COVER_RUN_LIMITS
    try:
        done = await run_on_file(
            programs, arguments, limits, timeout_s=COVER_TIMEOUT_S, output_bytes_max=COVER_BYTES_MAX, timeouts=1
        )
        return picture(done.output)
    except EndedByOthers:
        raise
    except (ProbeFailed, OutputTooLong, NotShown) as error:
        log.info("A file's cover was left out.", action="cover_left_out", reason=f"{type(error).__name__}: {error}")
        return None


def picture(data: bytes) -> Cover:
    """The picture that `data` begins with. Raises NotShown."""
    if data.startswith(_PNG):
        suffix, (width, height, end) = "png", _png(data)
    elif data.startswith(_JPEG):
        suffix, (width, height, end) = "jpg", _jpeg(data)
    else:
        raise NotShown("neither jpeg nor png")
    if not 0 < width * height <= COVER_PIXELS_MAX:
        raise NotShown(f"{width} x {height} pixels")
    return Cover(suffix, data[:end])


def _png(data: bytes) -> tuple[int, int, int]:
    """Width, height, and where it ends; all checksums are right."""
    size = None
    for kind, content, end in _png_chunks(data):
        if size is None:
            if kind != b"IHDR" or len(content) < 8:
                break
            size = struct.unpack(">II", content[:8])
        elif kind == b"IEND":
            return size[0], size[1], end
    raise NotShown("a png that is cut off or damaged")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Kind, content and end of each chunk, up to the first that is not whole, PARTS_MAX at most."""
    at = len(_PNG)
    for _ in range(PARTS_MAX):
        if at + 12 > len(data):
            return
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data) or zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return
        yield data[at + 4 : at + 8], data[at + 8 : end - 4], end
        at = end


def _jpeg(data: bytes) -> tuple[int, int, int]:
    """Width, height, and where it ends: behind the last mark of an end that follows the beginning of a scan."""
    size, at = None, 2
    for _ in range(PARTS_MAX):
        if at + 9 > len(data) or data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == _START_OF_SCAN:
            end = data.rfind(_JPEG_END, at)
            if size is None or end < 0:
                break
            return size[1], size[0], end + len(_JPEG_END)
        if marker in _FRAMES:
            size = struct.unpack(">HH", data[at + 5 : at + 9])
        if marker == 0xFF:
            at += 1
        else:
            at += 2 if marker in _BARE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise NotShown("a jpeg that is cut off or damaged")

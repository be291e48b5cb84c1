"""Tags and pictures for tests, byte by byte: also such as no program would write."""

import struct
import zlib
from collections.abc import Sequence

from tests.support.audio import ffmpeg

UTF_8 = b"\x03"
FRONT = b"\x03"
VORBIS_COMMENT, CUE_SHEET, LAST_BLOCK = 4, 5, 0x80
"""Of FLAC: kinds of blocks, and the mark of the last one before the sound."""


def png(width: int = 3, height: int = 2, parts: int = 0) -> bytes:
    """A grey picture; its head says the measures, which may be wrong. `parts`: chunks that mean nothing."""
    rows = b"".join(b"\0" + b"\x80" * min(width, 64) for _ in range(min(height, 64)))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), *((b"tEXt", b""),) * parts, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def jpeg() -> bytes:
    """32 by 24 pixels."""
    return ffmpeg("-f", "lavfi", "-i", "testsrc=size=32x24", "-frames:v", "1", "-f", "mjpeg", "pipe:1")


def id3(*frames: bytes) -> bytes:
    """ID3v2.4, to stand in front of an mp3."""
    body = b"".join(frames)
    return b"ID3\x04\x00\x00" + _size(len(body)) + body


def text(name: str, value: bytes) -> bytes:
    return _frame(name, UTF_8 + value)


def apic(picture: bytes, media_type: bytes = b"image/png", kind: bytes = FRONT) -> bytes:
    return _frame("APIC", b"\x00" + media_type + b"\0" + kind + b"\0" + picture)


def chap(number: int, start_ms: int, end_ms: int, title: bytes) -> bytes:
    times = struct.pack(">IIII", start_ms, end_ms, 0xFFFFFFFF, 0xFFFFFFFF)
    return _frame("CHAP", b"c%d\0" % number + times + text("TIT2", title))


def _frame(name: str, content: bytes) -> bytes:
    return name.encode() + _size(len(content)) + b"\0\0" + content


def _size(size: int) -> bytes:
    """28 bits in bytes of seven."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def ffmetadata(title: str, artist: str, chapters: Sequence[tuple[int, int, str]]) -> str:
    """The text that ffmpeg reads tags and chapters from; places in ms."""
    parts = [f";FFMETADATA1\ntitle={title}\nartist={artist}\n"]
    for start_ms, end_ms, name in chapters:
        parts.append(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start_ms}\nEND={end_ms}\ntitle={name}\n")
    return "".join(parts)


def flac_picture(picture: bytes, media_type: bytes = b"image/png") -> bytes:
    """The front cover, as FLAC and Ogg hold it; its measures are left out."""
    head = struct.pack(">II", 3, len(media_type)) + media_type + struct.pack(">IIIIII", 0, 0, 0, 0, 0, len(picture))
    return head + picture


def commented(flac: bytes, *comments: str) -> bytes:
    """The FLAC with these Vorbis comments in the place of all that it says."""
    texts = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in comments)
    return _flac_saying(flac, VORBIS_COMMENT, struct.pack("<II", 0, len(comments)) + texts)


def sheeted(flac: bytes, *tracks: tuple[int, bytes]) -> bytes:
    """The FLAC with a cue sheet of these tracks: the sample, and the ISRC."""
    told = [
        struct.pack(">QB12s14xB", at, number + 1, isrc, 1) + struct.pack(">QB3x", 0, 1)
        for number, (at, isrc) in enumerate(tracks)
    ]
    lead_out = struct.pack(">QB12s14xB", 0, 170, b"", 0)
    return _flac_saying(flac, CUE_SHEET, struct.pack(">395xB", len(tracks) + 1) + b"".join(told) + lead_out)


def _flac_saying(flac: bytes, kind: int, block: bytes) -> bytes:
    """Its stream info, this block, and its frames."""
    at = 42
    last = flac[4] & LAST_BLOCK
    while not last:
        last = flac[at] & LAST_BLOCK
        at += 4 + int.from_bytes(flac[at + 1 : at + 4], "big")
    head = bytes([LAST_BLOCK | kind]) + len(block).to_bytes(3, "big")
    return flac[:4] + b"\0" + flac[5:42] + head + block + flac[at:]


def cued(wav: bytes, *cues: tuple[int, bytes]) -> bytes:
    """The wav with these cue points: the sample, and the label."""
    points = [struct.pack("<II4sIII", number, at, b"data", 0, 0, at) for number, (at, _) in enumerate(cues)]
    labels = [_riff(b"labl", struct.pack("<I", number) + label + b"\0") for number, (_, label) in enumerate(cues)]
    more = _riff(b"cue ", struct.pack("<I", len(cues)) + b"".join(points)) + _riff(b"LIST", b"adtl" + b"".join(labels))
    return b"RIFF" + struct.pack("<I", len(wav) - 8 + len(more)) + wav[8:] + more


def marked(aiff: bytes, at: int, name: bytes) -> bytes:
    """The aiff with one marker: the sample, and a name of an odd length."""
    chunk = struct.pack(">4sIHHIB", b"MARK", 9 + len(name), 1, 1, at, len(name)) + name
    return b"FORM" + struct.pack(">I", len(aiff) - 8 + len(chunk)) + aiff[8:] + chunk


def _riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

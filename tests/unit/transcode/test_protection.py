"""The sample entry of the first sound track decides, wherever the boxes lie and however their sizes are written."""

import struct
from pathlib import Path

import pytest

from playhead.transcode.protection import mp4_sound_is_encrypted


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def wide_box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4sQ", 1, kind, 16 + len(body)) + body


def track(entry: bytes, handler: bytes = b"soun") -> bytes:
    hdlr = box(b"hdlr", bytes(8), handler, bytes(12))
    stsd = box(b"stsd", struct.pack(">II", 0, 1), box(entry, bytes(28)))
    return box(b"trak", box(b"mdia", hdlr, box(b"minf", box(b"stbl", stsd))))


FTYP = box(b"ftyp", b"M4A ", bytes(4))
CLEAR, ENCRYPTED, PICTURE = track(b"mp4a"), track(b"enca"), track(b"encv", b"vide")


@pytest.mark.parametrize(
    ("body", "encrypted"),
    [
        (FTYP + box(b"moov", ENCRYPTED), True),
        (FTYP + box(b"moov", track(b"drms")), True),
        (FTYP + box(b"moov", CLEAR), False),
        (FTYP + box(b"moov", PICTURE, CLEAR), False),
        (FTYP + box(b"moov", PICTURE, ENCRYPTED), True),
        (FTYP + box(b"moov", CLEAR, ENCRYPTED), False),
        (FTYP + wide_box(b"mdat", bytes(100)) + box(b"moov", ENCRYPTED), True),
        (FTYP + wide_box(b"moov", ENCRYPTED), True),
        (FTYP + struct.pack(">I4s", 0, b"moov") + ENCRYPTED, True),
        (FTYP + struct.pack(">I4s", 7, b"free") + box(b"moov", ENCRYPTED), False),
        (FTYP + box(b"moov", ENCRYPTED)[:-30], False),
        (FTYP + box(b"moov", box(b"trak", box(b"mdia", box(b"hdlr", bytes(8), b"soun")))), False),
        (FTYP + box(b"moov", box(b"trak")), False),
        (FTYP, False),
        (b"", False),
    ],
)
def test_where_the_sample_entry_is_read_from(body: bytes, encrypted: bool, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(body)
    assert mp4_sound_is_encrypted(path) == encrypted

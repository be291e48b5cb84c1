"""Ends of files, on bytes laid out by hand from the standards."""

import struct
from pathlib import Path

import pytest

from playhead.transcode.endings import adts_ends, matroska_ends, mp3_frames, ogg_ends, wav_length_s

FMT = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 48_000, 192_000, 4, 16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def riff(*chunks: bytes, kind: bytes = b"RIFF") -> bytes:
    return kind + struct.pack("<I", 0) + b"WAVE" + b"".join(chunks)


def data(size: int) -> bytes:
    return struct.pack("<4sI", b"data", size)


@pytest.mark.parametrize(
    ("body", "length_s"),
    [
        (riff(FMT, data(192_000)), 1.0),
        (riff(struct.pack("<4sI3sx", b"LIST", 3, b"odd"), FMT, data(384_000)), 2.0),
        (
            riff(struct.pack("<4sIQQQI", b"ds64", 28, 0, 192_000 * 30_000, 0, 0), FMT, data(0xFFFFFFFF), kind=b"RF64"),
            30_000.0,
        ),
        (riff(FMT, data(0xFFFFFFFF)), None),
        (riff(FMT, data(0)), None),
        (riff(FMT, data(0x7FFFFFFF)), None),
        (riff(FMT, data(0x7FFFF000)), None),
        (riff(FMT, data(0x7FFFEFFF)), 0x7FFFEFFF / 192_000),
        (riff(FMT), None),
        (riff(data(192_000)), None),
        (b"FORM" + bytes(20), None),
        (b"", None),
        (riff(FMT)[:-10], None),
    ],
    ids=[
        "plain",
        "odd chunk before",
        "rf64",
        "streamed",
        "unfinished",
        "streamed elsewhere",
        "streamed in blocks",
        "large",
        "no data",
        "no format",
        "aiff",
        "empty",
        "stump",
    ],
)
def test_what_a_wav_says_of_its_length(body: bytes, length_s: float | None, file: Path) -> None:
    file.write_bytes(body)
    assert wav_length_s(file) == length_s


def test_a_large_wav_that_is_whole_says_its_length(file: Path) -> None:
    """Sparse on the disk."""
    header = riff(FMT, data(0x80000000))
    with file.open("wb") as writing:
        writing.write(header)
        writing.truncate(len(header) + 0x80000000)
    assert wav_length_s(file) == 0x80000000 / 192_000


def test_a_wav_of_endless_chunks_is_given_up(file: Path) -> None:
    file.write_bytes(riff(*[struct.pack("<4sI", b"junk", 0)] * 5_000, FMT, data(192_000)))
    assert wav_length_s(file) is None


def ogg_page(flags: int, body: bytes) -> bytes:
    lacing = bytes([255] * (len(body) // 255) + [len(body) % 255])
    return b"OggS" + bytes([0, flags]) + bytes(20) + bytes([len(lacing)]) + lacing + body


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        (ogg_page(2, b"head") + ogg_page(4, b"x" * 600), True),
        (ogg_page(2, b"head") + ogg_page(0, b"x" * 600), False),
        ((ogg_page(2, b"head") + ogg_page(4, b"x" * 600))[:-1], False),
        (ogg_page(2, b"head") + ogg_page(4, b"")[:26], False),
        (ogg_page(2, b"head") + bytes(300_000), False),
        (b"no pages at all", False),
    ],
    ids=["whole", "no end", "page cut", "header cut", "zeros behind", "no ogg"],
)
def test_whether_an_ogg_ends(body: bytes, ends: bool, file: Path) -> None:
    file.write_bytes(body)
    assert ogg_ends(file) is ends


EBML = bytes.fromhex("1a45dfa3 84 42868101".replace(" ", ""))
SEGMENT = bytes.fromhex("18538067")


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        (EBML + SEGMENT + b"\x85" + b"x" * 5, True),
        (EBML + SEGMENT + b"\x85" + b"x" * 4, False),
        (EBML + SEGMENT + bytes.fromhex("0100000000000005") + b"x" * 5, True),
        (EBML + SEGMENT + bytes.fromhex("0100000000000006") + b"x" * 5, False),
        (EBML + SEGMENT + bytes.fromhex("01ffffffffffffff") + b"x" * 5, True),
        (EBML + SEGMENT + b"\xff" + b"x" * 5, True),
        (EBML + SEGMENT + b"\x85" + b"x" * 5 + EBML + SEGMENT + b"\x85" + b"x" * 4, False),
        (EBML + SEGMENT + b"\x85" + b"x" * 5 + b"something behind it", True),
        (EBML + SEGMENT, True),
        (EBML + SEGMENT + b"\0" + b"x" * 20, True),
        (EBML[:6], False),
    ],
    ids=[
        "whole",
        "cut",
        "long size",
        "long size, cut",
        "unknown size",
        "unknown short size",
        "two files, the second cut",
        "more behind it",
        "no size",
        "no such size",
        "header cut",
    ],
)
def test_whether_a_matroska_is_as_long_as_it_says(body: bytes, ends: bool, file: Path) -> None:
    file.write_bytes(body)
    assert matroska_ends(file) is ends


def test_a_matroska_of_endless_segments_is_given_up(file: Path) -> None:
    file.write_bytes((EBML + SEGMENT + b"\x80") * 20_000 + SEGMENT + b"\x85")
    assert matroska_ends(file)


@pytest.mark.parametrize(("missing", "ends"), [(0, True), (1, False), (95, False)])
def test_whether_the_last_adts_frame_is_whole(missing: int, ends: bool, file: Path) -> None:
    header = bytes([0xFF, 0xF1, 0x50, 0x80 | 100 >> 11, 100 >> 3 & 0xFF, (100 & 7) << 5, 0])
    frame = header + bytes(93)
    file.write_bytes(frame + frame[: 100 - missing])
    assert adts_ends(file, 100) is ends


XING = struct.pack(">4sII", b"Xing", 3, 770)


@pytest.mark.parametrize(
    ("before", "frames"),
    [
        (b"ID3" + bytes(30) + XING + bytes(200), 770),
        (struct.pack(">4sII", b"Info", 1, 770), 770),
        (struct.pack(">4sHHHII", b"VBRI", 1, 0, 75, 300_000, 771) + bytes(20), 771),
        (b"Info about the singer" + bytes(300) + XING, 770),
        (struct.pack(">4sII", b"Xing", 2, 300_000), None),
        (struct.pack(">4sII", b"Xing", 3, 0), None),
        (XING[:-1], None),
        (b"Xing", None),
        (b"VBRI", None),
        (b"ID3" + bytes(400), None),
        (b"", None),
    ],
    ids=["Xing", "Info", "VBRI", "the last one", "bytes alone", "none", "cut", "stump", "stump of VBRI", "tag", "bare"],
)
def test_how_many_frames_an_mp3_counts(before: bytes, frames: int | None, file: Path) -> None:
    file.write_bytes(before + b"\xff\xfb Xing of a later frame does not count")
    assert mp3_frames(file, len(before)) == frames


def test_a_word_in_a_long_tag_is_not_taken_for_a_count(file: Path) -> None:
    before = b"ID3 " + XING + bytes(2_000)
    file.write_bytes(before + b"\xff\xfb")
    assert mp3_frames(file, len(before)) is None

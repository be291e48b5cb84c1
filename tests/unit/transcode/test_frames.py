"""Kinds of frames, on headers laid out by hand from the standards."""

from pathlib import Path

import pytest

from playhead.transcode import frames
from playhead.transcode.frames import all_alike


def mpeg(*, version: int = 3, layer: int = 1, bits: int = 9, rate: int = 0, mode: int = 1, size: int = 417) -> bytes:
    """A frame; by default of MPEG-1, layer III, 128 kbit/s at 44.1 kHz, joint stereo."""
    return bytes([0xFF, 0xE0 | version << 3 | layer << 1 | 1, bits << 4 | rate << 2, mode << 6]) + bytes(size - 4)


def adts(*, rate: int = 4, channels: int = 2, size: int = 300, private: int = 0) -> bytes:
    head = [0xFF, 0xF1, 0x40 | rate << 2 | private << 1 | channels >> 2, (channels & 3) << 6 | size >> 11]
    return bytes([*head, size >> 3 & 0xFF, (size & 7) << 5, 0]) + bytes(size - 7)


STEREO, MONO = mpeg(), mpeg(mode=3)
TAG = b"ID3\x04\0\0\0\0\0\x7f" + bytes(127)
MPEG_CASES = [
    ("stereo", STEREO * 9, True),
    ("joint or not", STEREO * 3 + mpeg(mode=0) * 3 + mpeg(mode=2) * 3, True),
    ("variable", STEREO * 3 + mpeg(bits=14, size=1_044) * 3 + mpeg(bits=1, size=104) * 3, True),
    ("becomes mono", STEREO * 3 + MONO * 3, False),
    ("becomes stereo", MONO * 3 + STEREO * 3, False),
    ("mono at the very end", STEREO * 3 + MONO, False),
    ("another rate", STEREO * 3 + mpeg(rate=1, size=384) * 3, False),
    ("another version", STEREO * 3 + mpeg(version=2, bits=8, size=208) * 3, False),
    ("layer II", mpeg(layer=2, bits=8, rate=1, size=384) * 3, True),
    ("mpeg-2 layer III", mpeg(version=2, bits=8, size=208) * 3, True),
    ("mpeg-2.5", mpeg(version=0, bits=8, rate=2, size=576) * 3, True),
    ("padded", (STEREO + bytes([0xFF, 0xFB, 0x92, 0x40]) + bytes(414)) * 3, True),
    ("a tag between", STEREO * 3 + TAG + STEREO * 3, True),
    ("mono behind a tag", STEREO * 3 + TAG + MONO * 3, False),
    ("damage", STEREO * 3 + bytes(100) + b"\xff\xfb\x90\x40" + bytes(700) + STEREO * 3, True),
    ("a tag at the end", STEREO * 3 + b"TAG" + bytes(125), True),
    ("cut", (STEREO * 3)[:-200], True),
    ("cut in a header", (STEREO * 3)[: 2 * 417 + 3], True),
    ("nothing", b"", True),
    ("nothing of the kind", b"\xff\xff\xff\xff" * 9_000, True),
]


@pytest.mark.parametrize(("body", "alike"), [case[1:] for case in MPEG_CASES], ids=[case[0] for case in MPEG_CASES])
@pytest.mark.parametrize("block_bytes", [1_000, 1 << 20])
def test_whether_the_frames_of_an_mp3_are_of_one_kind(
    body: bytes, alike: bool, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_BLOCK_BYTES", block_bytes)
    (tmp_path / "a.mp3").write_bytes(TAG + MONO + body)
    assert all_alike(tmp_path / "a.mp3", len(TAG + MONO), adts=False) is alike


def test_a_change_far_behind_the_beginning_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(STEREO * 3_000 + bytes(1 << 20) + STEREO * 3_000 + MONO)
    assert not all_alike(tmp_path / "a.mp3", 0, adts=False)


@pytest.mark.parametrize(
    ("body", "alike"),
    [
        (adts() * 3 + adts(size=200) * 3 + adts(private=1) + adts(size=8_191) * 3, True),
        (adts() * 3 + adts(channels=1) * 3, False),
        (adts() * 3 + adts(rate=3) * 3, False),
        (adts() * 3 + TAG + adts(channels=6) * 3, False),
        (adts() * 3 + TAG + adts() * 3, True),
        ((adts() * 3)[:-20], True),
        (b"\xff\xf1\x50\x80\0\0\0" * 50, True),
    ],
    ids=["variable", "becomes mono", "another rate", "surround behind a tag", "a tag", "cut", "of no length"],
)
def test_whether_the_frames_of_adts_are_of_one_kind(body: bytes, alike: bool, tmp_path: Path) -> None:
    (tmp_path / "a.aac").write_bytes(body)
    assert all_alike(tmp_path / "a.aac", 0, adts=True) is alike

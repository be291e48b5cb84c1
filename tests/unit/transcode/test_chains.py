"""Links of chained Ogg files, on pages laid out by hand from the standards."""

import struct
import sys
from pathlib import Path

import pytest

from playhead.transcode import chains
from playhead.transcode.chains import Sound, ogg_sounds


def page(flags: int, packet: bytes) -> bytes:
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    return b"OggS" + bytes([0, flags]) + bytes(20) + bytes([len(lacing)]) + lacing + packet


def opus(channels: int = 2) -> bytes:
    return page(2, struct.pack("<8sBBHIhB", b"OpusHead", 1, channels, 312, 44_100, 0, 0))


def vorbis(rate: int = 44_100, channels: int = 2) -> bytes:
    return page(2, struct.pack("<7sIBIiiiBB", b"\x01vorbis", 0, channels, rate, 0, 128_000, 0, 0xB8, 1))


def flac(rate: int = 44_100, channels: int = 2) -> bytes:
    info = bytes(10) + (rate << 44 | (channels - 1) << 41 | 15 << 36 | 1_000).to_bytes(8, "big") + bytes(16)
    return page(2, b"\x7fFLAC\x01\x00\x00\x01fLaC\x80\x00\x00\x22" + info)


PICTURE = page(2, b"\x80theora" + bytes(30))
SOUND = page(0, b"x" * 600) + page(4, b"x" * 300)


@pytest.mark.parametrize(
    ("body", "sounds"),
    [
        (opus() + SOUND, {Sound("opus", 48_000, 2)}),
        (vorbis() + SOUND, {Sound("vorbis", 44_100, 2)}),
        (flac(96_000, 6) + SOUND, {Sound("flac", 96_000, 6)}),
        ((opus() + SOUND) * 3, {Sound("opus", 48_000, 2)}),
        (opus() + SOUND + opus(1) + SOUND, {Sound("opus", 48_000, 2), Sound("opus", 48_000, 1)}),
        (vorbis() + SOUND + vorbis(48_000) + SOUND, {Sound("vorbis", 44_100, 2), Sound("vorbis", 48_000, 2)}),
        (vorbis() + SOUND + opus() + SOUND, {Sound("vorbis", 44_100, 2), Sound("opus", 48_000, 2)}),
        (opus() + SOUND + page(2, b"Speex   " + bytes(72)), {Sound("opus", 48_000, 2), Sound("speex", 0, 0)}),
        (PICTURE + vorbis() + vorbis(channels=1) + SOUND, {Sound("vorbis", 44_100, 2)}),
        (vorbis() + PICTURE + vorbis(channels=1) + SOUND, {Sound("vorbis", 44_100, 2)}),
        (PICTURE + SOUND, set()),
        (opus()[:-12], set()),
        (opus()[:20], set()),
        (b"", set()),
    ],
    ids=[
        "opus",
        "vorbis",
        "flac",
        "links of one kind",
        "another number of channels",
        "another rate",
        "another codec",
        "a codec that is not taken",
        "two tracks beside a picture",
        "a picture between",
        "a picture alone",
        "cut in its packet",
        "cut in its header",
        "empty",
    ],
)
@pytest.mark.parametrize("block_bytes", [7, 1024 * 1024])
def test_what_the_links_of_an_ogg_sound_like(
    body: bytes, sounds: set[Sound], block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "_BLOCK_BYTES", block_bytes)
    (tmp_path / "a.ogg").write_bytes(body)
    assert ogg_sounds(tmp_path / "a.ogg") == sounds


def test_pages_that_begin_nothing_are_looked_at_by_no_line_of_python(tmp_path: Path) -> None:
    lines = 0
    (tmp_path / "a.ogg").write_bytes(opus() + b"OggS\0" * 100_000 + opus(1))

    def counted(_frame: object, event: str, _argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        return counted

    before = sys.gettrace()
    sys.settrace(counted)  # type: ignore[arg-type]
    try:
        sounds = ogg_sounds(tmp_path / "a.ogg")
    finally:
        sys.settrace(before)
    assert sounds == {Sound("opus", 48_000, 2), Sound("opus", 48_000, 1)}
    assert lines < 500

"""Files that are odd, and mostly whole: made of a sound by ffmpeg, or by hand from the standards.

Each is a function of the sound's path and of where the file shall be.
"""

import struct
from collections.abc import Callable
from pathlib import Path

from tests.support.audio import ffmpeg

LONG_S = 7.0
"""Two segments."""
FRAME = 1_024
Making = Callable[[Path, Path], None]


def edited(*kept: tuple[int, float]) -> Making:
    """An m4a whose edit list keeps these parts, of so many ms and from there in seconds; what it drops is still there.

    ISO/IEC 14496-12 section 8.6.6. The index is at the end, so nothing that it points to moves.
    """

    def run(sound: Path, target: Path) -> None:
        ffmpeg("-i", str(sound), "-c:a", "aac", "-b:a", "160k", str(target))
        body = bytearray(target.read_bytes())
        edits = [struct.pack(">IiI", ms, FRAME + round(from_s * 44_100), 1 << 16) for ms, from_s in kept]
        elst = struct.pack(">I4sII", 16 + 12 * len(edits), b"elst", 0, len(edits)) + b"".join(edits)
        at = body.index(b"edts") - 4
        before = int.from_bytes(body[at : at + 4], "big")
        body[at : at + before] = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
        for name in (b"trak", b"moov"):
            box = body.rindex(name, 0, at) - 4
            size = int.from_bytes(body[box : box + 4], "big") + 8 + len(elst) - before
            body[box : box + 4] = size.to_bytes(4, "big")
        target.write_bytes(body)

    return run


def appended(options: str, *channels: int) -> Making:
    """Parts of the sound, each with that many channels, one after the other in one file."""

    def run(sound: Path, target: Path) -> None:
        body = b""
        for number, count in enumerate(channels):
            part = ["-ss", str(number * LONG_S / len(channels)), "-t", str(LONG_S / len(channels)), "-i", str(sound)]
            body += ffmpeg(*part, "-ac", str(count), *options.split(), "pipe:1")
        target.write_bytes(body)

    return run


def chained(*links: str) -> Making:
    """Parts of the sound, each encoded in a way of its own, as the links of one Ogg."""

    def run(sound: Path, target: Path) -> None:
        body = b""
        for number, options in enumerate(links):
            part = ["-ss", str(number * LONG_S / len(links)), "-t", str(LONG_S / len(links)), "-i", str(sound)]
            body += ffmpeg(*part, *options.split(), "-f", "ogg", "pipe:1")
        target.write_bytes(body)

    return run


def flac_that_states(samples: int) -> Making:
    """A FLAC whose STREAMINFO (RFC 9639 section 8.2) states another number of samples than it has."""

    def run(sound: Path, target: Path) -> None:
        body = bytearray(sound.read_bytes())
        assert body[:4] == b"fLaC"
        fields = int.from_bytes(body[18:26], "big")
        body[18:26] = (fields >> 36 << 36 | samples).to_bytes(8, "big")
        target.write_bytes(body)

    return run


def long_film(options: str, *, delay_s: float = 0) -> Making:
    """Whose picture lasts for ten seconds, and whose sound begins after `delay_s`."""

    def run(sound: Path, target: Path) -> None:
        picture = ["-f", "lavfi", "-i", "testsrc=s=64x64:r=5:d=10", "-itsoffset", str(delay_s)]
        ffmpeg(*picture, "-i", str(sound), "-map", "0:v", "-map", "1:a", *options.split(), str(target))

    return run


def paused(sound: Path, target: Path) -> None:
    """A recording that stood still for two seconds."""
    whole = target.with_suffix(".whole.webm")
    ffmpeg("-i", str(sound), "-c:a", "libopus", str(whole))
    ffmpeg("-i", str(whole), "-c", "copy", "-bsf:a", "setts=ts='if(gt(PTS,3000),PTS+2000,PTS)'", str(target))


def wav_of(value: float) -> Making:
    """Two seconds of 32-bit floating point, all the same."""

    def run(_sound: Path, target: Path) -> None:
        body = struct.pack("<f", value) * 96_000
        fmt = (b"fmt ", 16, 3, 1, 48_000, 192_000, 4, 32)
        target.write_bytes(
            struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(body), b"WAVE", *fmt, b"data", len(body)) + body
        )

    return run


def wav_of_channels(channels: int) -> Making:
    """A second of 16 bits, with that many channels and without a word on what they are."""

    def run(_sound: Path, target: Path) -> None:
        body = bytes(range(0, 240, 2)) * 800 * channels
        fmt = (b"fmt ", 16, 1, channels, 48_000, 96_000 * channels, 2 * channels, 16)
        target.write_bytes(
            struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(body), b"WAVE", *fmt, b"data", len(body)) + body
        )

    return run

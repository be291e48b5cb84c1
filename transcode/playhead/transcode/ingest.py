"""From an upload in storage to its measures, or to the reason why it is refused.

A source that is not regular (see packets.py: webm, vorbis, files with gaps, …) is decoded once into FLAC at its own
rate; that file takes its place and is measured instead. A refused upload is deleted, and so is what became of it. What
a file says of itself is read from the upload, and its picture is stored beside the source.
"""

import asyncio
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import structlog

from playhead.db import Source, Tags
from playhead.media import Grid, cover_key
from playhead.storage import DISK_RESERVE_BYTES, Storage, StorageFailed
from playhead.transcode.arguments import conform_arguments
from playhead.transcode.covers import Cover, read_cover
from playhead.transcode.metadata import Metadata, marks, read_metadata
from playhead.transcode.probe import (
    SOURCE_DURATION_S_MAX,
    Measures,
    Refusal,
    RefusalKind,
    damaged,
    measure,
    refused_length,
)
from playhead.transcode.processes import Finished
from playhead.transcode.programs import Limits, Programs
from playhead.transcode.scratch import PREFIX
from playhead.transcode.trial import refused_on_trial
from playhead.transcode.tries import run_on_file

CONFORM_CPU_S = 1_800
CONFORM_TIMEOUT_S = 3_600.0
CONFORM_NICENESS = 5
"""A third of the weight of what listeners wait for: somebody waits for this, too, but not for each second of it. Four
that decode beside two encoders that never rest have a fifth of a core each on two cores: 24 hours of webm, 550 s of
CPU, come in the time above. With the fifteenth of what nobody waits for they would not."""
CONFORMED_BYTES_MAX = 4 * 1024**3
"""What a decoded source may take: a hundred times the upload is no rarity. 10 hours of music in stereo at 48 kHz."""
COPIES = 2
"""While a decoded source is put into the storage it is there twice."""
CONFORMED_SUFFIX = ".flac"
CONFORMED_NAME = "conformed#.flac"
"""With a '#' no key of a storage: where `scratch` lies in one, it removes what killed processes left, as scratch.py."""
_COPY_BYTES = 1024 * 1024

log = structlog.get_logger(__name__)


class Ingest:
    """Call it with a source in `storage`. `scratch` is a folder that holds decoded sources (default: the system's)."""

    def __init__(
        self,
        programs: Programs,
        storage: Storage,
        scratch: Path | None = None,
        conformed_bytes_max: int = CONFORMED_BYTES_MAX,
    ) -> None:
        self._programs = programs
        self._storage = storage
        self._scratch = scratch
        self._conformed_bytes_max = conformed_bytes_max

    async def __call__(self, source_key: str, media_version: str) -> Source | Refusal:
        """The measures of the source, or why it is refused; then it is deleted.

        `Source.source_key` may be another one than was given. Raises ObjectMissing, StorageFailed and ProbeFailed.
        """
        async with self._storage.local_file(source_key) as path:
            taken = await self._taken(path, source_key, media_version)
        if isinstance(taken, Refusal) or taken.source_key != source_key:
            await self._storage.delete_prefix(source_key)
        if isinstance(taken, Refusal):
            log.info("An upload was refused.", action="upload_refused", kind=taken.kind, source_key=source_key)
        return taken

    async def _taken(self, path: Path, source_key: str, media_version: str) -> Source | Refusal:
        """What takes long, and what is stored, comes last: whoever has to send it again loses little."""
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        measured = await measure(self._programs, path)
        if isinstance(measured, Refusal):
            return measured
        if refusal := await refused_on_trial(self._programs, path, measured):
            return refusal
        said, start_s, key = await self._said(path), measured.start_s, source_key
        if measured.samples is None:
            key = source_key + CONFORMED_SUFFIX
            conformed = await self._conform(path, key, measured)
            if isinstance(conformed, Refusal):
                return conformed
            measured = conformed
        return await self._described(said, start_s, source_key, _source(measured, key, size_bytes, media_version))

    async def _said(self, path: Path) -> tuple[Metadata, Cover | None]:
        """What the file says of itself, and its picture. Raises EndedByOthers."""
        told = await read_metadata(self._programs, path)
        return told, None if told.cover_track is None else await read_cover(self._programs, path, told.cover_track)

    async def _described(
        self, said: tuple[Metadata, Cover | None], start_s: float, upload_key: str, source: Source
    ) -> Source:
        """`source` with what its file has said of itself; the picture is stored. Raises StorageFailed."""
        told, cover = said
        key = None if cover is None else cover_key(upload_key, cover.suffix)
        if cover is not None and key is not None:
            await self._storage.put(key, cover.body)
        found = marks(told.chapters, start_s, source.duration_ms)
        return replace(source, tags=Tags(title=told.title, artist=told.artist, cover_key=key, marks=found))

    async def _conform(self, path: Path, key: str, irregular: Measures) -> Measures | Refusal:
        """Decodes the file into an object called `key` and measures that. `codec` stays what was uploaded."""
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix=PREFIX) as folder:
            target = Path(folder) / CONFORMED_NAME
            if refusal := await self._decode(path, target, irregular.mixed):
                return refusal
            measured = await measure(self._programs, target)
            if isinstance(measured, Refusal):
                return measured
            if measured.samples is None:
                return Refusal(RefusalKind.BROKEN, "The file could not be measured, even decoded.")
            if refusal := refused_length(measured.samples, measured.rate, irregular.claimed_s):
                return refusal
            await self._store(target, key)
        return Measures(
            codec=irregular.codec, rate=measured.rate, samples=measured.samples, start_s=0.0, claimed_s=None
        )

    async def _decode(self, path: Path, target: Path, mixed: bool) -> Refusal | None:
        """Decodes `path` into `target`, or says why that is refused.

        Raises StorageFailed when the disk is too full, and ProbeFailed.
        """
        room_bytes = (await asyncio.to_thread(shutil.disk_usage, target.parent)).free - DISK_RESERVE_BYTES
        bytes_max = min(self._conformed_bytes_max, room_bytes // COPIES)
        if bytes_max <= 0:
            raise StorageFailed(f"{target.parent}: the disk is nearly full")
        longest_s = SOURCE_DURATION_S_MAX + 1
        arguments = conform_arguments(self._programs.ffmpeg, path, target, longest_s, bytes_max, mixed=mixed)
        limits = Limits(cpu_s=CONFORM_CPU_S, file_bytes_max=bytes_max)
        done = await run_on_file(
            self._programs,
            arguments,
            limits,
            timeout_s=CONFORM_TIMEOUT_S,
            output_bytes_max=0,
            timeouts=1,
            niceness=CONFORM_NICENESS,
        )
        if "No space left on device" in done.errors:
            raise StorageFailed(f"{target.parent}: {done.last_error}")
        if await asyncio.to_thread(_reached, done, target, bytes_max):
            if bytes_max < self._conformed_bytes_max:
                raise StorageFailed(f"{target.parent}: the disk is too full for a source that must be decoded")
            return Refusal(RefusalKind.TOO_LARGE, f"Decoded, the file has more than {bytes_max} bytes. Split it.")
        if done.code != 0:
            reason = f"The file could not be decoded: {done.last_error}"
            return damaged(done) or Refusal(RefusalKind.BROKEN, reason)
        return None

    async def _store(self, file: Path, key: str) -> None:
        with await asyncio.to_thread(file.open, "rb") as content:
            async with self._storage.upload(key) as upload:
                while chunk := await asyncio.to_thread(content.read, _COPY_BYTES):
                    await upload.write(chunk)


def _reached(done: Finished, target: Path, bytes_max: int) -> bool:
    """Whether ffmpeg stopped, or was ended, because the file has so many bytes."""
    return done.code == -signal.SIGXFSZ or (target.exists() and target.stat().st_size >= bytes_max)


def _source(measured: Measures, key: str, size_bytes: int, media_version: str) -> Source:
    assert measured.samples is not None
    grid = Grid(source_rate=measured.rate, source_samples=measured.samples)
    return Source(
        source_key=key,
        source_bytes=size_bytes,
        source_codec=measured.codec,
        source_rate=measured.rate,
        source_samples=measured.samples,
        source_start_s=measured.start_s,
        duration_ms=grid.duration_ms,
        total_samples=grid.total_samples,
        media_version=media_version,
    )

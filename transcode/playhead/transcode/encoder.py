"""Encodes segments [first, end) of a source, alone, in any rungs at once: one ffmpeg, one pipe per rung.

    ffmpeg ──ADTS──► slicer ──frames──► drop pre-roll, collect by the grid ──► fMP4 ──► sink, segment by segment

A segment is handed out only when it has all its frames, and a run succeeds only when every segment came: ffmpeg may
exit with 0 after a seek past the end, having written less. Cancelling kills ffmpeg.
"""

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playhead.media import (
    OUTPUT_RATE_HZ,
    SEGMENT_SAMPLES,
    AdtsSlicer,
    BrokenStream,
    ChunkPlan,
    Grid,
    Rung,
    media_segment,
    plan_chunk,
)
from playhead.transcode.arguments import Coder, chunk_arguments
from playhead.transcode.processes import read_errors, started
from playhead.transcode.programs import Limits, Programs
from playhead.transcode.tries import ended_by_others

CHUNK_TIMEOUT_S = 300.0
"""For the next segment of a run: ten take about 2 s on an idle core."""
CHUNK_LIMITS = Limits(cpu_s=300)
"""It writes to pipes, and no file."""
_READ_BYTES = 64 * 1024
UNREAD_BYTES_MAX = 64 * 1024
"""What ffmpeg may have written that was not taken, and once more in its pipe; then it stands still."""
BULK_UNREAD_BYTES_MAX = 32 * 1024
"""Of one that gives way: it goes on for 3 s of sound at most, which takes it some 50 ms of a core."""

GiveWay = Callable[[], Awaitable[None]]
"""Returns when an encoder that nobody waits for may go on."""
Sink = Callable[[Rung, int, bytes], Awaitable[None]]
"""Takes a finished segment: rung, number, bytes. While it works the encoder waits."""


class EncodeFailed(Exception):
    """The source could not be encoded there. The text is for its uploader, `detail` (ffmpeg's words) for the log."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class EncoderKilled(EncodeFailed):
    """Something ended ffmpeg from outside: the source is not to blame, and the same may succeed in a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSource:
    """What is encoded: the file, its grid, and where in the file its audio begins."""

    path: Path
    grid: Grid
    start_s: float


class Encoder:
    """Runs ffmpeg. Has no limit of its own on how many: the caller has slots."""

    def __init__(
        self,
        programs: Programs,
        *,
        chunk_timeout_s: float = CHUNK_TIMEOUT_S,
        unread_bytes_max: int = UNREAD_BYTES_MAX,
        coder: Coder = "twoloop",
        give_way: GiveWay | None = None,
    ) -> None:
        """`give_way` is asked by those that run with a niceness, before each look at what ffmpeg has made."""
        self._programs = programs
        self._chunk_timeout_s = chunk_timeout_s
        self._unread_bytes_max = unread_bytes_max
        self._coder = coder
        self._give_way = give_way

    async def encode(
        self,
        source: EncoderSource,
        first_segment: int,
        end_segment: int,
        rungs: Sequence[Rung],
        sink: Sink,
        *,
        niceness: int = 0,
    ) -> None:
        """Encodes segments [first_segment, end_segment) and gives each to `sink`, in order within a rung.

        Raises EncodeFailed, IndexError outside the grid, and whatever `sink` raises.
        """
        plan = plan_chunk(source.grid, first_segment, end_segment)
        limit = asyncio.timeout(self._chunk_timeout_s)
        watch = _Stopwatch(limit, self._chunk_timeout_s)
        sink = _untimed(sink, watch)
        give_way = _untimed_standing(self._give_way, watch) if self._give_way is not None and niceness else None
        collectors = [_Collector(plan, source.grid, rung, sink, give_way) for rung in rungs]
        began_s = time.monotonic()
        try:
            async with limit:
                code, errors = await self._run(source, plan, rungs, collectors, niceness)
        except TimeoutError:
            if not limit.expired():
                raise
            raise EncodeFailed(f"{_place(plan)} took longer than {self._chunk_timeout_s:g} s to encode.") from None
        if code != 0 or not all(collector.complete for collector in collectors):
            detail = f"ffmpeg ended with {code}: {errors.strip()}"
            if ended_by_others(code, time.monotonic() - began_s, CHUNK_LIMITS):
                raise EncoderKilled(f"{_place(plan)} could not be encoded: something on the server ended it.", detail)
            raise EncodeFailed(f"{_place(plan)} could not be decoded.", detail)

    async def _run(
        self,
        source: EncoderSource,
        plan: ChunkPlan,
        rungs: Sequence[Rung],
        collectors: Sequence["_Collector"],
        niceness: int,
    ) -> tuple[int, str]:
        """One ffmpeg from start to end: its exit code and what it said."""
        async with _pipes(len(rungs), self._unread_bytes_max) as (readers, writers):
            arguments = chunk_arguments(
                self._programs.ffmpeg, source.path, source.start_s, plan, rungs, writers.numbers, self._coder
            )
            command = self._programs.command(arguments, CHUNK_LIMITS, niceness)
            async with started(command, pass_fds=writers.numbers, niceness=niceness) as process:
                writers.close()
                errors = await _collect(collectors, readers, read_errors(process))
                return await process.wait(), errors


class _Collector:
    """Sorts one rung's frames into segments."""

    def __init__(self, plan: ChunkPlan, grid: Grid, rung: Rung, sink: Sink, give_way: GiveWay | None) -> None:
        self._slicer = AdtsSlicer()
        self._to_drop = plan.drop_frames
        self._segment = plan.first_segment
        self._end_segment = plan.end_segment
        self._grid = grid
        self._rung = rung
        self._sink = sink
        self._give_way = give_way
        self._frames: list[bytes] = []

    @property
    def complete(self) -> bool:
        """Whether every segment was handed out."""
        return self._segment == self._end_segment

    async def collect(self, reader: asyncio.StreamReader) -> None:
        """Reads the pipe to its end. What an ffmpeg that died left of a frame is not looked at: frames are counted."""
        while data := await self._read(reader):
            for frame in self._frames_of(data):
                await self._take(frame)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        """While its pipe is not read, ffmpeg stands still."""
        if self._give_way is not None:
            await self._give_way()
        return await reader.read(_READ_BYTES)

    def _frames_of(self, data: bytes) -> list[bytes]:
        try:
            return self._slicer.feed(data)
        except BrokenStream as error:
            raise EncodeFailed("The encoder failed.", f"It wrote what is not ADTS: {error}") from error

    async def _take(self, frame: bytes) -> None:
        if self._to_drop:
            self._to_drop -= 1
            return
        if self.complete:  # look-ahead
            return
        self._frames.append(frame)
        if len(self._frames) == len(self._grid.segment_frames(self._segment)):
            await self._sink(self._rung, self._segment, media_segment(self._segment, self._frames))
            self._frames = []
            self._segment += 1


class _Stopwatch:
    """Stops `limit` while something goes on that is none of ffmpeg's time."""

    def __init__(self, limit: asyncio.Timeout, timeout_s: float) -> None:
        self._limit = limit
        self._timeout_s = timeout_s
        self._left_s = timeout_s
        self._stopped = 0

    @contextmanager
    def stopped(self, *, anew: bool) -> Iterator[None]:
        """`anew`: ffmpeg has all its time for what comes next."""
        loop = asyncio.get_running_loop()
        until_s = self._limit.when()
        if until_s is not None and not self._stopped and not self._limit.expired():
            self._left_s = until_s - loop.time()
            self._limit.reschedule(None)
        self._stopped += 1
        try:
            yield
        finally:
            self._stopped -= 1
            self._left_s = self._timeout_s if anew else self._left_s
            if not self._stopped and not self._limit.expired():
                self._limit.reschedule(loop.time() + self._left_s)


def _untimed(sink: Sink, watch: _Stopwatch) -> Sink:
    async def take(rung: Rung, segment: int, body: bytes) -> None:
        with watch.stopped(anew=True):
            await sink(rung, segment, body)

    return take


def _untimed_standing(give_way: GiveWay, watch: _Stopwatch) -> GiveWay:
    async def wait() -> None:
        with watch.stopped(anew=False):
            await give_way()

    return wait


async def _collect(
    collectors: Sequence[_Collector], readers: Sequence[asyncio.StreamReader], errors: Coroutine[None, None, str]
) -> str:
    """Reads every pipe to its end and answers what `errors` does. The first error, such as a sink's, ends it all."""
    try:
        async with asyncio.TaskGroup() as group:
            said = group.create_task(errors)
            for collector, reader in zip(collectors, readers, strict=True):
                group.create_task(collector.collect(reader))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return said.result()


class _WriteEnds:
    """The ends of the pipes that ffmpeg inherits. Ours must be closed, or reading never ends."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def close(self) -> None:
        while self.numbers:
            os.close(self.numbers.pop())


@asynccontextmanager
async def _pipes(count: int, unread_bytes_max: int) -> AsyncIterator[tuple[list[asyncio.StreamReader], _WriteEnds]]:
    """`count` pipes: stream readers at our end, file descriptors for ffmpeg's."""
    readers: list[asyncio.StreamReader] = []
    writers = _WriteEnds()
    async with AsyncExitStack() as stack:
        stack.callback(writers.close)
        for _ in range(count):
            reading, writing = os.pipe()
            writers.numbers.append(writing)
            if unread_bytes_max < UNREAD_BYTES_MAX and sys.platform == "linux":
                fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, unread_bytes_max)
            reader, transport = await _reader(reading, unread_bytes_max)
            stack.callback(transport.close)
            readers.append(reader)
        yield readers, writers


async def _reader(pipe: int, unread_bytes_max: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    reader = asyncio.StreamReader(limit=unread_bytes_max // 2)  # it takes twice its limit
    protocol = asyncio.StreamReaderProtocol(reader)
    file = os.fdopen(pipe, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, file)
    return reader, transport


def _place(plan: ChunkPlan) -> str:
    """Where in the audio, for people."""
    start_s, end_s = (segment * SEGMENT_SAMPLES // OUTPUT_RATE_HZ for segment in (plan.first_segment, plan.end_segment))
    return f"The audio from {start_s // 60}:{start_s % 60:02d} to {end_s // 60}:{end_s % 60:02d}"

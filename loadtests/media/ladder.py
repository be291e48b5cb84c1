"""A script that the worker prepares, and one bare ffmpeg that makes the same rungs with its own HLS muxer, in turn.

A preparation is timed from the worker's taking the script until the row says `ready`: the packets are scanned before,
at the upload. CPU is that of worker and server with all that they start, and of the bare ffmpeg.
"""

import asyncio
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.media.place import Place
from loadtests.media.sources import SourceFile, run_ffmpeg
from playhead.media import LADDER, OUTPUT_RATE_HZ, SEGMENT_SAMPLES
from playhead.transcode import Programs
from tests.support.system import Process

TAKEN_TIMEOUT_S = 30.0
READY_TIMEOUT_S = 120.0
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Run:
    """How long one took, and what CPU."""

    seconds: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """One of each. `sound_s`: how much sound that was."""

    sound_s: float
    playhead: Run
    bare: Run

    @property
    def ratio(self) -> float:
        """How many times as fast as the bare ffmpeg playhead was."""
        return self.bare.seconds / self.playhead.seconds


async def compare(
    place: Place, programs: Programs, file: SourceFile, rounds: int, seconds_max: float
) -> tuple[list[Round], str | None]:
    """`rounds` of them, who begins by turns; and what was left out."""
    done: list[Round] = []
    until_s = time.monotonic() + seconds_max
    async with place.worker() as worker:
        for number in range(rounds):
            if time.monotonic() > until_s:
                return done, f"The ladder: {number} of {rounds} rounds in {seconds_max:g} s."
            try:
                done.append(await _round(place, programs, worker, file, bare_first=bool(number % 2)))
            except TimeoutError:
                return done, f"The ladder: broken off after {number} rounds, as the next one took too long."
    return done, None


async def _round(place: Place, programs: Programs, worker: Process, file: SourceFile, *, bare_first: bool) -> Round:
    """Raises TimeoutError."""
    before = await bare_run(programs, file.path) if bare_first else None
    sound_s, prepared = await prepared_run(place, worker, file)
    return Round(sound_s, prepared, before or await bare_run(programs, file.path))


async def prepared_run(place: Place, worker: Process, file: SourceFile) -> tuple[float, Run]:
    """Uploads it and waits until it is ready: how many seconds of sound it has, and how it went."""
    script = await place.upload(file)
    await _until(place, script.script_id, ("processing", "ready"), TAKEN_TIMEOUT_S)
    began_s, cpu_s = time.monotonic(), _cpu_s(worker.pid, place.server.pid)
    await _until(place, script.script_id, ("ready",), READY_TIMEOUT_S)
    seconds = time.monotonic() - began_s
    return script.duration_ms / 1_000, Run(seconds, _cpu_s(worker.pid, place.server.pid) - cpu_s)


async def _until(place: Place, script_id: str, statuses: Sequence[str], timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            row = await place.scripts.stored(script_id)
            if row is not None and row.status in statuses:
                return
            await asyncio.sleep(POLL_S)


def _cpu_s(*pids: int) -> float:
    """CPU time so far of processes, and of all that they have started and waited for."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(each.user + each.system + each.children_user + each.children_system for each in times))


async def bare_run(programs: Programs, path: Path) -> Run:
    with tempfile.TemporaryDirectory(prefix="ph-bare-", dir=path.parent) as folder:
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        await run_ffmpeg(programs, bare_arguments(path, Path(folder)), READY_TIMEOUT_S)
        seconds, after = time.monotonic() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def bare_arguments(path: Path, folder: Path) -> list[str]:
    """ffmpeg: all rungs of the ladder at once, in segments as long as ours."""
    names = [f"rung{number}" for number in range(len(LADDER))]
    graph = f"[0:a:0]aresample={OUTPUT_RATE_HZ},aformat=sample_fmts=fltp:channel_layouts=stereo,asplit={len(LADDER)}"
    arguments = ["-i", str(path), "-filter_complex", graph + "".join(f"[{name}]" for name in names)]
    for number, (name, rung) in enumerate(zip(names, LADDER, strict=True)):
        arguments += ["-map", f"[{name}]", f"-c:a:{number}", "aac", f"-b:a:{number}", str(rung.bits_per_s)]
    return [
        *arguments,
        *("-aac_coder", "twoloop", "-f", "hls", "-hls_time", f"{SEGMENT_SAMPLES / OUTPUT_RATE_HZ}"),
        *("-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-master_pl_name", "master.m3u8"),
        *("-var_stream_map", " ".join(f"a:{number}" for number in range(len(LADDER)))),
        *("-hls_segment_filename", str(folder / "%v-%d.m4s"), str(folder / "%v.m3u8")),
    ]

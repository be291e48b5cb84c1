"""Runs one program to its end: bounded in time and in what it may say, and never left behind.

Owns: starting, reading, killing. Must not know: what the program is for. Programs read what strangers send, so they are
started without our environment, which holds keys and passwords.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ERRORS_BYTES_MAX = 16 * 1024
"""What is kept of standard error; the rest is read and dropped, so that the program never waits for us."""
_READ_BYTES = 64 * 1024
NICENESS = 12
"""Of what nobody waits for: a fifteenth of the weight of what listeners wait for. With a seventieth, the least, it gets
too little beside neighbours that never rest (docs/decisions/0021-on-demand.md)."""
WEIGH_ATTEMPTS = 4
WEIGH_RETRY_S = 0.11
AUTOGROUP_SETTING = Path("/proc/sys/kernel/sched_autogroup_enabled")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
"""Environment variables that programs get: what finds them and their libraries, and how they write."""


class OutputTooLong(Exception):
    """The program wrote more to standard output than was allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """`code` is the exit code; negative: the signal that ended the program."""

    code: int
    output: bytes
    errors: str

    @property
    def last_error(self) -> str:
        """The last line of standard error, which with ffmpeg names the cause; empty when there is none."""
        lines = self.errors.strip().splitlines()
        return lines[-1].strip() if lines else ""


async def run(command: Sequence[str], *, timeout_s: float, output_bytes_max: int, niceness: int = 0) -> Finished:
    """Runs `command` to its end. Raises TimeoutError and OutputTooLong; then, and when cancelled, it is killed."""
    running = started(command, stdout=asyncio.subprocess.PIPE, niceness=niceness)
    async with asyncio.timeout(timeout_s), running as process:
        assert process.stdout is not None
        output, errors = await asyncio.gather(_read(process.stdout, output_bytes_max), read_errors(process))
        return Finished(code=await process.wait(), output=output, errors=errors)


def program_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of `environment` a program may know."""
    return {name: environment[name] for name in PASSED_ON if name in environment}


@asynccontextmanager
async def started(
    command: Sequence[str],
    *,
    stdout: int = asyncio.subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    niceness: int = 0,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running program in a session of its own; whatever of it still runs when the block is left is killed.

    `niceness`: of its session beside others, where the system weighs sessions.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=pass_fds,
        env=program_environment(os.environ),
        start_new_session=True,  # Ctrl-C in a terminal is for us alone: we decide what becomes of the work
    )
    try:
        if niceness:
            await _weigh_session(process.pid, niceness)
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())


async def _weigh_session(pid: int, niceness: int) -> None:
    """Linux shares the cores among sessions before niceness counts within one (sched(7), the autogroup feature).

    Without privileges it takes one such word in 100 ms from a process, so that it is said again.
    """
    for _ in range(WEIGH_ATTEMPTS):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
        except BlockingIOError:
            await asyncio.sleep(WEIGH_RETRY_S)
        except OSError:
            return
        else:
            _give_way(pid)
            return


def _give_way(pid: int) -> None:
    """Lets whoever wakes up run at once before this one (SCHED_IDLE). Its share of the cores is that of its session, so
    that it is not starved; where sessions have none it would be."""
    with suppress(OSError):
        if sessions_share_cores():
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def sessions_share_cores(
    setting: Path = AUTOGROUP_SETTING, own_cgroups: Path = OWN_CGROUPS, cgroup_root: Path = CGROUP_ROOT
) -> bool:
    """Whether the kernel gives each session a share of its own: autogroups are on, and no cgroup, as of a container,
    divides the cores instead (sched(7): autogroups are of the root CPU cgroup alone). Raises OSError."""
    if setting.read_text().strip() != "1":
        return False
    for row in own_cgroups.read_text().splitlines():
        _, controllers, path = row.split(":", 2)
        if "cpu" in controllers.split(",") and path != "/":
            return False
        # its own folder may be hidden: in a container's view it is the root, which alone has no such file
        folders = [cgroup_root, *(cgroup_root / part for part in _folders(path))]
        if not controllers and any((folder / "cpu.weight").exists() for folder in folders):
            return False
    return True


def _folders(path: str) -> list[str]:
    """Those of a cgroup and of all above it: `/a/b` is `a` and `a/b`."""
    parts = path.strip("/").split("/")
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


async def read_errors(process: asyncio.subprocess.Process) -> str:
    """Standard error to its end, of which the last ERRORS_BYTES_MAX are kept."""
    assert process.stderr is not None
    kept = b""
    while chunk := await process.stderr.read(_READ_BYTES):
        kept = (kept + chunk)[-ERRORS_BYTES_MAX:]
    return kept.decode(errors="replace")


async def _read(stream: asyncio.StreamReader, bytes_max: int) -> bytes:
    output = bytearray()
    while chunk := await stream.read(_READ_BYTES):
        output += chunk
        if len(output) > bytes_max:
            raise OutputTooLong(f"more than {bytes_max} bytes")
    return bytes(output)

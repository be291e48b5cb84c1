"""Runs a program on an upload, and tells what the file did to it from what others did.

    it ends by itself                                             what it says is about the file
    it crashes, or runs into a limit of ours (see programs.py)    the file's doing, whoever reads it next
    another signal ends it: the kernel's that is short of         not the file's doing: once more, and then ProbeFailed
    memory, an operator's; or it has not ended in time

A limit of CPU comes before that of time, so that who is out of time was not let run, or waited for the disk.
"""

import asyncio
import signal
import time

import structlog

from playhead.runtime.cores import usable_cores
from playhead.transcode.processes import Finished, run
from playhead.transcode.programs import Limits, Programs

TRIES_MAX = 2
AGAIN_S = 1.0
"""Before the next try: who was killed for want of memory needs some by then."""
FILES_DOING = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    }
)
"""Signals that a program brings upon itself: by a crash, or past a limit of CPU or of a file's size."""
CAUGHT = frozenset({123, 255})
"""Codes with which ffmpeg ends when a signal told it to; SIGXCPU is one that it catches, and SIGTERM another."""

log = structlog.get_logger(__name__)


class ProbeFailed(Exception):
    """A program could not be run on the file, or not to its end. The file is not to blame."""


class EndedByOthers(ProbeFailed):
    """Something ended it from outside each time: the same may succeed in a moment."""


async def run_on_file(
    programs: Programs,
    arguments: list[str],
    limits: Limits,
    *,
    timeout_s: float,
    output_bytes_max: int,
    timeouts: int,
    niceness: int = 0,
) -> Finished:
    """How the program ended by itself, or by the file's doing. `timeouts`: how many runs may take too long.

    Raises OutputTooLong, and ProbeFailed when that is not to be had here and now.
    """
    failure: type[ProbeFailed]
    for tried in range(1, TRIES_MAX + 1):
        began_s = time.monotonic()
        command = programs.command(arguments, limits, niceness)
        try:
            done = await run(command, timeout_s=timeout_s, output_bytes_max=output_bytes_max, niceness=niceness)
        except TimeoutError:
            problem, last, failure = f"did not end within {timeout_s:g} s", tried >= timeouts, ProbeFailed
        except OSError as error:
            raise ProbeFailed(f"{arguments[0]} cannot be run: {error}") from error
        else:
            if not ended_by_others(done.code, time.monotonic() - began_s, limits):
                return done
            problem, last, failure = f"was ended from outside ({done.code})", tried >= TRIES_MAX, EndedByOthers
        if last:
            break
        log.warning("A program on an upload is run again.", action="probe_again", program=arguments[0], problem=problem)
        await asyncio.sleep(AGAIN_S)
    raise failure(f"{arguments[0]} {problem}, at try {tried}")


def ended_by_others(code: int, lasted_s: float, limits: Limits) -> bool:
    """Whether the end of a program that ran so long says nothing about the file. `code`: as of `Finished`."""
    if code in CAUGHT:  # it does not say which; SIGXCPU is none where there was not nearly time for so much CPU
        return 2 * lasted_s * usable_cores() < limits.cpu_s
    return code < 0 and -code not in FILES_DOING

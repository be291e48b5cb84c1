"""Child processes that must stay up: restarted with back-off when they end by themselves, given up on after a bound.

Owns: starting, watching, restarting, stopping. Must not know: what the children do.
How it works: one task per child. Each child has a session of its own, so that Ctrl-C reaches the supervisor alone,
which stops things in order; on Linux the kernel ends the children of a supervisor that was killed.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playhead.app.embedded.process import launch_arguments, log_tail

CRASHES_IN_A_ROW_MAX = 5
HEALTHY_AFTER_S = 30.0
"""A child that has run this long has recovered: its crashes are counted from nought again."""
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 10.0


class ChildFailed(Exception):
    """A child process does not stay up. The text has the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits of `first_s`, doubled each time up to `longest_s`, between at most `crashes_max` crashes in a row."""

    first_s: float = BACKOFF_FIRST_S
    longest_s: float = BACKOFF_MAX_S
    crashes_max: int = CRASHES_IN_A_ROW_MAX
    healthy_after_s: float = HEALTHY_AFTER_S

    def wait_s(self, crashes: int) -> float:
        """How long to wait after crash number `crashes` (from 1) in a row."""
        return min(self.longest_s, self.first_s * 2.0 ** (crashes - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What to run: `arguments` with the program first. Its output goes to `log_path`, which it begins anew."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log_path: Path


async def keep_running(child: Child, *, stop_timeout_s: float, backoff: Backoff, say: Callable[[str], None]) -> None:
    """Runs `child` until this task is cancelled, which stops it (SIGTERM, after `stop_timeout_s` SIGKILL).

    Raises ChildFailed when it ends by itself too often.
    """
    child.log_path.parent.mkdir(parents=True, exist_ok=True)
    child.log_path.write_bytes(b"")
    crashes = 0
    while True:
        lived_s, code = await _run_once(child, stop_timeout_s)
        crashes = 1 if lived_s >= backoff.healthy_after_s else crashes + 1
        if crashes >= backoff.crashes_max:
            raise ChildFailed(
                f"The {child.name} ended {crashes} times in a row, last with {exit_text(code)}. Its log, "
                f"{child.log_path}, ends with:\n{log_tail(child.log_path)}"
            )
        wait_s = backoff.wait_s(crashes)
        say(f"The {child.name} ended with {exit_text(code)} (see {child.log_path}); it starts again in {wait_s:g} s.")
        await asyncio.sleep(wait_s)


async def _run_once(child: Child, stop_timeout_s: float) -> tuple[float, int]:
    """How long the child lived, in seconds, and its exit code; stops it when cancelled."""
    clock = asyncio.get_running_loop().time
    started_at_s = clock()
    with child.log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *launch_arguments(child.arguments, end_with_parent=True),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(child.environment),
            start_new_session=True,
        )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        await _stop(process, stop_timeout_s)
        raise
    return clock() - started_at_s, code


async def run_to_end(
    arguments: Sequence[str], environment: Mapping[str, str], *, timeout_s: float | None = None
) -> tuple[int, str]:
    """Runs a program that ends by itself. Answers its exit code and all that it printed; raises TimeoutError.

    When cancelled, or too slow, the program ends with all that it has started.
    """
    process = await asyncio.create_subprocess_exec(
        *launch_arguments(arguments, end_with_parent=True),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace").strip()


async def _stop(process: asyncio.subprocess.Process, timeout_s: float) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        process.kill()
        await process.wait()


def exit_text(code: int) -> str:
    """How a process ended, in words."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

"""Whether a server ends when the process that started it is killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

END_TIMEOUT_S = 20.0


def pid_after_parent_is_killed(program: str, *arguments: Path | str, temp: Path) -> int:
    """Runs `program` in a Python of its own until it prints a pid, kills that Python, answers the pid.

    The program prints the pid of a server it has started, and waits. What it cannot clean up stays in `temp`.
    """
    code = f"{textwrap.dedent(program)}\nimport signal\nsignal.pause()\n"
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    environment = {**os.environ, "TMPDIR": str(temp)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    return pid


def ends(pid: int) -> bool:
    """Whether process `pid` is gone within a while."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline:
        if _ended(pid):
            return True
        time.sleep(0.01)
    return False


def _ended(pid: int) -> bool:
    """Gone, or dead and waiting for the system's first process, which in some containers never collects the dead."""
    try:
        os.kill(pid, 0)
        return sys.platform == "linux" and Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (ProcessLookupError, FileNotFoundError):
        return True

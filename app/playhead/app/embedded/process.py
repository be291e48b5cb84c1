"""Child processes that serve on a unix socket: start, wait until ready, stop, tail of the log.

Owns: what PostgreSQL and Valkey have in common as processes. Must not know: their configuration or protocols.
Start children from the main thread: the kernel's "signal me when my parent ends" follows the thread that forked.
"""

import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playhead.app.embedded import exec_stub
from playhead.app.embedded.errors import EmbeddedError

Identity = Literal["own", "namespace", "nobody"]

SOCKET_PATH_BYTES_MAX = 103
"""sun_path holds 104 bytes on macOS and 108 on Linux, with the closing zero."""
LOG_TAIL_LINES = 12
LOCK_TIMEOUT_S = 90.0
POLL_S = 0.005


def launch_arguments(
    program: Sequence[str | Path],
    *,
    identity: Identity = "own",
    end_with_parent: bool = False,
    death_signal: int = signal.SIGTERM,
) -> list[str]:
    """The command line that becomes `program`, under `identity`, ended by `death_signal` when this process ends."""
    parent_pid = os.getpid() if end_with_parent else 0
    stub = [sys.executable, "-I", "-S", exec_stub.__file__, identity, str(parent_pid), str(int(death_signal))]
    return [*stub, *(str(part) for part in program)]


def launch_server(
    program: Sequence[str | Path], *, identity: Identity = "own", death_signal: int, log_path: Path, cwd: Path
) -> subprocess.Popen[bytes]:
    """Starts `program` with its output in `log_path` (emptied first).

    It gets a session of its own: Ctrl-C in the terminal must not stop a database before those that write to it.
    """
    with log_path.open("wb") as log:
        return subprocess.Popen(
            launch_arguments(program, identity=identity, end_with_parent=True, death_signal=death_signal),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            start_new_session=True,
        )


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `condition` came true within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def stop(process: subprocess.Popen[bytes], ask: signal.Signals, timeout_s: float) -> None:
    """Asks `process` to end with the signal `ask`, and kills it when it has not within `timeout_s`."""
    if process.poll() is not None:
        return
    process.send_signal(ask)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def log_tail(log_path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log, indented for an error message; empty when there is none."""
    try:
        text = log_path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


@contextmanager
def exclusive(lock_path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Holds an exclusive lock on `lock_path` between processes; it is gone with the process, however that ends."""
    with lock_path.open("ab") as lock:
        if not wait_for(lambda: _locked(lock.fileno()), timeout_s):
            raise EmbeddedError(
                f"Another process has been busy with the same for more than {timeout_s:.0f} s: "
                f"it holds {lock_path}. End it and try again."
            )
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def socket_folder(kind: str, data_dir: Path, longest_name: str) -> Path:
    """A private folder for the socket of the server on `data_dir`: always the same, and short as socket paths must be.

    Raises EmbeddedError when the path would be too long.
    """
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"playhead-{kind}-{digest}"
    length_bytes = len(os.fsencode(folder / longest_name))
    if length_bytes > SOCKET_PATH_BYTES_MAX:
        raise EmbeddedError(
            f"The socket path {folder / longest_name} has {length_bytes} bytes, more than the {SOCKET_PATH_BYTES_MAX} "
            "that the system takes. Set TMPDIR to a shorter folder, for example TMPDIR=/tmp."
        )
    return folder


def make_private_folder(folder: Path, owner_id: int) -> None:
    """Makes `folder`, for `owner_id` alone. Refuses one that another user has put there, who could swap the socket."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), owner_id}:
        raise EmbeddedError(f"{folder} belongs to another user. Remove it, or set TMPDIR to a folder of your own.")
    folder.chmod(0o700)
    if found.st_uid != owner_id:
        os.chown(folder, owner_id, -1)


def make_data_parent(data_dir: Path) -> None:
    """Makes the folder in which `data_dir` lies, and checks that we may write there."""
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir.parent):
            pass
    except OSError as error:
        raise EmbeddedError(
            f"There is no place for data in {data_dir.parent}: {error.strerror or error}. "
            "Make it writable, or choose another folder with PLAYHEAD_DATA_DIR."
        ) from error


def settled_path(data_dir: Path) -> Path:
    """One name for one folder, whatever links lead there: sockets and locks are named after it."""
    return data_dir.resolve()


def beside(data_dir: Path, suffix: str) -> Path:
    """A neighbour of the data folder, where the server does not look."""
    return data_dir.with_name(data_dir.name + suffix)

"""The files in which processes keep their metrics: added up for `/metrics`, and folded into one when a process is dead.

    counter_PID.db, histogram_PID.db    counts; those of the dead are added to counter_0.db and histogram_0.db
    gauge_live…_PID.db                  what only a living process has; deleted with it
    PID.alive                           locked by its process for as long as that lives, however it ends

Nobody has to wait for a process to know that it is dead: its lock is free. A number would not say so, as containers
have their own. Who starts and who reads folds the dead before.

Reading and folding keep off each other by a lock on the folder, also those of several processes: a count that was seen
twice, or not at all for a moment, would be a reset to whoever draws rates from it.
"""

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from prometheus_client import Metric, multiprocess
from prometheus_client.mmap_dict import MmapedDict

from playhead.runtime.metric_values import ReservedValues

log = structlog.get_logger(__name__)

FOLDED_KINDS = ("counter", "histogram")
FOLDED_PID = 0
"""Stands for all that are dead: no process has it."""
LOCK_NAME = ".lock"
ALIVE = ".alive"


class LockedCollector:
    """Adds up the files of all processes that share `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = multiprocess.MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        fold_dead(self._folder)
        with _locked(self._folder, fcntl.LOCK_SH):
            return list(self._files.collect())  # type: ignore[no-untyped-call]


def claim_folder(folder: Path, pid: int) -> None:
    """Tells the others in `folder` that process `pid`, the calling one, lives; before it has files there.

    Raises OSError, also when another process of that number lives: in another container, say.
    """
    with _locked(folder, fcntl.LOCK_EX):
        _fold_all_dead(folder)
        alive = os.open(_alive(folder, pid), os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock_free(alive):
            os.close(alive)
            raise BlockingIOError(f"Another process with the number {pid} uses it; this one needs a folder of its own")
        # never closed by us: the process's end lets go of it
        _fold_one(folder, pid)


def fold_dead(folder: Path) -> None:
    """What dead processes have counted stays, and their files go."""
    try:
        with _locked(folder, fcntl.LOCK_EX):
            _fold_all_dead(folder)
    except OSError as error:
        _warn(error)


def fold_process(folder: Path, pid: int) -> None:
    """The same of process `pid`, which has ended."""
    try:
        with _locked(folder, fcntl.LOCK_EX):
            _fold_one(folder, pid)
            _alive(folder, pid).unlink(missing_ok=True)
    except OSError as error:
        _warn(error)


def _fold_all_dead(folder: Path) -> None:
    for path in folder.glob(f"*{ALIVE}"):
        with path.open("rb") as alive:
            if _lock_free(alive.fileno()):
                # first: what cannot be folded is not tried again with each reading
                path.unlink()
                _fold_one(folder, int(path.stem))


def _fold_one(folder: Path, pid: int) -> None:
    multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    for kind in FOLDED_KINDS:
        _fold(folder / f"{kind}_{pid}.db", folder / f"{kind}_{FOLDED_PID}.db")


def _alive(folder: Path, pid: int) -> Path:
    return folder / f"{pid}{ALIVE}"


def _lock_free(file: int) -> bool:
    """Whether nobody has had its lock; the caller has it then."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fold(dead: Path, to: Path) -> None:
    if not dead.exists():
        return
    try:
        _add(dead, to)
    except (OSError, RuntimeError, ValueError, struct.error) as error:
        _warn(error)


def _warn(error: Exception) -> None:
    """Counts are not worth a process that serves."""
    log.warning("Metrics of a dead process stay as they are.", action="metrics_unfolded", error=str(error))


def _add(dead: Path, to: Path) -> None:
    """Adds one file to another. Whenever it is interrupted, what is counted is counted."""
    made = to.with_suffix(".new")
    made.unlink(missing_ok=True)
    sums: dict[str, float] = {}
    for file in (to, dead):
        if file.exists():
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
                sums[key] = sums.get(key, 0.0) + value
    values = ReservedValues(str(made))
    for key, value in sums.items():
        values.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    values.close()  # type: ignore[no-untyped-call]
    os.replace(made, to)
    dead.unlink()


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    with (folder / LOCK_NAME).open("ab") as lock:
        fcntl.flock(lock, how)
        yield

"""The files of a process's metrics, with room on the disk for all that they map into memory.

The library makes its files sparse and writes by way of memory: on a full disk that is no error but a SIGBUS, which ends
the process. Here blocks are taken before they are mapped. What has none is an OSError: for a new file at the start, and
for a file that must grow when a label comes that nobody has had yet; that one is shown as soon as there is room.
"""

import os
from pathlib import Path

import structlog
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

log = structlog.get_logger(__name__)

FILE_BYTES = 1 << 16
"""Of a new file. One that must grow doubles."""
ENTRY_BYTES = 4 + 8 + 16
"""Of an entry beside its key at most: the key's length, padding, value and time."""


class ReservedValues(MmapedDict):
    """The library's dictionary. Raises OSError where there is no room."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            _make(Path(filename))
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        wanted: int = self._capacity
        while self._used + len(key.encode()) + ENTRY_BYTES > wanted:
            wanted *= 2
        _enlarge(self._f.fileno(), wanted)
        super()._init_value(key)  # type: ignore[no-untyped-call]


class PatientValues(ReservedValues):
    """Where an entry has no room, its instrument counts on in memory, and every count asks again."""

    _told = False

    def read_value(self, key: str) -> tuple[float, float]:
        try:
            value, at_s = super().read_value(key)  # type: ignore[no-untyped-call]
        except OSError as error:
            self._tell(error)
            return 0.0, 0.0
        return value, at_s

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        try:
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("There is no room for more metrics.", action="metrics_without_room", error=str(error))


def keep_room(folder: Path, pid: int, kinds: tuple[str, ...]) -> None:
    """Makes the files of process `pid` in `folder`, one of each kind; from here on this process's instruments use files
    with room of their own. Raises OSError."""
    values.MmapedDict = PatientValues  # type: ignore[attr-defined]  # the library knows no other way to it
    for kind in kinds:
        _make(folder / f"{kind}_{pid}.db")


def _make(path: Path) -> None:
    """An empty file, unless there is one; nobody sees it half made."""
    if path.exists():
        return
    draft = path.with_suffix(".draft")
    try:
        with draft.open("wb", buffering=0) as file:
            _enlarge(file.fileno(), FILE_BYTES)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _enlarge(file: int, wanted: int) -> None:
    """To `wanted` bytes, of zeros that are written: so they have blocks. Raises OSError, and leaves it as it was."""
    size = os.fstat(file).st_size
    try:
        while (there := os.fstat(file).st_size) < wanted:
            os.pwrite(file, bytes(wanted - there), there)
    except OSError:
        os.ftruncate(file, size)
        raise

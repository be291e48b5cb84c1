"""Who serves a PostgreSQL data folder right now, read from its `postmaster.pid`.

Its lines (src/include/utils/pidfile.h): pid, data folder, start time, port, socket folder, listen address, shared
memory, status.
"""

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

PID_FILE = "postmaster.pid"
_CONNECT_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A live server process: where it listens, and whether it takes connections yet."""

    pid: int
    port: int
    socket_folder: Path
    ready: bool

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The DSN for `user`, as asyncpg and libpq read it. `postgres` is the superuser."""
        folder = quote(str(self.socket_folder), safe="/")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={folder}&port={self.port}"


def live_postmaster(data_dir: Path) -> Postmaster | None:
    """The server that runs on `data_dir`; None when there is none, or only the file of one that died."""
    try:
        lines = (data_dir / PID_FILE).read_text().splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not _alive(pid) or not _runs_in(pid, data_dir):
        return None
    try:
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        found = Postmaster(pid, int(lines[3]), Path(lines[4]), ready)
    except (ValueError, IndexError):  # it is still writing the file
        return Postmaster(pid, 0, Path(), ready=False)
    return found if not ready or _accepts(found) else None


def forget_foreign_pid(data_dir: Path) -> None:
    """Removes a pid file whose pid is some other program's by now: PostgreSQL would take that for a running server."""
    try:
        pid = int((data_dir / PID_FILE).read_text().split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return
    if _alive(pid) and not _runs_in(pid, data_dir):
        (data_dir / PID_FILE).unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _runs_in(pid: int, data_dir: Path) -> bool:
    """Whether process `pid` stands in `data_dir`, as a postmaster does; where it is not Linux, the socket decides."""
    if sys.platform != "linux":
        return True
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == data_dir
    except OSError:  # ended, or another user's
        return False


def _accepts(postmaster: Postmaster) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_TIMEOUT_S)
        return probe.connect_ex(str(postmaster.socket_folder / f".s.PGSQL.{postmaster.port}")) == 0

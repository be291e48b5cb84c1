"""Whether a TCP port can be listened on, and if not, why: a wrong address, or somebody who has it."""

import os
import socket
import sys
from pathlib import Path

from playhead.app.listening import cannot_listen

_LISTENING = "0A"
"""State TCP_LISTEN in /proc/net/tcp."""


class CannotListen(Exception):
    """There is no listening where it is needed. The text names the setting that changes it."""


def require_free(host: str, port: int, *, host_setting: str, port_setting: str) -> None:
    """Raises CannotListen when nothing can listen on `host`:`port`; the settings are what the text tells to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except (OSError, UnicodeError) as error:  # the latter for names that no host can have
            holder = holder_of(port)
            by = f" by {holder}" if holder else ""
            raise CannotListen(
                cannot_listen(error, host, port, host_setting=host_setting, port_setting=port_setting, by=by)
            ) from None


def holder_of(port: int) -> str | None:
    """The process that listens on `port`, as `process PID (command line)`; None when that cannot be seen."""
    if sys.platform != "linux":
        return None
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening_inodes(Path("/proc/net") / table, port)}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process / "fd", sockets):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return f"process {process.name} ({command[:80]})"
    return None


def _listening_inodes(table: Path, port: int) -> list[str]:
    """Column 10 of the lines whose local address ends with `port`; see proc_net_tcp in the kernel's documentation."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port]


def _holds(descriptors: Path, sockets: set[str]) -> bool:
    try:
        return any(os.readlink(entry) in sockets for entry in descriptors.iterdir())
    except OSError:  # another user's, or it has ended
        return False

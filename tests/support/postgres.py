"""Databases for tests on one shared PostgreSQL server: made empty or from a template, dropped afterwards."""

import itertools
import subprocess

from playhead.app.embedded import EmbeddedPostgres
from playhead.app.embedded.postgres_programs import PostgresPrograms

PSQL_TIMEOUT_S = 30.0


class Databases:
    """Makes databases on `server` with psql, so that tests of every kind may use it, with or without an event loop."""

    def __init__(self, server: EmbeddedPostgres, programs: PostgresPrograms) -> None:
        self._server = server
        self._psql = programs.folder / "psql"
        self._numbers = itertools.count(1)

    def create(self, template: str | None = None) -> str:
        """The owner's DSN of a new database: empty, or a copy of `template`, which nobody may be connected to."""
        name = f"test_{next(self._numbers)}"
        copied = f" template {template} strategy wal_log" if template else ""
        self.execute(f"create database {name}{copied}")
        return self._server.url(name)

    def drop(self, url: str) -> None:
        """Drops the database that `create` answered, cutting its connections."""
        self.execute(f"drop database if exists {self.name(url)} with (force)")

    def name(self, url: str) -> str:
        return url.split("@/")[1].split("?")[0]

    def execute(self, statement: str) -> None:
        """Runs one statement as the superuser in the database `postgres`."""
        command = [str(self._psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, self._server.url()]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PSQL_TIMEOUT_S)
        assert answer.returncode == 0, answer.stderr

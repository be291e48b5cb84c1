"""Backups of a database, and what becomes of them on another server; by PostgreSQL's own programs."""

import os
import subprocess
from pathlib import Path

from playhead.app.embedded.postgres_programs import find_postgres

TIMEOUT_S = 60.0
ROLES = "create role {} nologin noinherit"
NAMES = ("anon", "authenticated", "service_role")


def program(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(find_postgres(os.environ).folder / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)


def dump(url: str, file: Path) -> None:
    done = program("pg_dump", "--format=custom", f"--file={file}", url)
    assert done.returncode == 0, done.stderr


def run_sql(url: str, *statements: str) -> None:
    commands = [part for statement in statements for part in ("-c", statement)]
    done = program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *commands, url)
    assert done.returncode == 0, done.stderr


def make_roles(url: str) -> None:
    run_sql(url, *map(ROLES.format, NAMES))

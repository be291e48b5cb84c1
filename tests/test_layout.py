"""The house rules that a program can check: folders, sizes, and what must not be in a committed file."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
ROOTS = sorted(path.parent.name for path in ROOT.glob("*/playhead") if path.is_dir())
SOURCE_SUFFIXES = {".py", ".ts", ".mjs"}

# in parts, so that this file holds no address itself
_INDEX, _NPM, _DEBIAN = "py" + "pi", "npm" + "js", "deb" + "ian"
ADDRESSES = re.compile(
    rf"{_INDEX}\.org|python{'hosted'}\.|{_NPM}\.(?:org|com)|deb\.{_DEBIAN}\.|(?:^|[^A-Za-z0-9_.])/(?:work|root|farm)/"
)
TODO_WITHOUT_TRIGGER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b(?! (?:when|once|if|after) \w)")


def committed_files() -> Iterator[Path]:
    """What is in git, or would be with `git add .`, and still exists."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return (ROOT / name for name in names if name and (ROOT / name).is_file())


def sources() -> list[Path]:
    return [path for path in committed_files() if path.suffix in SOURCE_SUFFIXES]


def texts() -> Iterator[tuple[Path, str]]:
    for path in committed_files():
        try:
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """`path:line` of every committed line that `pattern` is found in."""
    return [
        f"{path}:{number}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def package_folders() -> set[Path]:
    return {path.parent for root in ROOTS for path in (ROOT / root).rglob("*.py")}


def test_the_namespace_has_the_roots_that_pyproject_names() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        tools = tomllib.load(file)["tool"]
    build = tools["hatch"]["build"]
    for named in (
        build["dev-mode-dirs"],
        build["targets"]["wheel"]["only-include"],
        tools["coverage"]["run"]["source"],
    ):
        assert sorted(named) == ROOTS


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_and_its_share_of_the_namespace_hold_no_modules(root: str) -> None:
    assert list((ROOT / root).glob("*.py")) + list((ROOT / root / "playhead").glob("*.py")) == []


def test_every_package_and_every_folder_of_tests_has_an_init() -> None:
    tests = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    missing = [folder for folder in package_folders() | tests if not (folder / "__init__.py").exists()]
    assert missing == []


def test_http_is_the_standard_librarys_for_whoever_starts_in_the_repository() -> None:
    program = "import http.server, sys; sys.exit(not http.server.__file__.startswith(sys.base_prefix))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_no_file_is_called_utils() -> None:
    assert [path for path in sources() if path.stem in {"utils", "util", "helpers", "misc", "common"}] == []


def test_files_are_short() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in sources()}
    assert {path: lines for path, lines in lengths.items() if lines >= FILE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in sources():
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines >= FUNCTION_LINES_MAX:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        path.relative_to(ROOT)
        for folder in package_folders()
        for path in folder.glob("*.py")
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_a_note_of_work_to_do_names_what_will_trigger_it() -> None:
    assert lines_with(TODO_WITHOUT_TRIGGER) == []


def test_no_committed_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    assert lines_with(ADDRESSES) == []

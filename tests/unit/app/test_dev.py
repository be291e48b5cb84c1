"""`dev.py` in a folder of its own, with a stand-in for uv that notes what it is asked and makes a minimal `.venv`."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEV = Path(__file__).resolve().parents[3] / "dev.py"

UV = """#!/bin/sh
echo "$*" >> {notes}
case "$1" in
    --version) exit 0 ;;
    venv) rm -rf .venv; mkdir -p .venv/bin; ln -s {python} .venv/bin/python ;;
    pip)
        [ -e uv-fails ] && exit 1
        printf '#!/bin/sh\\necho playhead "$@"\\n' > .venv/bin/playhead; chmod +x .venv/bin/playhead ;;
esac
"""


class Project:
    """A folder with dev.py and a program `uv`; `notes` has one line for each set-up step that uv was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        shutil.copy(DEV, folder)
        (folder / "pyproject.toml").write_text("[project]\n")
        (folder / "requirements.lock").write_text("")
        uv = self.programs / "uv"
        uv.write_text(UV.format(notes=folder / "notes", python=sys.executable))
        uv.chmod(0o755)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / "dev.py"), *arguments]

    def environment(self, **variables: str) -> dict[str, str]:
        return {"PATH": f"{self.programs}:/usr/bin:/bin", **variables}

    def dev(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment(**variables)
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, env=environment)

    def steps(self) -> list[str]:
        lines = (self.folder / "notes").read_text().splitlines()
        return [" ".join(line.split()[:2]) for line in lines if not line.startswith("--version")]

    def forget_steps(self) -> None:
        (self.folder / "notes").write_text("")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_it_parses_on_the_old_pythons_that_it_turns_away() -> None:
    ast.parse(DEV.read_text(), feature_version=(3, 8))


def test_an_old_python_is_told_what_it_needs(project: Project) -> None:
    pretend = f"import sys; sys.version_info = (3, 9, 2); sys.path.insert(0, {str(project.folder)!r}); import dev"
    answer = subprocess.run(
        [sys.executable, "-c", f"{pretend}; sys.exit(dev.main(['run']))"], capture_output=True, text=True
    )
    assert answer.returncode == 2
    assert "needs Python 3.11 or newer, and this is 3.9.2" in answer.stderr


def test_the_first_run_makes_the_environment_and_hands_over_its_arguments(project: Project) -> None:
    answer = project.dev("run", "--port", "9000")
    assert (answer.returncode, answer.stdout) == (0, "playhead run --port 9000\n")
    assert project.steps() == ["venv -q", "pip install"]


def test_the_second_run_has_nothing_to_set_up(project: Project) -> None:
    project.dev("run")
    project.forget_steps()
    assert project.dev("run").stdout == "playhead run\n"
    assert project.steps() == []


def test_what_was_compiled_is_kept_whatever_the_image_says(project: Project) -> None:
    """Each of a test run's hundreds of processes would compile all modules again."""
    project.dev("run")
    program = project.folder / ".venv" / "bin" / "playhead"
    program.write_text('#!/bin/sh\necho "kept:$PYTHONDONTWRITEBYTECODE"\n')
    assert project.dev("run", PYTHONDONTWRITEBYTECODE="1").stdout == "kept:\n"


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_changed_requirements_are_installed_into_the_same_environment(project: Project, name: str) -> None:
    project.dev("run")
    project.forget_steps()
    (project.folder / name).write_text("# changed\n")
    project.dev("run")
    assert project.steps() == ["pip install"]


def test_more_packages_are_added_for_tests_and_kept_for_run(project: Project) -> None:
    project.dev("run")
    project.forget_steps()
    project.dev("playhead")
    assert project.steps() == ["pip install"]
    assert ".[dev]" in (project.folder / "notes").read_text()
    project.dev("run")
    assert project.steps() == ["pip install"]


def test_another_interpreter_or_a_moved_folder_gets_a_new_environment(project: Project) -> None:
    project.dev("run")
    project.forget_steps()
    stamp = project.folder / ".venv" / ".playhead-stamp"
    lines = stamp.read_text().splitlines()
    stamp.write_text("\n".join([lines[0].replace("3.", "3.9"), lines[1]]))
    project.dev("run")
    assert project.steps() == ["venv -q", "pip install"]


def test_an_interrupted_set_up_is_done_again_from_the_start(project: Project) -> None:
    project.dev("run")
    project.forget_steps()
    (project.folder / ".venv" / ".playhead-stamp").unlink()
    project.dev("run")
    assert project.steps() == ["venv -q", "pip install"]


def test_a_set_up_that_fails_leaves_no_stamp_and_says_what_to_do(project: Project) -> None:
    """uv fails, then pip: the lock names a package that no index has, and there is no index."""
    (project.folder / "uv-fails").touch()
    answer = project.dev("run", PIP_NO_INDEX="1", PIP_RETRIES="0")
    assert answer.returncode == 1
    assert "uv failed; trying pip" in answer.stderr
    assert "could not be installed" in answer.stderr
    assert "PIP_INDEX_URL" in answer.stderr
    assert not (project.folder / ".venv" / ".playhead-stamp").exists()


def test_a_python_without_venv_names_the_package_to_install(project: Project) -> None:
    (project.folder / "venv.py").write_text("raise SystemExit('ensurepip is not available')\n")
    answer = project.dev("run", NO_UV="1")
    assert answer.returncode == 1
    assert "apt-get install -y python3-venv" in answer.stderr
    assert not (project.folder / ".venv").exists()


def test_a_uv_that_does_not_run_is_passed_over(project: Project) -> None:
    (project.programs / "uv").write_text("#!/bin/sh\necho 'uv: command not found' >&2; exit 127\n")
    (project.folder / "venv.py").write_text("raise SystemExit('reached')\n")
    assert "reached" in project.dev("run").stderr


def test_two_at_once_set_up_one_environment(project: Project) -> None:
    command, environment = project.command("run"), project.environment()
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in both] == ["playhead run\n"] * 2
    assert project.steps() == ["venv -q", "pip install"]


def test_run_from_its_own_environment_it_takes_the_interpreter_below(project: Project) -> None:
    project.dev("run")
    project.forget_steps()
    command = [str(project.folder / ".venv" / "bin" / "python"), *project.command("run")[1:]]
    subprocess.run(command, check=True, env=project.environment(), capture_output=True)
    assert project.steps() == []


def test_an_unknown_command_or_benchmark_is_named(project: Project) -> None:
    assert "no command 'dance'" in project.dev("dance").stderr
    (project.folder / "loadtests").mkdir()
    (project.folder / "loadtests" / "bench_sockets.py").touch()
    assert "There are: sockets" in project.dev("bench", "dance").stderr


SKIPPING_TESTS = {
    "test_it": "import pytest\n@pytest.mark.skip(reason='no engine')\ndef test_it(): pass\n",
    "test_module": "import pytest\npytest.skip('no engine', allow_module_level=True)\n",
}
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): assert False\n"


def pytest_in(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-c", os.devnull, "-p", "tests.support.skips", str(folder)]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(DEV.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", SKIPPING_TESTS)
def test_in_ci_a_skipped_test_fails_the_run_and_tells_its_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(SKIPPING_TESTS[name])
    (tmp_path / "test_more.py").write_text("def test_passes(): pass\n")
    elsewhere, in_ci = pytest_in(tmp_path, ""), pytest_in(tmp_path, "true")
    assert elsewhere.returncode == pytest.ExitCode.OK
    assert in_ci.returncode in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}
    assert "with CI=true nothing may be: Skipped: no engine" in in_ci.stdout


def test_in_ci_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(EXPECTED_FAILURE)
    assert pytest_in(tmp_path, "true").returncode == pytest.ExitCode.OK

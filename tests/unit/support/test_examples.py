"""The examples of a run: other ones each time, also in CI, and brought back by what a failure prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[3]
TESTS = """
from hypothesis import given, strategies

@given(strategies.integers(0, 2**64))
def test_which_examples_there_are(number):
    print("example", number)

@given(strategies.integers(0, 2**64))
def test_that_fails(number):
    assert number < 2**40
"""


def run_tests(folder: Path, *options: str, ci: bool) -> str:
    """What pytest prints of these tests with the plugin."""
    (folder / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(folder), "-rP", str(folder), *options]
    plugins = ["-p", "tests.support.examples", "-p", "no:cacheprovider", "-p", "no:locust", "-p", "no:valkey"]
    outside = {name: value for name, value in os.environ.items() if name != "CI"}
    environment = {**outside, "PYTHONPATH": str(ROOT)} | ({"CI": "true"} if ci else {})
    return subprocess.run([*command, *plugins], env=environment, cwd=folder, capture_output=True, text=True).stdout


def examples(said: str) -> list[str]:
    found = re.findall(r"^example \d+$", said, re.MULTILINE)
    assert len(found) >= 10, said
    return found


def test_no_test_has_a_deadline_and_every_failure_can_be_repeated() -> None:
    active = settings()
    assert (active.deadline, active.print_blob, active.derandomize) == (None, True, False)


def test_in_ci_every_run_has_other_examples_and_the_printed_seed_brings_them_back(tmp_path: Path) -> None:
    first = run_tests(tmp_path, ci=True)
    assert examples(run_tests(tmp_path, ci=True)) != examples(first)
    seeds = re.findall(r"^hypothesis seed: (\d+) ", first, re.MULTILINE)
    assert len(seeds) == 2 and seeds[0] == seeds[1], "once in the head, once after the failure"
    assert "@reproduce_failure" in first
    assert examples(run_tests(tmp_path, f"--hypothesis-seed={seeds[0]}", ci=True)) == examples(first)


def test_elsewhere_a_failing_example_is_kept_and_tried_first(tmp_path: Path) -> None:
    assert "@reproduce_failure" in run_tests(tmp_path, ci=False)
    assert (tmp_path / ".hypothesis" / "examples").is_dir()


@pytest.mark.parametrize("ci", [True, False])
def test_a_seed_that_is_given_stands(tmp_path: Path, ci: bool) -> None:
    assert "hypothesis seed: 7 (" in run_tests(tmp_path, "--hypothesis-seed=7", ci=ci)

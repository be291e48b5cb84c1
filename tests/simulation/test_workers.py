"""Processes that run beside each other do not wait for each other's readers."""

import os
import sys
from pathlib import Path

from tests.simulation.workers import printed_by

MUCH = 1_000_000
"""Bytes, far more than a pipe takes that nobody reads."""
WAITS = """
import sys, time
from pathlib import Path
until_s = time.monotonic() + 60
while not Path(sys.argv[1]).exists() and time.monotonic() < until_s:
    time.sleep(0.01)
print(Path(sys.argv[1]).exists())
"""
PRINTS = """
import sys
from pathlib import Path
print("." * int(sys.argv[2]), flush=True)
Path(sys.argv[1]).touch()
"""


def test_one_that_prints_much_does_not_wait_for_the_one_before_it_to_end(tmp_path: Path) -> None:
    done = str(tmp_path / "done")
    commands = [[sys.executable, "-c", WAITS, done], [sys.executable, "-c", PRINTS, done, str(MUCH)]]
    first, second = printed_by(commands, os.environ)
    assert first.strip() == "True"
    assert len(second.strip()) == MUCH

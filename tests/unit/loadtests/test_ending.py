"""A benchmark that is told to end tidies up first."""

import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import asyncio
from loadtests.ending import run

async def work():
    try:
        print("begun", flush=True)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.2)
        print("tidied", flush=True)

run(work())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_work_in_order_also_when_it_comes_twice(number: signal.Signals) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(number)
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (128 + number, "tidied\n", "")


def test_work_that_ends_by_itself_is_answered() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import asyncio; from loadtests.ending import run; print(run(asyncio.sleep(0, 7)))"],
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert (done.returncode, done.stdout) == (0, "7\n")

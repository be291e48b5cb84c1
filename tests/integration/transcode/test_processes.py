"""No program outlives its use: not after a cancel, a time limit, too much output, nor our own death by SIGKILL."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.transcode import Programs
from playhead.transcode.processes import (
    AUTOGROUP_SETTING,
    ERRORS_BYTES_MAX,
    OutputTooLong,
    run,
    sessions_share_cores,
    started,
)
from playhead.transcode.programs import Limits

ENDLESS = ["sh", "-c", "while :; do echo endless; done"]
GONE_TIMEOUT_S = 10.0
NICENESS_MAX = 19

PARENT = """
import asyncio, sys
from playhead.transcode.processes import started

async def main():
    async with started(sys.argv[1:]) as process:
        print(process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


async def test_output_and_the_last_of_the_errors_come_back() -> None:
    done = await run(
        ["sh", "-c", "echo out; echo first >&2; echo last >&2; exit 3"], timeout_s=10, output_bytes_max=100
    )
    assert (done.code, done.output, done.last_error) == (3, b"out\n", "last")


async def test_a_flood_of_errors_is_read_to_its_end_and_mostly_dropped() -> None:
    done = await run(["sh", "-c", "yes | head -c 3000000 >&2; echo last >&2"], timeout_s=30, output_bytes_max=0)
    assert done.code == 0 and done.last_error == "last"
    assert len(done.errors) <= ERRORS_BYTES_MAX


async def test_output_at_the_limit_is_taken() -> None:
    assert (await run(["printf", "12345"], timeout_s=10, output_bytes_max=5)).output == b"12345"


async def test_output_past_the_limit_ends_the_program() -> None:
    with pytest.raises(OutputTooLong):
        await run(["printf", "123456"], timeout_s=10, output_bytes_max=5)
    with pytest.raises(OutputTooLong):
        await run(ENDLESS, timeout_s=30, output_bytes_max=1_000)


async def test_a_program_that_takes_too_long_is_ended_with_all_it_started() -> None:
    with pytest.raises(TimeoutError):
        await run(["sh", "-c", "sleep 12345.678 & wait"], timeout_s=0.3, output_bytes_max=0)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True)
    assert "sleep 12345.678" not in listed.stdout


async def test_a_cancelled_program_is_ended() -> None:
    running = asyncio.create_task(run(ENDLESS, timeout_s=30, output_bytes_max=10**9))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_ffmpeg_dies_with_the_process_that_started_it(programs: Programs) -> None:
    """A run that writes nothing to a pipe of ours, so only the kernel can tell it that we are gone."""
    work = [programs.ffmpeg, "-v", "error", "-re", "-f", "lavfi", "-i", "anullsrc", "-f", "null", "-"]
    command = programs.command(work, Limits(cpu_s=60), niceness=10)
    if not programs.tie:
        pytest.skip("setpriv of util-linux is not there")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *command], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        wait_until(lambda: "ffmpeg" in (Path("/proc") / str(pid) / "comm").read_text())
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, NICENESS_MAX)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    wait_until(lambda: not alive(pid))


@pytest.mark.parametrize(("niceness", "gives_way"), [(0, False), (10, True)])
async def test_what_nobody_waits_for_gives_way_at_once(niceness: int, gives_way: bool) -> None:
    """But where this kernel does not share its cores among sessions."""
    shares = AUTOGROUP_SETTING.exists() and sessions_share_cores()
    async with started(["sleep", "30"], niceness=niceness) as process:
        assert (os.sched_getscheduler(process.pid) == os.SCHED_IDLE) is (gives_way and shares)


@pytest.mark.parametrize(
    ("autogroups", "own", "weighed", "shares"),
    [
        ("1", "0::/\n", (), True),
        ("0", "0::/\n", (), False),
        ("1", "3:cpuset:/app\n2:cpuacct:/\n1:cpu:/\n0::/\n", (), True),
        ("1", "4:cpu,cpuacct:/docker/1f\n0::/\n", (), False),
        ("1", "0::/\n", (".",), False),
        ("1", "0::/user.slice/session-1.scope\n", (), True),
        ("1", "0::/user.slice/session-1.scope\n", ("user.slice",), False),
        ("1", "0::/user.slice/session-1.scope\n", ("system.slice",), True),
        ("1", "0::/system.slice/playhead.service\n", ("system.slice", "system.slice/playhead.service"), False),
    ],
)
def test_sessions_have_shares_where_no_cgroup_divides_the_cores(
    tmp_path: Path, autogroups: str, own: str, weighed: tuple[str, ...], shares: bool
) -> None:
    setting, own_cgroups, root = tmp_path / "setting", tmp_path / "own", tmp_path / "root"
    setting.write_text(f"{autogroups}\n")
    own_cgroups.write_text(own)
    for folder in weighed:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "cpu.weight").write_text("100\n")
    assert sessions_share_cores(setting, own_cgroups, root) is shares


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + GONE_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)

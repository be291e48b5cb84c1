"""Keeping child processes up, with small real programs."""

import asyncio
import sys
from pathlib import Path

import pytest

from playhead.app.development.children import Backoff, Child, ChildFailed, keep_running, run_to_end
from tests.support.orphans import ends

QUICK = Backoff(first_s=0.001, longest_s=0.002, crashes_max=3)


def child(folder: Path, program: str) -> Child:
    return Child(
        name="helper", arguments=[sys.executable, "-c", program, str(folder)], environment={}, log_path=folder / "log"
    )


def kept(child: Child, said: list[str], backoff: Backoff = QUICK, stop_timeout_s: float = 10.0) -> asyncio.Task[None]:
    return asyncio.create_task(keep_running(child, stop_timeout_s=stop_timeout_s, backoff=backoff, say=said.append))


async def first_line(log: Path) -> str:
    while not log.exists() or "\n" not in log.read_text():
        await asyncio.sleep(0.01)
    return log.read_text().splitlines()[0]


async def test_a_child_that_crashes_is_started_again_and_given_up_after_the_bound(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(ChildFailed, match=r"The helper ended 3 times in a row, last with exit code 7") as caught:
        await kept(child(tmp_path, "print('out of hands'); raise SystemExit(7)"), said)
    assert "out of hands" in str(caught.value)
    assert [line.split("starts again in ")[1] for line in said] == ["0.001 s.", "0.002 s."]
    assert (tmp_path / "log").read_text().count("out of hands") == 3


async def test_a_child_that_ends_with_code_0_has_also_left_its_post(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="exit code 0"):
        await kept(child(tmp_path, "pass"), [])


async def test_a_child_that_was_killed_is_named_with_the_signal(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="SIGKILL"):
        await kept(child(tmp_path, "import os; os.kill(os.getpid(), 9)"), [])


async def test_crashes_after_a_healthy_life_do_not_add_up(tmp_path: Path) -> None:
    """Every life counts as healthy, so the bound of three is never reached, though it crashes five times."""
    program = (
        "import sys, pathlib, signal; starts = pathlib.Path(sys.argv[1], 'starts'); starts.open('a').write('x')\n"
        "if len(starts.read_text()) < 6: raise SystemExit(1)\n"
        "print('here', flush=True); signal.pause()"
    )
    task = kept(child(tmp_path, program), [], Backoff(first_s=0.001, crashes_max=3, healthy_after_s=0.0))
    assert await first_line(tmp_path / "log") == "here"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("ignores", "timeout_s"), [(False, 30.0), (True, 0.1)])
async def test_cancelled_it_stops_the_child_and_kills_one_that_does_not_listen(
    tmp_path: Path, ignores: bool, timeout_s: float
) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if ignores else ""
    program = f"import os, signal; {ignore} print(os.getpid(), flush=True)\nwhile True: signal.pause()"
    task = kept(child(tmp_path, program), [], stop_timeout_s=timeout_s)
    pid = int(await first_line(tmp_path / "log"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends(pid)


@pytest.mark.parametrize(("crashes", "wait_s"), [(1, 0.5), (2, 1.0), (4, 4.0), (5, 8.0), (6, 10.0), (50, 10.0)])
def test_waits_double_up_to_the_longest(crashes: int, wait_s: float) -> None:
    assert Backoff().wait_s(crashes) == wait_s


async def test_a_program_that_ends_by_itself_answers_its_code_and_output() -> None:
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    code, said = await run_to_end([sys.executable, "-u", "-c", program], {})
    assert (code, said) == (3, "out\nerr")


async def test_a_program_that_is_too_slow_ends_with_what_it_has_started(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, pathlib, signal\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "draft = pathlib.Path(sys.argv[1], 'draft'); draft.write_text(f'{child.pid}\\n')\n"
        "draft.rename(pathlib.Path(sys.argv[1], 'log')); signal.pause()"
    )
    task = asyncio.create_task(run_to_end([sys.executable, "-c", program, str(tmp_path)], {}))
    pid = int(await first_line(tmp_path / "log"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends(pid)
    with pytest.raises(TimeoutError):
        await run_to_end([sys.executable, "-c", "import signal; signal.pause()"], {}, timeout_s=0.01)

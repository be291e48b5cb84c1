"""Workers in processes of their own that die by SIGKILL in the middle of a job, and those that come after them."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from playhead.db import Database
from playhead.db.logins import Logins
from playhead.media import media_prefix
from playhead.storage import LocalStorage
from playhead.transcode import Programs
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.work import LONG_S, SHORT_S, SPEECH, Bench, segment_keys

PROCESS_TIMEOUT_S = 30.0
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def bench(database: Database, storage: LocalStorage, programs: Programs) -> Bench:
    return Bench(database, storage, programs)


@pytest.fixture
def start(logins: Logins, tmp_path: Path) -> Iterator[Start]:
    """`start(poison="")`: a worker's process, killed after the test at the latest."""
    started: list[subprocess.Popen[bytes]] = []
    log = (tmp_path / "workers.log").open("wb")

    def run(poison: str = "") -> subprocess.Popen[bytes]:
        arguments = [logins.app_url, logins.service_url, str(tmp_path / "media"), poison]
        command = [sys.executable, "-m", "tests.integration.transcode.worker_process", *arguments]
        started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
    log.close()


def encoders_of(folder: Path) -> list[str]:
    """Command lines of living ffmpegs that read from `folder`."""
    lines = subprocess.run(["ps", "-ww", "-eo", "stat,args"], capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if str(folder) in line and "ffmpeg" in line and not line.startswith("Z")]


async def test_a_job_whose_worker_was_killed_is_finished_by_another_from_where_it_was(
    bench: Bench, source: SourceMaker, start: Start, tmp_path: Path
) -> None:
    script = await bench.upload(source(SPEECH, LONG_S))
    first = start()
    await bench.until(script, lambda row: row.progress >= 0.6)
    first.send_signal(signal.SIGKILL)
    first.wait(PROCESS_TIMEOUT_S)
    beginning = tmp_path / "media" / segment_keys(script)[0]
    made_at = beginning.stat().st_mtime_ns
    start()
    await bench.until(script, lambda row: row.status == "ready")
    assert await bench.has_all_segments(script)
    assert beginning.stat().st_mtime_ns == made_at
    assert await bench.attempts(script) == 2


async def test_no_ffmpeg_outlives_a_killed_worker(
    bench: Bench, source: SourceMaker, start: Start, tmp_path: Path
) -> None:
    script = await bench.upload(source(SPEECH, LONG_S))
    worker = start()
    await bench.until(script, lambda row: bool(encoders_of(tmp_path)))
    worker.kill()
    worker.wait(PROCESS_TIMEOUT_S)
    await bench.until(script, lambda row: not encoders_of(tmp_path))


async def test_a_script_that_kills_its_worker_each_time_ends_failed_and_no_other_suffers(
    bench: Bench, source: SourceMaker, start: Start
) -> None:
    """Attempts are counted before the work, and a worker has one script in hand: an innocent one loses nothing."""
    poison = await bench.upload(source(SPEECH, SHORT_S))
    innocent = await bench.upload(source(SPEECH, SHORT_S))
    for attempt in (1, 2):
        worker = start(poison.script_id)
        assert worker.wait(PROCESS_TIMEOUT_S) == -signal.SIGKILL, attempt
    start(poison.script_id)
    failed = await bench.until(poison, lambda row: row.status == "failed")
    assert failed.error == "Preparing it ended its worker 2 times."
    await bench.until(innocent, lambda row: row.status == "ready")
    assert await bench.attempts(innocent) == 1
    await bench.until_job(lambda jobs: jobs == 0)
    assert await bench.storage.delete_prefix(media_prefix(poison.script_id, poison.media_version)) == 0

"""A benchmark that is told to end leaves no process behind, also in the middle of encoding."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from loadtests.media.watching import encoders

TIMEOUT_S = 60.0
POLL_S = 0.02


def test_sigterm_ends_servers_databases_and_encoders(tmp_path: Path, run_folder: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(run_folder)}
    command = [sys.executable, "-m", "loadtests.bench_media", "--quick"]
    with (tmp_path / "said").open("wb") as said:
        bench = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        try:
            until_s = time.monotonic() + TIMEOUT_S
            while not (b"ready" in (tmp_path / "said").read_bytes() and encoders(bench.pid)):
                assert bench.poll() is None and time.monotonic() < until_s, (tmp_path / "said").read_text()
                time.sleep(POLL_S)
            started = psutil.Process(bench.pid).children(recursive=True)
            bench.send_signal(signal.SIGTERM)
            assert bench.wait(TIMEOUT_S) == 128 + signal.SIGTERM
        finally:
            bench.kill()
            bench.wait()
    _, left = psutil.wait_procs(started, timeout=5)
    assert [process.name() for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
    assert len(started) > 5 and list(run_folder.glob("ph-media-*")) == []

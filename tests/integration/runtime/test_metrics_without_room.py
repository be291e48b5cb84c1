"""A disk without room ends no process: a sparse file that is mapped would, by a signal."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from playhead.runtime.metric_values import FILE_BYTES
from tests.support.metric_processes import keeping, labelled

BLOCK_BYTES = 512
LABELS = 2_000
"""More than one file of the first size holds."""
COUNTS = f"for number in range({LABELS}): metrics.segments.labels(str(number)).inc()"


def test_all_that_is_mapped_has_blocks(tmp_path: Path) -> None:
    with keeping(tmp_path, f"{COUNTS}; metrics.store_up.set(1)"):
        files = {path.name.rpartition("_")[0]: path.stat() for path in tmp_path.glob("*.db")}
        assert files["counter"].st_size > FILE_BYTES == files["histogram"].st_size
        assert {"gauge_livesum", "gauge_livemin", "gauge_livemax", "gauge_livemostrecent"} < files.keys()
        assert [name for name, file in files.items() if file.st_blocks * BLOCK_BYTES < file.st_size] == []


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process")
def test_what_finds_no_room_is_counted_in_memory_and_shown_when_there_is(tmp_path: Path) -> None:
    limits = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({FILE_BYTES}, resource.RLIM_INFINITY))"
    again = "sys.stdin.readline(); metrics.segments.labels('1999').inc(); print('set', flush=True)"
    with keeping(tmp_path, f"{limits}\n{COUNTS}\nprint('set', flush=True)\n{again}") as process:
        shown = labelled(tmp_path, "playhead_segments_total")
        assert shown["0"] == 1 and "1999" not in shown
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("on\n")
        process.stdin.flush()
        assert "set\n" in process.stdout
        assert labelled(tmp_path, "playhead_segments_total") == {**shown, "1999": 2}


@pytest.mark.parametrize(
    ("limit", "shared", "said"),
    [(FILE_BYTES - 1, True, "cannot be used: "), (0, True, "cannot be used: "), (FILE_BYTES - 1, False, "cannot be")],
)
def test_a_process_that_finds_none_at_its_start_says_so_and_ends(
    tmp_path: Path, limit: int, shared: bool, said: str
) -> None:
    variables = {"PLAYHEAD_REDIS_URL": "redis://127.0.0.1:1", "PLAYHEAD_DATABASE_SERVICE_URL": "postgresql://nobody"}
    place = {"PLAYHEAD_METRICS_DIR": str(tmp_path / "metrics")} if shared else {"TMPDIR": str(tmp_path)}
    program = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "sys.argv = ['playhead', 'flush']\n"
        "from playhead.app.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env={**variables, **place}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("playhead: The metrics folder ") and said in ended.stderr
    assert "PLAYHEAD_METRICS_DIR" in ended.stderr and "Traceback" not in ended.stderr


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = subprocess.run(
        [sys.executable, "-m", "playhead.app", "flush"],
        env={"PLAYHEAD_METRICS_DIR": str(tmp_path / "file" / "metrics")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("playhead: The metrics folder ") and "PLAYHEAD_METRICS_DIR" in ended.stderr
    assert "Traceback" not in ended.stderr

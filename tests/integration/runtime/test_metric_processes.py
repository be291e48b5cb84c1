"""Real processes that share a metrics folder: what `/metrics` shows of them, while they live and afterwards."""

from pathlib import Path

import pytest

from playhead.runtime.metric_files import claim_folder
from tests.support.metric_processes import exported, keeping


def test_of_processes_of_different_kinds_each_gauge_is_that_of_who_sets_it(tmp_path: Path) -> None:
    server, flusher = "metrics.store_up.set(1)", "metrics.journal_oldest_seconds.set(40)"
    with keeping(tmp_path, server):
        assert "playhead_journal_oldest_seconds" not in exported(tmp_path)
        with keeping(tmp_path, flusher), keeping(tmp_path, "metrics.segments.labels('low').inc()"):
            shown = exported(tmp_path)
            assert (shown["playhead_store_up"], shown["playhead_journal_oldest_seconds"]) == (1, 40)


SERVER = "metrics.room.sockets_max.set(100); metrics.sockets_admitted.inc()"


def shown(folder: Path) -> tuple[float, float]:
    found = exported(folder)
    return found["playhead_sockets_max"], found["playhead_sockets_admitted_total"]


def files(folder: Path, pid: int) -> list[str]:
    return [path.name for path in folder.iterdir() if str(pid) in path.name]


def test_of_one_that_was_killed_and_that_nobody_waits_for_what_it_counted_stays_and_its_gauges_go(
    tmp_path: Path,
) -> None:
    with keeping(tmp_path, SERVER), keeping(tmp_path, SERVER) as killed:
        assert shown(tmp_path) == (200, 2)
        killed.kill()
        killed.wait()
        for _ in range(2):
            assert shown(tmp_path) == (100, 2)
        assert files(tmp_path, killed.pid) == []


def test_whoever_starts_takes_away_what_dead_processes_have_left_though_nobody_looks(tmp_path: Path) -> None:
    for _ in range(3):
        with keeping(tmp_path, SERVER) as killed:
            killed.kill()
    with keeping(tmp_path, SERVER) as living:
        left = {path.name for path in tmp_path.iterdir()} - set(files(tmp_path, living.pid))
        assert left == {".lock", "counter_0.db", "histogram_0.db"}
        assert shown(tmp_path) == (100, 4)


@pytest.mark.parametrize("locked", [True, False])
def test_what_a_former_process_of_the_same_number_has_left_is_not_taken_for_its_own(
    tmp_path: Path, locked: bool
) -> None:
    """In a container each start has the same number; not `locked`: the former one was of a release without locks."""
    with keeping(tmp_path, f"{SERVER}; metrics.journal_oldest_seconds.set(40)") as killed:
        killed.kill()
    if not locked:
        (tmp_path / f"{killed.pid}.alive").unlink()
    again = f"import os; os.getpid = lambda: {killed.pid}"
    with keeping(tmp_path, SERVER, first=again):
        assert shown(tmp_path) == (100, 2)
        assert "playhead_journal_oldest_seconds" not in exported(tmp_path)


def test_two_processes_of_one_number_do_not_share_a_folder(tmp_path: Path) -> None:
    """As of two containers."""
    with keeping(tmp_path, SERVER) as one, pytest.raises(OSError, match=f"Another process.*{one.pid}"):
        claim_folder(tmp_path, one.pid)

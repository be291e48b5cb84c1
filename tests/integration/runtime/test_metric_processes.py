"""Real processes that share a metrics folder: what `/metrics` shows of them, while they live and afterwards."""

from pathlib import Path

from tests.support.metric_processes import exported, keeping


def test_of_processes_of_different_kinds_each_gauge_is_that_of_who_sets_it(tmp_path: Path) -> None:
    server, flusher = "metrics.store_up.set(1)", "metrics.journal_oldest_seconds.set(40)"
    with keeping(tmp_path, server):
        assert "playhead_journal_oldest_seconds" not in exported(tmp_path)
        with keeping(tmp_path, flusher), keeping(tmp_path, "metrics.segments.labels('low').inc()"):
            shown = exported(tmp_path)
            assert (shown["playhead_store_up"], shown["playhead_journal_oldest_seconds"]) == (1, 40)

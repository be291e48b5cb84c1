"""The figures in docs/scaling.md are those that were kept.

To renew them: python -m tests.unit.loadtests.test_scaling"""

import json
from pathlib import Path

import pytest

from tests.support import readme_tables, scaling
from tests.support.figures import filled
from tests.support.scaling import TABLES

PAGE = Path(__file__).parents[3] / "docs" / "scaling.md"
FIGURES = {
    "sockets": 50_000.0,
    "reports_per_s": 2_500.0,
    "commands_per_s": 500.0,
    "server_cpu_us_per_socket_s": 12.0,
    "valkey_cpu_us_per_socket_s": 4.0,
    "postgresql_cpu_us_per_socket_s": 2.0,
    "flusher_cpu_us_per_socket_s": 3.0,
    "end_rss_bytes_per_socket": 12_000.0,
    "valkey_bytes_per_socket": 4_000.0,
    "network_bytes_per_socket_s": 100.0,
    "postgresql_rows_per_s": 50.0,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_figures_in_the_documentation_are_those_that_were_kept(name: str) -> None:
    text, table = PAGE.read_text(), TABLES[name]()
    assert table in text
    assert text == filled(text, name, table)


def test_needs_grow_with_the_listeners() -> None:
    needs = scaling._needs(FIGURES, 2_000_000)
    assert needs == ["2,000,000", "40", "80", "24.0 GB", "16", "8.0 GB", "120,000", "2,000", "6", "4", "200 MB/s"]


def test_results_of_every_size_are_told_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    assert {scaling.NOT_YET, scaling.NOT_YET.replace("hold", "storm")} == {make() for make in TABLES.values()}
    for name, sockets in (("hold", 50_000), ("hold_5000", 5_000), ("hold_100000", 100_000)):
        (tmp_path / f"{name}.json").write_text(f'{{"figures": {{"sockets": {sockets}.0}}}}')
    assert [run["figures"]["sockets"] for run in scaling.kept("hold")] == [5_000, 50_000, 100_000]


def test_a_run_that_was_kept_before_there_was_such_a_figure_has_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    for sockets, figures in ((1_000, {"minutes_held": 3.98}), (2_000, {})):
        seen = {"machine": "here", "date": "today", "commit": "abc", "arguments": {"sockets": sockets}}
        run = {**seen, "figures": {"sockets": sockets, **figures}}
        (tmp_path / f"hold_{sockets}.json").write_text(json.dumps(run))
    assert "| of these with all sockets that were asked for | 3.98 | - |" in scaling.held().splitlines()


def test_needs_follow_from_the_usual_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    for name, sockets, every_s in (("hold", 50_000.0, 10.0), ("hold_100000_every_60s", 100_000.0, 60.0)):
        run = {"figures": {**FIGURES, "sockets": sockets}, "arguments": {"report_every_s": every_s}}
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    assert scaling.needs().startswith("By the run with 50,000 sockets:")


if __name__ == "__main__":
    text = PAGE.read_text()
    for name, make in TABLES.items():
        text = filled(text, name, make())
    PAGE.write_text(text)
    readme_tables.renew()

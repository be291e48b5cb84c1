"""The figures in the README are those that were kept, and it says which goals they miss.

To renew them: python -m tests.unit.loadtests.test_readme"""

import json
from pathlib import Path

import pytest

from tests.support import readme_tables, scaling
from tests.support.figures import filled
from tests.support.readme_tables import PAGE, TABLES


@pytest.mark.parametrize("name", TABLES)
def test_the_figures_in_the_readme_are_those_that_were_kept(name: str) -> None:
    text, table = PAGE.read_text(), TABLES[name]()
    assert table in text and text == filled(text, name, table)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    return tmp_path


def test_playhead_stands_beside_its_peers_and_what_was_not_measured_has_a_dash(results: Path) -> None:
    figures = {
        "node_cpu_us_per_command": 32.68,
        "node_bytes_per_socket": 15_092,
        "playhead_durable_cpu_us_per_command": 139.53,
        "playhead_durable_valkey_cpu_us_per_command": 64.43,
        "playhead_durable_cpu_us_per_delivery": 8.21,
    }
    run = {"machine": "here", "date": "today", "commit": "abc", "figures": figures, "goals": {}}
    (results / "sockets.json").write_text(json.dumps(run))
    lines = readme_tables.costs().splitlines()
    assert lines[0] == "Seen on here, today, commit abc:" and lines[-1] == "All goals are met."
    assert "| Socket.IO 4.8 on Node.js | 32.7 µs | - | - | 15.1 KB |" in lines
    assert "| **playhead** as it is run | 140 µs | 64.4 µs | 8.21 µs | - |" in lines
    assert "| python-socketio, on uvloop | - | - | - | - |" in lines


def test_missed_goals_are_named_plainly() -> None:
    def goal(value: float, limit: str, met: bool = False) -> dict[str, object]:
        return {"goal": limit, "value": value, "met": met}

    goals = {
        "playhead_memory_vs_node_cpu_us_per_command": goal(3.886, "<= 0.6"),
        "playhead_memory_vs_stock_cpu_us_per_command": goal(1.01, "<= 0.25 of the faster: stock_uvloop 98"),
        "playhead_memory_vs_node_cpu_us_per_delivery": goal(0.641, "<= 0.65", met=True),
        "playhead_durable_growth": goal(1.359, "<= 1.2"),
        "engine_asyncio_bytes_per_socket": goal(10_300, "<= 10240"),
        "something_else": goal(2, "<= 1"),
    }
    assert readme_tables.missed({"goals": goals}).splitlines() == [
        "Goals that are missed:",
        "",
        "- a command costs playhead in memory 3.89 x Node.js', which checks and keeps nothing (goal: <= 0.6)",
        "- a command costs playhead in memory 1.01 x that of python-socketio on its faster loop "
        "(goal: <= 0.25 of the faster: stock_uvloop 98)",
        "- a command costs playhead as it is run 1.36 x as much with the most sockets in a process as with the fewest "
        "(goal: <= 1.2)",
        "- a socket takes playhead's engine 10,300 bytes (goal: <= 10240)",
        "- something_else is 2 (goal: <= 1)",
    ]


def test_what_was_held_says_where_it_misses_its_goal(results: Path) -> None:
    for sockets, p95_ms in ((1_000, 13.2), (2_000, 876.8)):
        goals = {"seek_p95_ms": {"goal": "< 50", "value": p95_ms, "met": p95_ms < 50}}
        run = {"machine": "here", "date": "today", "commit": "abc", "arguments": {"sockets": sockets}, "goals": goals}
        figures = {"sockets": sockets, "seek_p95_ms": p95_ms}
        (results / f"hold_{sockets}.json").write_text(json.dumps({**run, "figures": figures}))
    lines = readme_tables.held().splitlines()
    assert "| p95 (ms) | 13.2 | 876.8, missed: < 50 |" in lines
    assert "| minutes with all of them | - | - |" in lines
    assert lines[-1] == "Missed: 0 of 1 goals with 1,000, 1 of 1 goals with 2,000."


def test_without_a_kept_run_it_says_how_to_make_one(results: Path) -> None:
    assert (readme_tables.costs(), readme_tables.held()) == (readme_tables.NOT_YET, scaling.NOT_YET)


if __name__ == "__main__":
    readme_tables.renew()

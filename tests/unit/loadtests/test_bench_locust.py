"""The figures of the load test, from locust's table; and that they are kept whole."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from loadtests.bench_locust import OTHER_DEVICE, latencies, measured_s, result_of
from loadtests.keeping import commit, keep
from loadtests.machine import machine


def row(kind: str, name: str, count: int, per_s: float, p95: int = 9, failed: int = 0) -> dict[str, str]:
    figures = {"Request Count": count, "Failure Count": failed, "Requests/s": per_s, "50%": 4, "95%": p95, "99%": 20}
    return {"Type": kind, "Name": name, **{column: str(value) for column, value in figures.items()}}


ROWS = [
    row("SOCKET", "seek → ack", 2_400, 40.0),
    row("SOCKET", OTHER_DEVICE, 2_600, 2_600 / 60, p95=11),
    row("POST", "POST /bookmark", 1_200, 20.0, p95=14, failed=1),
    row("", "Aggregated", 6_200, 6_200 / 60, p95=10, failed=1),
]


def test_a_state_that_arrives_elsewhere_is_no_request() -> None:
    figures = result_of(ROWS, cpu_s=9.0).figures
    assert measured_s(ROWS) == pytest.approx(60.0)
    assert (figures["requests"], figures["requests_per_s"], figures["measured_s"]) == (3_600, 60.0, 60.0)
    assert figures["server_cpu_us_per_request"] == 2_500.0
    assert (figures["other_device_p95_ms"], figures["rest_p95_ms"], figures["failures"]) == (11, 14, 1)


def test_a_goal_that_is_not_met_is_said() -> None:
    goals = result_of(ROWS, cpu_s=9.0).goals
    assert {name: goal.met for name, goal in goals.items()} == {
        "other_device_p95_ms": True,
        "rest_p95_ms": True,
        "failures": False,
    }


def test_the_line_says_what_was_measured_and_where() -> None:
    line = json.loads(result_of(ROWS, cpu_s=9.0).line())
    assert list(line) == ["bench", "machine", "figures", "goals"]
    assert (line["bench"], line["machine"]) == ("locust", machine())


def test_every_row_the_commit_the_machine_and_a_plot_are_kept(tmp_path: Path) -> None:
    kept, picture = keep(result_of(ROWS, cpu_s=9.0), {"seconds": 60}, latencies(ROWS), tmp_path / "results")
    content = json.loads(kept.read_text())
    assert [found["name"] for found in content["rows"]] == ["seek → ack", OTHER_DEVICE, "POST /bookmark"]
    assert content["rows"][2]["p95_ms"] == 14
    assert (content["commit"], content["machine"], content["arguments"]) == (commit(), machine(), {"seconds": 60})
    drawn = picture.read_text()
    assert drawn.startswith("<?xml") and "</svg>" in drawn
    again = keep(result_of(ROWS, cpu_s=9.0), {"seconds": 60}, latencies(ROWS), tmp_path / "again")[1]
    assert again.read_text() == drawn, "the same figures are the same file"


def test_a_commit_that_is_not_what_runs_is_marked(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert commit(tmp_path) == "unknown"
    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    assert re.fullmatch(r"[0-9a-f]{12}", commit(tmp_path))
    (tmp_path / "code.py").write_text("2")
    assert re.fullmatch(r"[0-9a-f]{12}\+", commit(tmp_path))

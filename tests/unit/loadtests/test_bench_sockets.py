"""What `dev.py bench sockets` makes of its figures.

To renew those of the documentation: python -m tests.unit.loadtests.test_bench_sockets"""

import json
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from loadtests import bench_cluster
from loadtests.bench_sockets import KINDS, figure_name, goals, not_measured, pairs, table
from loadtests.keeping import RESULTS
from loadtests.sockets.spoken import Seat
from tests.support import readme_tables
from tests.support.figures import ROOT, filled

PAGE = ROOT / "docs" / "decisions" / "0014-what-a-command-costs.md"
TABLES: Mapping[str, Callable[[Mapping[str, float]], str]] = {
    "sockets": partial(table, kinds=KINDS.split(",")),
    "cluster": bench_cluster.table,
}


def test_ours_is_held_against_the_peers_of_the_same_run() -> None:
    figures = {
        "node_cpu_us_per_command": 50.0,
        "node_cpu_us_per_delivery": 10.0,
        "stock_asyncio_cpu_us_per_command": 100.0,
        "stock_asyncio_cpu_us_per_delivery": 10.0,
        "engine_asyncio_cpu_us_per_command": 40.0,
        "engine_asyncio_cpu_us_per_delivery": 4.01,
        "playhead_memory_cpu_us_per_command": 30.0,
        "playhead_memory_cpu_us_per_delivery": 1.5,
    }
    assert {name: (goal.value, goal.met) for name, goal in goals(figures).items()} == {
        "playhead_memory_vs_node_cpu_us_per_command": (0.6, True),
        "playhead_memory_vs_stock_cpu_us_per_command": (0.3, False),
        "playhead_memory_vs_node_cpu_us_per_delivery": (0.15, True),
        "playhead_memory_vs_stock_cpu_us_per_delivery": (0.15, True),
        "engine_asyncio_vs_stock_asyncio_cpu_us_per_command": (0.4, True),
        "engine_asyncio_vs_stock_asyncio_cpu_us_per_delivery": (0.401, False),
    }


@pytest.mark.parametrize(("asyncio_us", "uvloop_us"), [(100.0, 200.0), (200.0, 100.0)])
def test_ours_is_held_against_the_faster_of_two_loops_and_both_are_named(asyncio_us: float, uvloop_us: float) -> None:
    figures = {
        "stock_asyncio_cpu_us_per_command": asyncio_us,
        "stock_uvloop_cpu_us_per_command": uvloop_us,
        "playhead_memory_cpu_us_per_command": 26.0,
    }
    (goal,) = goals(figures).values()
    assert (goal.value, goal.met) == (0.26, False)
    assert goal.goal == f"<= 0.25 of the faster: stock_asyncio {asyncio_us:g}, stock_uvloop {uvloop_us:g}"
    del figures["stock_asyncio_cpu_us_per_command"]
    (goal,) = goals(figures).values()
    assert goal.goal == f"<= 0.25 of the faster: stock_uvloop {uvloop_us:g}", "as far as measured"


def test_a_missing_server_is_noted_in_one_line() -> None:
    told = ["node could not be measured: npm is away. Try again."]
    assert not_measured({"node": "npm is away.\n  Try again."}) == told
    assert not_measured({}) == []


def test_a_socket_has_a_weight_that_it_may_have() -> None:
    figures = {
        "engine_asyncio_bytes_per_socket": 10_240.0,
        "engine_uvloop_bytes_per_socket": 10_241.0,
        "playhead_memory_bytes_per_socket": 12_288.0,
        "node_bytes_per_socket": 99_999.0,
    }
    assert {name: goal.met for name, goal in goals(figures).items()} == {
        "engine_asyncio_bytes_per_socket": True,
        "engine_uvloop_bytes_per_socket": False,
        "playhead_memory_bytes_per_socket": True,
    }


def test_a_command_may_not_grow_with_the_sockets_there_are() -> None:
    crowds = {100: 50.0, 1_000: 45.0, 10_000: 54.0}
    figures = {f"playhead_memory_cpu_us_per_command_at_{sockets}": us for sockets, us in crowds.items()}
    assert goals(figures)["playhead_memory_growth"].met, "1.2 between the least and the most"
    figures["playhead_memory_cpu_us_per_command_at_10000"] = 54.1
    assert not goals(figures)["playhead_memory_growth"].met
    del figures["playhead_memory_cpu_us_per_command_at_100"]
    assert goals(figures) == {}


def test_what_was_not_measured_has_no_goal_and_no_row_full_of_noughts() -> None:
    assert goals({"engine_uvloop_cpu_us_per_command": 30.0, "node_cpu_us_per_command": 30.0}) == {}
    row = table({"node_cpu_us_per_command": 41.26}, ["node"]).splitlines()[-1]
    assert row == "| node | 41.3 µs | - | - | - | - | - |"


def test_what_stands_behind_a_server_is_told_beside_it() -> None:
    figures = {
        "playhead_durable_cpu_us_per_command": 100.0,
        "playhead_durable_valkey_cpu_us_per_command": 40.0,
        "playhead_durable_postgres_cpu_us_per_command": 30.0,
        "playhead_durable_flusher_cpu_us_per_command": 20.25,
        **{f"playhead_durable_cpu_us_per_command_at_{sockets}": sockets / 10 for sockets in (100, 1_000)},
    }
    row = table(figures, ["playhead/durable"]).splitlines()[-1]
    assert row == "| playhead/durable | 100 µs | 40, 30, 20.2 µs | - | - | 10, 100 µs | - |"


def test_only_what_stands_behind_the_server_has_a_word_in_the_figures_name() -> None:
    assert figure_name("node", "server", "command") == "node_cpu_us_per_command"
    assert figure_name("playhead_durable", "valkey", "command") == "playhead_durable_valkey_cpu_us_per_command"


def test_more_sockets_go_on_from_those_that_are_there() -> None:
    assert pairs(4) == [Seat(0, 0), Seat(0, 1), Seat(1, 0), Seat(1, 1)]
    assert pairs(4, first=2) == pairs(4)[2:]


def kept_rows(bench: str) -> str:
    """What the page shows of the run that was kept."""
    path = RESULTS / f"{bench}.json"
    if not path.exists():
        return f"No run of it is kept yet: `dev.py bench {bench} --keep` on a machine that does nothing else."
    kept = json.loads(path.read_text())
    missed = [f"{name} ({row['value']:g}, {row['goal']})" for name, row in kept["goals"].items() if not row["met"]]
    seen = f"Seen on {kept['machine']}, {kept['date']}, commit {kept['commit']}:"
    told = f"Goals that are missed: {', '.join(missed)}." if missed else "All goals are met."
    return f"{seen}\n\n{TABLES[bench](kept['figures'])}\n\n{told}"


@pytest.mark.parametrize("bench", TABLES)
def test_the_page_shows_the_run_that_was_kept(bench: str) -> None:
    text = PAGE.read_text()
    assert kept_rows(bench) in text and text == filled(text, bench, kept_rows(bench))


if __name__ == "__main__":
    for bench in TABLES:
        PAGE.write_text(filled(PAGE.read_text(), bench, kept_rows(bench)))
    readme_tables.renew()

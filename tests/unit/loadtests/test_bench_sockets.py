"""What `dev.py bench sockets` makes of its figures."""

from loadtests.bench_sockets import figure_name, goals, pairs, table
from loadtests.sockets.spoken import Seat


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
        "playhead_memory_vs_stock_asyncio_cpu_us_per_command": (0.3, False),
        "playhead_memory_vs_node_cpu_us_per_delivery": (0.15, True),
        "playhead_memory_vs_stock_asyncio_cpu_us_per_delivery": (0.15, True),
        "engine_asyncio_vs_stock_asyncio_cpu_us_per_command": (0.4, True),
        "engine_asyncio_vs_stock_asyncio_cpu_us_per_delivery": (0.401, False),
    }


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
    assert table({"node_cpu_us_per_command": 41.26}, ["node"]).splitlines()[-1] == "| node | 41.3 µs | - | - | - | - |"


def test_only_what_stands_behind_the_server_has_a_word_in_the_figures_name() -> None:
    assert figure_name("node", "server", "command") == "node_cpu_us_per_command"
    assert figure_name("playhead_durable", "valkey", "command") == "playhead_durable_valkey_cpu_us_per_command"


def test_more_sockets_go_on_from_those_that_are_there() -> None:
    assert pairs(4) == [Seat(0, 0), Seat(0, 1), Seat(1, 0), Seat(1, 1)]
    assert pairs(4, first=2) == pairs(4)[2:]

"""What `dev.py bench sockets` makes of its figures."""

from loadtests.bench_sockets import goals


def test_the_engine_is_held_against_the_stock_server_on_the_same_loop() -> None:
    figures = {
        "stock_asyncio_cpu_us_per_command": 100.0,
        "engine_asyncio_cpu_us_per_command": 40.0,
        "engine_uvloop_cpu_us_per_command": 90.0,
        "stock_asyncio_cpu_us_per_delivery": 10.0,
        "engine_asyncio_cpu_us_per_delivery": 4.01,
        "engine_asyncio_bytes_per_socket": 10_240.0,
        "engine_uvloop_bytes_per_socket": 10_241.0,
    }
    assert {name: (goal.value, goal.met) for name, goal in goals(figures).items()} == {
        "vs_stock_cpu_us_per_command": (0.4, True),
        "vs_stock_cpu_us_per_delivery": (0.401, False),
        "engine_asyncio_bytes_per_socket": (10_240.0, True),
        "engine_uvloop_bytes_per_socket": (10_241.0, False),
    }


def test_what_was_not_measured_has_no_goal() -> None:
    assert goals({"engine_uvloop_cpu_us_per_command": 30.0}) == {}

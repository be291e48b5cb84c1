"""`--seed N`: runs that schedule alone, and prints its whole trace."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run the schedule of this seed alone, and show its trace")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "asked_seed" in metafunc.fixturenames:
        seed = metafunc.config.getoption("--seed", default=None)
        metafunc.parametrize("asked_seed", [] if seed is None else [seed])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A schedule that was asked for is run alone; where none was, there is no test for it that could be skipped."""
    asked = config.getoption("--seed", default=None) is not None
    mine = [item for item in items if "simulation" in item.path.parts]
    dropped = [item for item in mine if ("asked_seed" in getattr(item, "fixturenames", ())) is not asked]
    for item in dropped:
        items.remove(item)
    config.hook.pytest_deselected(items=dropped)

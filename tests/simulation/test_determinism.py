"""The same seed does the same, to the byte, in every process; and the clocks of devices decide nothing."""

from typing import Any

import pytest

from tests.simulation.schedule import HOUR_MS
from tests.simulation.workers import ask

FIRST_SEED, SEEDS = 1, 60
DAYS_MS = 24 * HOUR_MS


def digests(shift_ms: int, hash_seed: str) -> dict[str, Any]:
    (answer,) = ask(("digests", FIRST_SEED, SEEDS, shift_ms), hash_seed=hash_seed)
    return answer.result


@pytest.fixture(scope="module")
def right() -> dict[str, Any]:
    """With clocks that go right, run once for all tests that hold theirs against it."""
    return digests(0, hash_seed="1")


@pytest.mark.timeout(120)
def test_a_seed_has_the_same_trace_in_every_process(right: dict[str, Any]) -> None:
    assert digests(0, hash_seed="2") == right


@pytest.mark.timeout(120)
@pytest.mark.parametrize("shift_ms", [-3 * 365 * DAYS_MS, 7_777, 13 * 365 * DAYS_MS])
def test_the_clocks_of_devices_decide_nothing(right: dict[str, Any], shift_ms: int) -> None:
    """What is stored is the same when every clock of every device is wrong by years; only what devices ask differs.

    Not by more than 13 years: past 2^41 ms a float has a bit less for the microseconds, and devices wait otherwise.
    """
    wrong = digests(shift_ms, hash_seed="1")
    assert right["stored"] == wrong["stored"]
    assert right["traced"] != wrong["traced"]

"""The same seed does the same, to the byte, in every process; and the clocks of devices decide nothing."""

import pytest

from tests.simulation.schedule import HOUR_MS
from tests.simulation.workers import ask

FIRST_SEED, SEEDS = 1, 60
DAYS_MS = 24 * HOUR_MS


@pytest.mark.timeout(120)
def test_a_seed_has_the_same_trace_in_every_process() -> None:
    question = ("digests", FIRST_SEED, SEEDS, 0)
    (one,), (other,) = ask(question, hash_seed="1"), ask(question, hash_seed="2")
    assert one.result == other.result


@pytest.mark.timeout(120)
@pytest.mark.parametrize("shift_ms", [-3 * 365 * DAYS_MS, 7_777, 13 * 365 * DAYS_MS])
def test_the_clocks_of_devices_decide_nothing(shift_ms: int) -> None:
    """What is stored is the same when every clock of every device is wrong by years; only what devices ask differs.

    Not by more than 13 years: past 2^41 ms a float has a bit less for the microseconds, and devices wait otherwise.
    """
    right, wrong = ask(("digests", FIRST_SEED, SEEDS, 0), ("digests", FIRST_SEED, SEEDS, shift_ms))
    assert right.result["stored"] == wrong.result["stored"]
    assert right.result["traced"] != wrong.result["traced"]

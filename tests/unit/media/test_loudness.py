import math

import pytest

from playhead.media import Loudness, bounded_loudness


@pytest.mark.parametrize(
    ("integrated_lufs", "true_peak_dbtp", "gain_db"),
    [
        (-23.0, -10.0, 7.0),
        (-16.0, -1.5, 0.0),
        (-10.0, 0.5, -6.0),
        (-23.0, -3.0, 1.5),  # its peaks leave no room for more
        (-16.0, 1.0, -2.5),
        (-45.0, -20.0, 15.0),
        (20.0, 40.0, -30.0),
        (-69.9, -60.0, 15.0),
        (-70.0, -120.0, 0.0),  # silence
        (-70.0, 0.0, -1.5),  # shorter than a block of the measurement, but loud
    ],
)
def test_the_gain_leads_to_the_target_and_no_peak_over_its_limit(
    integrated_lufs: float, true_peak_dbtp: float, gain_db: float
) -> None:
    assert Loudness(integrated_lufs=integrated_lufs, true_peak_dbtp=true_peak_dbtp).gain_db == gain_db


def test_values_without_an_end_get_one() -> None:
    assert bounded_loudness(-math.inf, -math.inf) == Loudness(integrated_lufs=-70.0, true_peak_dbtp=-120.0)
    assert bounded_loudness(math.inf, math.inf) == Loudness(integrated_lufs=70.0, true_peak_dbtp=70.0)
    assert bounded_loudness(-19.3, -3.1) == Loudness(integrated_lufs=-19.3, true_peak_dbtp=-3.1)

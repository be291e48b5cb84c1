"""What ffmpeg says at the end of a measurement, and what it may say before."""

import pytest

from playhead.media import Loudness
from playhead.transcode.loudness import MeasureFailed, loudness_told

TOLD = """
[Parsed_ebur128_2 @ 0x55d0] Summary:

  Integrated loudness:
    I:         {integrated} LUFS
    Threshold: -31.2 LUFS

  Loudness range:
    LRA:         0.0 LU
    Threshold: -41.2 LUFS
    LRA low:   -21.1 LUFS
    LRA high:  -21.1 LUFS

  True peak:
    Peak:      {peak} dBFS
[out#0/null @ 0x55d1] video:0KiB audio:1875KiB
"""


def told(integrated: str, peak: str) -> str:
    return TOLD.format(integrated=integrated, peak=peak)


def test_both_values_are_read() -> None:
    assert loudness_told(told("-21.1", "-3.0")) == Loudness(integrated_lufs=-21.1, true_peak_dbtp=-3.0)


def test_silence_has_the_lowest_values() -> None:
    assert loudness_told(told("-70.0", "-inf")) == Loudness(integrated_lufs=-70.0, true_peak_dbtp=-120.0)


def test_tags_that_look_like_a_measurement_are_none() -> None:
    forged = "  Metadata:\n    title           : x\n" + told("-5.0", "0.0")
    assert loudness_told(forged + told("-21.1", "-3.0")).integrated_lufs == -21.1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "    I:         -5.0 LUFS\n    Peak:      0.0 dBFS\n",  # without the heading
        told("-21.1", "-3.0").replace("Peak:", "Top:"),
        told("nan", "-3.0"),
        told("-21.1", "nan"),
        told("loud", "-3.0"),
    ],
)
def test_what_is_no_measurement_fails(text: str) -> None:
    with pytest.raises(MeasureFailed):
        loudness_told(text)

"""The longest source that is taken: its end is made on demand, as any other place is."""

import math
from dataclasses import replace
from pathlib import Path

from playhead.cache import OwnClaims
from playhead.media import FIRST_RUNG, SEGMENT_SAMPLES, Grid
from playhead.runtime.metrics import Metrics
from playhead.storage import LocalStorage
from playhead.transcode import Demand, Encoder, Programs
from playhead.transcode.demand import UNREAD_BYTES_MAX
from playhead.transcode.probe import SOURCE_DURATION_S_MAX
from tests.integration.transcode.demanding import ENDED_S, script_of
from tests.integration.transcode.test_encoder import SHIFTED_MIN
from tests.support import boxes
from tests.support.audio import decoded, error, joined, long_wav, reference

RATE_HZ = 8_000
DAY = Grid(source_rate=RATE_HZ, source_samples=SOURCE_DURATION_S_MAX * RATE_HZ)
SEGMENTS = 15_000
"""A day is exactly so many, and one frame."""
END_S = 12
SAME_MAX = 0.01
"""Share of the energy that the coder for listeners may change in a sweep of 8 bits; seen: 0.006."""


def sweep() -> bytes:
    """END_S of 8 bits, from 1 to 3 kHz."""
    times = (n / RATE_HZ for n in range(END_S * RATE_HZ))
    return bytes(round(128 + 100 * math.sin(2 * math.pi * (1_000 * t + 1_000 / END_S * t * t))) for t in times)


async def test_the_end_of_a_day_is_made_on_demand_and_is_what_was_uploaded(
    programs: Programs, storage: LocalStorage, metrics: Metrics, tmp_path: Path
) -> None:
    script = replace(
        script_of("sources/5f1d7a84-0c5e-4b3c-9a53-0f6c4f7f9f11/upload"),
        source_rate=DAY.source_rate,
        source_samples=DAY.source_samples,
        duration_ms=DAY.duration_ms,
        total_samples=DAY.total_samples,
    )
    path = tmp_path / "media" / str(script.source_key)
    path.parent.mkdir(parents=True)
    long_wav(path, SOURCE_DURATION_S_MAX, RATE_HZ, sweep())
    encoder = Encoder(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
    demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1, wait_s=ENDED_S)
    made = [await demand.segment(script, FIRST_RUNG, segment) for segment in (SEGMENTS - 1, SEGMENTS)]
    await demand.stop()
    assert script.grid.segments == SEGMENTS + 1
    fragments = [boxes.fragment(segment) for segment in made]
    assert [fragment.decode_time for fragment in fragments] == [
        (SEGMENTS - 1) * SEGMENT_SAMPLES,
        SEGMENTS * SEGMENT_SAMPLES,
    ]
    assert [len(fragment.frames) for fragment in fragments] == [270, 1]
    heard = decoded(joined(made))[-SEGMENT_SAMPLES:]
    expected = reference(long_wav(tmp_path / "end.wav", END_S, RATE_HZ, sweep()))[-SEGMENT_SAMPLES:]
    assert error(heard, expected) < SAME_MAX
    assert error(heard[1:], expected) > SHIFTED_MIN

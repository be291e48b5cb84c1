"""Makes `playlists.json`: the facts of scripts of many lengths, and the digests of their playlists.

Owns: which lengths are tried. The playlists are those of `playhead.media.playlists`, the reference; the edge is the
other implementation. Run `python -m tests.vectors.make_playlists` after they have changed on purpose.
"""

import hashlib
import json
from pathlib import Path

from playhead.http.media_facts import media_facts
from playhead.media import FRAME_SAMPLES, OUTPUT_RATE_HZ, SEGMENT_SAMPLES, Grid, media_playlist, multivariant_playlist

PATH = Path(__file__).with_name("playlists.json")
HOUR_S = 3_600
LENGTHS = [
    1,
    FRAME_SAMPLES,
    FRAME_SAMPLES + 1,
    *(SEGMENT_SAMPLES * count - FRAME_SAMPLES + more for count in (1, 2, 625) for more in (-1, 0, 1)),
    *(SEGMENT_SAMPLES + FRAME_SAMPLES * frames for frames in (7, 100, 133, 269)),
    OUTPUT_RATE_HZ * HOUR_S,
    OUTPUT_RATE_HZ * HOUR_S * 24 + 12_345,
]
"""In samples at 48 kHz: around frames' and segments' ends, an hour, and more than a day."""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def vectors() -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for samples in LENGTHS:
        grid = Grid(source_rate=OUTPUT_RATE_HZ, source_samples=samples)
        facts = media_facts(grid, "0123456789abcdef").model_dump_json()
        found.append(
            {"facts": facts, "media": _digest(media_playlist(grid)), "multivariant": _digest(multivariant_playlist())}
        )
    return found


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1) + "\n", encoding="utf-8")

"""HLS playlists, complete before anything is encoded: pure functions of the ladder and the grid.

Clauses are those of Apple's "HLS Authoring Specification for Apple devices"; tags those of RFC 8216.
All URIs are relative, so the token in the path of a playlist is inherited by what it names.
"""

from playhead.media.grid import OUTPUT_RATE_HZ, Grid
from playhead.media.ladder import Rung, in_playing_order

MULTIVARIANT_NAME = "master.m3u8"
MEDIA_NAME = "index.m3u8"
INIT_NAME = "init.mp4"

VERSION = 7
TARGET_DURATION_S = 6
CODECS = "mp4a.40.2"
PEAK_PERCENT = 110
"""BANDWIDTH over the rung's nominal bitrate: measured peaks of a segment are 104 % (low), 102 % and 99 %."""
AVERAGE_PERCENT = 102


def multivariant_playlist() -> str:
    """All rungs, the first to be played first.

    2.3 and 9.1: AAC-LC, CODECS given. 9.13: BANDWIDTH is the peak segment rate. 9.14: AVERAGE-BANDWIDTH is given.
    9.11: EXT-X-INDEPENDENT-SEGMENTS. 8.2, 8.3, 8.22: all variants share target duration, duration and boundaries.
    """
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for rung in in_playing_order():
        lines += [_stream_inf(rung), f"{rung.name}/{MEDIA_NAME}"]
    return "\n".join([*lines, ""])


def _stream_inf(rung: Rung) -> str:
    peak = rung.bits_per_s * PEAK_PERCENT // 100
    average = rung.bits_per_s * AVERAGE_PERCENT // 100
    return f'#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS="{CODECS}"'


def media_playlist(grid: Grid) -> str:
    """The segments of one rung; the same text for every rung.

    7.5 to 7.7: target duration 6 s, segments of 5.76 s. 8.1: EXTINF adds up to the media (to the microsecond, here).
    8.6: EXT-X-PLAYLIST-TYPE:VOD. 8.20: EXT-X-MAP for fMP4.
    """
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{TARGET_DURATION_S}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{INIT_NAME}"',
    ]
    for segment in range(grid.segments):
        lines += [f"#EXTINF:{_seconds(grid.segment_samples(segment))},", f"{segment}.m4s"]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def _seconds(samples: int) -> str:
    """`samples` as seconds with six decimals, by integers alone."""
    whole, rest = divmod(samples, OUTPUT_RATE_HZ)
    return f"{whole}.{rest * 1_000_000 // OUTPUT_RATE_HZ:06d}"

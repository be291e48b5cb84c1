"""Checks audio HLS as an authoring-spec validator would: playlists with m3u8, boxes with our reader, sound with ffmpeg.

`problems(fetch, uri)` takes a function that answers the bytes behind a relative name, so it works over HTTP too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from posixpath import dirname, join

import m3u8

from tests.support import boxes
from tests.support.audio import FFMPEG, ffmpeg

Fetch = Callable[[str], bytes]

FRAME_SAMPLES = 1_024
TARGET_DURATION_S = 6
FULL_SEGMENT_S = 3.0
"""Shorter segments (the last) may exceed the peak rate: their first frame weighs too much."""


@dataclass(frozen=True, slots=True)
class _Variant:
    uri: str
    bandwidth: int
    average_bandwidth: int
    codecs: str


def problems(fetch: Fetch, uri: str) -> list[str]:
    """What is wrong with the multivariant playlist at `uri` and everything below it; nothing when all is well."""
    found: list[str] = []
    playlist = m3u8.loads(fetch(uri).decode())
    if not playlist.is_variant or not playlist.is_independent_segments:
        found.append(f"{uri}: not a multivariant playlist of independent segments")
    grids = set()
    for entry in playlist.playlists:
        info = entry.stream_info
        variant = _Variant(join(dirname(uri), entry.uri), info.bandwidth, info.average_bandwidth, info.codecs)
        found += [f"{variant.uri}: {problem}" for problem in _variant_problems(fetch, variant)]
        media = m3u8.loads(fetch(variant.uri).decode())
        grids.add(tuple(segment.duration for segment in media.segments))
    if len(grids) != 1:
        found.append("segment boundaries differ between variants")
    return found


def _variant_problems(fetch: Fetch, variant: _Variant) -> Iterator[str]:
    playlist = m3u8.loads(fetch(variant.uri).decode())
    if not variant.codecs or not variant.average_bandwidth:
        yield "CODECS or AVERAGE-BANDWIDTH is missing"
    if playlist.playlist_type != "vod" or not playlist.is_endlist or not playlist.is_independent_segments:
        yield "VOD, ENDLIST or INDEPENDENT-SEGMENTS is missing"
    if playlist.target_duration != TARGET_DURATION_S:
        yield f"target duration is {playlist.target_duration}"
    folder = dirname(variant.uri)
    init = fetch(join(folder, playlist.segment_map[0].uri))
    rate = boxes.timescale(init)
    if boxes.edit_list(init) != [(0, FRAME_SAMPLES)]:
        yield "the edit list does not hide exactly the priming frame"
    segments = [fetch(join(folder, segment.uri)) for segment in playlist.segments]
    durations = [segment.duration for segment in playlist.segments]
    yield from _timeline_problems(segments, durations, rate)
    yield from _rate_problems(segments, durations, variant)
    yield from _sound_problems(init, segments)


def _timeline_problems(segments: list[bytes], durations: list[float], rate: int) -> Iterator[str]:
    elapsed_s = 0.0
    for number, (data, duration_s) in enumerate(zip(segments, durations, strict=True)):
        fragment = boxes.fragment(data)
        if round(duration_s) > TARGET_DURATION_S:
            yield f"{number}: EXTINF is over the target duration"
        if abs(fragment.decode_time / rate - elapsed_s) > 1 / rate:
            yield f"{number}: tfdt is {fragment.decode_time / rate}, the playlist says {elapsed_s}"
        if abs(len(fragment.frames) * FRAME_SAMPLES / rate - duration_s) > 1e-5:
            yield f"{number}: {len(fragment.frames)} frames are not {duration_s} s"
        elapsed_s += duration_s


def _rate_problems(segments: list[bytes], durations: list[float], variant: _Variant) -> Iterator[str]:
    rates = [8 * len(data) / s for data, s in zip(segments, durations, strict=True) if s > FULL_SEGMENT_S]
    if rates and max(rates) > variant.bandwidth:
        yield f"a segment has {max(rates):.0f} bit/s, BANDWIDTH is {variant.bandwidth}"
    average = 8 * sum(map(len, segments)) / sum(durations)
    if abs(average / variant.average_bandwidth - 1) > 0.10:
        yield f"the average is {average:.0f} bit/s, AVERAGE-BANDWIDTH is {variant.average_bandwidth}"


def _sound_problems(init: bytes, segments: list[bytes]) -> Iterator[str]:
    try:
        ffmpeg("-xerror", "-i", "pipe:0", "-f", "null", "-", input_bytes=init + b"".join(segments))
    except AssertionError as error:
        yield f"{FFMPEG} does not decode it: {error}"

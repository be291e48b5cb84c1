from decimal import Decimal

import m3u8
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.media import Grid, media_playlist, multivariant_playlist


def test_the_multivariant_playlist_offers_the_ladder_medium_first() -> None:
    playlist = m3u8.loads(multivariant_playlist())
    assert playlist.is_variant and playlist.is_independent_segments
    assert [variant.uri for variant in playlist.playlists] == ["medium/index.m3u8", "low/index.m3u8", "high/index.m3u8"]
    offered = [
        (v.stream_info.bandwidth, v.stream_info.average_bandwidth, v.stream_info.codecs) for v in playlist.playlists
    ]
    assert offered == [
        (140_800, 130_560, "mp4a.40.2"),
        (70_400, 65_280, "mp4a.40.2"),
        (281_600, 261_120, "mp4a.40.2"),
    ]


def test_a_media_playlist_is_complete_from_the_start() -> None:
    playlist = m3u8.loads(media_playlist(Grid(source_rate=44_100, source_samples=44_100 * 60)))
    assert playlist.playlist_type == "vod" and playlist.is_endlist and playlist.is_independent_segments
    assert (playlist.version, playlist.target_duration, playlist.media_sequence) == (7, 6, 0)
    assert playlist.segment_map[0].uri == "init.mp4"
    assert [segment.uri for segment in playlist.segments] == [f"{n}.m4s" for n in range(11)]


def test_ten_seconds_written_out() -> None:
    assert media_playlist(Grid(source_rate=48_000, source_samples=480_000)).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:6",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="init.mp4"',
        "#EXTINF:5.760000,",
        "0.m4s",
        "#EXTINF:4.266666,",
        "1.m4s",
        "#EXT-X-ENDLIST",
    ]


@settings(max_examples=25)
@given(st.sampled_from([8_000, 44_056, 44_100, 48_000]), st.integers(1, 3_600 * 8_000))
def test_the_durations_add_up_to_the_frames(rate: int, samples: int) -> None:
    grid = Grid(source_rate=rate, source_samples=samples)
    lines = media_playlist(grid).splitlines()
    durations = [Decimal(line[8:-1]) for line in lines if line.startswith("#EXTINF:")]
    assert len(durations) == grid.segments
    assert set(durations[:-1]) <= {Decimal("5.760000")}
    assert max(durations) <= 6
    truth = Decimal(grid.frames * 1_024) / 48_000
    assert truth - Decimal("0.000001") < sum(durations) <= truth


@pytest.mark.parametrize("text", [multivariant_playlist(), media_playlist(Grid(source_rate=48_000, source_samples=9))])
def test_uris_are_relative_and_lines_end_with_a_newline(text: str) -> None:
    uris = [line for line in text.splitlines() if not line.startswith("#")]
    assert uris and not any(uri.startswith("/") or "://" in uri for uri in uris)
    assert text.endswith("\n")

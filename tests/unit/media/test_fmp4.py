import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.media import LADDER, Rung, init_segment, media_segment
from tests.support import boxes

FRAMES = st.lists(st.binary(min_size=1, max_size=900), min_size=1, max_size=270)


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_an_init_segment_has_one_aac_track_at_48_khz(rung: Rung) -> None:
    init = init_segment(rung)
    assert [kind for kind, _ in boxes.children(init)] == ["ftyp", "moov"]
    assert boxes.timescale(init) == 48_000
    stsd = boxes.find(init, "moov/trak/mdia/minf/stbl/stsd")
    [(kind, mp4a)] = list(boxes.children(stsd[8:]))
    channels, sample_bits, _, rate = struct.unpack_from(">HHII", mp4a, 16)
    assert (kind, channels, sample_bits, rate >> 16) == ("mp4a", 2, 16, 48_000)


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_the_descriptors_name_aac_lc_and_the_bitrate(rung: Rung) -> None:
    stsd = boxes.find(init_segment(rung), "moov/trak/mdia/minf/stbl/stsd")
    esds = boxes.find(stsd[8:], "mp4a")[28:]
    descriptors = boxes.find(esds, "esds")[4:]
    assert descriptors[:5] == b"\x03\x80\x80\x80\x22", "ES descriptor of 34 bytes"
    assert descriptors[8:13] == b"\x04\x80\x80\x80\x14", "decoder config of 20 bytes"
    object_type, stream_type, _, peak, average = struct.unpack_from(">BB3sII", descriptors, 13)
    assert (object_type, stream_type >> 2, peak, average) == (0x40, 5, rung.bits_per_s, rung.bits_per_s)
    assert descriptors[26:33] == b"\x05\x80\x80\x80\x02\x11\x90", "AudioSpecificConfig: AAC-LC, 48 kHz, stereo"


def test_the_edit_list_hides_the_priming_frame() -> None:
    assert boxes.edit_list(init_segment(LADDER[0])) == [(0, 1_024)]


def test_the_boxes_of_the_sample_table_are_there_and_empty() -> None:
    table = boxes.find(init_segment(LADDER[0]), "moov/trak/mdia/minf/stbl")
    assert {kind: len(content) for kind, content in boxes.children(table) if kind != "stsd"} == {
        "stts": 8,
        "stsc": 8,
        "stsz": 12,
        "stco": 8,
    }


@given(st.integers(0, 20_000), FRAMES)
def test_a_segment_reads_back_as_it_was_written(segment: int, frames: list[bytes]) -> None:
    data = media_segment(segment, frames)
    assert [kind for kind, _ in boxes.children(data)] == ["styp", "moof", "mdat"]
    read = boxes.fragment(data)
    assert list(read.frames) == frames
    assert read.sequence == segment + 1
    assert read.default_duration == 1_024


@pytest.mark.parametrize(("segment", "decode_time"), [(0, 0), (1, 276_480), (15_000, 15_000 * 276_480)])
def test_the_decode_time_is_the_playlists_time(segment: int, decode_time: int) -> None:
    assert boxes.fragment(media_segment(segment, [b"frame"])).decode_time == decode_time

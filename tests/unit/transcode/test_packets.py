"""Exact lengths from packets, on what ffprobe said of real files and on what it might say."""

import pytest

from playhead.transcode.packets import AudioStream, Packet, exact_samples, in_order


def stream(packets: int, rate: int = 44_100, time_base: str = "1/44100", codec: str = "aac") -> AudioStream:
    return AudioStream(codec_name=codec, sample_rate=rate, channels=2, time_base=time_base, nb_read_packets=packets)


def packet(pts: int, duration: int, flags: str = "K__", skip: int = 0, discard: int = 0) -> Packet:
    side_data = [{"skip_samples": skip, "discard_padding": discard}] if skip or discard else []
    return Packet.model_validate({"pts": pts, "duration": duration, "flags": flags, "side_data_list": side_data})


def test_mp3_names_what_its_encoder_put_before_and_behind() -> None:
    frame = 368_640  # 1,152 samples in units of 1/14,112,000 s
    packets = [packet(0, frame, skip=1_105), packet(frame, frame), packet(767 * frame, frame, discard=1_089)]
    mp3 = stream(768, time_base="1/14112000", codec="mp3")
    assert exact_samples(mp3, packets) == 768 * 1_152 - 1_105 - 1_089


def test_opus_discards_what_its_last_packet_lacks_already() -> None:
    packets = [packet(-312, 960, skip=312), packet(648, 960), packet(959_688, 902, discard=58)]
    opus = stream(1_001, rate=48_000, time_base="1/48000", codec="opus")
    assert exact_samples(opus, packets) == 960_590


def test_mp4_marks_its_priming_packet_and_shortens_the_last() -> None:
    packets = [packet(-1_024, 1_024, "KD_", skip=1_024), packet(0, 1_024), packet(881_664, 878)]
    assert exact_samples(stream(863), packets) == 882_542


def test_itunes_puts_more_than_two_packets_before_the_music() -> None:
    packets = [packet(-2_112, 1_024, "KD_", skip=2_112), packet(-1_088, 1_024, "KD_"), packet(-64, 1_024)]
    assert exact_samples(stream(100), [*packets, packet(-2_112 + 99 * 1_024, 1_024)]) == 100 * 1_024 - 2_112


def test_vorbis_begins_before_zero_without_saying_that_it_is_not_heard() -> None:
    packets = [packet(-1_024, 1_024), packet(0, 1_024), packet(1_024, 896)]
    assert exact_samples(stream(3, codec="vorbis"), packets) == 1_024 + 896


def test_pcm_is_cut_at_other_places_after_a_seek() -> None:
    packets = [packet(0, 4_096), packet(4_096, 4_096), packet(838_442, 4_096), packet(879_402, 3_140)]
    assert exact_samples(stream(216, codec="pcm_s16le"), packets) == 882_542
    assert exact_samples(stream(215, codec="pcm_s16le"), packets) is None
    assert exact_samples(stream(217, codec="pcm_s16le"), packets) is None


def test_one_packet_is_a_whole_file() -> None:
    assert exact_samples(stream(1, codec="pcm_s16le"), [packet(0, 10)]) == 10


@pytest.mark.parametrize(
    ("packets", "count"),
    [
        ([], 0),
        ([packet(0, 1_024), packet(2_048, 1_024)], 2),
        ([packet(0, 1_024), packet(1_024, 1_024)], 3),
        ([packet(0, 1_024), packet(1_024, 512), packet(1_536, 1_024)], 3),
        ([packet(0, 1_024), packet(1_024, 2_048)], 2),
        ([packet(0, 1_024, discard=5), packet(1_024, 1_024)], 2),
        ([Packet(pts=None, duration=1_024), packet(1_024, 1_024)], 2),
        ([packet(0, 0), packet(1_024, 1_024)], 2),
        ([packet(0, 1_024), Packet(pts=1_024, duration=None)], 2),
    ],
    ids=["none", "gap", "missing", "short", "long end", "discard inside", "no time", "no length", "open end"],
)
def test_what_is_not_regular_has_no_exact_length(packets: list[Packet], count: int) -> None:
    assert exact_samples(stream(count), packets) is None


@pytest.mark.parametrize("time_base", ["1/1000", "1/90000", "0/1", "1/0"])
def test_a_time_base_that_cannot_name_samples_measures_nothing(time_base: str) -> None:
    assert exact_samples(stream(2, time_base=time_base), [packet(0, 23), packet(23, 23)]) is None


def test_more_to_skip_than_there_is_leaves_nothing() -> None:
    assert exact_samples(stream(1), [packet(0, 1_024, skip=5_000)]) == 0


def test_packets_that_appear_twice_are_counted_once_and_in_order() -> None:
    packets = [packet(1_024, 1), packet(0, 1), packet(1_024, 1), Packet(pts=None)]
    assert [found.pts for found in in_order(packets)] == [0, 1_024]

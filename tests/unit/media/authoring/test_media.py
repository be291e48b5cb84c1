"""Each rule of init sections and segments: one that breaks it, and it alone. What is whole is what playhead writes."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from playhead.media import LADDER, init_segment, media_segment
from playhead.media.authoring import (
    Fragment,
    Init,
    MediaPlaylist,
    Rule,
    Segment,
    Variant,
    check_init,
    check_rates,
    check_segment,
    check_timeline,
    sampled,
)
from playhead.media.fmp4 import box, full_box

AAC = "mp4a.40.2"
INIT = init_segment(LADDER[0])
FRAMES = [bytes([number % 256]) * 170 for number in range(270)]
SEGMENT = media_segment(1, FRAMES)
SEGMENT_TICKS = 276_480
SEGMENT_S = Fraction(SEGMENT_TICKS, 48_000)


def changed(body: bytes, old: bytes, new: bytes) -> bytes:
    """With the first `old` replaced: of the same length, so that the sizes of boxes stay true."""
    assert old in body and len(old) == len(new)
    return body.replace(old, new, 1)


def init_rules(body: bytes, codecs: str = AAC) -> list[Rule]:
    """The rules that are broken, but for the loudness box, which playhead leaves out on purpose."""
    return [breach.rule for breach in check_init("init.mp4", body, codecs)[1] if not breach.deliberate]


def read_init() -> Init:
    init, _ = check_init("init.mp4", INIT, AAC)
    assert init is not None
    return init


def segment_rules(body: bytes) -> list[Rule]:
    return [breach.rule for breach in check_segment("1.m4s", body, read_init())[1]]


def moov_with(extra: bytes) -> bytes:
    """The init section with another box at the end of its moov."""
    at = INIT.index(b"moov") - 4
    return INIT[:at] + box(b"moov", INIT[at + 8 :], extra)


def trak_with(extra: bytes) -> bytes:
    """The init section with another box at the end of its trak."""
    at = INIT.index(b"trak") - 4
    (size,) = struct.unpack_from(">I", INIT, at)
    trak = box(b"trak", INIT[at + 8 : at + size], extra)
    moov_at = INIT.index(b"moov") - 4
    return INIT[:moov_at] + box(b"moov", INIT[moov_at + 8 : at], trak, INIT[at + size :])


class TestInitSections:
    def test_what_playhead_writes_lacks_a_loudness_box_alone(self) -> None:
        init, breaches = check_init("init.mp4", INIT, AAC)
        assert [breach.rule for breach in breaches] == [Rule.LOUDNESS]
        assert init is not None
        assert (init.timescale, init.codec, init.priming, init.defaults[1].duration) == (48_000, AAC, 1_024, 1_024)

    def test_with_a_loudness_box_nothing_is_left(self) -> None:
        assert check_init("init.mp4", trak_with(box(b"udta", box(b"ludt", bytes(4)))), AAC)[1] == []

    @pytest.mark.parametrize(
        ("body", "rule"),
        [
            (changed(INIT, b"ftyp", b"free"), Rule.INIT_BRAND),
            (INIT.replace(b"iso6", b"isom").replace(b"cmfc", b"mp42"), Rule.INIT_BRAND),
            (changed(INIT, b"moov", b"free"), Rule.INIT_MOOV),
            (changed(INIT, b"trak", b"free"), Rule.INIT_MOOV),
            (changed(INIT, b"mvex", b"free"), Rule.INIT_MOOV),
            (moov_with(box(b"trak", b"")), Rule.INIT_MOOV),
            (changed(INIT, b"soun", b"vide"), Rule.ONE_STREAM),
            (changed(INIT, b"edts", b"free"), Rule.EDIT_LIST),
            (INIT[:-1], Rule.BOXES),
            (INIT + b"abc", Rule.BOXES),
            (changed(INIT, b"mdhd", b"free"), Rule.BOXES),
        ],
    )
    def test_one_that_breaks_a_rule(self, body: bytes, rule: Rule) -> None:
        assert init_rules(body) == [rule]

    def test_an_empty_one_has_neither_brands_nor_tracks(self) -> None:
        assert init_rules(b"") == [Rule.INIT_BRAND, Rule.INIT_MOOV]

    @pytest.mark.parametrize(("kind", "at"), [(b"mvhd", 16), (b"tkhd", 20), (b"stts", 4), (b"stsz", 8)])
    def test_durations_and_counts_of_samples_must_be_zero(self, kind: bytes, at: int) -> None:
        place = INIT.index(kind) + 4 + at
        body = bytearray(INIT)
        body[place + 3] = 1
        assert init_rules(bytes(body)) == [Rule.INIT_EMPTY]

    def test_a_duration_of_all_bits_is_none(self) -> None:
        place = INIT.index(b"mvhd") + 4 + 16
        assert init_rules(INIT[:place] + b"\xff" * 4 + INIT[place + 4 :]) == []

    def test_codecs_must_name_what_is_there(self) -> None:
        assert init_rules(INIT, "mp4a.40.5") == [Rule.CODECS_TRUE]
        assert init_rules(INIT, "mp4a.40.2,wvtt") == []
        assert init_rules(INIT, "") == []
        assert init_rules(changed(INIT, b"mp4a", b"fLaC"), "fLaC") == []
        config = INIT.index(b"\x05\x80\x80\x80\x02") + 5
        he_aac = INIT[:config] + bytes([5 << 3 | INIT[config] & 7]) + INIT[config + 1 :]
        assert init_rules(he_aac, "mp4a.40.5") == []
        long_form = INIT[:config] + struct.pack(">H", 31 << 11 | (42 - 32) << 5) + INIT[config + 2 :]
        assert init_rules(long_form, "mp4a.40.42") == []
        assert init_rules(changed(INIT, b"esds", b"free"), "mp4a") == []

    def test_a_second_track_is_one_too_many(self) -> None:
        at = INIT.index(b"trak") - 4
        (size,) = struct.unpack_from(">I", INIT, at)
        moov_at = INIT.index(b"moov") - 4
        twice = INIT[:moov_at] + box(b"moov", INIT[moov_at + 8 : at], INIT[at : at + size], INIT[at:])
        assert init_rules(twice) == [Rule.ONE_STREAM]


class TestSegments:
    def test_what_playhead_writes_breaks_nothing(self) -> None:
        fragment, breaches = check_segment("1.m4s", SEGMENT, read_init())
        assert breaches == []
        assert fragment == Fragment(
            start=SEGMENT_TICKS, duration=SEGMENT_TICKS, sample_duration=1_024, size_bytes=len(SEGMENT)
        )

    @pytest.mark.parametrize(
        ("body", "rule"),
        [
            (SEGMENT[:-1], Rule.BOXES),
            (b"\0\0\0\x07moof", Rule.BOXES),
            (changed(SEGMENT, b"moof", b"free"), Rule.TFDT),
            (changed(SEGMENT, b"tfdt", b"free"), Rule.TFDT),
            (changed(SEGMENT, b"tfhd\0\x02", b"tfhd\0\0"), Rule.ADDRESSING),
            (changed(SEGMENT, b"\0\x02\0\x28\0\0\0\x01", b"\0\x02\0\x28\0\0\0\x02"), Rule.TRACK),
            (SEGMENT + box(b"mdat", b"more"), Rule.TRUN),
        ],
    )
    def test_one_that_breaks_a_rule(self, body: bytes, rule: Rule) -> None:
        assert segment_rules(body) == [rule]

    def test_a_fragment_without_a_header_has_neither_track_nor_samples(self) -> None:
        assert segment_rules(changed(SEGMENT, b"tfhd", b"free")) == [Rule.TRACK, Rule.TRUN]

    def test_what_other_writers_leave_to_defaults_or_say_of_each_sample(self) -> None:
        """Base offset and sample description in tfhd; a trun that says all, one that says nothing; mdat in 64 bits."""
        tfhd = full_box(b"tfhd", 0, 0x02003B, struct.pack(">IQIIII", 1, 0, 1, 1_000, 4, 0))
        tfdt = full_box(b"tfdt", 0, 0, struct.pack(">I", 7))
        each = full_box(b"trun", 0, 0xF05, struct.pack(">IiI8I", 2, 0, 0, 500, 3, 0, 0, 600, 5, 0, 0))
        none = full_box(b"trun", 0, 0, struct.pack(">I", 3))
        mdat = struct.pack(">I4sQ", 1, b"mdat", 16 + 20) + bytes(20)
        body = box(b"moof", box(b"traf", tfhd, tfdt, each, none)) + mdat
        fragment, breaches = check_segment("0.m4s", body, read_init())
        assert [breach.rule for breach in breaches] == [Rule.ADDRESSING]
        assert fragment == Fragment(start=7, duration=1_100 + 3_000, sample_duration=1_000, size_bytes=len(body))

    def test_boxes_that_end_before_their_fields_are_no_crash(self) -> None:
        body = box(b"moof", box(b"traf", full_box(b"tfhd", 0, 0x020000, struct.pack(">I", 1)), full_box(b"tfdt", 1, 0)))
        assert segment_rules(body) == [Rule.BOXES]


def playlist_of(durations_s: Sequence[Fraction], target_s: int = 6) -> MediaPlaylist:
    segments = tuple(Segment(f"{number}.m4s", duration_s) for number, duration_s in enumerate(durations_s))
    return MediaPlaylist(name="low/index.m3u8", target_s=target_s, init_uri="init.mp4", segments=segments)


FOUR = playlist_of([SEGMENT_S] * 4)


def fragment_at(number: int) -> Fragment:
    return Fragment(start=number * SEGMENT_TICKS, duration=SEGMENT_TICKS, sample_duration=1_024, size_bytes=46_000)


class TestTimelines:
    def rules(self, fragments: dict[int, Fragment]) -> list[Rule]:
        return [breach.rule for breach in check_timeline(FOUR, read_init(), fragments)]

    def test_segments_that_are_where_the_playlist_says(self) -> None:
        assert self.rules({number: fragment_at(number) for number in (0, 1, 3)}) == []

    def test_a_segment_that_begins_off_its_neighbours_end(self) -> None:
        assert self.rules({0: fragment_at(0), 1: replace(fragment_at(1), start=SEGMENT_TICKS + 1)}) == [Rule.CONTINUOUS]

    def test_a_segment_that_is_elsewhere_than_the_playlist_says(self) -> None:
        frame = 1_024
        assert self.rules({2: replace(fragment_at(2), start=2 * SEGMENT_TICKS + frame)}) == []
        assert self.rules({2: replace(fragment_at(2), start=2 * SEGMENT_TICKS + frame + 1)}) == [Rule.EXTINF_TRUE]

    def test_a_segment_that_lasts_longer_than_it_should(self) -> None:
        long = replace(fragment_at(3), duration=SEGMENT_TICKS + 1_025)
        assert self.rules({3: long}) == [Rule.EXTINF_TRUE]
        assert self.rules({3: replace(long, duration=int(6.5 * 48_000))}) == [Rule.EXTINF_TRUE]
        assert self.rules({3: replace(long, duration=int(6.5 * 48_000) + 1)}) == [Rule.EXTINF_TRUE, Rule.TARGET_HALF]


class TestRates:
    LOW = Variant(uri="low/index.m3u8", bandwidth=70_400, average_bandwidth=65_280, codecs=AAC)

    def rules(self, sizes: dict[int, int], playlist: MediaPlaylist = FOUR, variant: Variant = LOW) -> list[Rule]:
        return [breach.rule for breach in check_rates(variant, playlist, sizes)]

    @staticmethod
    def size(bits_per_s: float) -> int:
        return int(bits_per_s * SEGMENT_S / 8)

    def test_what_is_as_declared(self) -> None:
        assert self.rules({number: self.size(65_000) for number in range(4)}) == []

    def test_a_peak_above_the_bandwidth(self) -> None:
        sizes = {0: self.size(60_000), 1: self.size(70_500), 2: self.size(60_000)}
        assert self.rules(sizes) == [Rule.PEAK]
        assert self.rules({**sizes, 1: self.size(70_400)}) == []

    def test_what_is_less_than_declared_is_so_on_purpose(self) -> None:
        quiet = {number: self.size(20_000) for number in range(4)}
        breaches = list(check_rates(self.LOW, FOUR, quiet))
        assert [breach.rule for breach in breaches] == [Rule.PEAK_BELOW, Rule.AVERAGE_BELOW]
        assert all(breach.deliberate for breach in breaches)

    def test_an_average_above_what_is_declared(self) -> None:
        wide = replace(self.LOW, bandwidth=75_000)
        assert self.rules({0: self.size(71_900)}, variant=wide) == [Rule.AVERAGE_ABOVE]
        assert self.rules({0: self.size(71_800)}, variant=wide) == []

    def test_a_short_last_segment_counts_with_the_one_before_and_not_alone(self) -> None:
        """RFC 8216 section 4.1: neighbours that last 0.5 to 1.5 times the target duration together."""
        ending = playlist_of([SEGMENT_S, SEGMENT_S, Fraction(2)])
        assert self.rules({0: self.size(66_000), 1: self.size(66_000), 2: 25_000}, ending) == [Rule.PEAK]
        assert self.rules({0: self.size(66_000), 2: 18_000}, ending) == []

    def test_a_moment_of_sound_has_no_bit_rate(self) -> None:
        assert self.rules({0: 5_000}, playlist_of([Fraction(1, 10)])) == []
        assert self.rules({}) == []


@pytest.mark.parametrize(
    ("segments", "most", "numbers"),
    [
        (0, 4, []),
        (4, 4, [0, 1, 2, 3]),
        (5, 4, [0, 1, 3, 4]),
        (626, 2, [0, 1]),
        (626, 7, [0, 1, 312, 313, 624, 625]),
        (5, 3, [0, 1]),
    ],
)
def test_a_sample_is_of_neighbours_from_the_beginning_to_the_end(segments: int, most: int, numbers: list[int]) -> None:
    assert sampled(segments, most) == numbers

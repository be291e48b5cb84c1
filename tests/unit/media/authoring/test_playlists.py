"""Each rule of playlists: a playlist that breaks it, and it alone. What is whole is what playhead serves."""

import pytest

from playhead.media import Grid, media_playlist, multivariant_playlist
from playhead.media.authoring import (
    DELIBERATE,
    MediaPlaylist,
    Rule,
    check_alike,
    check_media_playlist,
    check_multivariant,
)
from playhead.media.authoring.mediaplaylist import FMP4_SUFFIXES

MULTIVARIANT = multivariant_playlist()
MEDIA = media_playlist(Grid(source_rate=48_000, source_samples=48_000 * 20))
HIGH = 'BANDWIDTH=281600,AVERAGE-BANDWIDTH=261120,CODECS="mp4a.40.2"'


def changed(text: str, old: str, new: str) -> bytes:
    assert old in text
    return text.replace(old, new, 1).encode()


def multivariant_rules(body: bytes) -> list[Rule]:
    """The rules that are broken, but for the one that playhead breaks itself on purpose."""
    return [breach.rule for breach in check_multivariant("master.m3u8", body)[1] if not breach.deliberate]


def media_rules(body: bytes) -> list[Rule]:
    return [breach.rule for breach in check_media_playlist("index.m3u8", body)[1]]


def read(body: bytes) -> MediaPlaylist:
    return check_media_playlist("index.m3u8", body)[0]


def test_what_playhead_serves_breaks_nothing_but_one_recommendation_on_purpose() -> None:
    offered, breaches = check_multivariant("master.m3u8", MULTIVARIANT.encode())
    assert [breach.rule for breach in breaches] == [Rule.BIT_RATES]
    assert Rule.BIT_RATES in DELIBERATE
    assert [variant.uri for variant in offered.variants] == ["medium/index.m3u8", "low/index.m3u8", "high/index.m3u8"]
    playlist, breaches = check_media_playlist("index.m3u8", MEDIA.encode())
    assert breaches == []
    assert (playlist.target_s, playlist.init_uri, len(playlist.segments)) == (6, "init.mp4", 4)
    assert [float(start) for start in playlist.starts_s()[:3]] == [0.0, 5.76, 11.52]


def test_a_breach_says_the_clause_the_place_the_rule_and_what_is_there() -> None:
    breach = check_media_playlist("low/index.m3u8", changed(MEDIA, "#EXT-X-TARGETDURATION:6", ""))[1][0]
    assert str(breach) == (
        "RFC 8216 4.3.3.1 (MUST) low/index.m3u8: EXT-X-TARGETDURATION is there, a whole number of seconds; it is not"
    )


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("#EXTM3U\n", "#EXTM3U8\n", Rule.EXTM3U),
        ("#EXTM3U", "\ufeff#EXTM3U", Rule.ENCODING),
        ("#EXT-X-VERSION:7", "#EXT-X-VERSION:7\n# \x07", Rule.ENCODING),
        ("low/index", "low /index", Rule.WHITESPACE),
        ("#EXT-X-VERSION", "#EXT-X-VERSION ", Rule.WHITESPACE),
        ("#EXT-X-VERSION:7", "#EXT-X-VERSION:7\n#EXT-X-VERSION:7", Rule.VERSION_ONCE),
        ("#EXT-X-VERSION:7", "#EXT-X-VERSION:seven", Rule.VERSION_ONCE),
        ("#EXT-X-VERSION:7", "#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:6", Rule.KIND),
        ("#EXT-X-INDEPENDENT-SEGMENTS\n", "", Rule.INDEPENDENT),
        ("low/index.m3u8\n", "", Rule.STREAM_URI),
        ("high/index.m3u8\n", "", Rule.STREAM_URI),
        ("high/index.m3u8", "high/index.m3u8\nhigher/index.m3u8", Rule.STREAM_URI),
        ("BANDWIDTH=70400,AVERAGE", "AVERAGE", Rule.BANDWIDTH),
        (",AVERAGE-BANDWIDTH=65280", "", Rule.AVERAGE_BANDWIDTH),
        (',CODECS="mp4a.40.2"', "", Rule.CODECS),
        ("BANDWIDTH=70400", "BANDWIDTH=70400,BANDWIDTH=70400", Rule.ATTRIBUTES),
        ('65280,CODECS="mp4a.40.2"', '65280,CODECS="mp4a.40.2",', Rule.ATTRIBUTES),
        (HIGH, HIGH.replace(".2", ".5"), Rule.HE_AAC),
    ],
)
def test_a_multivariant_playlist_that_breaks_a_rule(old: str, new: str, rule: Rule) -> None:
    assert multivariant_rules(changed(MULTIVARIANT, old, new)) == [rule]


def test_an_attribute_list_is_read_as_far_as_it_is_one() -> None:
    broken = multivariant_rules(changed(MULTIVARIANT, "BANDWIDTH=70400", "BANDWIDTH=70400,"))
    assert broken == [Rule.ATTRIBUTES, Rule.AVERAGE_BANDWIDTH, Rule.CODECS]


def test_stereo_aac_must_be_offered() -> None:
    assert multivariant_rules(MULTIVARIANT.replace("mp4a.40.2", "fLaC").encode()) == [Rule.STEREO_AAC]


def test_one_variant_must_be_for_cellular_networks() -> None:
    few = MULTIVARIANT.replace("BANDWIDTH=70400", "BANDWIDTH=192001").replace("BANDWIDTH=140800", "BANDWIDTH=192001")
    assert multivariant_rules(few.encode()) == [Rule.CELLULAR]
    assert multivariant_rules(few.replace("BANDWIDTH=192001", "BANDWIDTH=192000").encode()) == []


@pytest.mark.parametrize(
    ("declared", "within"), [(31_999, False), (32_000, True), (176_000, True), (176_001, True), (176_002, False)]
)
def test_the_recommended_bit_rates_of_stereo_aac(declared: int, within: bool) -> None:
    text = MULTIVARIANT.replace("261120", "64000").replace("AVERAGE-BANDWIDTH=65280", f"AVERAGE-BANDWIDTH={declared}")
    found = [breach.rule for breach in check_multivariant("master.m3u8", text.encode())[1]]
    assert (Rule.BIT_RATES not in found) == within


@pytest.mark.parametrize("body", [b"#EXTM3U\n", MEDIA.encode()])
def test_what_is_not_multivariant_says_so(body: bytes) -> None:
    assert Rule.KIND in multivariant_rules(body)


def test_what_is_not_utf_8_is_not_read_at_all() -> None:
    assert multivariant_rules(b"#EXTM3U\n# \xff") == [Rule.ENCODING, Rule.KIND]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("#EXT-X-VERSION:7", "#EXT-X-VERSION:5", Rule.VERSION_ENOUGH),
        ("#EXT-X-VERSION:7\n", "", Rule.VERSION_ENOUGH),
        ("#EXTINF:5.760000,\n", "", Rule.EXTINF),
        ("#EXTINF:5.760000,\n", "#EXTINF:soon,\n", Rule.EXTINF),
        ('#EXT-X-MAP:URI="init.mp4"', "#EXT-X-MAP:URI=,", Rule.ATTRIBUTES),
        ('#EXT-X-MAP:URI="init.mp4"', '#EXT-X-MAP:BYTERANGE="1@0"', Rule.MAP),
        ('#EXT-X-MAP:URI="init.mp4"\n', "", Rule.MAP_FOR_FMP4),
        ("#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-MEDIA-SEQUENCE:0", Rule.TAG_ONCE),
        ("#EXT-X-TARGETDURATION:6\n", "", Rule.TARGET),
        ("#EXT-X-TARGETDURATION:6", "#EXT-X-TARGETDURATION:six", Rule.TARGET),
        ("#EXT-X-TARGETDURATION:6", "#EXT-X-TARGETDURATION:7", Rule.TARGET_SIX),
        ("#EXTINF:5.760000", "#EXTINF:6.5", Rule.TARGET_EXCEEDED),
        ("#EXTINF:5.760000", "#EXTINF:5.499", Rule.NOMINAL_SIX),
        ("#EXT-X-PLAYLIST-TYPE:VOD\n", "", Rule.VOD),
        ("#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-PLAYLIST-TYPE:EVENT", Rule.VOD),
        ("#EXT-X-ENDLIST\n", "", Rule.ENDLIST),
        ("#EXT-X-ENDLIST", "#EXT-X-ENDLIST\n#EXT-X-SESSION-DATA:DATA-ID=x", Rule.KIND),
        ("0.m4s", "0.ts", Rule.CONTAINER),
    ],
)
def test_a_media_playlist_that_breaks_a_rule(old: str, new: str, rule: Rule) -> None:
    broken = media_rules(changed(MEDIA, old, new))
    # without its URI an EXT-X-MAP is of no use to fMP4, and without its EXTINF a segment does not last
    also = {
        Rule.MAP: {Rule.MAP_FOR_FMP4},
        Rule.ATTRIBUTES: {Rule.MAP, Rule.MAP_FOR_FMP4},
        Rule.EXTINF: {Rule.NOMINAL_SIX},
    }
    assert set(broken) == {rule} | also.get(rule, set())


@pytest.mark.parametrize(("duration", "broken"), [("6.499999", False), ("6.5", True)])
def test_an_extinf_is_rounded_before_it_is_held_against_the_target_duration(duration: str, broken: bool) -> None:
    body = changed(MEDIA, "#EXTINF:5.760000", f"#EXTINF:{duration}")
    assert (Rule.TARGET_EXCEEDED in media_rules(body)) == broken


def test_a_playlist_without_segments_is_none() -> None:
    assert media_rules(b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-ENDLIST\n") == [Rule.KIND]


def test_elementary_streams_need_no_map_and_no_version() -> None:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:6", "#EXT-X-PLAYLIST-TYPE:VOD", "#EXTINF:6,", "0.aac", "#EXT-X-ENDLIST"]
    assert media_rules("\n".join(lines).encode()) == []
    assert ".aac" not in FMP4_SUFFIXES


def test_variants_alike() -> None:
    longer = media_playlist(Grid(source_rate=48_000, source_samples=48_000 * 30))
    other_target = changed(MEDIA, "#EXT-X-TARGETDURATION:6", "#EXT-X-TARGETDURATION:7")
    elsewhere = MEDIA.replace("5.760000", "5.700000", 1).replace("5.760000", "5.820000", 1).encode()
    for body, rules in (
        (MEDIA.encode(), []),
        (other_target, [Rule.SAME_TARGET]),
        (longer.encode(), [Rule.SAME_DURATION, Rule.SAME_BOUNDARIES]),
        (elsewhere, [Rule.SAME_BOUNDARIES]),
    ):
        breaches = check_alike({"low": read(MEDIA.encode()), "high": read(body)})
        assert [breach.rule for breach in breaches] == rules

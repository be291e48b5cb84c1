"""The rules of a multivariant playlist, and what it offers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from playhead.media.authoring.reading import (
    MEDIA_TAGS,
    MULTIVARIANT_TAGS,
    SEGMENT_TAGS,
    Line,
    Playlist,
    read_attributes,
    read_playlist,
)
from playhead.media.authoring.rules import Breach, Rule

AAC_LC, HE_AAC = ("mp4a.40.2",), ("mp4a.40.5", "mp4a.40.29")
HE_AAC_BITS_PER_S_MAX = 64_000
STEREO_BITS_PER_S_MIN, STEREO_BITS_PER_S_MAX = 32_000, 160_000
CELLULAR_BITS_PER_S_MAX = 192_000
DECLARED_PERCENT = 110
"""What is declared may be above what is meant by so much (1.26), when a bit rate is held against a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One stream of a multivariant playlist. 0 and "" where an attribute is not there."""

    uri: str
    bandwidth: int
    average_bandwidth: int
    codecs: str


@dataclass(frozen=True, slots=True)
class Multivariant:
    variants: Sequence[Variant]


def check_multivariant(name: str, body: bytes) -> tuple[Multivariant, list[Breach]]:
    """What the playlist called `name` offers, and every rule that its text breaks."""
    playlist, breaches = read_playlist(name, body)
    found = [*_streams(playlist, breaches)]
    variants = [variant for _, variant in found]
    breaches += _kind_breaches(playlist)
    for line, variant in found:
        breaches += _variant_breaches(playlist, line, variant)
    if variants:
        breaches += _offer_breaches(playlist, variants)
    return Multivariant(tuple(variants)), breaches


def _streams(playlist: Playlist, breaches: list[Breach]) -> Iterator[tuple[Line, Variant]]:
    """Each variant with the line that describes it; what keeps one from being read goes to `breaches`."""
    waiting: Line | None = None
    for line in playlist.lines:
        if line.tag == "EXT-X-STREAM-INF":
            if waiting is not None:
                breaches.append(playlist.breach(Rule.STREAM_URI, "no URI follows", waiting))
            waiting = line
        elif line.tag is None:
            if waiting is None:
                breaches.append(playlist.breach(Rule.STREAM_URI, "no EXT-X-STREAM-INF precedes it", line))
            else:
                yield waiting, _variant(playlist, waiting, line.text, breaches)
            waiting = None
    if waiting is not None:
        breaches.append(playlist.breach(Rule.STREAM_URI, "no URI follows", waiting))


def _variant(playlist: Playlist, line: Line, uri: str, breaches: list[Breach]) -> Variant:
    attributes = read_attributes(line.text)
    breaches += [playlist.breach(Rule.ATTRIBUTES, fault, line) for fault in attributes.faults]
    return Variant(
        uri=uri,
        bandwidth=attributes.whole("BANDWIDTH") or 0,
        average_bandwidth=attributes.whole("AVERAGE-BANDWIDTH") or 0,
        codecs=attributes.get("CODECS") or "",
    )


def _kind_breaches(playlist: Playlist) -> Iterator[Breach]:
    if not any(line.tag in MULTIVARIANT_TAGS for line in playlist.lines):
        yield playlist.breach(Rule.KIND, "it is not multivariant")
        return
    for line in playlist.lines:
        if line.tag in SEGMENT_TAGS | MEDIA_TAGS:
            yield playlist.breach(Rule.KIND, f"{line.tag} belongs into a media playlist", line)
    if not playlist.has("EXT-X-INDEPENDENT-SEGMENTS"):
        yield playlist.breach(Rule.INDEPENDENT, "it is not")


def _variant_breaches(playlist: Playlist, line: Line, variant: Variant) -> Iterator[Breach]:
    if not variant.bandwidth:
        yield playlist.breach(Rule.BANDWIDTH, "this has none", line)
    if not variant.average_bandwidth:
        yield playlist.breach(Rule.AVERAGE_BANDWIDTH, "this has none", line)
    if not variant.codecs:
        yield playlist.breach(Rule.CODECS, "this has none", line)
    rate = (variant.average_bandwidth or variant.bandwidth) * 100 // DECLARED_PERCENT
    if variant.codecs in HE_AAC and rate > HE_AAC_BITS_PER_S_MAX:
        yield playlist.breach(Rule.HE_AAC, f"{variant.codecs} has {rate} bit/s", line)
    declared = variant.average_bandwidth
    if variant.codecs in AAC_LC and declared and not _recommended(declared):
        yield playlist.breach(Rule.BIT_RATES, f"{variant.uri} has {declared} bit/s", line)


def _recommended(declared: int) -> bool:
    return STEREO_BITS_PER_S_MIN <= declared and declared * 100 // DECLARED_PERCENT <= STEREO_BITS_PER_S_MAX


def _offer_breaches(playlist: Playlist, variants: Sequence[Variant]) -> Iterator[Breach]:
    codecs = [variant.codecs for variant in variants if variant.codecs]
    if codecs and not any(codec in AAC_LC + HE_AAC for codec in codecs):
        yield playlist.breach(Rule.STEREO_AAC, f"there is {', '.join(sorted(set(codecs)))}")
    rates = [variant.bandwidth for variant in variants if variant.bandwidth]
    if rates and min(rates) > CELLULAR_BITS_PER_S_MAX:
        yield playlist.breach(Rule.CELLULAR, f"the lowest has {min(rates)} bit/s")

"""The rules of init sections and segments: their boxes, their place in time, their bit rates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from playhead.media.authoring.boxes import (
    BadBoxes,
    Box,
    Defaults,
    boxes,
    codec,
    decode_time,
    edit_start,
    full_duration,
    sample_counts,
    samples,
    tfhd_defaults,
    timescale,
    trex_defaults,
)
from playhead.media.authoring.mediaplaylist import MediaPlaylist
from playhead.media.authoring.multivariant import Variant
from playhead.media.authoring.rules import Breach, Rule

BRANDS = ("iso6", "iso7", "iso8", "iso9", "isoa", "isob", "isoc", "cmfc", "cmf2")
"""Brands that are compatible with iso6."""
SEGMENT_OVER_TARGET_S = Fraction(1, 2)
PEAK_OF_TARGET = (Fraction(1, 2), Fraction(3, 2))
"""A peak is that of neighbours which together last so much of the target duration (RFC 8216 section 4.1)."""
ABOVE_PERCENT, BELOW_PERCENT = 110, 90
_BASE_DATA_OFFSET, _DEFAULT_BASE_IS_MOOF = 0x01, 0x020000


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """What an init section says of its audio track. `priming`: ticks that its edit list hides."""

    timescale: int
    codec: str
    priming: int
    defaults: Mapping[int, Defaults]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A segment: when it begins and how long it lasts, in ticks, its longest sample, and its size."""

    start: int
    duration: int
    sample_duration: int
    size_bytes: int


def check_init(name: str, body: bytes, codecs: str) -> tuple[Init | None, list[Breach]]:
    """The init section called `name`, which CODECS describes as `codecs`; None when it cannot be read."""
    try:
        top = list(boxes(body))
        moov = next((box for box in top if box.kind == "moov"), None)
        breaches = [*_brand_breaches(name, top), *_moov_breaches(name, moov)]
        if moov is None or not moov.children("trak"):
            return None, breaches
        init = _init(moov)
    except BadBoxes as error:
        return None, [Breach(Rule.BOXES, name, str(error))]
    if codecs and init.codec not in codecs.split(","):
        breaches.append(Breach(Rule.CODECS_TRUE, name, f"it is {init.codec}, CODECS has {codecs}"))
    if init.priming <= 0:
        breaches.append(Breach(Rule.EDIT_LIST, name, "there is none, or it hides nothing"))
    if not any(_has_loudness(trak) for trak in moov.children("trak")):
        breaches.append(Breach(Rule.LOUDNESS, name, "there is none"))
    return init, breaches


def _brand_breaches(name: str, top: Sequence[Box]) -> Iterator[Breach]:
    if not top or top[0].kind != "ftyp":
        yield Breach(Rule.INIT_BRAND, name, f"it begins with {top[0].kind if top else 'nothing'}")
        return
    text = top[0].body.decode("latin-1")
    brands = [text[:4], *(text[at : at + 4] for at in range(8, len(text), 4))]
    if not any(brand in BRANDS for brand in brands):
        yield Breach(Rule.INIT_BRAND, name, f"its brands are {', '.join(brands)}")


def _moov_breaches(name: str, moov: Box | None) -> Iterator[Breach]:
    kinds = [box.kind for box in boxes(moov.body)] if moov else []
    if moov is None or "trak" not in kinds:
        yield Breach(Rule.INIT_MOOV, name, "there is no moov with a trak")
        return
    if "mvex" not in kinds[len(kinds) - kinds[::-1].index("trak") :]:
        yield Breach(Rule.INIT_MOOV, name, "no mvex follows")
    headers = [moov.child("mvhd"), *(trak.child("tkhd") for trak in moov.children("trak"))]
    counts = [
        count
        for trak in moov.children("trak")
        if (stbl := trak.child("mdia", "minf", "stbl"))
        for count in sample_counts(stbl)
    ]
    if any(header and full_duration(header) for header in headers) or any(counts):
        yield Breach(Rule.INIT_EMPTY, name, "they are not")
    sound = [trak for trak in moov.children("trak") if _handler(trak) == b"soun"]
    if len(sound) != 1:
        yield Breach(Rule.ONE_STREAM, name, f"there are {len(sound)}")


def _handler(trak: Box) -> bytes:
    hdlr = trak.child("mdia", "hdlr")
    return hdlr.body[8:12] if hdlr else b""


def _has_loudness(trak: Box) -> bool:
    return trak.child("udta", "ludt") is not None


def _init(moov: Box) -> Init:
    trak = next((trak for trak in moov.children("trak") if _handler(trak) == b"soun"), moov.children("trak")[0])
    mdhd, elst, mvex = trak.child("mdia", "mdhd"), trak.child("edts", "elst"), moov.child("mvex")
    stsd = trak.child("mdia", "minf", "stbl", "stsd")
    scale = timescale(mdhd) if mdhd else 0
    if not scale:
        raise BadBoxes("the track has no timescale")
    return Init(
        timescale=scale,
        codec=codec(stsd) if stsd else "",
        priming=edit_start(elst) if elst else 0,
        defaults=dict([*_no_defaults(moov), *map(trex_defaults, mvex.children("trex") if mvex else [])]),
    )


def _no_defaults(moov: Box) -> Iterator[tuple[int, Defaults]]:
    """Each track of the section, in case that mvex has no trex for it."""
    for trak in moov.children("trak"):
        if tkhd := trak.child("tkhd"):
            yield tkhd.unpack(">I", 20 if tkhd.version == 1 else 12)[0], Defaults(0, 0)


def check_segment(name: str, body: bytes, init: Init) -> tuple[Fragment | None, list[Breach]]:
    """The segment called `name`; None when it has no place in time."""
    try:
        top = list(boxes(body))
        trafs = [traf for moof in top if moof.kind == "moof" for traf in moof.children("traf")]
        if not trafs:
            return None, [Breach(Rule.TFDT, name, "there is no moof with a traf")]
        breaches = [breach for traf in trafs for breach in _traf_breaches(name, traf, init)]
        listed = [sample for traf in trafs for sample in _samples(traf, init)]
        media_bytes = sum(len(box.body) for box in top if box.kind == "mdat")
        if sum(size for _, size in listed) != media_bytes:
            detail = f"they have {sum(size for _, size in listed)} bytes of {media_bytes}"
            breaches.append(Breach(Rule.TRUN, name, detail))
        tfdt = trafs[0].child("tfdt")
        if tfdt is None:
            return None, breaches
        durations = [duration for duration, _ in listed]
        return Fragment(
            start=decode_time(tfdt),
            duration=sum(durations),
            sample_duration=max(durations, default=0),
            size_bytes=len(body),
        ), breaches
    except BadBoxes as error:
        return None, [Breach(Rule.BOXES, name, str(error))]


def _traf_breaches(name: str, traf: Box, init: Init) -> Iterator[Breach]:
    tfhd = traf.child("tfhd")
    if tfhd is None or tfhd.unpack(">I", 4)[0] not in init.defaults:
        yield Breach(Rule.TRACK, name, "one does not")
    if tfhd is not None and (tfhd.flags & _BASE_DATA_OFFSET or not tfhd.flags & _DEFAULT_BASE_IS_MOOF):
        yield Breach(Rule.ADDRESSING, name, "they do not")
    if traf.child("tfdt") is None:
        yield Breach(Rule.TFDT, name, "one has none")


def _samples(traf: Box, init: Init) -> Iterator[tuple[int, int]]:
    tfhd = traf.child("tfhd")
    if tfhd is None:
        return
    defaults = tfhd_defaults(tfhd, init.defaults.get(tfhd.unpack(">I", 4)[0], Defaults(0, 0)))
    for trun in traf.children("trun"):
        yield from samples(trun, defaults)


def check_timeline(playlist: MediaPlaylist, init: Init, fragments: Mapping[int, Fragment]) -> Iterator[Breach]:
    """The segments that were looked at, by their numbers: each where the playlist says, and its neighbours' end."""
    starts_s = playlist.starts_s()
    for number, fragment in sorted(fragments.items()):
        where = f"{playlist.name}, segment {number}"
        frame_s = Fraction(fragment.sample_duration, init.timescale)
        start_s, duration_s = (Fraction(ticks, init.timescale) for ticks in (fragment.start, fragment.duration))
        if abs(start_s - starts_s[number]) > frame_s:
            detail = f"it begins at {float(start_s):.6f} s, by the playlist at {float(starts_s[number]):.6f} s"
            yield Breach(Rule.EXTINF_TRUE, where, detail)
        elif abs(duration_s - playlist.segments[number].duration_s) > frame_s:
            stated = float(playlist.segments[number].duration_s)
            yield Breach(Rule.EXTINF_TRUE, where, f"it lasts {float(duration_s):.6f} s, EXTINF is {stated:.6f} s")
        if duration_s > playlist.target_s + SEGMENT_OVER_TARGET_S:
            yield Breach(Rule.TARGET_HALF, where, f"it lasts {float(duration_s):.6f} s")
        before = fragments.get(number - 1)
        if before is not None and before.start + before.duration != fragment.start:
            detail = f"it begins at {fragment.start}, the one before ends at {before.start + before.duration}"
            yield Breach(Rule.CONTINUOUS, where, detail)


def check_rates(variant: Variant, playlist: MediaPlaylist, sizes_bytes: Mapping[int, int]) -> Iterator[Breach]:
    """The bit rates of the segments that were looked at; nothing is said of too little sound for a rate."""
    measured = {number: playlist.segments[number].duration_s for number in sizes_bytes}
    total_s = sum(measured.values(), Fraction())
    if total_s < playlist.target_s * PEAK_OF_TARGET[0] or not total_s:
        return
    peak = max(_peaks(playlist.target_s, measured, sizes_bytes), default=Fraction())
    if peak > variant.bandwidth > 0:
        yield Breach(Rule.PEAK, playlist.name, f"there are {float(peak):.0f} of {variant.bandwidth} bit/s")
    elif 0 < peak * 100 < variant.bandwidth * BELOW_PERCENT:
        yield Breach(Rule.PEAK_BELOW, playlist.name, f"there are {float(peak):.0f} of {variant.bandwidth} bit/s")
    average, declared = 8 * sum(sizes_bytes.values()) / total_s, variant.average_bandwidth
    if average * 100 > declared * ABOVE_PERCENT > 0:
        yield Breach(Rule.AVERAGE_ABOVE, playlist.name, f"there are {float(average):.0f} of {declared} bit/s")
    elif average * 100 < declared * BELOW_PERCENT:
        yield Breach(Rule.AVERAGE_BELOW, playlist.name, f"there are {float(average):.0f} of {declared} bit/s")


def _peaks(target_s: int, durations_s: Mapping[int, Fraction], sizes_bytes: Mapping[int, int]) -> Iterator[Fraction]:
    """The bit rate of every run of neighbours that counts."""
    shortest_s, longest_s = (target_s * share for share in PEAK_OF_TARGET)
    for first in durations_s:
        run_s, run_bytes, number = Fraction(), 0, first
        while number in durations_s and run_s + durations_s[number] <= longest_s:
            run_s += durations_s[number]
            run_bytes += sizes_bytes[number]
            number += 1
            if run_s >= shortest_s:
                yield 8 * run_bytes / run_s

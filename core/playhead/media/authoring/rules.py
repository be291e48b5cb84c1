"""The rules that HLS of ours is held against: each with the clause it comes from, in our words.

"Apple" is the HLS Authoring Specification for Apple Devices; of its items, what concerns audio alone and a
program can see in one look at a server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum


class Demand(StrEnum):
    MUST = "MUST"
    SHOULD = "SHOULD"


MUST, SHOULD = Demand.MUST, Demand.SHOULD


class Rule(Enum):
    """`clause`: where it is written; `demand`: how strongly; `text`: what it asks for."""

    ENCODING = ("RFC 8216 4.1", MUST, "a playlist is UTF-8 without a byte order mark or control characters")
    WHITESPACE = ("RFC 8216 4.1", MUST, "no whitespace in a playlist but where a tag's text may have it")
    KIND = ("RFC 8216 4.1", MUST, "a playlist is either multivariant or of media, and not empty")
    ATTRIBUTES = ("RFC 8216 4.2", MUST, "attribute lists are well-formed and name no attribute twice")
    EXTM3U = ("RFC 8216 4.3.1.1", MUST, "the first line is #EXTM3U")
    VERSION_ONCE = ("RFC 8216 4.3.1.2", MUST, "EXT-X-VERSION is there once at most, and a number")
    VERSION_ENOUGH = ("RFC 8216 7", MUST, "EXT-X-VERSION is high enough for what the playlist uses")
    EXTINF = ("RFC 8216 4.3.2.1", MUST, "every segment has an EXTINF with a duration")
    MAP = ("RFC 8216 4.3.2.5", MUST, "EXT-X-MAP has a URI")
    TAG_ONCE = ("RFC 8216 4.3.3", MUST, "a media playlist has no tag of its own twice")
    TARGET = ("RFC 8216 4.3.3.1", MUST, "EXT-X-TARGETDURATION is there, a whole number of seconds")
    TARGET_EXCEEDED = ("RFC 8216 4.3.3.1", MUST, "no EXTINF, rounded, is above the target duration")
    ENDLIST = ("RFC 8216 4.3.3.5", MUST, "a VOD playlist cannot change, so it has EXT-X-ENDLIST")
    STREAM_URI = ("RFC 8216 4.3.4.2", MUST, "every EXT-X-STREAM-INF is followed by a URI, every URI preceded by one")
    BANDWIDTH = ("RFC 8216 4.3.4.2", MUST, "every EXT-X-STREAM-INF has a BANDWIDTH")
    CODECS_TRUE = ("RFC 8216 4.3.4.2", MUST, "CODECS names every format of the media")
    AVAILABLE = ("RFC 8216 6.2.1", MUST, "what a playlist names can be fetched")
    BOXES = ("ISO/IEC 14496-12 4.2", MUST, "boxes fill their file exactly")
    TRUN = ("ISO/IEC 14496-12 8.8.8", MUST, "the samples that trun lists are the media data")
    EDIT_LIST = ("ISO/IEC 14496-12 8.6.6", SHOULD, "an edit list hides the encoder's priming")
    INIT_BRAND = ("RFC 8216 3.3", MUST, "an init section begins with a ftyp that is compatible with iso6 or higher")
    INIT_MOOV = ("RFC 8216 3.3", MUST, "an init section has a moov with mvex after its last trak")
    INIT_EMPTY = ("RFC 8216 3.3", MUST, "an init section's durations and counts of samples are zero")
    TRACK = ("RFC 8216 3.3", MUST, "every traf belongs to a trak of the init section")
    TFDT = ("RFC 8216 3.3", MUST, "every traf has a tfdt")
    ADDRESSING = ("RFC 8216 3.3", MUST, "offsets in a segment count from its moof")
    CONTAINER = ("Apple 2.1", SHOULD, "audio comes as an elementary stream or in fMP4")
    STEREO_AAC = ("Apple 2.3", MUST, "stereo in AAC or HE-AAC is offered")
    HE_AAC = ("Apple 2.4", SHOULD, "no HE-AAC above 64 kbit/s")
    BIT_RATES = ("Apple 2.9", SHOULD, "stereo AAC has 32 to 160 kbit/s")
    ONE_STREAM = ("Apple 2.17", MUST, "a segment holds one audio stream")
    LOUDNESS = ("Apple 2.19", SHOULD, "a loudness box (ludt) tells the loudness")
    CONTINUOUS = ("Apple 7.3", MUST, "a segment's decode time is where the one before it ends")
    TARGET_SIX = ("Apple 7.5", SHOULD, "the target duration is 6 s")
    NOMINAL_SIX = ("Apple 7.6", SHOULD, "segments are nominally 6 s long")
    TARGET_HALF = ("Apple 7.7", MUST, "no segment lasts more than 0.5 s beyond the target duration")
    EXTINF_TRUE = ("Apple 8.1", MUST, "EXTINF durations add up to the media, within a frame")
    SAME_TARGET = ("Apple 8.2", MUST, "all playlists have the same target duration")
    SAME_DURATION = ("Apple 8.3", MUST, "all playlists have the same duration")
    VOD = ("Apple 8.6", MUST, "EXT-X-PLAYLIST-TYPE is VOD")
    NO_REDIRECT = ("Apple 8.18", MUST, "media are not redirected")
    MAP_FOR_FMP4 = ("Apple 8.20", MUST, "fMP4 has an EXT-X-MAP")
    SAME_BOUNDARIES = ("Apple 8.22", SHOULD, "all variants have their segments' boundaries at the same times")
    CODECS = ("Apple 9.1", MUST, "every EXT-X-STREAM-INF has CODECS")
    INDEPENDENT = ("Apple 9.11", SHOULD, "EXT-X-INDEPENDENT-SEGMENTS is in the multivariant playlist")
    PEAK = ("Apple 9.13", MUST, "no peak of segments is above BANDWIDTH")
    AVERAGE_BANDWIDTH = ("Apple 9.14", MUST, "every EXT-X-STREAM-INF has AVERAGE-BANDWIDTH")
    AVERAGE_ABOVE = ("Apple 1.26", MUST, "segments have at most 110 % of AVERAGE-BANDWIDTH on average")
    AVERAGE_BELOW = ("Apple 1.26", MUST, "segments have at least 90 % of AVERAGE-BANDWIDTH on average")
    PEAK_BELOW = ("Apple 1.27", MUST, "the peak of segments is at least 90 % of BANDWIDTH")
    CELLULAR = ("Apple 9.21", MUST, "one variant's BANDWIDTH is at most 192 kbit/s")
    GZIP = ("Apple 10.1", MUST, "playlists come in gzip")
    PLAYLIST_TYPE = ("Apple 10.4", SHOULD, "playlists come as application/vnd.apple.mpegurl")
    MEDIA_TYPE = ("Apple 10.4", SHOULD, "fMP4 comes as audio/mp4, video/mp4 or video/iso.segment")
    TLS = ("Apple 11.1 to 11.3", SHOULD, "playlists and media come over TLS (a server on this machine need not)")

    def __init__(self, clause: str, demand: Demand, text: str) -> None:
        self.clause = clause
        self.demand = demand
        self.text = text


DELIBERATE: Mapping[Rule, str] = {
    Rule.BIT_RATES: "`high` has 256 kbit/s for those who can hear it; the two rungs below it are within the range.",
    Rule.LOUDNESS: "Segments are made and kept before the loudness is known; it is told beside the stream, as a gain.",
    Rule.AVERAGE_BELOW: "The ladder is declared before anything is encoded; silence takes less than any declaration.",
    Rule.PEAK_BELOW: "BANDWIDTH is a bound that holds for every script, 10 % above the bit rate.",
}
"""Rules that playhead does not meet on purpose, and why. `check-hls` tells when one is not met, but as no error."""


@dataclass(frozen=True, slots=True)
class Unruled:
    """A clause that a look at a server's media cannot check: what it asks for, and what playhead does instead."""

    clause: str
    text: str
    instead: str


UNRULED = (
    Unruled("Apple 2.18", "loudness is managed", "Players do it, by the gain that is told beside the stream."),
    Unruled(
        "Apple 9.13",
        "BANDWIDTH is the peak that was measured",
        "It is a bound that holds for every script, 10 % above the bit rate.",
    ),
    Unruled("Apple 9.20", "video is there for tvOS", "There is none."),
    Unruled("Apple 10.2", "a second server is there to fail over to", "That is the CDN's."),
    Unruled("Apple 11.1 to 11.3", "playlists and media come over TLS", "The proxy or CDN in front ends it."),
    Unruled(
        "Apple 12.4",
        "addresses of segments are not static: each device has its own, or they change in time",
        "In part. Each answer to `play` or `GET /stream` has an address that is signed anew, for that listener and, "
        "after a `play`, for that session. It is bound to no device: whoever has it can listen until it ends, which it "
        "does with its session, or after the script's length and 12 hours.",
    ),
)
"""Clauses that playhead does not meet, or not in full or by itself, beside the rules of DELIBERATE."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that is not met: where (a file's name and perhaps a line), and what is there instead."""

    rule: Rule
    where: str
    detail: str

    @property
    def deliberate(self) -> bool:
        return self.rule in DELIBERATE

    def __str__(self) -> str:
        return f"{self.rule.clause} ({self.rule.demand}) {self.where}: {self.rule.text}; {self.detail}"

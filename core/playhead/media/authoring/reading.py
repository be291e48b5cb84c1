"""Reads playlists strictly: lines, tags and attribute lists of RFC 8216 section 4, and what in them is not allowed.

Reading never fails: what cannot be understood is a breach, and is left out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from playhead.media.authoring.rules import Breach, Rule

MULTIVARIANT_TAGS = frozenset(
    (
        "EXT-X-MEDIA",
        "EXT-X-STREAM-INF",
        "EXT-X-I-FRAME-STREAM-INF",
        "EXT-X-SESSION-DATA",
        "EXT-X-SESSION-KEY",
    )
)
"""RFC 8216 section 4.3.4."""
SEGMENT_TAGS = frozenset(
    (
        "EXTINF",
        "EXT-X-BYTERANGE",
        "EXT-X-DISCONTINUITY",
        "EXT-X-KEY",
        "EXT-X-MAP",
        "EXT-X-PROGRAM-DATE-TIME",
        "EXT-X-DATERANGE",
    )
)
MEDIA_TAGS = frozenset(
    (
        "EXT-X-TARGETDURATION",
        "EXT-X-MEDIA-SEQUENCE",
        "EXT-X-DISCONTINUITY-SEQUENCE",
        "EXT-X-ENDLIST",
        "EXT-X-PLAYLIST-TYPE",
        "EXT-X-I-FRAMES-ONLY",
    )
)
"""RFC 8216 section 4.3.3: once in a media playlist."""
_CONTROL = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')
_DURATION = re.compile(r"(\d+(?:\.\d+)?),?.*")
_WHOLE = re.compile(r"\d{1,20}")


@dataclass(frozen=True, slots=True)
class Line:
    """A tag with what stands behind its colon, or a URI (`tag` is None); `number` counts from 1."""

    number: int
    tag: str | None
    text: str

    def whole(self) -> int | None:
        """The text as a decimal integer."""
        return int(self.text) if _WHOLE.fullmatch(self.text) else None


@dataclass(frozen=True, slots=True)
class Playlist:
    """The lines of a playlist called `name`, without blank ones and comments."""

    name: str
    lines: Sequence[Line]

    def named(self, tag: str) -> list[Line]:
        return [line for line in self.lines if line.tag == tag]

    def has(self, tag: str) -> bool:
        return any(line.tag == tag for line in self.lines)

    def breach(self, rule: Rule, detail: str, line: Line | None = None) -> Breach:
        where = self.name if line is None else f"{self.name}:{line.number}"
        return Breach(rule, where, detail)


@dataclass(frozen=True, slots=True)
class Attributes:
    """An attribute list: values as they stand, without the quotes of those that have some."""

    values: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    faults: tuple[str, ...] = ()

    def get(self, name: str) -> str | None:
        return self.values.get(name)

    def whole(self, name: str) -> int | None:
        text = self.values.get(name, "")
        return int(text) if _WHOLE.fullmatch(text) else None


def read_playlist(name: str, body: bytes) -> tuple[Playlist, list[Breach]]:
    """The playlist, and what is wrong with its text, whatever kind it is."""
    breaches: list[Breach] = []
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return Playlist(name, ()), [Breach(Rule.ENCODING, name, str(error))]
    if text.startswith("\ufeff"):
        breaches.append(Breach(Rule.ENCODING, name, "it begins with a byte order mark"))
        text = text[1:]
    if found := _CONTROL.search(text):
        breaches.append(Breach(Rule.ENCODING, name, f"it has the character U+{ord(found[0]):04X}"))
    rows = [row.removesuffix("\r") for row in text.split("\n")]
    if rows[0] != "#EXTM3U":
        breaches.append(Breach(Rule.EXTM3U, name, f"it is {rows[0][:40]!r}"))
    playlist = Playlist(name, tuple(_lines(rows)))
    return playlist, [*breaches, *_text_breaches(playlist)]


def _lines(rows: Sequence[str]) -> Iterator[Line]:
    for number, row in enumerate(rows, 1):
        if row.startswith("#EXT"):
            tag, _, text = row[1:].partition(":")
            yield Line(number, tag, text)
        elif row and not row.startswith("#"):
            yield Line(number, None, row)


def _text_breaches(playlist: Playlist) -> Iterator[Breach]:
    for line in playlist.lines:
        if line.tag is None and line.text != "".join(line.text.split()):
            yield playlist.breach(Rule.WHITESPACE, f"a URI is {line.text!r}", line)
        elif line.tag is not None and line.tag != line.tag.strip():
            yield playlist.breach(Rule.WHITESPACE, f"a tag is {line.tag!r}", line)
    versions = playlist.named("EXT-X-VERSION")
    if len(versions) > 1:
        yield playlist.breach(Rule.VERSION_ONCE, f"it is there {len(versions)} times", versions[-1])
    elif versions and not versions[0].whole():
        yield playlist.breach(Rule.VERSION_ONCE, f"it is {versions[0].text!r}", versions[0])


def read_attributes(text: str) -> Attributes:
    """The attribute list that `text` is (RFC 8216 section 4.2), as far as it is one."""
    values: dict[str, str] = {}
    faults = []
    at = 0
    while at < len(text):
        found = _ATTRIBUTE.match(text, at)
        if found is None:
            faults.append(f"{text[at : at + 40]!r} is no attribute")
            break
        if found[1] in values:
            faults.append(f"{found[1]} is there twice")
        values[found[1]] = found[2].strip('"')
        at = found.end()
    if text.endswith(","):
        faults.append("it ends with a comma")
    return Attributes(MappingProxyType(values), tuple(faults))


def read_duration(line: Line) -> Fraction | None:
    """The duration of an EXTINF in seconds, exactly as it is written."""
    found = _DURATION.fullmatch(line.text)
    return Fraction(found[1]) if found else None

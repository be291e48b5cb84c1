"""The rules of media playlists: of each by itself, and of all variants together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from playhead.media.authoring.reading import (
    MEDIA_TAGS,
    MULTIVARIANT_TAGS,
    Line,
    Playlist,
    read_attributes,
    read_duration,
    read_playlist,
)
from playhead.media.authoring.rules import Breach, Rule

TARGET_S = 6
NOMINAL_TOLERANCE_S = Fraction(1, 2)
ROUNDED_UP_S = Fraction(1, 2)
"""From here on an EXTINF is rounded to the next second."""
FMP4_SUFFIXES = (".m4s", ".mp4", ".m4a", ".cmfa")
ELEMENTARY_SUFFIXES = (".aac", ".mp3", ".ac3", ".ec3")
MAP_VERSION, DECIMAL_VERSION = 6, 3


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as the playlist has it: its URI, and its EXTINF in seconds (0 where it has none)."""

    uri: str
    duration_s: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPlaylist:
    """`target_s` 0 and `init_uri` None where there is none."""

    name: str
    target_s: int
    init_uri: str | None
    segments: Sequence[Segment]

    @property
    def duration_s(self) -> Fraction:
        return sum((segment.duration_s for segment in self.segments), Fraction())

    def starts_s(self) -> list[Fraction]:
        """Where each segment begins by the playlist, and at the end where the last one ends."""
        starts = [Fraction()]
        for segment in self.segments:
            starts.append(starts[-1] + segment.duration_s)
        return starts


def check_media_playlist(name: str, body: bytes) -> tuple[MediaPlaylist, list[Breach]]:
    """The playlist called `name`, and every rule that its text breaks."""
    playlist, breaches = read_playlist(name, body)
    targets = playlist.named("EXT-X-TARGETDURATION")
    media = MediaPlaylist(
        name=name,
        target_s=(targets[0].whole() or 0) if targets else 0,
        init_uri=_init_uri(playlist, breaches),
        segments=tuple(_segments(playlist, breaches)),
    )
    breaches += _tag_breaches(playlist, media)
    breaches += _version_breaches(playlist)
    breaches += _container_breaches(media)
    breaches += _duration_breaches(playlist, media)
    return media, breaches


def _init_uri(playlist: Playlist, breaches: list[Breach]) -> str | None:
    for line in playlist.named("EXT-X-MAP"):
        attributes = read_attributes(line.text)
        breaches += [playlist.breach(Rule.ATTRIBUTES, fault, line) for fault in attributes.faults]
        if uri := attributes.get("URI"):
            return uri
        breaches.append(playlist.breach(Rule.MAP, f"it is {line.text!r}", line))
    return None


def _segments(playlist: Playlist, breaches: list[Breach]) -> Iterator[Segment]:
    described: Line | None = None
    for line in playlist.lines:
        if line.tag == "EXTINF":
            described = line
        elif line.tag is None:
            duration_s = read_duration(described) if described else None
            if duration_s is None:
                breaches.append(playlist.breach(Rule.EXTINF, f"{line.text} has none", line))
            yield Segment(line.text, duration_s or Fraction())
            described = None


def _tag_breaches(playlist: Playlist, media: MediaPlaylist) -> Iterator[Breach]:
    if not media.segments:
        yield playlist.breach(Rule.KIND, "it has no segments")
    for line in playlist.lines:
        if line.tag in MULTIVARIANT_TAGS:
            yield playlist.breach(Rule.KIND, f"{line.tag} belongs into a multivariant playlist", line)
    for tag in sorted(MEDIA_TAGS):
        lines = playlist.named(tag)
        if len(lines) > 1:
            yield playlist.breach(Rule.TAG_ONCE, f"{tag} is there {len(lines)} times", lines[-1])
    types = playlist.named("EXT-X-PLAYLIST-TYPE")
    if not types or types[0].text != "VOD":
        yield playlist.breach(Rule.VOD, f"it is {types[0].text!r}" if types else "it is not there")
    if not playlist.has("EXT-X-ENDLIST"):
        yield playlist.breach(Rule.ENDLIST, "it has none")


def _version_breaches(playlist: Playlist) -> Iterator[Breach]:
    versions = playlist.named("EXT-X-VERSION")
    version = (versions[0].whole() or 1) if versions else 1
    needed = 1
    if any("." in line.text.partition(",")[0] for line in playlist.named("EXTINF")):
        needed = DECIMAL_VERSION
    if playlist.has("EXT-X-MAP"):
        needed = MAP_VERSION
    if version < needed:
        yield playlist.breach(Rule.VERSION_ENOUGH, f"it is {version} and needs to be {needed}")


def _container_breaches(media: MediaPlaylist) -> Iterator[Breach]:
    names = [segment.uri.partition("?")[0] for segment in media.segments]
    other = [name for name in names if not name.endswith(FMP4_SUFFIXES + ELEMENTARY_SUFFIXES)]
    if other:
        yield Breach(Rule.CONTAINER, media.name, f"{other[0]} seems to be something else")
    if media.init_uri is None and any(name.endswith(FMP4_SUFFIXES) for name in names):
        yield Breach(Rule.MAP_FOR_FMP4, media.name, "it has none")


def _duration_breaches(playlist: Playlist, media: MediaPlaylist) -> Iterator[Breach]:
    if not media.target_s:
        yield playlist.breach(Rule.TARGET, "it is not")
        return
    if media.target_s != TARGET_S:
        yield playlist.breach(Rule.TARGET_SIX, f"it is {media.target_s} s")
    longest = max((segment.duration_s for segment in media.segments), default=Fraction())
    if longest >= media.target_s + ROUNDED_UP_S:
        yield playlist.breach(Rule.TARGET_EXCEEDED, f"one lasts {_s(longest)} of {media.target_s} s")
    for segment in media.segments[:-1]:
        if abs(segment.duration_s - TARGET_S) > NOMINAL_TOLERANCE_S:
            yield playlist.breach(Rule.NOMINAL_SIX, f"{segment.uri} lasts {_s(segment.duration_s)}")
            return


def check_alike(playlists: Mapping[str, MediaPlaylist]) -> Iterator[Breach]:
    """The rules that all variants must keep together; by their URIs."""
    first_uri, *others = playlists
    first = playlists[first_uri]
    for uri in others:
        other = playlists[uri]
        if other.target_s != first.target_s:
            yield Breach(Rule.SAME_TARGET, uri, f"it has {other.target_s} s, {first_uri} has {first.target_s} s")
        if other.duration_s != first.duration_s:
            detail = f"it has {_s(other.duration_s)}, {first_uri} has {_s(first.duration_s)}"
            yield Breach(Rule.SAME_DURATION, uri, detail)
        if other.starts_s()[:-1] != first.starts_s()[:-1]:
            yield Breach(Rule.SAME_BOUNDARIES, uri, f"its segments begin elsewhere than those of {first_uri}")


def _s(duration_s: Fraction) -> str:
    return f"{float(duration_s):.6f} s"

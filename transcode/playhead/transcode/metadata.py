"""What a file says of itself: title, artist, chapters, which of its tracks is its cover. Strangers' text, so bounded.

A file is never refused for it: what cannot be read, or makes no sense, is left out, and what is left is taken. But what
others have kept from being read is not taken for missing: it would stay so for good.

    text       no control characters, none that turn the direction of what follows; spaces joined; cut at its limit
    chapters   in seconds of the file, moved to where its sound begins; outside the sound and double ones dropped
"""

import asyncio
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import BaseModel, Field, ValidationError

from playhead.db import Mark
from playhead.db.limits import ARTIST_CHARS_MAX, MARKS_MAX, TITLE_CHARS_MAX
from playhead.transcode.arguments import chapters_arguments, tags_arguments
from playhead.transcode.processes import OutputTooLong
from playhead.transcode.programs import Limits, Programs
from playhead.transcode.tries import EndedByOthers, ProbeFailed, run_on_file

METADATA_TIMEOUT_S = 20.0
METADATA_RUN_LIMITS = Limits(cpu_s=20)
TAGS_BYTES_MAX = 1024 * 1024
CHAPTERS_BYTES_MAX = 1024 * 1024
"""Of ffprobe's JSON: some 12,000 chapters with short titles."""
MARK_TITLE_CHARS_MAX = 200
COVER_CODECS = ("mjpeg", "png")
FRONT_COVER = "cover (front)"
"""What ffmpeg calls the picture type 3 of ID3 and FLAC."""
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Embeddings, overrides and isolates: one that is not closed would turn what stands behind it on a page."""
_INVISIBLE = frozenset("\ufeff\ufffe\uffff")

log = structlog.get_logger(__name__)


class _Disposition(BaseModel):
    attached_pic: int = 0


class _Track(BaseModel):
    index: int
    codec_type: str = ""
    codec_name: str = ""
    disposition: _Disposition = _Disposition()
    tags: dict[str, str] = Field(default_factory=dict)


class _Container(BaseModel):
    tags: dict[str, str] = Field(default_factory=dict)


class _Told(BaseModel):
    format: _Container = _Container()
    streams: list[_Track] = Field(default_factory=list)


class Chapter(BaseModel):
    """As ffprobe tells it."""

    start_time: str = ""
    tags: dict[str, str] = Field(default_factory=dict)

    @property
    def start_s(self) -> float:
        """NaN where it is no number."""
        try:
            return float(self.start_time)
        except ValueError:
            return math.nan


class _Chapters(BaseModel):
    chapters: list[Chapter] = Field(default_factory=list)


_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """`cover_track`: the number of the track that holds the picture. Each None where the file has none."""

    title: str | None
    artist: str | None
    cover_track: int | None
    chapters: Sequence[Chapter]


async def read_metadata(programs: Programs, path: Path) -> Metadata:
    """Two short runs of ffprobe at once, so that one which describes too many chapters still has a title.

    Raises EndedByOthers.
    """
    told, chapters = await asyncio.gather(
        _asked(programs, tags_arguments(programs.ffprobe, path), TAGS_BYTES_MAX, _Told),
        _asked(programs, chapters_arguments(programs.ffprobe, path), CHAPTERS_BYTES_MAX, _Chapters),
    )
    # ogg has its tags in the track
    tags = [_lower(told.format.tags), *(_lower(track.tags) for track in told.streams if track.codec_type == "audio")]
    return Metadata(
        title=_first(tags, ("title",), TITLE_CHARS_MAX),
        artist=_first(tags, ("artist", "author", "album_artist", "performer"), ARTIST_CHARS_MAX),
        cover_track=_cover_track(told.streams),
        chapters=chapters.chapters,
    )


async def _asked(programs: Programs, arguments: list[str], bytes_max: int, model: type[_Model]) -> _Model:
    """What ffprobe tells; nothing where it cannot. Raises EndedByOthers."""
    limits = METADATA_RUN_LIMITS
    try:
        done = await run_on_file(
            programs, arguments, limits, timeout_s=METADATA_TIMEOUT_S, output_bytes_max=bytes_max, timeouts=1
        )
        return model.model_validate_json(done.output.decode(errors="replace"))
    except EndedByOthers:
        raise
    except (ProbeFailed, OutputTooLong, ValidationError) as error:
        log.warning("A file's tags could not be read.", action="metadata_unread", error=type(error).__name__)
        return model()


def marks(chapters: Iterable[Chapter], start_s: float, duration_ms: int) -> tuple[Mark, ...]:
    """Chapters on the script's own time; `start_s` is where in the file its sound begins.

    Those before the sound fall on its beginning, where the last one counts, as the last of any that begin together.
    """
    found: dict[int, Mark] = {}
    for chapter in sorted((one for one in chapters if math.isfinite(one.start_s)), key=lambda one: one.start_s):
        position_ms = max(0, round((chapter.start_s - start_s) * 1000))
        if position_ms >= duration_ms:
            break
        title = clean(_lower(chapter.tags).get("title", ""), MARK_TITLE_CHARS_MAX)
        found[position_ms] = Mark(position_ms, title)
        if len(found) > MARKS_MAX:
            break
    return tuple(found.values())[:MARKS_MAX]


def clean(text: str, chars_max: int) -> str | None:
    """`text` as it can be shown and stored, on one line; None where nothing of it can be read."""
    composed = unicodedata.normalize("NFC", "".join(_readable(text[: 4 * chars_max])))
    joined = " ".join(composed.split())[:chars_max].rstrip()
    return joined if joined.strip("\ufffd ") else None


def _readable(text: str) -> Iterator[str]:
    for character in text:
        if character.isspace() or unicodedata.category(character) == "Cc":
            yield " "
        elif unicodedata.category(character) != "Cs" and character not in _TURNING and character not in _INVISIBLE:
            yield character


def _first(tags: Iterable[dict[str, str]], names: Sequence[str], chars_max: int) -> str | None:
    """The first of `names` that anybody gives."""
    sources = list(tags)
    values = (clean(source.get(name, ""), chars_max) for name in names for source in sources)
    return next((value for value in values if value is not None), None)


def _lower(tags: dict[str, str]) -> dict[str, str]:
    """Vorbis comments are named in any case."""
    return {name.lower(): value for name, value in tags.items()}


def _cover_track(tracks: Sequence[_Track]) -> int | None:
    """The front cover, else the first picture."""
    pictures = [track for track in tracks if track.disposition.attached_pic and track.codec_name in COVER_CODECS]
    fronts = [track for track in pictures if _lower(track.tags).get("comment", "").lower() == FRONT_COVER]
    return next((track.index for track in (*fronts, *pictures)), None)

"""Rows of `audio_scripts` as values, and which columns they are read from."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from playhead.db.limits import ERROR_CHARS_MAX
from playhead.db.pool import Claims
from playhead.media import Grid, Loudness

if TYPE_CHECKING:
    import asyncpg

Visibility = Literal["private", "listeners"]
Status = Literal["queued", "processing", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A chapter: where it begins, and what it is called, if it has a name."""

    position_ms: int
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What a file says of itself; None or empty where it says nothing. `marks`: in their order, MARKS_MAX at most."""

    title: str | None = None
    artist: str | None = None
    cover_key: str | None = None
    marks: tuple[Mark, ...] = ()


NO_TAGS = Tags()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What ingest found out about an upload. `source_samples` in the source's own rate, `total_samples` at 48 kHz."""

    source_key: str
    source_bytes: int
    source_codec: str
    source_rate: int
    source_samples: int
    source_start_s: float
    duration_ms: int
    total_samples: int
    media_version: str
    tags: Tags = NO_TAGS

    @property
    def keys(self) -> frozenset[str]:
        """Everything that is stored of it."""
        return keys_of(self.source_key, self.tags.cover_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One row. `error` is set exactly when `status` is `failed`; a script that failed at its upload has no source."""

    script_id: str
    owner_id: str
    title: str
    visibility: Visibility
    status: Status
    error: str | None
    progress: float
    source_key: str | None
    source_bytes: int
    source_codec: str
    source_rate: int
    source_samples: int
    source_start_s: float
    duration_ms: int
    total_samples: int
    media_version: str
    created_at: datetime
    updated_at: datetime
    artist: str | None = None
    cover_key: str | None = None
    integrated_lufs: float | None = None
    true_peak_dbtp: float | None = None

    @property
    def keys(self) -> frozenset[str]:
        """Everything that is stored of its source."""
        return keys_of(self.source_key, self.cover_key)

    @property
    def grid(self) -> Grid:
        """Where its segments lie."""
        return Grid(source_rate=self.source_rate, source_samples=self.source_samples)

    @property
    def loudness(self) -> Loudness | None:
        """None: it is not measured (yet)."""
        if self.integrated_lufs is None or self.true_peak_dbtp is None:
            return None
        return Loudness(integrated_lufs=self.integrated_lufs, true_peak_dbtp=self.true_peak_dbtp)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedScript:
    """A script that a worker has taken. `attempts` counts this time too."""

    script: Script
    attempts: int


class Creation(Enum):
    """What became of an upload's row."""

    CREATED = "created"
    REPLACED = "replaced"
    """The owner's earlier file was the one to be replaced, or had failed; this one took its place."""
    UNCHANGED = "unchanged"
    """The owner has uploaded the same file before, under this id or where that is as good; its row stands as it was."""
    EXISTS = "exists"
    """The owner has another file under this id, and none that the upload was to replace."""
    TOO_MANY = "too_many"
    """So many former files of the script are still kept that there is no room for one more."""
    TAKEN = "taken"
    """The id belongs to another owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedScript:
    """`script` is the row as it stands now; None when it is another owner's."""

    outcome: Creation
    script: Script | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerVersion:
    """A file that the script had before, while it is kept: as the script would be that still had it.

    `script.status` is `ready`: what of it is not there is made of its source.
    """

    script: Script
    kept_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredParts:
    """What is stored of a script, of its former versions too while those are kept: media versions and other keys."""

    versions: frozenset[str]
    keys: frozenset[str]


SOURCE_COLUMNS = tuple(field.name for field in fields(Source) if field.name != "tags")
NAMES = tuple(field.name for field in fields(Script))
COLUMNS = ", ".join("id as script_id" if name == "script_id" else name for name in NAMES)


def script_of(row: Any) -> Script:
    values = {name: row[name] for name in NAMES}
    return Script(**{**values, "script_id": str(row["script_id"]), "owner_id": str(row["owner_id"])})


def script_or_none(row: "asyncpg.Record | None") -> Script | None:
    return None if row is None else script_of(row)


def keys_of(source_key: str | None, cover_key: str | None) -> frozenset[str]:
    return frozenset(key for key in (source_key, cover_key) if key is not None)


def marks_text(marks: Sequence[Mark]) -> str:
    return json.dumps([[mark.position_ms, mark.title] for mark in marks])


def marks_of(text: str) -> tuple[Mark, ...]:
    return tuple(Mark(position_ms, title) for position_ms, title in json.loads(text))


def owner_of(claims: Claims) -> str:
    return str(uuid.UUID(claims["sub"]))


def storable(reason: str) -> str:
    """`reason` as it can be stored: programs' messages come with anything in them, and of any length."""
    return reason.encode(errors="replace").decode().replace("\0", "")[:ERROR_CHARS_MAX] or "unknown"

"""Scripts: what can be heard, by whom, and how far its media are.

Listeners read under row level security, as themselves. Uploads and the worker write as the service: a row appears
measured (`queued`) or `failed` with its reason, in one statement, and its status moves

    queued → processing → ready          claim … ready
    queued | processing → failed         failed
    failed → queued                      requeue, or a new upload by the owner

Each of these is one guarded statement: it says whether it applied, and a late or doubled call changes nothing.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Any, Literal

import asyncpg

from playhead.db.codecs import time_from_us, us_from_time, uuid_from
from playhead.db.gathered import Gathered
from playhead.db.limits import ERROR_CHARS_MAX, PAGE_SIZE, UNFINISHED_MAX
from playhead.db.paging import AFTER_ALL, Page, Place, decode_cursor, page, rows_wanted
from playhead.db.pool import Claims, Database
from playhead.media import Loudness

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
        return _keys(self.source_key, self.tags.cover_key)


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
        return _keys(self.source_key, self.cover_key)

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
    """The owner's earlier upload had failed; this one took its place."""
    UNCHANGED = "unchanged"
    """The owner has uploaded the same file under this id before; its row stands as it was."""
    EXISTS = "exists"
    """The owner has another file under this id."""
    TAKEN = "taken"
    """The id belongs to another owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedScript:
    """`script` is the row as it stands now; None when it is another owner's."""

    outcome: Creation
    script: Script | None


_SOURCE_COLUMNS = tuple(field.name for field in fields(Source) if field.name != "tags")
_WRITTEN = (*_SOURCE_COLUMNS, "artist", "cover_key", "marks")
"""Columns that the file fills."""
_MEASURED = ("integrated_lufs", "true_peak_dbtp", "loudness_held_until")
"""Columns that stay when the same file is uploaded again."""
_NAMES = tuple(field.name for field in fields(Script))
_COLUMNS = ", ".join("id as script_id" if name == "script_id" else name for name in _NAMES)
_NEWEST_FIRST = "order by created_at desc, id desc"

_SAME_FILE = "stored.media_version = excluded.media_version"
_CREATE = f"""
insert into audio_scripts as stored (id, owner_id, title, visibility, status, error, {", ".join(_WRITTEN)})
values ($1, $2, $3, $4, $5, $6, {", ".join(f"${number}" for number in range(7, 7 + len(_WRITTEN)))})
on conflict (id) do update set
    title = excluded.title, visibility = excluded.visibility, status = excluded.status, error = excluded.error,
    progress = 0, attempts = 0, {", ".join(f"{name} = excluded.{name}" for name in _WRITTEN)},
    loudness_attempts = case when {_SAME_FILE} then stored.loudness_attempts else 0 end,
    {", ".join(f"{name} = case when {_SAME_FILE} then stored.{name} end" for name in _MEASURED)}
where stored.owner_id = excluded.owner_id and stored.status = 'failed'
returning {_COLUMNS}, (xmax = 0) as inserted
"""
"""A row that was inserted has no `xmax`; one that was replaced has that of the lock which the conflict took."""
GET = f"select {_COLUMNS} from audio_scripts where id = $1"
LIST_VISIBLE = f"""
select * from (
    (select {_COLUMNS} from audio_scripts
     where visibility = 'listeners' and (created_at, id) < ($1, $2)
       and (status <> 'failed' or owner_id = (select auth.uid()))
     {_NEWEST_FIRST} limit $3)
    union all
    (select {_COLUMNS} from audio_scripts
     where visibility = 'private' and owner_id = (select auth.uid()) and (created_at, id) < ($1, $2)
     {_NEWEST_FIRST} limit $3)
) as heard
order by created_at desc, script_id desc limit $3
"""
UNFINISHED = f"""
select {_COLUMNS} from audio_scripts where status in ('queued', 'processing') order by created_at, id limit $1
"""
STORED_OF = f"select {_COLUMNS} from audio_scripts where id = any($1::uuid[])"
SAME_FILE = f"""
select {_COLUMNS} from audio_scripts
where owner_id = $1 and media_version = $2 and status <> 'failed' and source_bytes = $3 and visibility = $4
order by created_at limit 1
"""
MARKS_OF = "select id, marks from audio_scripts where id = any($1::uuid[])"
UNFINISHED_OF = """
select count(*) from (
    select true from audio_scripts where owner_id = $1 and status in ('queued', 'processing') limit $2
) as own
"""
_CLAIM = f"""
update audio_scripts set status = 'processing', attempts = attempts + 1
where id = $1 and status in ('queued', 'processing') returning {_COLUMNS}, attempts
"""
# $2: the attempt that speaks; a worker that was given up for dead must not speak for the one that followed it
_CURRENT = "id = $1 and status = 'processing' and ($2::integer is null or attempts = $2)"
_PROGRESS = f"update audio_scripts set progress = $3 where {_CURRENT} returning true"
_GIVE_BACK = f"update audio_scripts set attempts = attempts - 1 where {_CURRENT} returning true"
_READY = f"update audio_scripts set status = 'ready', progress = 1 where {_CURRENT} returning true"
_FAILED = """
update audio_scripts set status = 'failed', error = $3
where id = $1 and status in ('queued', 'processing') and ($2::integer is null or attempts = $2) returning true
"""
_REQUEUE = f"""
update audio_scripts set status = 'queued', error = null, progress = 0, attempts = 0
where id = $1 and status = 'failed' and source_key is not null returning {_COLUMNS}
"""


class ScriptRepository:
    """Rows of `audio_scripts`. Every method may raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together = Gathered(self._stored_of)
        self._marks = Gathered(self._marks_of)

    # -- as a listener

    async def get(self, claims: Claims, script_id: str) -> Script | None:
        """The script, if there is one that the listener may hear.

        One for every listener is read for all who ask at once; of any other PostgreSQL says who may hear it.
        """
        found = await self._together.get(uuid_from(script_id))
        if found is None or found.visibility == "listeners":
            return found
        async with self._database.as_user(claims) as connection:
            return _script_or_none(await connection.fetchrow(GET, script_id))

    async def list_visible(self, claims: Claims, *, limit: int = PAGE_SIZE, cursor: str | None = None) -> Page[Script]:
        """The scripts that the listener may hear, newest first; failed ones are listed for their owner alone.

        Raises InvalidValue for a wrong limit or cursor.
        """
        wanted = rows_wanted(limit)
        after = decode_cursor(cursor) if cursor else AFTER_ALL
        async with self._database.as_user(claims) as connection:
            rows = await connection.fetch(LIST_VISIBLE, time_from_us(after.key), after.row_id, wanted)
        return page([_script(row) for row in rows], limit, _place)

    # -- as the service: uploads

    async def create(
        self, claims: Claims, *, script_id: str, title: str, visibility: Visibility, source: Source
    ) -> CreatedScript:
        """The row of an upload that was measured, `queued`, owned by the listener of `claims`."""
        media = [getattr(source, name) for name in _SOURCE_COLUMNS]
        tags = [source.tags.artist, source.tags.cover_key, _marks_text(source.tags.marks)]
        return await self._create([script_id, _owner_id(claims), title, visibility, "queued", None, *media, *tags])

    async def create_failed(
        self, claims: Claims, *, script_id: str, title: str, visibility: Visibility, error: str
    ) -> CreatedScript:
        """The row of an upload that cannot be played, `failed` because of `error`; its source is not kept."""
        media = [None, 0, "", 0, 0, 0.0, 0, 0, "", None, None, _marks_text(())]
        return await self._create([script_id, _owner_id(claims), title, visibility, "failed", _cut(error), *media])

    async def _create(self, values: Sequence[Any]) -> CreatedScript:
        script_id, owner_id = values[0], values[1]
        media_version = values[6 + _SOURCE_COLUMNS.index("media_version")]
        async with self._database.as_service_at_once() as connection:
            written = await connection.fetchrow(_CREATE, *values)
            if written is not None:
                outcome = Creation.CREATED if written["inserted"] else Creation.REPLACED
                return CreatedScript(outcome=outcome, script=_script(written))
            # the refused update has locked the row, so it is still there
            standing = _script(await connection.fetchrow(GET, script_id))
        if standing.owner_id != owner_id:
            return CreatedScript(outcome=Creation.TAKEN, script=None)
        same = standing.media_version == media_version
        return CreatedScript(outcome=Creation.UNCHANGED if same else Creation.EXISTS, script=standing)

    async def same_file(
        self, owner_id: str, media_version: str, source_bytes: int, visibility: Visibility
    ) -> Script | None:
        """The owner's first script that was made of the same file, is heard by the same people and has not failed."""
        async with self._database.as_service() as connection:
            row = await connection.fetchrow(SAME_FILE, owner_id, media_version, source_bytes, visibility)
        return _script_or_none(row)

    async def unfinished_of(self, owner_id: str, at_most: int) -> int:
        """How many scripts of that owner are queued or in work, counted up to `at_most`."""
        async with self._database.as_service() as connection:
            counted: int = await connection.fetchval(UNFINISHED_OF, owner_id, at_most)
        return counted

    async def stored(self, script_id: str) -> Script | None:
        """The script whoever may hear it: for the worker, and for media paths, whose signature was the permission."""
        async with self._database.as_service() as connection:
            return _script_or_none(await connection.fetchrow(GET, script_id))

    async def stored_of(self, script_ids: Sequence[str]) -> tuple[Script, ...]:
        """Those of the scripts that there are, whoever may hear them, in no order."""
        return tuple((await self._stored_of([uuid_from(script_id) for script_id in script_ids])).values())

    async def _stored_of(self, script_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Script]:
        async with self._database.as_service() as connection:
            rows = await connection.fetch(STORED_OF, script_ids)
        return {row["script_id"]: _script(row) for row in rows}

    async def marks(self, script_id: str) -> tuple[Mark, ...]:
        """The chapters of a script, whoever may hear it: `get` has said that the listener may."""
        return await self._marks.get(uuid_from(script_id)) or ()

    async def _marks_of(self, script_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[Mark, ...]]:
        async with self._database.as_service() as connection:
            rows = await connection.fetch(MARKS_OF, script_ids)
        return {row["id"]: _marks(row["marks"]) for row in rows}

    # -- as the service: the worker

    async def unfinished(self) -> tuple[Script, ...]:
        """Scripts that are queued or in work, oldest first: whose job was lost can be enqueued again."""
        async with self._database.as_service() as connection:
            return tuple(_script(row) for row in await connection.fetch(UNFINISHED, UNFINISHED_MAX))

    async def claim(self, script_id: str) -> ClaimedScript | None:
        """Takes the script into work, counted before the work begins. None: gone, ready or failed, nothing to do."""
        async with self._database.as_service() as connection:
            row = await connection.fetchrow(_CLAIM, script_id)
        return None if row is None else ClaimedScript(script=_script(row), attempts=row["attempts"])

    async def progress(self, script_id: str, fraction: float, *, attempt: int | None = None) -> bool:
        """How much is encoded, 0 to 1. False: the script is not in work, or no longer in that attempt's."""
        return await self._move(_PROGRESS, script_id, attempt, fraction)

    async def give_back(self, script_id: str, *, attempt: int) -> bool:
        """Ends an attempt that was broken off for no fault of the script's: it does not count."""
        return await self._move(_GIVE_BACK, script_id, attempt)

    async def ready(self, script_id: str, *, attempt: int | None = None) -> bool:
        return await self._move(_READY, script_id, attempt)

    async def failed(self, script_id: str, reason: str, *, attempt: int | None = None) -> bool:
        """Gives the script up, with a reason for its owner to read. Its source is kept, so that it can be requeued."""
        return await self._move(_FAILED, script_id, attempt, _cut(reason))

    async def requeue(self, script_id: str) -> Script | None:
        """Puts a failed script whose source is kept back to the start. None: there is nothing to requeue."""
        async with self._database.as_service() as connection:
            return _script_or_none(await connection.fetchrow(_REQUEUE, script_id))

    async def _move(self, statement: str, script_id: str, attempt: int | None, *values: object) -> bool:
        async with self._database.as_service() as connection:
            return bool(await connection.fetchval(statement, script_id, attempt, *values))


def _script(row: Any) -> Script:
    values = {name: row[name] for name in _NAMES}
    return Script(**{**values, "script_id": str(row["script_id"]), "owner_id": str(row["owner_id"])})


def _script_or_none(row: "asyncpg.Record | None") -> Script | None:
    return None if row is None else _script(row)


def _keys(source_key: str | None, cover_key: str | None) -> frozenset[str]:
    return frozenset(key for key in (source_key, cover_key) if key is not None)


def _marks_text(marks: Sequence[Mark]) -> str:
    return json.dumps([[mark.position_ms, mark.title] for mark in marks])


def _marks(text: str) -> tuple[Mark, ...]:
    return tuple(Mark(position_ms, title) for position_ms, title in json.loads(text))


def _place(script: Script) -> Place:
    return Place(us_from_time(script.created_at), script.script_id)


def _owner_id(claims: Claims) -> str:
    return str(uuid.UUID(claims["sub"]))


def _cut(reason: str) -> str:
    """`reason` as it can be stored: programs' messages come with anything in them, and of any length."""
    return reason.encode(errors="replace").decode().replace("\0", "")[:ERROR_CHARS_MAX] or "unknown"

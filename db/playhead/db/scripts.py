"""Scripts: what can be heard, by whom, and how far its media are.

Listeners read under row level security, as themselves. Uploads and the worker write as the service: a row appears
measured (`queued`) or `failed` with its reason, in one statement, and its status moves

    queued → processing → ready          claim … ready
    queued | processing → failed         failed
    failed → queued                      requeue
    any → queued                         another file, uploaded by the owner: see script_uploads.py

Each of these is one guarded statement: it says whether it applied, and a late or doubled call changes nothing. What a
worker says names the media version and the attempt that it speaks of.
"""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from playhead.db.codecs import time_from_us, us_from_time, uuid_from
from playhead.db.gathered import Gathered
from playhead.db.limits import FAILED_FORGOTTEN_AT_ONCE, FAILED_KEPT_DAYS, PAGE_SIZE, UNFINISHED_MAX
from playhead.db.paging import AFTER_ALL, Page, Place, decode_cursor, page, rows_wanted
from playhead.db.pool import Claims, Database
from playhead.db.script_rows import (
    COLUMNS,
    SOURCE_COLUMNS,
    ClaimedScript,
    CreatedScript,
    Creation,
    FormerVersion,
    Mark,
    Script,
    Source,
    StoredParts,
    Visibility,
    keys_of,
    marks_of,
    marks_text,
    owner_of,
    script_of,
    script_or_none,
    storable,
)
from playhead.db.script_uploads import FORGET_FORMER, FORMER_OF, PARTS_OF, VERSION, keep_former_longer, write_upload

_NEWEST_FIRST = "order by created_at desc, id desc"

GET = f"select {COLUMNS} from audio_scripts where id = $1"
LIST_VISIBLE = f"""
select * from (
    (select {COLUMNS} from audio_scripts
     where visibility = 'listeners' and (created_at, id) < ($1, $2)
       and (status <> 'failed' or owner_id = (select auth.uid()))
     {_NEWEST_FIRST} limit $3)
    union all
    (select {COLUMNS} from audio_scripts
     where visibility = 'private' and owner_id = (select auth.uid()) and (created_at, id) < ($1, $2)
     {_NEWEST_FIRST} limit $3)
) as heard
order by created_at desc, script_id desc limit $3
"""
UNFINISHED = f"""
select {COLUMNS} from audio_scripts where status in ('queued', 'processing') order by created_at, id limit $1
"""
STORED_OF = f"select {COLUMNS} from audio_scripts where id = any($1::uuid[])"
SAME_FILE = f"""
select {COLUMNS} from audio_scripts
where owner_id = $1 and media_version = $2 and status <> 'failed' and source_bytes = $3 and visibility = $4
order by created_at limit 1
"""
# one after the other for each owner and file, so that the second one finds what the first one has made
_SAME_FILE_TURN = "select pg_advisory_xact_lock(hashtextextended('same file' || $1::text || $2::text, 0))"
MARKS_OF = "select id, marks from audio_scripts where id = any($1::uuid[])"
UNFINISHED_OF = """
select count(*) from (
    select true from audio_scripts where owner_id = $1 and status in ('queued', 'processing') limit $2
) as own
"""
ANY_SOURCE = "select exists (select from audio_scripts where source_key is not null and status <> 'failed')"
# in parts, as the indexes are
_KEPT_BYTES = """
select (
    coalesce((select sum(source_bytes) from audio_scripts where owner_id = $1 and status <> 'failed'), 0)
    + coalesce((
        select sum(source_bytes) from audio_scripts
        where owner_id = $1 and status = 'failed' and source_key is not null
    ), 0)
    + coalesce((
        select sum(former.source_bytes) from audio_scripts as script
        join audio_former_versions as former on former.script_id = script.id
        where script.owner_id = $1 and former.kept_until > now()
    ), 0)
)::bigint
"""
_UNPLAYABLE = "status = 'failed' and source_key is null"
_UNPLAYABLE_UNTIL = f"""
select extract(epoch from created_at + interval '1 day' - now())::double precision from audio_scripts
where owner_id = $1 and {_UNPLAYABLE} and created_at > now() - interval '1 day'
order by created_at desc offset $2 limit 1
"""
# what has changed since may have been heard: the policy for the service says the same
_FORGET_FAILED = f"""
delete from audio_scripts where id = any(array(
    select id from audio_scripts
    where {_UNPLAYABLE} and updated_at = created_at and created_at < now() - make_interval(days => $1) limit $2
)) and {_UNPLAYABLE} and updated_at = created_at
"""
_CLAIM = f"""
update audio_scripts set status = 'processing', attempts = attempts + 1
where id = $1 and status in ('queued', 'processing') returning {COLUMNS}, attempts
"""
# $2, $3: the attempt that speaks, and the version of the file that it was given: a worker that was taken for dead must
# not speak for the one that followed it, nor of a file that it never saw
_SPEAKS = "id = $1 and ($2::integer is null or attempts = $2) and ($3::text is null or media_version = $3)"
_CURRENT = f"{_SPEAKS} and status = 'processing'"
_PROGRESS = f"update audio_scripts set progress = $4 where {_CURRENT} returning true"
_GIVE_BACK = f"update audio_scripts set attempts = attempts - 1 where {_CURRENT} returning true"
_READY = f"update audio_scripts set status = 'ready', progress = 1 where {_CURRENT} returning true"
_FAILED = f"""
update audio_scripts set status = 'failed', error = $4
where {_SPEAKS} and status in ('queued', 'processing') returning true
"""
# one after the other for each owner, so that each counts those before
_REQUEUE_TURN = """
select pg_advisory_xact_lock(hashtextextended('requeue' || owner_id::text, 0)) from audio_scripts where id = $1
"""
_REQUEUE = f"""
update audio_scripts as script set status = 'queued', error = null, progress = 0, attempts = 0
where id = $1 and status = 'failed' and source_key is not null and $2 > (
    select count(*) from audio_scripts where owner_id = script.owner_id and status in ('queued', 'processing')
) returning {COLUMNS}
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
            return script_or_none(await connection.fetchrow(GET, script_id))

    async def list_visible(self, claims: Claims, *, limit: int = PAGE_SIZE, cursor: str | None = None) -> Page[Script]:
        """The scripts that the listener may hear, newest first; failed ones are listed for their owner alone.

        Raises InvalidValue for a wrong limit or cursor.
        """
        wanted = rows_wanted(limit)
        after = decode_cursor(cursor) if cursor else AFTER_ALL
        async with self._database.as_user(claims) as connection:
            rows = await connection.fetch(LIST_VISIBLE, time_from_us(after.key), after.row_id, wanted)
        return page([script_of(row) for row in rows], limit, _place)

    # -- as the service: uploads

    async def create(
        self,
        claims: Claims,
        *,
        script_id: str,
        title: str,
        visibility: Visibility,
        source: Source,
        replaces: str | None = None,
        or_same_file: bool = False,
    ) -> CreatedScript:
        """The row of an upload that was measured, `queued`, owned by the listener of `claims`.

        `replaces`: the media version of the owner's script that the upload was meant to replace. `or_same_file`:
        another script is as good that `same_file` finds, also one that is being made in this moment.
        """
        owner_id = owner_of(claims)
        media = [getattr(source, name) for name in SOURCE_COLUMNS]
        tags = [source.tags.artist, source.tags.cover_key, marks_text(source.tags.marks)]
        values = [script_id, owner_id, title, visibility, "queued", None, *media, *tags]
        async with self._database.as_service_at_once() as connection:
            if or_same_file:
                await connection.execute(_SAME_FILE_TURN, owner_id, source.media_version)
                same = (owner_id, source.media_version, source.source_bytes, visibility)
                if (standing := script_or_none(await connection.fetchrow(SAME_FILE, *same))) is not None:
                    return CreatedScript(outcome=Creation.UNCHANGED, script=standing)
            return await write_upload(connection, values, replaces)

    async def create_failed(
        self, claims: Claims, *, script_id: str, title: str, visibility: Visibility, error: str
    ) -> CreatedScript:
        """The row of an upload that cannot be played, `failed` because of `error`; its source is not kept.

        A script that has not failed itself stays as it is.
        """
        media = [None, 0, "", 0, 0, 0.0, 0, 0, "", None, None, marks_text(())]
        values = [script_id, owner_of(claims), title, visibility, "failed", storable(error), *media]
        async with self._database.as_service_at_once() as connection:
            return await write_upload(connection, values, None)

    async def same_file(
        self, owner_id: str, media_version: str, source_bytes: int, visibility: Visibility
    ) -> Script | None:
        """The owner's first script that was made of the same file, is heard by the same people and has not failed."""
        async with self._database.as_service() as connection:
            row = await connection.fetchrow(SAME_FILE, owner_id, media_version, source_bytes, visibility)
        return script_or_none(row)

    async def unfinished_of(self, owner_id: str, at_most: int) -> int:
        """How many scripts of that owner are queued or in work, counted up to `at_most`."""
        async with self._database.as_service() as connection:
            counted: int = await connection.fetchval(UNFINISHED_OF, owner_id, at_most)
        return counted

    async def any_source(self) -> bool:
        """Whether there is a script that has a file."""
        async with self._database.as_service() as connection:
            found: bool = await connection.fetchval(ANY_SOURCE)
        return found

    async def kept_bytes_of(self, owner_id: str) -> int:
        """What the files of that owner have together, as they were uploaded; former ones too, while they are kept."""
        async with self._database.as_service() as connection:
            kept: int = await connection.fetchval(_KEPT_BYTES, owner_id)
        return kept

    async def unplayable_until_s(self, owner_id: str, at_most: int) -> float | None:
        """In how many seconds fewer than `at_most` uploads of that owner failed within a day; None: they do now."""
        async with self._database.as_service() as connection:
            until_s: float | None = await connection.fetchval(_UNPLAYABLE_UNTIL, owner_id, at_most - 1)
        return until_s

    async def stored(self, script_id: str) -> Script | None:
        """The script whoever may hear it: for the worker, and for media paths, whose signature was the permission."""
        async with self._database.as_service() as connection:
            return script_or_none(await connection.fetchrow(GET, script_id))

    async def stored_of(self, script_ids: Sequence[str]) -> tuple[Script, ...]:
        """Those of the scripts that there are, whoever may hear them, in no order."""
        return tuple((await self._stored_of([uuid_from(script_id) for script_id in script_ids])).values())

    async def _stored_of(self, script_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Script]:
        async with self._database.as_service() as connection:
            rows = await connection.fetch(STORED_OF, script_ids)
        return {row["script_id"]: script_of(row) for row in rows}

    async def marks(self, script_id: str) -> tuple[Mark, ...]:
        """The chapters of a script, whoever may hear it: `get` has said that the listener may."""
        return await self._marks.get(uuid_from(script_id)) or ()

    async def _marks_of(self, script_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[Mark, ...]]:
        async with self._database.as_service() as connection:
            rows = await connection.fetch(MARKS_OF, script_ids)
        return {row["id"]: marks_of(row["marks"]) for row in rows}

    # -- as the service: the worker

    async def unfinished(self) -> tuple[Script, ...]:
        """Scripts that are queued or in work, oldest first: whose job was lost can be enqueued again."""
        async with self._database.as_service() as connection:
            return tuple(script_of(row) for row in await connection.fetch(UNFINISHED, UNFINISHED_MAX))

    async def claim(self, script_id: str) -> ClaimedScript | None:
        """Takes the script into work, counted before the work begins. None: gone, ready or failed, nothing to do."""
        async with self._database.as_service() as connection:
            row = await connection.fetchrow(_CLAIM, script_id)
        return None if row is None else ClaimedScript(script=script_of(row), attempts=row["attempts"])

    async def progress(
        self, script_id: str, fraction: float, *, attempt: int | None = None, media_version: str | None = None
    ) -> bool:
        """How much is encoded, 0 to 1. False: the script is not in work, no longer in that attempt's, or another file.

        Here and below: None for whoever speaks of the script as it is, without having claimed it.
        """
        return await self._move(_PROGRESS, script_id, attempt, media_version, fraction)

    async def give_back(self, script_id: str, *, attempt: int, media_version: str | None = None) -> bool:
        """Ends an attempt that was broken off for no fault of the script's: it does not count."""
        return await self._move(_GIVE_BACK, script_id, attempt, media_version)

    async def ready(self, script_id: str, *, attempt: int | None = None, media_version: str | None = None) -> bool:
        return await self._move(_READY, script_id, attempt, media_version)

    async def failed(
        self, script_id: str, reason: str, *, attempt: int | None = None, media_version: str | None = None
    ) -> bool:
        """Gives the script up, with a reason for its owner to read. Its source is kept, so that it can be requeued."""
        return await self._move(_FAILED, script_id, attempt, media_version, storable(reason))

    async def requeue(self, script_id: str, *, unfinished_max: int) -> Script | None:
        """Puts a failed script whose source is kept back to the start. None: there is nothing to requeue, or its owner
        has `unfinished_max` scripts that are queued or in work."""
        async with self._database.as_service_at_once() as connection:
            await connection.execute(_REQUEUE_TURN, script_id)
            return script_or_none(await connection.fetchrow(_REQUEUE, script_id, unfinished_max))

    # -- as the service: former files

    async def version(self, script_id: str, media_version: str) -> Script | None:
        """The script with that version of its media: its present one, or a former one that is still kept."""
        async with self._database.as_service() as connection:
            return script_or_none(await connection.fetchrow(VERSION, script_id, media_version))

    async def former_versions(self, script_id: str) -> tuple[FormerVersion, ...]:
        """Those that are kept, the first that was replaced first; FORMER_VERSIONS_MAX at most."""
        async with self._database.as_service() as connection:
            rows = await connection.fetch(FORMER_OF, script_id)
        return tuple(FormerVersion(script=script_of(row), kept_until=row["kept_until"]) for row in rows)

    async def keep_former_longer(self, script_id: str) -> None:
        """Former versions are kept for as long as one that is replaced now: what is signed for them from now on ends
        later than all that was signed before."""
        async with self._database.as_service_at_once() as connection:
            await keep_former_longer(connection, script_id)

    async def stored_parts(self, script_ids: Sequence[str]) -> Mapping[str, StoredParts]:
        """What must be kept of those of the scripts that there are."""
        async with self._database.as_service() as connection:
            rows = await connection.fetch(PARTS_OF, [uuid_from(script_id) for script_id in script_ids])
        found: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            found[str(row["script_id"])].append(row)
        return {script_id: _parts(rows) for script_id, rows in found.items()}

    async def forget_former(self) -> int:
        """Former versions that were kept for long enough are none any more; answers how many."""
        async with self._database.as_service() as connection:
            return int((await connection.execute(FORGET_FORMER)).rpartition(" ")[2])

    async def forget_failed(self) -> int:
        """Deletes rows of uploads that failed FAILED_KEPT_DAYS ago, FAILED_FORGOTTEN_AT_ONCE at most; how many?"""
        async with self._database.as_service() as connection:
            done = await connection.execute(_FORGET_FAILED, FAILED_KEPT_DAYS, FAILED_FORGOTTEN_AT_ONCE)
        return int(done.rpartition(" ")[2])

    async def _move(
        self, statement: str, script_id: str, attempt: int | None, media_version: str | None, *values: object
    ) -> bool:
        async with self._database.as_service() as connection:
            return bool(await connection.fetchval(statement, script_id, attempt, media_version, *values))


def _parts(rows: Sequence[Any]) -> StoredParts:
    keys = (key for row in rows for key in keys_of(row["source_key"], row["cover_key"]))
    return StoredParts(versions=frozenset(row["media_version"] for row in rows), keys=frozenset(keys))


def _place(script: Script) -> Place:
    return Place(us_from_time(script.created_at), script.script_id)

"""What an upload makes of a script's row: a new one, another file for one that stands, or nothing.

    there is no such script                            made
    another owner's                                    taken
    the same file, which has not failed                unchanged
    it failed, or has the file that is to be replaced  replaced; the former file is kept for who listens to it
    any other file                                     exists: somebody else's upload came first, or none was expected

The row is locked before it is looked at, so of two uploads that would replace the same file the second one finds
another. Nothing is said by a worker of the former file afterwards: its words name the version.
"""

from collections.abc import Sequence
from typing import Any

from playhead.auth.media_paths import VALID_BEYOND_DURATION_S
from playhead.db.limits import FORMER_VERSIONS_MAX
from playhead.db.pool import Connection
from playhead.db.script_rows import COLUMNS, NAMES, SOURCE_COLUMNS, CreatedScript, Creation, Script, script_of

KEPT_BEYOND_DURATION_S = VALID_BEYOND_DURATION_S + 3_600
"""How long a former file is kept, beyond its own length: its media tokens are signed no later than a moment after it
was replaced, and clocks differ."""

WRITTEN = (*SOURCE_COLUMNS, "artist", "cover_key", "marks")
"""Columns that the file fills."""
_MEASURED = ("integrated_lufs", "true_peak_dbtp", "loudness_held_until")
"""Columns that stay when the same file is uploaded again."""
_NUMBERS = dict(zip(WRITTEN, range(7, 7 + len(WRITTEN)), strict=True))
_SAME_FILE = f"media_version = ${_NUMBERS['media_version']}"

_INSERT = f"""
insert into audio_scripts (id, owner_id, title, visibility, status, error, {", ".join(WRITTEN)})
values ($1, $2, $3, $4, $5, $6, {", ".join(f"${number}" for number in _NUMBERS.values())})
on conflict (id) do update set title = excluded.title where false
returning {COLUMNS}
"""
"""One that is there is locked by it, and not changed."""
_STANDING = f"select {COLUMNS} from audio_scripts where id = $1"
_REPLACE = f"""
update audio_scripts set
    title = $3, visibility = $4, status = $5, error = $6, progress = 0, attempts = 0,
    {", ".join(f"{name} = ${number}" for name, number in _NUMBERS.items())},
    loudness_attempts = case when {_SAME_FILE} then loudness_attempts else 0 end,
    {", ".join(f"{name} = case when {_SAME_FILE} then {name} end" for name in _MEASURED)}
where id = $1 and owner_id = $2 returning {COLUMNS}
"""

_KEPT = (*SOURCE_COLUMNS, "integrated_lufs", "true_peak_dbtp", "visibility")
_KEPT_UNTIL = "now() + make_interval(secs => duration_ms / 1000.0::double precision + $2)"
_KEEP = f"""
insert into audio_former_versions (script_id, {", ".join(_KEPT)}, kept_until)
select id, {", ".join(_KEPT)}, {_KEPT_UNTIL} from audio_scripts where id = $1
"""
_LOCK = "select from audio_scripts where id = $1 for update"
_KEEP_LONGER = f"""
with former as (delete from audio_former_versions where script_id = $1 and kept_until > now() returning *)
insert into audio_former_versions (script_id, {", ".join(_KEPT)}, replaced_at, kept_until)
select script_id, {", ".join(_KEPT)}, replaced_at, greatest(kept_until, {_KEPT_UNTIL}) from former
"""
"""Written anew: the service may change no such row."""
_COUNT_FORMER = "select count(*) from audio_former_versions where script_id = $1 and kept_until > now()"
_NO_LONGER_FORMER = """
delete from audio_former_versions where script_id = $1 and (media_version = $2 or kept_until <= now())
"""

_OF_SCRIPT = ("script_id", "owner_id", "title", "created_at")
_AS_READY = {
    "status": "'ready'",
    "error": "null::text",
    "progress": "1::double precision",
    "artist": "null::text",
    "cover_key": "null::text",
    "updated_at": "former.replaced_at",
}


def _former_column(name: str) -> str:
    if name in _OF_SCRIPT:
        return f"script.{'id' if name == 'script_id' else name} as {name}"
    return f"{_AS_READY.get(name, f'former.{name}')} as {name}"


_FORMER = f"""
select {", ".join(_former_column(name) for name in NAMES)}{{more}}
from audio_former_versions as former join audio_scripts as script on script.id = former.script_id
where former.script_id = $1 and former.kept_until > now()
"""
FORMER_OF = _FORMER.format(more=", former.kept_until") + "order by former.replaced_at"
VERSION = f"""
select {COLUMNS} from audio_scripts where id = $1 and media_version = $2
union all {_FORMER.format(more="")} and former.media_version = $2
limit 1
"""
PARTS_OF = """
select id as script_id, media_version, source_key, cover_key from audio_scripts where id = any($1::uuid[])
union all
select script_id, media_version, source_key, null from audio_former_versions
where script_id = any($1::uuid[]) and kept_until > now()
"""
"""One statement, so that nothing is missed that becomes former, or is no longer, meanwhile."""
FORGET_FORMER = "delete from audio_former_versions where kept_until <= now()"


async def write_upload(connection: Connection, values: Sequence[Any], replaces: str | None) -> CreatedScript:
    """`values`: the row, in the order of `_INSERT`. `replaces`: the media version that it is to replace; None: none.

    Belongs into a transaction.
    """
    inserted = await connection.fetchrow(_INSERT, *values)
    if inserted is not None:
        return CreatedScript(outcome=Creation.CREATED, script=script_of(inserted))
    script_id, owner_id = values[0], values[1]
    media_version = values[_NUMBERS["media_version"] - 1]
    standing = script_of(await connection.fetchrow(_STANDING, script_id))
    if standing.owner_id != owner_id:
        return CreatedScript(outcome=Creation.TAKEN, script=None)
    if standing.status != "failed" and standing.media_version == media_version:
        return CreatedScript(outcome=Creation.UNCHANGED, script=standing)
    # nothing that can be played gives way to what cannot
    expected = standing.media_version == replaces and values[4] != "failed"
    if standing.status != "failed" and not expected:
        return CreatedScript(outcome=Creation.EXISTS, script=standing)
    if not await _kept(connection, standing, media_version):
        return CreatedScript(outcome=Creation.TOO_MANY, script=standing)
    return CreatedScript(outcome=Creation.REPLACED, script=script_of(await connection.fetchrow(_REPLACE, *values)))


async def _kept(connection: Connection, standing: Script, media_version: str) -> bool:
    """Keeps the file that gives way to that version, if there is one; False: too many are kept already."""
    await connection.execute(_NO_LONGER_FORMER, standing.script_id, media_version)
    if standing.source_key is None or standing.media_version == media_version:
        return True
    if await connection.fetchval(_COUNT_FORMER, standing.script_id) >= FORMER_VERSIONS_MAX:
        return False
    await connection.execute(_KEEP, standing.script_id, float(KEPT_BEYOND_DURATION_S))
    return True


async def keep_former_longer(connection: Connection, script_id: str) -> None:
    """Keeps the script's former files for as long as one that is replaced now. Belongs into a transaction."""
    await connection.execute(_LOCK, script_id)
    await connection.execute(_KEEP_LONGER, script_id, float(KEPT_BEYOND_DURATION_S))

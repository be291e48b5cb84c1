"""Bookmarks: places that a listener marked. Always as that listener, under row level security.

A bookmark of somebody else, and one in a script that the listener may not hear, is as if it were not there.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import asyncpg

from playhead.db.limits import PAGE_SIZE
from playhead.db.paging import BEFORE_ALL, Page, Place, decode_cursor, page, rows_wanted
from playhead.db.pool import Claims, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """One row. `title` and `note` are None where the listener wrote nothing, never empty."""

    bookmark_id: str
    listener_id: str
    script_id: str
    position_ms: int
    title: str | None
    note: str | None
    created_at: datetime
    updated_at: datetime


class BookmarkRefusal(Enum):
    """Why a bookmark was not made."""

    NO_SCRIPT = "no_script"
    """There is no such script for this listener."""
    LIMIT_REACHED = "limit_reached"
    """The listener has BOOKMARKS_MAX bookmarks in the script. Delete one first."""


_COLUMNS = "id, listener_id, script_id, position_ms, title, note, created_at, updated_at"

# the select finds no row when the listener may not hear the script
_CREATE = f"""
insert into audio_bookmarks (listener_id, script_id, position_ms, title, note)
select (select auth.uid()), id, $2, nullif($3, ''), nullif($4, '') from audio_scripts where id = $1
returning {_COLUMNS}
"""
GET = f"select {_COLUMNS} from audio_bookmarks where id = $1"
LIST = f"""
select {_COLUMNS} from audio_bookmarks
where listener_id = (select auth.uid()) and script_id = $1 and (position_ms, id) > ($2, $3)
order by position_ms, id limit $4
"""
_UPDATE = f"""
update audio_bookmarks set
    position_ms = coalesce($2, position_ms),
    title = case when $3::text is null then title else nullif($3, '') end,
    note = case when $4::text is null then note else nullif($4, '') end
where id = $1 returning {_COLUMNS}
"""
_DELETE = f"delete from audio_bookmarks where id = $1 returning {_COLUMNS}"


class BookmarkRepository:
    """Rows of `audio_bookmarks`. Every method may raise DatabaseUnavailable, and InvalidValue for wrong values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, claims: Claims, script_id: str, position_ms: int, *, title: str | None = None, note: str | None = None
    ) -> Bookmark | BookmarkRefusal:
        """That the place lies within the script is checked by the caller, who knows its duration."""
        try:
            async with self._database.as_user(claims) as connection:
                row = await connection.fetchrow(_CREATE, script_id, position_ms, title, note)
        except asyncpg.ProgramLimitExceededError:
            return BookmarkRefusal.LIMIT_REACHED
        return BookmarkRefusal.NO_SCRIPT if row is None else _bookmark(row)

    async def get(self, claims: Claims, bookmark_id: str) -> Bookmark | None:
        async with self._database.as_user(claims) as connection:
            return _bookmark_or_none(await connection.fetchrow(GET, bookmark_id))

    async def list_of(
        self, claims: Claims, script_id: str, *, limit: int = PAGE_SIZE, cursor: str | None = None
    ) -> Page[Bookmark]:
        """The listener's bookmarks in the script, by position, then id."""
        wanted = rows_wanted(limit)
        after = decode_cursor(cursor) if cursor else BEFORE_ALL
        async with self._database.as_user(claims) as connection:
            rows = await connection.fetch(LIST, script_id, after.key, after.row_id, wanted)
        return page([_bookmark(row) for row in rows], limit, _place)

    async def update(
        self,
        claims: Claims,
        bookmark_id: str,
        *,
        position_ms: int | None = None,
        title: str | None = None,
        note: str | None = None,
    ) -> Bookmark | None:
        """Changes what is given; an empty title or note is taken away. None: there is no such bookmark."""
        async with self._database.as_user(claims) as connection:
            return _bookmark_or_none(await connection.fetchrow(_UPDATE, bookmark_id, position_ms, title, note))

    async def delete(self, claims: Claims, bookmark_id: str) -> Bookmark | None:
        """The bookmark as it was. None: there is no such bookmark."""
        async with self._database.as_user(claims) as connection:
            return _bookmark_or_none(await connection.fetchrow(_DELETE, bookmark_id))


def _bookmark(row: Any) -> Bookmark:
    return Bookmark(
        bookmark_id=str(row["id"]),
        listener_id=str(row["listener_id"]),
        script_id=str(row["script_id"]),
        position_ms=row["position_ms"],
        title=row["title"],
        note=row["note"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _bookmark_or_none(row: "asyncpg.Record | None") -> Bookmark | None:
    return None if row is None else _bookmark(row)


def _place(bookmark: Bookmark) -> Place:
    return Place(bookmark.position_ms, bookmark.bookmark_id)

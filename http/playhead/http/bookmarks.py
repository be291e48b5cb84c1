"""The use cases of bookmarks. That they are the caller's own is PostgreSQL's to see to (row level security).

All of the listener's devices are told of each change once it is stored.
"""

from typing import Literal

from playhead.db import Bookmark, BookmarkRefusal, Script
from playhead.db.limits import BOOKMARKS_MAX
from playhead.http.answers import BookmarksAnswer, bookmark_answer
from playhead.http.bodies import BookmarkBody, BookmarkChangeBody, BookmarkPath, ScriptPageFields
from playhead.http.route import Answer, Call
from playhead.http.services import Services
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.codec import milliseconds, seconds


async def create(call: Call[BookmarkBody]) -> Answer | Rejection:
    services, claims, body = call.services, call.principal.claims, call.fields
    script = await services.scripts.get(claims, body.script_id)
    position_ms = milliseconds(body.position)
    if script is None:
        return Rejection(code=Code.NOT_FOUND)
    if position_ms > script.duration_ms:
        return _past_the_end(script)
    made = await services.bookmarks.create(claims, body.script_id, position_ms, title=body.title, note=body.note)
    if isinstance(made, BookmarkRefusal):
        return _refused(made)
    await _tell(services, "created", made)
    return Answer(bookmark_answer(made), status=201)


async def change(call: Call[BookmarkChangeBody]) -> Answer | Rejection:
    services, claims, body = call.services, call.principal.claims, call.fields
    position_ms = None if body.position is None else milliseconds(body.position)
    if position_ms is not None:
        bookmark = await services.bookmarks.get(claims, body.bookmark_id)
        script = None if bookmark is None else await services.scripts.get(claims, bookmark.script_id)
        if script is None:
            return Rejection(code=Code.NOT_FOUND)
        if position_ms > script.duration_ms:
            return _past_the_end(script)
    changed = await services.bookmarks.update(
        claims, body.bookmark_id, position_ms=position_ms, title=body.text("title"), note=body.text("note")
    )
    if changed is None:
        return Rejection(code=Code.NOT_FOUND)
    await _tell(services, "changed", changed)
    return Answer(bookmark_answer(changed))


def _past_the_end(script: Script) -> Rejection:
    detail = f"The place must lie between 0 and {seconds(script.duration_ms):g} seconds."
    return Rejection(code=Code.OUT_OF_BOUNDS, detail=detail)


def _refused(refusal: BookmarkRefusal) -> Rejection:
    if refusal is BookmarkRefusal.NO_SCRIPT:
        return Rejection(code=Code.NOT_FOUND)
    detail = f"A listener keeps at most {BOOKMARKS_MAX} bookmarks per script. Delete one first."
    return Rejection(code=Code.OVERLOADED, detail=detail)


async def list_bookmarks(call: Call[ScriptPageFields]) -> Answer | Rejection:
    services, claims, fields = call.services, call.principal.claims, call.fields
    if await services.scripts.get(claims, fields.script_id) is None:
        return Rejection(code=Code.NOT_FOUND)
    page = await services.bookmarks.list_of(claims, fields.script_id, limit=fields.limit, cursor=fields.cursor)
    rows = [bookmark_answer(bookmark) for bookmark in page.items]
    return Answer(BookmarksAnswer(bookmarks=rows, next_cursor=page.next_cursor))


async def delete(call: Call[BookmarkPath]) -> Answer | Rejection:
    deleted = await call.services.bookmarks.delete(call.principal.claims, call.fields.bookmark_id)
    if deleted is None:
        return Rejection(code=Code.NOT_FOUND)
    await _tell(call.services, "deleted", deleted)
    return Answer(None, status=204)


async def _tell(services: Services, action: Literal["created", "changed", "deleted"], bookmark: Bookmark) -> None:
    data = {"action": action, "bookmark": bookmark_answer(bookmark).model_dump(mode="json")}
    await services.announcements.tell(bookmark.listener_id, "bookmark", data)

"""The use cases of bookmarks. That they are the caller's own is PostgreSQL's to see to (row level security)."""

from playhead.db import BookmarkRefusal
from playhead.db.limits import BOOKMARKS_MAX
from playhead.http.answers import BookmarksAnswer, bookmark_answer
from playhead.http.bodies import BookmarkBody, BookmarkPath, ScriptPageFields
from playhead.http.route import Answer, Call
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.codec import milliseconds, seconds


async def create(call: Call[BookmarkBody]) -> Answer | Rejection:
    services, claims, body = call.services, call.principal.claims, call.fields
    script = await services.scripts.get(claims, body.script_id)
    position_ms = milliseconds(body.position)
    if script is None:
        return Rejection(code=Code.NOT_FOUND)
    if position_ms > script.duration_ms:
        detail = f"The place must lie between 0 and {seconds(script.duration_ms):g} seconds."
        return Rejection(code=Code.OUT_OF_BOUNDS, detail=detail)
    made = await services.bookmarks.create(claims, body.script_id, position_ms, title=body.title, note=body.note)
    return _refused(made) if isinstance(made, BookmarkRefusal) else Answer(bookmark_answer(made), status=201)


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
    return Answer(None, status=204) if deleted else Rejection(code=Code.NOT_FOUND)

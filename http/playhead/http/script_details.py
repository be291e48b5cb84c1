"""One script looked at closely: with its chapters, and the picture in its file. Only for those who may hear it."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from playhead.auth.tokens import Principal
from playhead.db import Mark, Script
from playhead.http.answers import SCRIPT_EXAMPLE, ScriptAnswer, script_answer
from playhead.http.bodies import ScriptPath
from playhead.http.decoding import decode
from playhead.http.problems import HttpCode, Problem, problem, respond
from playhead.http.representations import binary_representation, respond_to
from playhead.http.route import API, GUARDED, Answer, Call, Good, Route, guarded
from playhead.http.services import SERVICES
from playhead.media import cover_type
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.codec import seconds

COVER_KEPT = "private, no-cache"
"""Asked for each time, and mostly answered by 304: who may see it can change."""
COVER_POLICY = "default-src 'none'; sandbox"
"""Should a browser open it as a page of its own, nothing in it may run."""
MARK_EXAMPLE: dict[str, Any] = {"position": 61.5, "title": "The second chapter"}


class MarkAnswer(BaseModel):
    """A chapter: where it begins, in seconds. It lasts until the next one. `title` null: it has none."""

    model_config = ConfigDict(json_schema_extra={"examples": [MARK_EXAMPLE]})

    position: float
    title: str | None


class ScriptDetailsAnswer(ScriptAnswer):
    """One script, with its chapters."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**SCRIPT_EXAMPLE, "marks": [MARK_EXAMPLE]}]})

    marks: list[MarkAnswer] = Field(description="Ordered by position; empty where the file has no chapters.")


def script_details_answer(script: Script, marks: Sequence[Mark], listener_id: str) -> ScriptDetailsAnswer:
    """The script as that listener may know it."""
    fields = script_answer(script, listener_id).model_dump()
    shown = [MarkAnswer(position=seconds(mark.position_ms), title=mark.title) for mark in marks]
    return ScriptDetailsAnswer(**fields, marks=shown)


async def script(call: Call[ScriptPath]) -> Answer | Rejection:
    scripts, principal = call.services.scripts, call.principal
    found = await scripts.get(principal.claims, call.fields.script_id)
    if found is None:
        return Rejection(code=Code.NOT_FOUND)
    marks = await scripts.marks(found.script_id)
    return Answer(script_details_answer(found, marks, principal.listener_id))


async def cover(request: web.Request, principal: Principal) -> web.StreamResponse:
    """The picture, for those who may hear the script."""
    fields = await decode(request, ScriptPath, has_body=False)
    if isinstance(fields, Problem):
        return respond(fields)
    services = request.app[SERVICES]
    found = await services.scripts.get(principal.claims, fields.script_id)
    key = None if found is None else found.cover_key
    body = None if key is None else await services.storage.get(key)
    if key is None or body is None:
        return respond(problem(Code.NOT_FOUND))
    response = respond_to(request, binary_representation(body, cover_type(key), COVER_KEPT))
    response.headers["Content-Security-Policy"] = COVER_POLICY
    return response


COVER = Route(
    method="GET",
    path=f"{API}/scripts/{{script_id}}/cover",
    name="cover",
    tag="scripts",
    summary="The picture in a script's file, jpeg or png.",
    access="bearer",
    endpoint=guarded(cover),
    fields=ScriptPath,
    good=(
        Good(200, "The whole of it.", content_type="image/*"),
        Good(206, "The range of it.", content_type="image/*"),
        Good(304, "The copy at hand is good."),
    ),
    refusals=(*GUARDED, Code.NOT_FOUND, HttpCode.RANGE_NOT_SATISFIABLE, Code.INVALID, Code.UNAVAILABLE),
)

"""What was revoked, for an edge that verifies media tokens itself: `GET /p/<token>/revoked?since=<ms>`.

Whoever holds a media key may ask, by a token for this path: an edge has one, and no listener's token opens it. It asks
with what the last answer told it, so that most answers are short; whoever knows nothing begins with 0.
"""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from playhead.auth.media_paths import InvalidMediaToken
from playhead.http.decoding import decode
from playhead.http.media_refusals import refused_token
from playhead.http.problems import Problem, problem, respond
from playhead.http.representations import respond_to, text_representation
from playhead.http.route import Good, Route
from playhead.http.services import SERVICES
from playhead.playback.rejections import Code

REVOKED_PATH = "/revoked"
"""What the token must be for."""
PAGE_MAX = 4_000
"""Entries of one answer, 250 kB; those of one millisecond stand in one."""


class RevokedFields(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: str
    since: Annotated[str, Field(pattern=r"^[0-9]{1,15}$", description="`next` of the last answer.")] = "0"


class RevokedAnswer(BaseModel):
    """Media tokens that must not be honoured any more."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "revoked": [["6f1c2c3e-9a54-4d0b-8a3c-0f9f3a6b7c11", 1_800_050_400]],
                    "by_operator": [],
                    "next": 1_800_000_000_000,
                    "more": False,
                }
            ]
        }
    )

    revoked: list[tuple[str, int]] = Field(
        description="A session's id: its tokens are void. Or a media prefix: those that end by that Unix time are."
    )
    by_operator: list[str] = Field(
        description="Those of them that an operator has revoked: to be kept until their time, whatever else ends."
    )
    next: int = Field(description="`since` of the next request.")
    more: bool = Field(description="Whether that may be asked for at once.")


async def serve_revoked(request: web.Request) -> web.StreamResponse:
    services = request.app[SERVICES]
    try:
        services.signer.verify(request.match_info["token"], REVOKED_PATH, services.clock.now_ms() // 1000)
    except InvalidMediaToken as error:
        return respond(refused_token(error))
    fields = await decode(request, RevokedFields, has_body=False)
    if isinstance(fields, Problem):
        return respond(fields)
    page = services.revocations.since(int(fields.since), PAGE_MAX)
    if page is None:
        return respond(problem(Code.UNAVAILABLE))
    rows = [(row.subject, row.until_s) for row in page.rows]
    lasting = [row.subject for row in page.rows if row.by_operator]
    answer = RevokedAnswer(revoked=rows, by_operator=lasting, next=page.next_ms, more=page.more)
    body = answer.model_dump_json()
    return respond_to(request, text_representation(body, "application/json", "no-store"))


REVOKED = Route(
    method="GET",
    path="/p/{token}" + REVOKED_PATH,
    name="revoked",
    tag="media",
    summary="What was revoked since, for an edge that verifies tokens itself.",
    access="signed path",
    endpoint=serve_revoked,
    fields=RevokedFields,
    good=(Good(200, "A page of it.", RevokedAnswer), Good(304, "The copy at hand is good.")),
    refusals=(Code.FORBIDDEN, Code.INVALID, Code.UNAVAILABLE),
)

"""Refusals as RFC 9457 problems: `application/problem+json`, the same codes as in Socket.IO acks.

    {type, title, status, detail, code, retry, errors?, state?, reported?, places?}

`type` is `/problems/<code>`, which this server answers with the code's documentation. Codes that only HTTP has (a
method, a media type) stand in a table of their own here; all others come from `playhead.playback.rejections`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from playhead.http.answers import State
from playhead.playback.rejections import REASONS, Code, Reason, Rejection
from playhead.playback.state import position_at
from playhead.sessions.codec import rejection_payload, seconds

PROBLEM_TYPE = "application/problem+json"
PROBLEMS_PATH = "/problems"
RETRY_AFTER_S = 1
"""What clients are told to wait before they repeat a request that was refused for the moment."""
WAIT_AND_REPEAT = (429, 503)
"""Statuses that carry it (RFC 6585 section 4, RFC 9110 section 15.6.4). No rate is below one a second, so whoever asks
too fast has waited long enough by then."""


class HttpCode(StrEnum):
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INCOMPLETE = "incomplete"
    WRONG_OFFSET = "wrong_offset"
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    SEGMENT_NOT_READY = "segment_not_ready"
    TOO_FAST = "too_fast"
    TARGET_TOO_LONG = "target_too_long"
    HEADER_TOO_LARGE = "header_too_large"
    UNREADABLE = "unreadable"


AnyCode = Code | HttpCode

HTTP_REASONS: dict[HttpCode, Reason] = {
    HttpCode.METHOD_NOT_ALLOWED: Reason("This path does not take that method. `Allow` names those that it takes.", 405),
    HttpCode.UNSUPPORTED_MEDIA_TYPE: Reason(
        "The body is not of a kind that this path takes. Set `Content-Type` to what is documented.", 415
    ),
    HttpCode.INCOMPLETE: Reason("The request's body did not arrive whole in time. Send it again.", 408, True),
    HttpCode.WRONG_OFFSET: Reason(
        "The upload goes on at another place, or another request sends it. Go on at `offset`.", 409
    ),
    HttpCode.RANGE_NOT_SATISFIABLE: Reason("The range begins past the end. `Content-Range` names the size.", 416),
    HttpCode.SEGMENT_NOT_READY: Reason("This segment cannot be had now. Ask again after `Retry-After`.", 503, True),
    HttpCode.TOO_FAST: Reason(
        "This listener asks faster than it may, and nothing was done. Send the same again after `Retry-After`.",
        429,
        True,
    ),
    HttpCode.TARGET_TOO_LONG: Reason(
        "The request's path and query are longer than any that this server gives out.", 414
    ),
    HttpCode.HEADER_TOO_LARGE: Reason(
        "A header is longer than this server reads. Send the request with less in it.", 431
    ),
    HttpCode.UNREADABLE: Reason(
        "This is no request of HTTP/1.1, or has too many headers. Mend it and connect again.", 400
    ),
}


class FieldError(BaseModel):
    """One field that breaks a rule. `field` is empty where the rule binds several."""

    field: str
    message: str


class Places(BaseModel):
    """Both places of a report that was refused, in seconds: choose one and `seek` to it."""

    reported: float
    current: float


class Problem(BaseModel):
    """A refused request (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/conflict",
                    "title": "Conflict",
                    "status": 409,
                    "detail": "Another device is playing this session.",
                    "code": "conflict",
                    "retry": False,
                    "reported": 61.5,
                    "places": {"reported": 61.5, "current": 120.5},
                }
            ]
        }
    )

    type: str = Field(description="A path on this server that documents the code.")
    title: str
    status: int
    detail: str = Field(description="What went wrong, and how to mend it.")
    code: str = Field(description="Stable, and the same on Socket.IO.")
    retry: bool = Field(description="Whether the same request may succeed in a moment.")
    errors: list[FieldError] | None = Field(default=None, description="Every field that breaks a rule, with `invalid`.")
    state: State | None = Field(default=None, description="The session's state that won, where knowing it helps.")
    reported: float | None = Field(default=None, description="The place of a report that was refused, in seconds.")
    script_id: str | None = Field(default=None, description="The script that an upload was to become, now `failed`.")
    offset: int | None = Field(default=None, description="How much of an upload has arrived, in bytes.")
    retry_after_ms: int | None = Field(default=None, description="How long to wait, where that is known.")
    places: Places | None = Field(default=None, description="With a refused report: both places, in seconds.")

    @property
    def headers(self) -> dict[str, str]:
        """What the status asks for beside the body."""
        if self.status == REASONS[Code.UNAUTHORIZED].status:
            return {"WWW-Authenticate": 'Bearer realm="playhead"'}
        if self.status not in WAIT_AND_REPEAT:
            return {}
        wait_s = RETRY_AFTER_S if self.retry_after_ms is None else -(-self.retry_after_ms // 1_000)
        return {"Retry-After": str(wait_s)}


class Refused(Exception):
    """The request ends here: `problem` is its answer."""

    def __init__(self, refusal: Problem) -> None:
        super().__init__(refusal.detail)
        self.problem = refusal


PROBLEM_CODE = web.ResponseKey("problem_code", str)
"""The code of an answer that is a problem, for the metrics."""


def reason_of(code: AnyCode) -> Reason:
    return HTTP_REASONS[code] if isinstance(code, HttpCode) else REASONS[code]


def problem(code: AnyCode, detail: str | None = None, errors: Sequence[FieldError] = ()) -> Problem:
    """The problem of `code`; `detail` narrows the table's message down to this case."""
    reason = reason_of(code)
    return Problem(
        type=f"{PROBLEMS_PATH}/{code.value}",
        title=code.value.replace("_", " ").capitalize(),
        status=reason.status,
        detail=detail or reason.message,
        code=code.value,
        retry=reason.retry,
        errors=list(errors) or None,
    )


def problem_of(rejection: Rejection, now_ms: int) -> Problem:
    """The problem that a use case's rejection is; the current place is that at server time `now_ms`."""
    payload = rejection_payload(rejection)
    reported: float | None = payload.get("reported")
    more: dict[str, Any] = {"reported": reported, "retry_after_ms": rejection.retry_after_ms}
    if rejection.state is not None:
        more["state"] = State.model_validate(payload["state"])
        if reported is not None:
            more["places"] = Places(reported=reported, current=seconds(position_at(rejection.state, now_ms)))
    return problem(rejection.code, rejection.detail).model_copy(update=more)


def respond(found: Problem, headers: Mapping[str, str] | None = None) -> web.Response:
    """The response that carries a problem."""
    response = web.Response(
        body=orjson.dumps(_members(found)),
        status=found.status,
        content_type=PROBLEM_TYPE,
        headers={"Cache-Control": "no-store", **found.headers, **(headers or {})},
    )
    response[PROBLEM_CODE] = found.code
    return response


def _members(found: Problem) -> dict[str, Any]:
    """Members that say nothing are left out; a state is whole, as everywhere else."""
    return {name: value for name, value in found.model_dump(mode="json").items() if value is not None}

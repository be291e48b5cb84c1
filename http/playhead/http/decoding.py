"""From a request to a validated model, or to a problem that lists everything that is wrong with it.

JSON is taken strictly (RFC 8259): one object, no duplicate names, no NaN or Infinity, at most BODY_BYTES_MAX of it.
Fields stand in the path, in the query (GET, DELETE) or in the body; a field that is not known is refused.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError

from playhead.http.problems import FieldError, HttpCode, Problem, problem
from playhead.playback.rejections import Code
from playhead.sessions.validation import explain

BODY_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 30.0
"""How long a whole body of JSON, or the next piece of an upload, may let us wait."""
CHUNK_BYTES_MAX = 256 * 1024
FIELD_ERRORS_MAX = 50
FIELD_NAME_CHARS_MAX = 100

Model = TypeVar("Model", bound=BaseModel)


class InvalidJson(ValueError):
    """The text is not JSON as we take it. The message says why."""


class Incomplete(Exception):
    """The client went away, or did not send the rest of its body in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How slowly a body may come: after `grace_s`, at no less than `bytes_per_s` on average since it began.

    `bytes_per_s` None: the whole of it within `grace_s`. Without this a byte now and then would hold a place for ever.
    """

    grace_s: float
    bytes_per_s: int | None = None

    def allowed_s(self, received_bytes: int) -> float:
        """How long after its beginning more of the body must have come."""
        return self.grace_s + (received_bytes / self.bytes_per_s if self.bytes_per_s else 0.0)


BODY_PACE = Pace(grace_s=BODY_TIMEOUT_S)


class Arrival:
    """One body while it comes in, by a clock that only goes forward."""

    def __init__(self, pace: Pace, now_s: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._now_s = now_s
        self._began_s = now_s()
        self._received_bytes = 0

    def took(self, piece: bytes) -> bytes:
        """Counts the piece."""
        self._received_bytes += len(piece)
        return piece

    def wait_s(self) -> float:
        """How long the next piece may take; nothing or less when it is late."""
        due_s = self._began_s + self._pace.allowed_s(self._received_bytes)
        return min(due_s - self._now_s(), BODY_TIMEOUT_S)

    def deadline(self) -> asyncio.Timeout:
        """To wait for the next piece in. Raises TimeoutError there when it does not come in time."""
        return asyncio.timeout(self.wait_s())


def refused_encoding(request: web.Request) -> Problem | None:
    """Bodies are taken as they are: to decode one would be to let a few bytes stand for very many."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() == "identity":
        return None
    return problem(HttpCode.UNSUPPORTED_MEDIA_TYPE, "Send the body as it is, without `Content-Encoding`.")


def strict_json(text: bytes) -> Any:
    """The value of `text`. Raises InvalidJson."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise InvalidJson("A name is given twice in one object.")
        return found

    def constant(name: str) -> None:
        raise InvalidJson(f"{name} is no JSON number.")

    try:
        return json.loads(text.decode(), object_pairs_hook=unique, parse_constant=constant)
    except InvalidJson:
        raise
    except (ValueError, RecursionError):
        raise InvalidJson("The body is not JSON in UTF-8.") from None


def invalid(error: ValidationError) -> Problem:
    """The problem that lists every broken rule, without repeating the values."""
    rows = error.errors(include_url=False, include_input=False, include_context=False)[:FIELD_ERRORS_MAX]
    errors = [
        FieldError(
            field=".".join(str(part) for part in row["loc"])[:FIELD_NAME_CHARS_MAX],
            message=row["msg"].removeprefix("Value error, "),
        )
        for row in rows
    ]
    return problem(Code.INVALID, explain(error)[:1_000], errors)


async def pieces(request: web.Request, pace: Pace = BODY_PACE) -> AsyncIterator[bytes]:
    """The body as it comes in. Raises Incomplete, also when it comes too slowly."""
    arrival = Arrival(pace)
    while True:
        try:
            async with arrival.deadline():
                piece = arrival.took(await request.content.read(CHUNK_BYTES_MAX))
        except (ConnectionError, TimeoutError, web.RequestPayloadError) as error:
            raise Incomplete from error
        if not piece:
            return
        yield piece


async def read_body(request: web.Request, pace: Pace = BODY_PACE) -> bytes | None:
    """The whole body; None for one over BODY_BYTES_MAX. Raises Incomplete."""
    body = bytearray()
    async for piece in pieces(request, pace):
        body += piece
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


async def decode(request: web.Request, model: type[Model], *, has_body: bool) -> Model | Problem:
    """The fields of `request` from path, and body or query. Raises Incomplete."""
    fields = await _body_fields(request) if has_body else _query_fields(request)
    if isinstance(fields, Problem):
        return fields
    in_path = request.match_info
    if fields and (doubled := sorted(fields.keys() & in_path.keys())):
        return problem(Code.INVALID, f"{doubled[0]}: stands in the path already")
    return validate(model, {**fields, **in_path})


def validate(model: type[Model], fields: dict[str, Any]) -> Model | Problem:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        return invalid(error)


async def _body_fields(request: web.Request) -> dict[str, Any] | Problem:
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        return problem(HttpCode.UNSUPPORTED_MEDIA_TYPE, "Send JSON in UTF-8 with `Content-Type: application/json`.")
    if refusal := refused_encoding(request):
        return refusal
    body = await read_body(request)
    if body is None:
        return problem(Code.TOO_LARGE, f"A body may hold {BODY_BYTES_MAX} bytes.")
    try:
        fields = strict_json(body)
    except InvalidJson as error:
        return problem(Code.INVALID, str(error))
    return fields if isinstance(fields, dict) else problem(Code.INVALID, "The body must be one JSON object.")


def _query_fields(request: web.Request) -> dict[str, Any] | Problem:
    if not request.query_string:
        return {}
    fields = dict(request.query)
    if len(fields) < len(request.query):
        return problem(Code.INVALID, "A query parameter is given twice.")
    return fields

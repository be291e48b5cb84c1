"""What a route is: method and path, bound to a model, a use case and its answers.

    request → authenticate → decode into the model → use case → answer, or rejection → problem

Everything that is said of a route (OpenAPI, the page of routes, the metrics' labels) is derived from these values.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel

from playhead.auth.tokens import Principal
from playhead.http.authentication import authenticate
from playhead.http.decoding import decode
from playhead.http.pacing import PACING
from playhead.http.problems import AnyCode, HttpCode, Problem, problem_of, respond
from playhead.http.services import SERVICES, Services
from playhead.playback.rejections import Code, Rejection

API = "/api/v1/audio"

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Access = Literal["bearer", "signed path", "open"]
Tag = Literal["playback", "listening", "scripts", "bookmarks", "media", "operations"]
In = TypeVar("In", bound=BaseModel)
In_co = TypeVar("In_co", bound=BaseModel, covariant=True)

GUARDED: tuple[AnyCode, ...] = (Code.UNAUTHORIZED, HttpCode.TOO_FAST)
"""What every guarded route may answer."""

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]
Guarded = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[In_co]):
    """One decoded request: who asks for what."""

    services: Services
    principal: Principal
    fields: In_co


@dataclass(frozen=True, slots=True)
class Answer:
    """What a use case answers: a model (None: no content), its status, and where to find what it made."""

    body: BaseModel | None
    status: int = 200
    location: str | None = None


UseCase = Callable[[Call[In]], Awaitable[Answer | Rejection]]


@dataclass(frozen=True, slots=True)
class Good:
    """One good answer of a route, as it is documented: a model in JSON, or content of another type."""

    status: int
    description: str
    model: type[BaseModel] | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row of the table. `fields`: everything it takes from path, query or body; `command`: counted as one."""

    method: Method
    path: str
    name: str
    tag: Tag
    summary: str
    access: Access
    endpoint: Endpoint = field(repr=False)
    fields: type[BaseModel] | None = None
    good: tuple[Good, ...]
    refusals: tuple[AnyCode, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """What it asks of the request's head, by name, each with what it means."""
    content: Mapping[str, Mapping[str, Any]] | None = None
    """JSON Schemas of the body by media type, where it is not the model in JSON."""
    in_query: bool = False
    """Whether its fields stand in the query though the method could have a body."""
    command: bool = False

    @property
    def path_names(self) -> tuple[str, ...]:
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def takes_json(self) -> bool:
        """Whether its fields stand in a JSON body."""
        return self.content is None and not self.in_query and _takes_json(self.method, self.path, self.fields)


def _takes_json(method: Method, path: str, fields: type[BaseModel] | None) -> bool:
    names = set(fields.model_fields) if fields is not None else set()
    return method in ("POST", "PUT", "PATCH") and bool(names - set(re.findall(r"{(\w+)}", path)))


def guarded(endpoint: Guarded) -> Endpoint:
    """`endpoint` for those who show a valid token and ask no faster than they may; nothing is looked at before that."""

    async def check(request: web.Request) -> web.StreamResponse:
        principal = authenticate(request, request.app[SERVICES].verifier)
        if isinstance(principal, Problem):
            return respond(principal)
        refusal = request.app[PACING].refusal(principal.listener_id)
        return await endpoint(request, principal) if refusal is None else respond(refusal)

    return check


def api(
    method: Method,
    path: str,
    name: str,
    use_case: UseCase[In],
    *,
    fields: type[In],
    tag: Tag,
    summary: str,
    good: tuple[Good, ...],
    refusals: tuple[AnyCode, ...] = (),
    command: bool = False,
    in_query: bool = False,
) -> Route:
    """The route of a use case, below `API`, for listeners with a token."""
    has_body = not in_query and _takes_json(method, path, fields)

    async def endpoint(request: web.Request, principal: Principal) -> web.StreamResponse:
        decoded = await decode(request, fields, has_body=has_body)
        if isinstance(decoded, Problem):
            return respond(decoded)
        services = request.app[SERVICES]
        answer = await use_case(Call(services=services, principal=principal, fields=decoded))
        if isinstance(answer, Rejection):
            return respond(problem_of(answer, services.clock.now_ms()))
        return respond_with(answer)

    return Route(
        method=method,
        path=API + path,
        name=name,
        tag=tag,
        summary=summary,
        access="bearer",
        endpoint=guarded(endpoint),
        fields=fields,
        good=good,
        refusals=(*refusals, *GUARDED, Code.INVALID, Code.UNAVAILABLE),
        command=command,
        in_query=in_query,
    )


def respond_with(answer: Answer) -> web.Response:
    """The response of a use case's answer; it is the caller's alone, so nobody may keep it."""
    headers = {"Cache-Control": "no-store", **({"Location": answer.location} if answer.location else {})}
    if answer.body is None:
        return web.Response(status=answer.status, headers=headers)
    body = answer.body.model_dump_json().encode()
    return web.Response(body=body, status=answer.status, content_type="application/json", headers=headers)

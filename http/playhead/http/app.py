"""The aiohttp application: every route of the table, the pages for people, and what surrounds each request."""

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version
from typing import Any, Literal

from aiohttp import web

from playhead.cache import Flights
from playhead.http.docs_page import docs_body, problem_anchor
from playhead.http.middlewares import middlewares, set_headers
from playhead.http.openapi import openapi
from playhead.http.origin import ORIGIN, Origin
from playhead.http.pacing import PACING, Pacing
from playhead.http.pages import ASK_EACH_TIME, PAGE_POLICY, index, page_text, player_file
from playhead.http.problems import HTTP_REASONS, PROBLEMS_PATH, problem, respond
from playhead.http.readiness import READINESS, Readiness
from playhead.http.representations import Representation, respond_to, text_representation
from playhead.http.resumable import PARTS, Parts
from playhead.http.route import Endpoint, Good, Route
from playhead.http.routes import ROUTES
from playhead.http.services import SERVICES, Services
from playhead.http.uploads import UPLOADS, Uploads
from playhead.playback.rejections import REASONS, Code

DocumentName = Literal["openapi", "asyncapi", "docs"]
CODES = frozenset(code.value for code in (*REASONS, *HTTP_REASONS))


class Documents:
    """What is told about the API, each made when somebody asks for it first: a start need not wait for them.

    Kept as it is sent: whoever asks needs no token, and is not paced.
    """

    def __init__(self, make_asyncapi: Callable[[], Mapping[str, Any]]) -> None:
        self._make_asyncapi = make_asyncapi
        self._making: Flights[Representation] = Flights()

    async def get(self, name: DocumentName) -> Representation:
        """The first is made beside the loop, for it takes a tenth of a second."""
        made: Representation | None = vars(self).get(name)
        return made or await self._making.join(name, lambda: asyncio.to_thread(getattr, self, name))

    @cached_property
    def openapi(self) -> Representation:
        return _document(self._openapi)

    @cached_property
    def asyncapi(self) -> Representation:
        return _document(self._make_asyncapi())

    @cached_property
    def docs(self) -> Representation:
        page = page_text("playhead: the API", docs_body(self._openapi))
        return text_representation(page, "text/html", ASK_EACH_TIME)

    @cached_property
    def _openapi(self) -> dict[str, Any]:
        return openapi(ROUTES, version("playhead"))


def _document(said: Mapping[str, Any]) -> Representation:
    return text_representation(json.dumps(said), "application/json", ASK_EACH_TIME)


DOCUMENTS = web.AppKey("documents", Documents)


async def _openapi(request: web.Request) -> web.StreamResponse:
    return respond_to(request, await request.app[DOCUMENTS].get("openapi"))


async def _asyncapi(request: web.Request) -> web.StreamResponse:
    return respond_to(request, await request.app[DOCUMENTS].get("asyncapi"))


async def _docs(request: web.Request) -> web.StreamResponse:
    answer = respond_to(request, await request.app[DOCUMENTS].get("docs"))
    answer.headers["Content-Security-Policy"] = PAGE_POLICY
    return answer


async def _problem(request: web.Request) -> web.StreamResponse:
    """The `type` of a problem leads to its documentation."""
    code = request.match_info["code"]
    if code not in CODES:
        return respond(problem(Code.NOT_FOUND))
    return web.Response(status=303, headers={"Location": f"/docs#{problem_anchor(code)}"})


def _page(path: str, name: str, summary: str, endpoint: Endpoint) -> Route:
    return Route(
        method="GET",
        path=path,
        name=name,
        tag="operations",
        summary=summary,
        access="open",
        endpoint=endpoint,
        good=(Good(200, summary),),
    )


PAGES = (
    _page("/", "player", "The player page.", index),
    _page("/player/{name}", "player_file", "A file of the player page.", player_file),
    _page("/openapi.json", "openapi", "This API as an OpenAPI document.", _openapi),
    _page("/asyncapi.json", "asyncapi", "The socket protocol as an AsyncAPI document.", _asyncapi),
    _page("/docs", "docs", "This API as a page.", _docs),
    _page(f"{PROBLEMS_PATH}/{{code}}", "problem", "What a problem's `type` stands for.", _problem),
)
"""For people, and about the API: not part of the document."""


def create_app(services: Services) -> web.Application:
    """The application; others (Socket.IO) may attach themselves to it before it starts."""
    by_name = {route.name: route for route in (*ROUTES, *PAGES)}
    app = web.Application(middlewares=middlewares(services.metrics, services.cors_origins, by_name))
    app[SERVICES] = services
    app[ORIGIN] = Origin(
        services.signer,
        services.revocations,
        services.scripts,
        services.storage,
        services.on_demand,
        services.clock,
    )
    app[UPLOADS] = Uploads(services)
    app[PARTS] = Parts(services, app[UPLOADS].intake)
    app[PACING] = Pacing(services.rate, services.metrics)
    app[READINESS] = Readiness(services.readiness)
    app[DOCUMENTS] = Documents(services.asyncapi)
    app.on_response_prepare.append(set_headers)
    for route in by_name.values():
        resource = app.router.add_resource(route.path, name=route.name)
        resource.add_route(route.method, route.endpoint)
        if route.method == "GET":
            resource.add_route("HEAD", route.endpoint)
    return app

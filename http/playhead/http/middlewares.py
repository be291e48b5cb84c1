"""What surrounds every request, from outside in: measured, opened to other sites, and never answered but by a problem.

Paths of others on the same application (Socket.IO) pass through: they measure and open themselves.
"""

import functools
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from playhead.db import DATABASE_AWAY, DatabaseUnavailable, InvalidValue
from playhead.http.decoding import Incomplete
from playhead.http.problems import PROBLEM_CODE, HttpCode, Refused, problem, respond
from playhead.http.route import API, Route
from playhead.http.services import Unmeasured
from playhead.playback.rejections import Code
from playhead.runtime.metrics import Metrics
from playhead.sessions.store import StoreUnavailable
from playhead.storage import StorageFailed

log = structlog.get_logger(__name__)

MEDIA = "/p/"
UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
PREFLIGHT_KEPT_S = 600
API_METHODS = "GET, POST, PUT, PATCH, DELETE"
API_HEADERS = "Authorization, Content-Range, Content-Type"
MEDIA_METHODS = "GET, HEAD"
MEDIA_HEADERS = "Range"
API_EXPOSED = "Location, Retry-After"
MEDIA_EXPOSED = "Content-Length, Content-Range, ETag, Retry-After"
UNMEASURED = (
    "The file could not be measured now, for a reason of the server's, and no script was made or changed. Send it "
    "again in a moment; of an upload in parts `Content-Range: bytes */<size>` is enough."
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def observing(metrics: Metrics, routes: Mapping[str, Route]) -> Middleware:
    """Counts and times requests by route; commands by result too. `routes`: by name."""
    tallies = metrics.tallies
    requests = functools.cache(lambda *labels: tallies.count(metrics.requests.labels(*labels)))
    request_seconds = functools.cache(lambda path: tallies.distribution(metrics.request_seconds.labels(path)))
    commands = functools.cache(lambda *labels: tallies.count(metrics.commands.labels("rest", *labels)))
    ack_seconds = tallies.distribution(metrics.ack_seconds.labels("rest"))

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = routes.get(request.match_info.route.name or "")
        if route is None and request.match_info.http_exception is None:
            return await handler(request)
        started_s = time.perf_counter()
        response = await handler(request)
        took_s = time.perf_counter() - started_s
        path = UNMATCHED if route is None else route.path
        method = request.method if request.method in METHODS else "other"
        requests(method, path, str(response.status)).inc()
        request_seconds(path).observe(took_s)
        if route is not None and route.command:
            commands(route.name, response.get(PROBLEM_CODE, "ok")).inc()
            ack_seconds.observe(took_s)
        return response

    return observe


def sharing(origins: tuple[str, ...]) -> Middleware:
    """CORS: media for every site, as their token is the authority; the API for `origins` (`*`: all)."""

    @web.middleware
    async def share(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        is_media = request.path.startswith(MEDIA)
        if not is_media and not request.path.startswith(API):
            return await handler(request)
        preflight = request.method == "OPTIONS" and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        response = web.Response(status=204) if preflight else await handler(request)
        allowed = "*" if is_media or "*" in origins else origin if origin in origins else None
        if not is_media:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if allowed is None:
            return response
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = MEDIA_EXPOSED if is_media else API_EXPOSED
        if preflight:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = MEDIA_METHODS if is_media else API_METHODS
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = MEDIA_HEADERS if is_media else API_HEADERS
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_KEPT_S)
        return response

    return share


@web.middleware
async def answer_with_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every exception into the problem that names it; details of what is our fault go to the log alone."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _http_problem(error)
    except Refused as refused:
        return respond(refused.problem)
    except Incomplete:
        return respond(problem(HttpCode.INCOMPLETE))
    except InvalidValue as error:
        return respond(problem(Code.INVALID, str(error)))
    except StoreUnavailable as error:
        log.warning("A request found no state store.", action="request_unavailable", error=str(error))
        return respond(problem(Code.UNAVAILABLE))
    except DatabaseUnavailable as error:
        log.warning("A request found no database.", action="request_unavailable", error=str(error))
        return respond(problem(Code.UNAVAILABLE, DATABASE_AWAY))
    except StorageFailed as error:
        log.error("The storage failed.", action="storage_failed", error=str(error))
        return respond(problem(Code.UNAVAILABLE, "The storage cannot be read or written now. Try again in a moment."))
    except Unmeasured as error:
        log.error("A file could not be measured.", action="upload_unmeasured", error=str(error))
        return respond(problem(Code.UNAVAILABLE, UNMEASURED))
    except Exception:
        log.exception("A request failed.", action="request_failed", route=request.match_info.route.name)
        return respond(problem(Code.INTERNAL))


def _http_problem(error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals (no such route, wrong method, body too large) as problems; redirects as they are."""
    match error:
        case web.HTTPNotFound():
            return respond(problem(Code.NOT_FOUND, "There is nothing at this path. See /docs for what there is."))
        case web.HTTPMethodNotAllowed():
            return respond(problem(HttpCode.METHOD_NOT_ALLOWED), {"Allow": error.headers["Allow"]})
        case web.HTTPRequestEntityTooLarge():
            return respond(problem(Code.TOO_LARGE))
        case _:
            raise error


async def set_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """What every response says, whoever made it."""
    response.headers["Server"] = "playhead"
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")


def middlewares(metrics: Metrics, cors_origins: tuple[str, ...], routes: Mapping[str, Route]) -> list[Middleware]:
    """From outside in."""
    return [observing(metrics, routes), sharing(cors_origins), answer_with_problems]

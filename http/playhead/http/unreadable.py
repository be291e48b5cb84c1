"""Requests whose head aiohttp cannot read: answered by a problem that quotes nothing of them, counted, and closed.

    the parser gives up ──► 414, 431 or 400 ──► what else comes is thrown away, for a moment ──► closed

aiohttp's own answer quotes what it could not read, and with it perhaps a token. Its line in the log is made harmless by
`playhead.runtime.request_logs`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import _ErrInfo

from playhead.http.middlewares import set_headers
from playhead.http.problems import HttpCode, problem, respond
from playhead.http.services import SERVICES
from playhead.runtime.metrics import Metrics

TARGET_BYTES_MAX = 8_190
"""Of a request's path and query."""
HEADER_BYTES_MAX = 8_192
"""Of a header's value. Not TARGET_BYTES_MAX, for by its limit alone aiohttp says which of the two it was."""
HEADERS_MAX = 128
LINGER_S = 2.0
"""For the client to read the answer. One that still sends would lose it if the connection were closed at once."""
UNREADABLE = "unreadable"
"""The route that such requests are counted under."""


def code_of(error: BaseException) -> HttpCode:
    """The problem that an error of aiohttp's parser is."""
    if isinstance(error, LineTooLong):
        return HttpCode.TARGET_TOO_LONG if error.args[1] == TARGET_BYTES_MAX else HttpCode.HEADER_TOO_LARGE
    return HttpCode.UNREADABLE


class Connection(web.RequestHandler):
    """aiohttp's, but for what it answers where it cannot read."""

    __slots__ = ("_gone", "_metrics")

    def __init__(self, manager: web.Server, *, metrics: Metrics, **options: Any) -> None:
        super().__init__(manager, **options)
        self._metrics = metrics
        self._gone: asyncio.Event | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._gone is not None:
            self._gone.set()

    def _make_error_handler(self, err_info: _ErrInfo) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def refuse(request: web.BaseRequest) -> web.StreamResponse:
            self.handle_error(request, err_info.status, err_info.exc, err_info.message)  # which logs it
            answer = respond(problem(code_of(err_info.exc)))
            answer.force_close()
            await set_headers(request, answer)
            self._count(answer.status)
            with suppress(OSError):  # who has gone meanwhile is noticed again where aiohttp ends the answer
                await answer.prepare(request)
                await answer.write_eof()
                await self._linger()
            return answer

        return refuse

    async def _linger(self) -> None:
        """Until the client has closed its end, too; nothing that it sends meanwhile is looked at."""
        transport = self.transport
        if transport is None:
            return
        self._gone = asyncio.Event()
        self.close()
        transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._gone.wait()

    def _count(self, status: int) -> None:
        self._metrics.tallies.count(self._metrics.requests.labels("other", UNREADABLE, str(status))).inc()


class _Server(web.Server):
    """Another one's, with connections of ours."""

    def __init__(self, made: web.Server, metrics: Metrics) -> None:
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )
        self._metrics = metrics

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, metrics=self._metrics, **self._kwargs)


class Runner(web.AppRunner):
    """Runs what `create_app` has made; with the options of AppRunner."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        bounds = {
            "max_line_size": TARGET_BYTES_MAX,
            "max_field_size": HEADER_BYTES_MAX,
            "max_headers": HEADERS_MAX,
        }
        super().__init__(app, **{**options, **bounds})

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self.app[SERVICES].metrics)

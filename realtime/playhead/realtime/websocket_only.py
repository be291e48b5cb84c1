"""Refuses long polling, where nothing keeps a client on one process: each of its requests would reach another one.

Said here and not by the transport options of the Socket.IO server, whose answer would only be "Invalid transport".
While no socket is let in at all, that is said instead: a browser's page, whose websocket was refused, asks here why.
"""

import json
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

SOCKETS_PATH = "/socket.io/"
REFUSAL = (
    "This server runs in several processes, among which long polling cannot work. "
    'Connect by websocket alone: set `transports: ["websocket"]` in your Socket.IO client.'
)


def websocket_only(full: Callable[[web.Request], web.Response | None]) -> Middleware:
    """`full`: the answer while no socket may be opened with such a request; None: one may."""

    @web.middleware
    async def refuse_polling(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == SOCKETS_PATH and request.query.get("transport", "polling") != "websocket":
            return full(request) or web.Response(status=400, text=json.dumps(REFUSAL), content_type="application/json")
        return await handler(request)

    return refuse_polling

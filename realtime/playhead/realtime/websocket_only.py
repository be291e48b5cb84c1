"""Refuses long polling, where nothing keeps a client on one process: each of its requests would reach another one.

Said here and not by the transport options of the Socket.IO server, whose answer would only be "Invalid transport".
"""

import json

from aiohttp import web
from aiohttp.typedefs import Handler

SOCKETS_PATH = "/socket.io/"
REFUSAL = (
    "This server runs in several processes, among which long polling cannot work. "
    'Connect by websocket alone: set `transports: ["websocket"]` in your Socket.IO client.'
)


@web.middleware
async def websocket_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path == SOCKETS_PATH and request.query.get("transport", "polling") != "websocket":
        return web.Response(status=400, text=json.dumps(REFUSAL), content_type="application/json")
    return await handler(request)

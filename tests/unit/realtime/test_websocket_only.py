"""Where several processes share a port, long polling is refused, and nothing else."""

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from playhead.realtime.websocket_only import websocket_only


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/socket.io/?EIO=4&transport=polling", 400),
        ("/socket.io/?EIO=4&transport=polling&sid=abc", 400),
        ("/socket.io/?EIO=4", 400),
        ("/socket.io/?EIO=4&transport=websocket", 200),
        ("/api/v1/audio/scripts?transport=polling", 200),
    ],
)
async def test_long_polling_is_refused_and_the_rest_goes_on(path: str, status: int) -> None:
    async def good(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(middlewares=[websocket_only(lambda _request: None)])
    app.router.add_get("/{tail:.*}", good)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        async with http.get(server.make_url(path)) as answer:
            assert answer.status == status
            if status == 400:
                assert "websocket" in await answer.json()


async def test_while_no_socket_is_let_in_that_is_said_instead() -> None:
    app = web.Application(middlewares=[websocket_only(lambda _request: web.Response(status=503))])
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        async with http.get(server.make_url("/socket.io/?EIO=4&transport=polling")) as answer:
            assert answer.status == 503

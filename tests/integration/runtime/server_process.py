"""A server that logs as production does: `python server_process.py FORMAT LEVEL`. Prints its port, logs to stderr.

`/bug` fails in our code, `/body` reads the body, and Socket.IO refuses every client with an exception that quotes it.
"""

import asyncio
import sys
from typing import Any, Literal, cast

import socketio
from aiohttp import web

from playhead.runtime.logging import configure


async def fails(request: web.Request) -> web.StreamResponse:
    token = request.headers["Authorization"]
    raise RuntimeError(f"a bug of ours, {len(token)}")


async def reads(request: web.Request) -> web.StreamResponse:
    await request.read()
    return web.Response()


async def connected(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
    raise ValueError(f"no such token: {auth['token']}")


async def serve(log_format: Literal["json", "console"], level: str) -> None:
    configure(level, log_format)
    sockets = socketio.AsyncServer(async_mode="aiohttp", logger=False, engineio_logger=False)
    sockets.on("connect", connected)
    app = web.Application()
    app.router.add_get("/bug", fails)
    app.router.add_post("/body", reads)
    sockets.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(cast(Literal["json", "console"], sys.argv[1]), sys.argv[2]))

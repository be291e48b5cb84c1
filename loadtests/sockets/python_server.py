"""A Socket.IO server of Python: `python -m loadtests.sockets.python_server stock|engine asyncio|uvloop`.

Both have the same handlers, JSON and rooms of python-socketio; what is under it differs. Prints its port, and serves
until its input ends.
"""

import asyncio
import sys
from typing import Any

import orjson
import socketio
from aiohttp import web

from playhead.engine.front import Site
from playhead.engine.socket_server import SocketServer

BACKLOG = 4_096


class Json:
    """orjson, as python-socketio asks for it."""

    @staticmethod
    def dumps(data: Any, **_options: Any) -> str:
        return orjson.dumps(data).decode()

    @staticmethod
    def loads(text: str, **_options: Any) -> Any:
        return orjson.loads(text)


def handlers(sio: socketio.AsyncServer) -> None:
    rooms: dict[str, str] = {}

    async def connect(sid: str, _environ: Any, auth: dict[str, str]) -> None:
        rooms[sid] = auth["room"]
        await sio.enter_room(sid, auth["room"])

    async def seek(sid: str, data: dict[str, Any]) -> dict[str, Any]:
        state = {name: data[name] for name in ("session_id", "position", "rate")}
        state |= {"playing": True, "revision": 1, "t": data["t"]}
        await sio.emit("state", state, room=rooms[sid], skip_sid=sid)
        return {"ok": True, "revision": 1}

    async def disconnect(sid: str, _why: str) -> None:
        rooms.pop(sid, None)

    sio.on("connect", connect)
    sio.on("seek", seek)
    sio.on("disconnect", disconnect)


async def serve(kind: str) -> None:
    options: dict[str, Any] = {"async_handlers": False, "json": Json, "ping_interval": 25, "ping_timeout": 20}
    sio = SocketServer(**options) if kind == "engine" else socketio.AsyncServer(async_mode="aiohttp", **options)
    handlers(sio)
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site: web.BaseSite
    if isinstance(sio, SocketServer):
        site = Site(runner, sio.eio, "127.0.0.1", 0, backlog=BACKLOG)
    else:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    kind, loop = sys.argv[1:]
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve(kind))
    else:
        asyncio.run(serve(kind))


if __name__ == "__main__":
    main()

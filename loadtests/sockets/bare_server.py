"""The floor under a socket server of Python: `python -m loadtests.sockets.bare_server`, on uvloop.

The peers' exchange straight on aiohttp's websockets, without a library of Socket.IO: only those of its text frames that
the load speaks (open, CONNECT and its answer, a `seek`, its ack, its event for the others of the room). No pings, no
time limits, no other transport, nothing checked. Prints its port, and serves until its input ends.
"""

import asyncio
import sys

import orjson
from aiohttp import web

BACKLOG = 4_096
OPEN = '0{"sid":"bare","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
CONNECT, CONNECTED = "40", '40{"sid":"bare"}'
EVENT, ACK, ANSWER = "42", "43", '[{"ok":true,"revision":1}]'
Room = set[web.WebSocketResponse]


class Rooms:
    """Who hears of whose commands, by the name that the handshake has given."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}

    async def serve_socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.send_str(OPEN)
        room: Room = set()
        try:
            async for message in socket:
                packet: str = message.data
                if packet.startswith(EVENT):
                    await _seek(socket, room, packet)
                elif packet.startswith(CONNECT):
                    room = self._rooms.setdefault(orjson.loads(packet[len(CONNECT) :])["room"], set())
                    room.add(socket)
                    await socket.send_str(CONNECTED)
        finally:
            room.discard(socket)
        return socket


async def _seek(socket: web.WebSocketResponse, room: Room, packet: str) -> None:
    """The event to the others, then the ack, as the other peers have it."""
    start = packet.index("[")
    _, data = orjson.loads(packet[start:])
    state = {name: data[name] for name in ("session_id", "position", "rate")}
    state |= {"playing": True, "revision": 1, "t": data["t"]}
    event = EVENT + orjson.dumps(["state", state]).decode()
    for other in list(room):
        if other is not socket:
            await other.send_str(event)
    await socket.send_str(ACK + packet[len(EVENT) : start] + ANSWER)


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/socket.io/", Rooms().serve_socket)
    return app


async def serve() -> None:
    runner = web.AppRunner(application(), access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())

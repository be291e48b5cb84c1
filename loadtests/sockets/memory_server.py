"""playhead's sockets on the memory store without a journal: `python -m loadtests.sockets.memory_server KEY SCRIPT`.

Handshake, validation, service, reducer, store and publishing are those of `playhead serve`, put together as
`playhead.app.composition` does; only PostgreSQL is not there: one script is known, and nothing is kept. Prints its
port, and serves until its input ends.
"""

import asyncio
import sys
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from playhead.app.processes.listeners import BACKLOG_CONNECTIONS
from playhead.auth.media_paths import MediaSigner
from playhead.auth.tokens import TokenVerifier
from playhead.realtime.connections import Connections
from playhead.realtime.dispatch import Dispatcher
from playhead.realtime.handlers import Handlers, bind
from playhead.realtime.server import RealtimeServer
from playhead.runtime.limits import Rate
from playhead.runtime.metrics import Vitals, create_metrics
from playhead.runtime.store_clock import StoreClock, WallTime
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.streams import StreamLinks
from playhead.sessions.sweeping import Sweeper
from tests.support.sessions import HeldRows, HeldScripts, make_script

ROOMY = Rate(per_s=10_000, burst=100_000)
CONNECTIONS_MAX = 1_000


@asynccontextmanager
async def realtime_server(jwt_key: str, script_id: str) -> AsyncIterator[RealtimeServer]:
    async def deliver(listener_id: str, packet: bytes) -> None:
        await realtime.deliver(listener_id, packet)

    clock, metrics = StoreClock(WallTime()), create_metrics()
    store = MemoryStore(clock, deliver)
    store.journal = deque(maxlen=0)  # without a journal
    presence = Presence(store, clock, CONNECTIONS_MAX)
    scripts = HeldScripts(make_script(script_id))
    service = SessionService(store, HeldRows(), scripts, presence, clock, lambda: str(uuid.uuid4()))
    links = StreamLinks(MediaSigner({"kid": "k" * 32}), "https://media.example", clock)
    verifier = TokenVerifier(jwt_key, ["HS256"], "authenticated")
    connections = Connections(store)
    handlers = Handlers(service, presence, scripts, links, verifier, clock, metrics)
    realtime = RealtimeServer(
        verifier=verifier,
        connections=connections,
        dispatcher=Dispatcher(bind(handlers), connections, metrics, clock),
        presence=presence,
        service=service,
        scripts=scripts,
        links=links,
        metrics=metrics,
        clock=clock,
        rate=ROOMY,
    )
    sweeper = Sweeper(store, service, presence, clock)
    vitals = Vitals(metrics)
    await clock.start()
    presence.start()
    sweeper.start()
    vitals.start()
    try:
        yield realtime
    finally:
        await vitals.stop()
        await sweeper.stop()
        await presence.stop()
        await clock.stop()


async def serve(jwt_key: str, script_id: str) -> None:
    async with realtime_server(jwt_key, script_id) as realtime:
        app = web.Application()
        realtime.attach(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await realtime.site(runner, "127.0.0.1", 0, backlog=BACKLOG_CONNECTIONS).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await realtime.stop()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))

"""A server process's session layer with its Socket.IO server on a port of its own, in the test's process.

Everything is real but what the test passes in as rows and scripts. Two nodes on one Valkey are two processes as far as
they know: each has a store, a bus and connections of its own.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from playhead.auth.media_paths import MediaSigner
from playhead.auth.tokens import TokenVerifier, issue
from playhead.realtime.connections import Connections
from playhead.realtime.dispatch import Dispatcher
from playhead.realtime.handlers import Handlers, bind
from playhead.realtime.server import GRACE_S, RealtimeServer
from playhead.runtime.clock import Clock
from playhead.runtime.limits import Rate
from playhead.runtime.metrics import create_metrics
from playhead.runtime.tallies import Tallies
from playhead.sessions.archive import Archive
from playhead.sessions.presence import Presence
from playhead.sessions.redis_bus import RedisBus
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.scripts import Scripts
from playhead.sessions.service import SessionService
from playhead.sessions.streams import StreamLinks
from playhead.sessions.sweeping import Sweeper
from tests.support.clocks import SystemClock
from tests.support.sessions import new_id
from tests.support.states import LISTENER_ID

JWT_KEY = "a key for tests that is long enough to be taken"
AUDIENCE = "authenticated"
TOKEN_S = 3_600
SWEEP_INTERVAL_S = 0.05
ROOMY = Rate(per_s=10_000, burst=10_000)
"""What a connection may send in tests that are not about how much that is."""


class AheadClock(SystemClock):
    """The machine's clock, put forward by the test."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms

    def advance(self, elapsed_s: float) -> None:
        self._ahead_ms += round(elapsed_s * 1000)


@dataclass(slots=True, kw_only=True)
class Node:
    """What a process has, and where it listens."""

    url: str
    store: RedisStore
    bus: RedisBus
    presence: Presence
    service: SessionService
    sweeper: Sweeper
    connections: Connections
    realtime: RealtimeServer
    registry: CollectorRegistry
    tallies: Tallies


def make_token(listener_id: str = LISTENER_ID, *, expires_in_s: int = TOKEN_S, key: str = JWT_KEY) -> str:
    expires_at_s = int(time.time()) + expires_in_s
    return issue(key, listener_id=listener_id, audience=AUDIENCE, expires_at_s=expires_at_s)


def _make_node(
    valkey_url: str,
    rows: Archive,
    scripts: Scripts,
    clock: Clock,
    *,
    grace_s: float,
    connections_max: int,
    **server: Any,
) -> Node:
    """What `playhead.app.composition` makes of the settings; it does not run yet, and listens nowhere."""
    registry = CollectorRegistry()
    metrics = create_metrics(registry)
    store = RedisStore(valkey_url, clock)
    presence = Presence(store, clock, connections_max)
    service = SessionService(store, rows, scripts, presence, clock, new_id)
    sweeper = Sweeper(store, service, presence, clock, SWEEP_INTERVAL_S)

    async def deliver(listener_id: str, packet: bytes) -> None:
        await realtime.deliver(listener_id, packet)

    async def catch_up(listener_id: str) -> None:
        await realtime.catch_up(listener_id)

    bus = RedisBus(store.client, deliver, catch_up)
    store.on_moved = bus.reopen
    connections = Connections(bus)
    links = StreamLinks(MediaSigner({"kid": "k" * 32}), "https://media.example", clock)
    verifier = TokenVerifier(JWT_KEY, ["HS256"], AUDIENCE)
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
        grace_s=grace_s,
        **{"rate": ROOMY, **server},
    )
    return Node(
        url="",
        store=store,
        bus=bus,
        sweeper=sweeper,
        presence=presence,
        service=service,
        connections=connections,
        realtime=realtime,
        registry=registry,
        tallies=metrics.tallies,
    )


@asynccontextmanager
async def start_node(
    valkey_url: str,
    rows: Archive,
    scripts: Scripts,
    *,
    clock: Clock | None = None,
    grace_s: float = GRACE_S,
    connections_max: int = 32,
    **server: Any,
) -> AsyncIterator[Node]:
    """A node that serves until the block ends; then it stops as the `playhead` command does.

    `server`: what its RealtimeServer is given besides.
    """
    node = _make_node(
        valkey_url, rows, scripts, clock or SystemClock(), grace_s=grace_s, connections_max=connections_max, **server
    )
    app = web.Application()
    node.realtime.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    node.sweeper.start()
    node.bus.start()
    node.presence.start()
    await runner.setup()
    site = node.realtime.site(runner, "127.0.0.1", 0)
    await site.start()
    node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield node
    finally:
        await node.realtime.stop()
        await node.sweeper.stop()
        await runner.cleanup()
        await node.presence.stop()
        await node.bus.stop()
        await node.store.stop()

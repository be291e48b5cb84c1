"""Which implementation stands behind which interface: everything a process needs, built from its settings.

Owns: construction and the order of starting and stopping. Must not know: what any part does.
"""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from playhead.auth.media_paths import MediaSigner
from playhead.auth.tokens import TokenVerifier
from playhead.db import Database, ListeningRepository, ScriptRepository, SessionRepository
from playhead.realtime.connections import Connections
from playhead.realtime.dispatch import Dispatcher
from playhead.realtime.handlers import Handlers, bind
from playhead.realtime.server import RealtimeServer
from playhead.runtime.limits import Rate
from playhead.runtime.metrics import Metrics
from playhead.runtime.settings import Settings
from playhead.runtime.store_clock import RedisTime, StoreClock
from playhead.sessions.listening import Listening
from playhead.sessions.presence import Presence
from playhead.sessions.redis_bus import RedisBus
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.service import SessionService
from playhead.sessions.streams import StreamLinks
from playhead.sessions.sweeping import Sweeper


def media_signer(settings: Settings) -> MediaSigner:
    keys: Mapping[str, SecretStr] = settings.media_keys
    return MediaSigner({key_id: secret.get_secret_value() for key_id, secret in keys.items()})


def token_verifier(settings: Settings) -> TokenVerifier:
    assert settings.jwt_key is not None
    return TokenVerifier(
        settings.jwt_key.get_secret_value(), settings.jwt_algorithms, settings.jwt_audience, settings.jwt_issuer
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The use cases and what both surfaces share."""

    clock: StoreClock
    store: RedisStore
    bus: RedisBus
    presence: Presence
    service: SessionService
    listening: Listening
    scripts: ScriptRepository
    links: StreamLinks
    verifier: TokenVerifier
    signer: MediaSigner
    realtime: RealtimeServer


@asynccontextmanager
async def server_clock(settings: Settings) -> AsyncIterator[StoreClock]:
    """Server time, for all that this process does. Entered first: a clock that is ahead can go back only now.

    Waits for the store's answers, but not for long: a process may start while the store is away.
    """
    assert settings.redis_url is not None
    clock = StoreClock(RedisTime(settings.redis_url.get_secret_value()))
    try:
        await clock.start()
        yield clock
    finally:
        await clock.stop()


@asynccontextmanager
async def core(settings: Settings, opened: Database, metrics: Metrics, clock: StoreClock) -> AsyncIterator[Core]:
    """The running session layer with its Socket.IO server. On leaving: sockets close first.

    Asks no server yet: a process may start while the stores are away, and says so in its readiness.
    """
    assert settings.redis_url is not None
    store = RedisStore(settings.redis_url.get_secret_value(), clock)
    scripts, sessions = ScriptRepository(opened), SessionRepository(opened)
    presence = Presence(store, clock, settings.connections_per_listener_max)
    service = SessionService(store, sessions, scripts, presence, clock, new_id=lambda: str(uuid.uuid4()))
    signer, verifier = media_signer(settings), token_verifier(settings)
    links = StreamLinks(signer, settings.media_base_url, clock)

    async def deliver(listener_id: str, packet: bytes) -> None:
        await realtime.deliver(listener_id, packet)

    async def catch_up(listener_id: str) -> None:
        await realtime.catch_up(listener_id)

    bus = RedisBus(store.client, deliver, catch_up)
    connections = Connections(bus)
    handlers = Handlers(service, presence, connections, scripts, links, verifier, clock)
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
        rate=Rate(per_s=settings.connection_events_per_s, burst=settings.connection_events_burst),
        cors_origins=settings.cors_origins,
        public_url=settings.public_base_url,
    )
    sweeper = Sweeper(store, service, presence, clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.stop)
        stack.push_async_callback(bus.stop)
        bus.start()
        stack.push_async_callback(presence.stop)
        presence.start()
        stack.push_async_callback(sweeper.stop)
        sweeper.start()
        stack.push_async_callback(realtime.stop)
        yield Core(
            clock=clock,
            store=store,
            bus=bus,
            presence=presence,
            service=service,
            listening=Listening(store, sessions, ListeningRepository(opened), clock),
            scripts=scripts,
            links=links,
            verifier=verifier,
            signer=signer,
            realtime=realtime,
        )

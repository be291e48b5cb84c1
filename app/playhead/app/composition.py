"""Which implementation stands behind which interface: everything a process needs, built from its settings.

Owns: construction and the order of starting and stopping. Must not know: what any part does.
"""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from playhead.app.machine import socket_limits
from playhead.app.stores import Stores, open_stores
from playhead.auth.media_paths import MediaSigner
from playhead.auth.tokens import TokenVerifier
from playhead.db import Database, ListeningRepository, ScriptRepository, SessionRepository
from playhead.realtime.connections import Connections
from playhead.realtime.dispatch import Dispatcher
from playhead.realtime.handlers import Handlers, bind
from playhead.realtime.preparations import Preparations
from playhead.realtime.server import RealtimeServer
from playhead.runtime.clock import Clock
from playhead.runtime.limits import Rate
from playhead.runtime.metrics import Metrics
from playhead.runtime.settings import Settings
from playhead.sessions.listening import Listening
from playhead.sessions.presence import Presence
from playhead.sessions.service import OnJump, SessionService
from playhead.sessions.streams import StreamLinks
from playhead.sessions.sweeping import Sweeper


def media_signer(settings: Settings) -> MediaSigner:
    keys: Mapping[str, SecretStr] = settings.media_keys
    return MediaSigner({key_id: secret.get_secret_value() for key_id, secret in keys.items()})


def token_verifier(settings: Settings) -> TokenVerifier:
    assert settings.jwt_key is not None
    return TokenVerifier(
        settings.jwt_key.get_secret_value(),
        settings.jwt_algorithms,
        settings.jwt_audience,
        settings.jwt_issuer,
        other_keys=[key.get_secret_value() for key in settings.jwt_other_keys],
    )


def new_id() -> str:
    return str(uuid.uuid4())


def command_rate(settings: Settings) -> Rate:
    """How fast a socket may send, and a listener may ask over REST."""
    return Rate(per_s=settings.connection_events_per_s, burst=settings.connection_events_burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The use cases and what both surfaces share."""

    clock: Clock
    stores: Stores
    presence: Presence
    service: SessionService
    listening: Listening
    scripts: ScriptRepository
    links: StreamLinks
    verifier: TokenVerifier
    signer: MediaSigner
    realtime: RealtimeServer


def _of_sockets(settings: Settings) -> dict[str, Any]:
    """Who may open one, and what it may do."""
    return {
        "rate": command_rate(settings),
        "cors_origins": settings.cors_origins,
        "public_url": settings.public_base_url,
        "write_bytes_max": settings.socket_write_bytes_max,
        "limits": socket_limits(settings),
        "trusted_proxies": settings.trusted_proxies,
    }


@asynccontextmanager
async def core(
    settings: Settings, opened: Database, metrics: Metrics, clock: Clock, on_jump: OnJump
) -> AsyncIterator[Core]:
    """The running session layer with its Socket.IO server. On leaving: sockets close first.

    A process may start while the stores are away, and says so in its readiness. Raises LeaseRefused and CommandFailed
    where the sessions are another process's.
    """

    async def deliver(listener_id: str, packet: bytes) -> None:
        await realtime.deliver(listener_id, packet)

    async def catch_up(listener_id: str) -> None:
        await realtime.catch_up(listener_id)

    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings, opened, clock, metrics, deliver, catch_up))
        store, sessions, scripts = stores.store, SessionRepository(opened), ScriptRepository(opened)
        presence = Presence(store, clock, settings.connections_per_listener_max)
        service = SessionService(store, sessions, scripts, presence, clock, new_id, on_jump)
        signer, verifier = media_signer(settings), token_verifier(settings)
        links = StreamLinks(signer, settings.media_base_url, clock, stores.revocations.has_ended)
        connections = Connections(stores.bus)
        preparations = Preparations(connections, scripts, stores.script_news, clock)
        handlers = Handlers(service, presence, scripts, links, verifier, clock, metrics, preparations)
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
            **_of_sockets(settings),
        )
        sweeper = Sweeper(store, service, presence, clock)
        await stores.open(service, sweeper)
        stack.push_async_callback(presence.stop)
        presence.start()
        stack.push_async_callback(sweeper.stop)
        sweeper.start()
        stack.push_async_callback(preparations.stop)
        preparations.start(realtime.send)
        stack.push_async_callback(realtime.stop)
        yield Core(
            clock=clock,
            stores=stores,
            presence=presence,
            service=service,
            listening=Listening(store, sessions, ListeningRepository(opened), clock),
            scripts=scripts,
            links=links,
            verifier=verifier,
            signer=signer,
            realtime=realtime,
        )

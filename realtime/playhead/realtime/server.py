"""The Socket.IO server of one node, on python-socketio over our own engine.

Handlers run one after the other per connection (`async_handlers=False`): the library's default of a task per event
would let a pause overtake a seek. Rooms are per listener and local; what other nodes commit comes over the bus.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as Refused

from playhead.auth.tokens import TokenVerifier
from playhead.db import DatabaseUnavailable
from playhead.engine import polling
from playhead.engine.admission import Limits
from playhead.engine.front import Site
from playhead.engine.server import WRITE_BYTES_MAX
from playhead.engine.socket_server import SocketServer
from playhead.playback.rejections import Code, Rejection
from playhead.realtime.connections import Connection, Connections
from playhead.realtime.convergence import Convergence
from playhead.realtime.dispatch import GOING_AWAY, Dispatcher
from playhead.realtime.drain import Drain, handover_s
from playhead.realtime.handshake import admit, refused
from playhead.realtime.origins import Origins
from playhead.realtime.outbox import Outbox
from playhead.realtime.raw_sockets import RawSockets
from playhead.realtime.stream_renewals import StreamRenewals
from playhead.realtime.watch import Watch
from playhead.realtime.wire import WirePacket
from playhead.runtime.clock import Clock
from playhead.runtime.limits import COMMAND_RATE, Pace, Rate
from playhead.runtime.metrics import Metrics
from playhead.runtime.seldom import Seldom
from playhead.sessions.codec import split_packet
from playhead.sessions.committing import GRACE_MS
from playhead.sessions.presence import Presence
from playhead.sessions.scripts import Scripts
from playhead.sessions.service import SessionService
from playhead.sessions.store import StoreUnavailable
from playhead.sessions.streams import StreamLinks

log = structlog.get_logger(__name__)

PING_INTERVAL_S = 20
PING_TIMEOUT_S = 20
LEAVE_TIMEOUT_S = 2.0
"""For the departures of all that are left when the server stops, beside a store that does not answer."""
CLOSE_TIMEOUT_S = 5.0
GRACE_S = GRACE_MS / 1000
"""How long a sounding device may be away before its session pauses."""
DRAIN_GRACE_S = 90.0
"""The same where it is this server that goes away, or is too slow to let it in: the device has to try again."""
LEFT_BY_THE_DEVICE = "client disconnect"
CLOSED_BY_THE_DEVICE = (LEFT_BY_THE_DEVICE, "transport close")
"""Reasons of the library for an end that came from the other side; any other one came from silence, or from us."""
LISTENER_RETRY_S = (5.0, 10.0)
"""When a device may come back whose listener has too many; at random in between."""
TRANSPORT_BYTES_MAX = 100_000
"""Past it the transport itself closes the connection; up to it, a packet that is too large is answered. A packet of
PACKET_BYTES_MAX of the longest characters fits. The transport keeps a buffer of this size for who has sent as much."""


class RealtimeServer:
    """Attach it to an aiohttp application with `attach`; stop it with `stop`."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        connections: Connections,
        dispatcher: Dispatcher,
        presence: Presence,
        service: SessionService,
        scripts: Scripts,
        links: StreamLinks,
        metrics: Metrics,
        clock: Clock,
        rate: Rate = COMMAND_RATE,
        cors_origins: tuple[str, ...] = (),
        grace_s: float = GRACE_S,
        public_url: str | None = None,
        write_bytes_max: int = WRITE_BYTES_MAX,
        limits: Limits | None = None,
        trusted_proxies: tuple[str, ...] = (),
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._verifier = verifier
        self._connections = connections
        self._dispatcher = dispatcher
        self._presence = presence
        self._service = service
        self._grace_s = grace_s
        self._metrics = metrics
        self._delivery_seconds = metrics.tallies.distribution(metrics.delivery_seconds)
        self._clock = clock
        self._rate, self._uniform = rate, uniform
        self._stopping = False
        self._leaving: set[asyncio.Task[None]] = set()
        self._untold = Seldom()
        self._sio = SocketServer(
            async_handlers=False,
            serializer=WirePacket,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            max_http_buffer_size=TRANSPORT_BYTES_MAX,
            write_bytes_max=write_bytes_max,
            on_ended=lambda ending: metrics.sockets_ended.labels(ending.value).inc(),
            limits=limits,
            trusted_proxies=trusted_proxies,
            on_refused=lambda reason: metrics.sockets_refused.labels(reason.value).inc(),
            cors_allowed_origins=Origins(public_url, cors_origins).allow,
            logger=False,
            engineio_logger=False,
        )
        self._sockets = RawSockets(self._sio)
        self._outbox = Outbox(self._sio, connections, metrics)
        self._convergence = Convergence(connections, service, presence, self._outbox, metrics)
        dispatcher.on_unknown = self._convergence.suspect
        self._drain = Drain(connections, self._outbox)
        self._streams = StreamRenewals(connections, scripts, service, links, self._outbox, clock)
        self._watch = Watch(self._sio, connections, self._outbox, self._streams, metrics, clock)
        self._sio.on("connect", self._connect)
        self._sio.on("disconnect", self._disconnect)
        self._sio.on("*", self._event)

    def attach(self, app: web.Application) -> None:
        """Serves Socket.IO at `/socket.io/` of `app`; it listens at a `site`. Called from the loop that serves it."""
        self._sio.attach(app)
        self._metrics.sockets.set(0)  # told as well while there is none
        self._convergence.start()
        self._streams.start()
        self._watch.start()

    def site(self, runner: web.BaseRunner, host: str | None = None, port: int | None = None, **options: Any) -> Site:
        """Where the application of `runner` and its sockets listen, on one port; with the options of `Site`."""
        return Site(runner, self._sio.eio, host, port, **options)

    @property
    def draining(self) -> bool:
        """Whether it goes away: who comes now is sent elsewhere."""
        return self._drain.begun

    def full(self, request: web.Request) -> web.Response | None:
        """The answer to a request for a socket by long polling, while none is let in; None: one is."""
        return polling.full(self._sio.eio, request)

    @property
    def half_open(self) -> int:
        """Connections that have not shown who they are."""
        return len(self._sio.eio.admission.half_open)

    @property
    def sockets_max(self) -> int:
        """What this process may have open."""
        return self._sio.eio.admission.limits.sockets_max

    @property
    def pace(self) -> float:
        """New sockets a second that it lets in now."""
        return self._sio.eio.admission.limits.per_s * self._sio.eio.strain.share

    async def drain(self, drain_s: float) -> None:
        """Lets nobody in any more, tells every socket to reconnect, and serves those that are left for `drain_s`."""
        await self._drain.run(drain_s)

    def handover_s(self, admitted_per_s: float) -> float:
        """How long a drain takes with which processes keep up that take so many sockets a second."""
        return handover_s(len(self._connections), admitted_per_s)

    async def stop(self) -> None:
        """Answers what was begun and closes every socket; nothing is paused for it. Harmless when repeated."""
        if self._stopping:
            return
        self._stopping = True
        self._drain.begin()
        await self._watch.stop()
        await self._convergence.stop()
        await self._streams.stop()
        await self._dispatcher.settle(CLOSE_TIMEOUT_S)
        # closed by the transport, not by a Socket.IO packet: after that one, clients would not reconnect
        await self._sockets.close_all(CLOSE_TIMEOUT_S)
        await self._departures()
        await self._sio.shutdown()

    async def _departures(self) -> None:
        """Tells the store who has gone, for a while: what it is not told it finds out when leases run out."""
        if not self._leaving:
            return
        _, untold = await asyncio.wait(self._leaving, timeout=LEAVE_TIMEOUT_S)
        for task in untold:
            task.cancel()
        if untold:
            log.warning("Some departures were not told.", action="departures_untold", sockets=len(untold))

    async def deliver(self, listener_id: str, raw: bytes) -> None:
        """Writes a packet of the bus to the listener's sockets here, except the one that caused it."""
        head, event = split_packet(raw)
        waited_s = max(0, self._clock.now_ms() - head.published_at_ms) / 1000
        self._delivery_seconds.observe(waited_s)
        await self._outbox.pass_on(listener_id, head.event, event, head.skip_connection_id)
        self._convergence.delivered(listener_id, head.state, head.devices)

    async def send(self, connection_id: str, event: str, data: dict[str, Any]) -> None:
        """Writes an event to one connection, if it is still here."""
        await self._outbox.send(connection_id, event, data)

    async def catch_up(self, listener_id: str) -> None:
        """Packets of this listener may have been lost: sends what the store has, in the background."""
        self._convergence.suspect(listener_id)

    async def _connect(self, connection_id: str, _environ: dict[str, Any], auth: object = None) -> None:
        if self._drain.begun:
            raise self._going_away()
        try:
            principal, device = admit(auth, self._verifier)
        except Refused as refusal:
            self._metrics.sockets_refused.labels(refusal.error_args["data"]["code"]).inc()
            raise
        self._sockets.known(connection_id)
        if len(self._connections.of_listener(principal.listener_id)) >= self._presence.connections_max:
            raise self._too_many()
        connection = Connection(
            connection_id=connection_id,
            principal=principal,
            device=device,
            last_packet_at_ms=self._clock.now_ms(),
            pace=Pace(self._rate),
        )
        try:
            await self._connections.enter(connection)
            attached = await self._presence.attach(
                connection.listener_id, connection_id, device.id, device.name, device.kind
            )
        except StoreUnavailable:
            await self._connections.leave(connection_id)
            raise self._refused("unavailable", Rejection(code=Code.UNAVAILABLE)) from None
        if not attached:
            await self._connections.leave(connection_id)
            raise self._too_many()
        self._metrics.sockets.inc()
        self._metrics.sockets_admitted.inc()
        await self._sio.enter_room(connection_id, connection.listener_id)
        if self._sockets.is_gone(connection_id) or self._drain.begun:
            # it closed while it was let in, and the library tells nobody; or nobody has told it that we go away.
            # Who has waited for us in vain comes again, and is not to blame for how long that takes
            await self._leave(connection_id, DRAIN_GRACE_S)
            raise self._going_away()

    def _going_away(self) -> Refused:
        return self._refused("draining", Rejection(code=Code.UNAVAILABLE, detail=GOING_AWAY))

    def _too_many(self) -> Refused:
        detail = "Too many devices are connected. Close one and connect again."
        retry_after_ms = round(self._uniform(*LISTENER_RETRY_S) * 1000)
        return self._refused("listener", Rejection(code=Code.OVERLOADED, detail=detail, retry_after_ms=retry_after_ms))

    def _refused(self, reason: str, rejection: Rejection) -> Refused:
        self._metrics.sockets_refused.labels(reason).inc()
        return refused(rejection)

    async def _disconnect(self, connection_id: str, reason: str) -> None:
        """Not awaited: the library calls this from whatever wrote to a dead socket, also while delivering to others."""
        connection = self._connections.get(connection_id)
        if connection is not None and reason in CLOSED_BY_THE_DEVICE:
            # the end itself is a sign of life
            connection.last_packet_at_ms = self._clock.now_ms()
        if reason == LEFT_BY_THE_DEVICE and (socket_id := self._sockets.socket_id(connection_id)) is not None:
            # there is nowhere else to go on it; who came and went on one socket would escape the limits on sockets
            self._sockets.close(socket_id)
        task = asyncio.create_task(self._leave(connection_id), name="leave")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave(self, connection_id: str, grace_s: float | None = None) -> None:
        connection = await self._connections.leave(connection_id)
        if connection is None:
            return
        self._metrics.sockets.dec()
        if grace_s is None:
            # who comes back to a crowd at the door is not to blame for how long that takes
            theirs = not self._drain.begun and not self._sio.eio.crowded
            grace_s = self._grace_s if theirs else DRAIN_GRACE_S
        lost = partial(
            self._service.device_lost,
            connection.listener_id,
            connection.device.id,
            connection_id,
            connection.last_packet_at_ms,
            round(grace_s * 1000),
        )
        try:
            await lost()
        except Exception as error:
            if isinstance(error, StoreUnavailable | DatabaseUnavailable):
                if times := self._untold.take():
                    fields = {"times": times, "error": str(error)}
                    log.warning("A departure could not be told.", action="departure_untold", **fields)
            else:
                log.exception("A departure could not be told.", action="departure_failed")
            # its lease runs out by itself, and whoever notices then sees to the rest
            self._presence.forget(connection.listener_id, connection_id)
            return
        row = await self._presence.detach(connection.listener_id, connection_id)
        try:
            await lost()
        except (StoreUnavailable, DatabaseUnavailable):
            # what was decided meanwhile may have let it sound, or its other connection may have gone as well
            if row is not None:
                self._presence.look_again(connection.listener_id, row)

    async def _event(self, event: str, connection_id: str, *arguments: Any) -> dict[str, Any]:
        return await self._dispatcher.answer(connection_id, event, arguments)

"""One server process: the real use cases, dispatcher and Socket.IO surface, over a simulated way to everything else.

What runs by the clock runs by it here too, with one difference: a look for deadlines is made at the ticks of this node
at which something is due, as all others would find nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from playhead.auth.media_paths import MediaSigner
from playhead.auth.tokens import InvalidToken, Principal, TokenVerifier
from playhead.db import DatabaseUnavailable
from playhead.realtime import server as realtime_server
from playhead.realtime.connections import Connections
from playhead.realtime.convergence import Convergence
from playhead.realtime.dispatch import Dispatcher
from playhead.realtime.drain import Drain
from playhead.realtime.handlers import Handlers, bind
from playhead.realtime.server import RealtimeServer
from playhead.runtime.metrics import create_metrics
from playhead.sessions.presence import RENEW_INTERVAL_S, Presence
from playhead.sessions.service import SessionService
from playhead.sessions.store import StoreUnavailable
from playhead.sessions.streams import StreamLinks
from playhead.sessions.sweeping import SWEEP_INTERVAL_S, Sweeper
from tests.simulation.bus import NodeBus
from tests.simulation.chance import Chance
from tests.simulation.loop import VirtualLoop
from tests.simulation.node_store import NodeStore, Wire
from tests.simulation.record import ASKED, Asked
from tests.simulation.rows import NodeRows, NodeScripts, Rows
from tests.simulation.schedule import Plan
from tests.simulation.sockets import Link, LinkSockets, NoWatch, SocketServer
from tests.simulation.valkey import Valkey

log = structlog.get_logger(__name__)

METRICS = create_metrics(CollectorRegistry())
SWEEP_MS = round(SWEEP_INTERVAL_S * 1000)
DRAIN_S = 5.0
RENEW_MS = round(RENEW_INTERVAL_S * 1000)


class NodeClock:
    """Server time as this node estimates it: off by a few milliseconds, never running backwards."""

    def __init__(self, loop: VirtualLoop, base_ms: int, off_ms: int) -> None:
        self._loop = loop
        self._base_ms = base_ms + off_ms
        self._latest_ms = 0

    def now_ms(self) -> int:
        now_ms = self._base_ms + self._loop.now_us // 1000
        if now_ms > self._latest_ms:
            self._latest_ms = now_ms
        return self._latest_ms

    def correct(self, off_ms: int, base_ms: int) -> None:
        self._base_ms = base_ms + off_ms


class Tokens(TokenVerifier):
    """A token is the listener's id: who may speak for whom is tested elsewhere."""

    def __init__(self, clock: NodeClock) -> None:
        super().__init__("", (), "")
        self._clock = clock

    def verify(self, token: object) -> Principal:
        if not isinstance(token, str) or not token:
            raise InvalidToken("A token is needed.")
        # a year, which no schedule lasts
        expires_at_s = self._clock.now_ms() // 1000 + 365 * 24 * 3600
        return Principal(listener_id=token, role="authenticated", scopes=frozenset(), expires_at_s=expires_at_s)


class Node:
    """A process from its start to its end."""

    def __init__(
        self,
        name: str,
        generation: int,
        loop: VirtualLoop,
        plan: Plan,
        chance: Chance,
        base_ms: int,
        valkey: Valkey,
        rows: Rows,
        note: Callable[[str, str], None],
        on_answer: Callable[["Node", Link, Asked, dict[str, Any]], None],
    ) -> None:
        self.name = name
        self.generation = generation
        self.dead = False
        self.over = False
        self.draining = False
        self.doomed: Callable[[], None] | None = None
        """Called in the middle of its next look for deadlines."""
        self._loop = loop
        self._chance = chance
        self._valkey = valkey
        self._connection_count = 0
        self._phase_ms = chance.ms(0, SWEEP_MS - 1)
        self._sweeping = False
        self._sweep_at_ms = -1
        self.clock = NodeClock(loop, base_ms, chance.ms(-plan.node_clock_ms, plan.node_clock_ms))
        self.wire = Wire(loop, plan, chance, self)
        store = NodeStore(valkey, self.wire)
        archive = NodeRows(rows, self.wire, plan, chance)
        scripts = NodeScripts(rows, archive)
        self.presence = Presence(store, self.clock, plan.connections_max)
        self.service = SessionService(store, archive, scripts, self.presence, self.clock, chance.uuid)
        self._sweeper = Sweeper(store, self.service, self.presence, self.clock)
        self.bus = NodeBus(
            loop,
            valkey,
            self.wire,
            plan,
            chance,
            lambda listener_id, packet: self.realtime.deliver(listener_id, packet),
            lambda listener_id: self.realtime.catch_up(listener_id),
            lambda who, text: note(name, text),
        )
        self.connections = Connections(self.bus)
        links = StreamLinks(_SIGNER, "https://media.example", self.clock)
        handlers = Handlers(self.service, self.presence, scripts, links, Tokens(self.clock), self.clock, METRICS)
        self.sockets = SocketServer(loop, self.wire, lambda link, asked, answer: on_answer(self, link, asked, answer))
        self.realtime = self._serve(handlers, scripts, links)
        self._renewing = False

    def _serve(self, handlers: Handlers, scripts: NodeScripts, links: StreamLinks) -> RealtimeServer:
        module: Any = realtime_server
        module.SocketServer = lambda **_options: self.sockets
        module.Drain = partial(Drain, uniform=self._chance.uniform)
        module.Convergence = self._converge
        return RealtimeServer(
            verifier=Tokens(self.clock),
            connections=self.connections,
            dispatcher=Dispatcher(
                bind(handlers), self.connections, METRICS, self.clock, lambda: self._loop.now_us * 1_000
            ),
            presence=self.presence,
            service=self.service,
            scripts=scripts,
            links=links,
            metrics=METRICS,
            clock=self.clock,
            uniform=self._chance.uniform,
        )

    def _converge(self, *parts: Any) -> Convergence:
        self.convergence = NodeConvergence(*parts)
        return self.convergence

    @property
    def serves(self) -> bool:
        return not self.dead and not self.draining

    # what devices and calamities do

    def accept(self, link: Link, auth: Any) -> None:
        if self.dead:
            link.node_died()
            return
        self._connection_count += 1
        if not self.convergence.started:
            self.convergence.start()
        if not self._renewing:
            self._renewing = True
            self._loop.call_later(self._chance.ms(0, RENEW_MS) / 1000, self._renew)
        self.sockets.accept(link, f"{self.name}.{self.generation}-{self._connection_count}", auth)

    def kill(self) -> None:
        """`kill -9`: whatever it was about to do, it does not."""
        self.dead = True
        self.bus.dead = True
        for listening in self._valkey.listening.values():
            listening.pop(self.bus, None)
        self.sockets.die()

    async def drain(self) -> None:
        """As on SIGTERM."""
        self.draining = True
        await self.realtime.drain(DRAIN_S)
        await self.realtime.stop()
        await self.wire.hang_if_dead()
        self.kill()

    # what it does by the clock

    def something_is_due(self, due_ms: int) -> None:
        """Looks at its next tick from then on."""
        now_ms = self.clock.now_ms()
        tick_ms = self._phase_ms + -(-(max(due_ms, now_ms) - self._phase_ms) // SWEEP_MS) * SWEEP_MS
        if self.dead or self._sweeping or (now_ms < self._sweep_at_ms <= tick_ms):
            return
        self._sweep_at_ms = tick_ms
        self._loop.call_later(max(1, tick_ms - now_ms) / 1000, self._tick, tick_ms)

    def _tick(self, tick_ms: int) -> None:
        if tick_ms == self._sweep_at_ms and not self._sweeping and not self.dead:
            self._sweeping = True
            self._loop.create_task(self._sweep())

    async def _sweep(self) -> None:
        ASKED.set(Asked(self.name, "sweep"))
        if self.doomed is not None:
            self._loop.call_later(self._chance.ms(0, 20) / 1000, self.doomed)
        try:
            await self._sweeper.sweep()
        except (StoreUnavailable, DatabaseUnavailable):
            # as in its own loop: the next look finds the same
            pass
        self._sweeping = False
        self._sweep_at_ms = -1
        due_ms = self._valkey.next_due_ms()
        if due_ms is not None:
            self.something_is_due(max(due_ms, self.clock.now_ms() + 1))

    def _renew(self) -> None:
        """With nobody connected there is nothing to renew until somebody comes."""
        self._renewing = bool(self.sockets.links()) and not self.dead
        if self._renewing:
            self._loop.call_later(RENEW_INTERVAL_S, self._renew)
            self._loop.create_task(self._every_half_minute())

    async def _every_half_minute(self) -> None:
        """Leases are renewed, and what was told is compared with what the store has."""
        ASKED.set(Asked(self.name, "renew"))
        try:
            await self.presence.renew()
            await self.convergence.compare_all()
        except StoreUnavailable:
            # as in its own loop: the next one in 30 s
            pass


class NodeConvergence(Convergence):
    """The real one, which compares when its node says so: with nobody connected there is nothing to compare."""

    @property
    def started(self) -> bool:
        return bool(self._tasks)

    async def _compare_for_ever(self) -> None:
        """Not by itself."""

    async def compare_all(self) -> None:
        for batch in self._batches():
            await self.compare(batch)


def stand_in_for_the_network() -> None:
    """From now on nodes of this process have simulated sockets."""
    module: Any = realtime_server
    module.RawSockets, module.Watch, module.StreamRenewals = LinkSockets, NoWatch, NoWatch


_SIGNER = MediaSigner({"kid": "k" * 32})

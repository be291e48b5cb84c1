"""The sockets that this node holds, by connection and by listener; and the subscription that follows from them.

The node subscribes to a listener's channel with the first of its connections and leaves with the last, so that it gets
only what its own devices need.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from playhead.auth.tokens import Principal
from playhead.realtime.told import Told
from playhead.runtime.limits import Pace
from playhead.runtime.one_at_a_time import OneAtATime
from playhead.sessions.requests import Device
from playhead.sessions.store import Bus, Order


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenStream:
    """The address of a stream that a connection was given, when it ends, and when at the earliest to renew it."""

    script_id: str
    session_id: str
    expires_at_ms: int
    media_version: str = ""
    retry_at_ms: int = 0


@dataclass(slots=True, kw_only=True)
class Connection:
    """One authenticated socket.

    `last_packet_at_ms`: server time of its last sign of life: an event, an answered ping.
    `expiring_told`: it knows that its token runs out.
    `rtt_ms`: the last round trip that its device told; None before it did.
    """

    connection_id: str
    principal: Principal
    device: Device
    last_packet_at_ms: int
    expiring_told: bool = False
    rtt_ms: float | None = None
    pace: Pace = field(default_factory=Pace)
    stream: GivenStream | None = None
    """The latest address that a `play` of it was answered with."""

    @property
    def listener_id(self) -> str:
        return self.principal.listener_id

    def renew(self, principal: Principal) -> None:
        """From now on the connection stands on another token of the same listener."""
        assert principal.listener_id == self.listener_id
        self.principal = principal
        self.expiring_told = False


@dataclass(slots=True)
class _Here:
    """A listener's connections on this node, and what they were told."""

    ids: set[str] = field(default_factory=set)
    told: Told = field(default_factory=Told)


class Connections:
    """Who is connected here. `enter` and `leave` keep the bus subscribed to exactly the listeners that are."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._by_id: dict[str, Connection] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._by_listener: dict[str, _Here] = {}
        self.on_left: Callable[[str], None] = lambda _connection_id: None
        """Called when a connection that was held is let go of."""
        self._turns = OneAtATime()
        """One change of a listener's subscription at a time."""

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, connection_id: str) -> Connection | None:
        return self._by_id.get(connection_id)

    def ids(self) -> tuple[str, ...]:
        """Every connection held now."""
        return tuple(self._by_id)

    async def emptied(self) -> None:
        """Returns when no connection is held."""
        await self._empty.wait()

    def of_listener(self, listener_id: str) -> frozenset[str]:
        """The connections that the listener holds here."""
        here = self._by_listener.get(listener_id)
        return frozenset() if here is None else frozenset(here.ids)

    def count(self, listener_id: str, without: str | None) -> int:
        """How many connections the listener holds here, that one not counted."""
        here = self._by_listener.get(listener_id)
        return 0 if here is None else len(here.ids) - (without in here.ids)

    def listeners(self) -> tuple[str, ...]:
        """Everybody who holds a connection here."""
        return tuple(self._by_listener)

    def told(self, listener_id: str) -> Told:
        """What the listener's connections here know of the sessions; kept by whoever tells them.

        Forgotten with the last connection: the next one begins with a snapshot.
        """
        here = self._by_listener.get(listener_id)
        return Told() if here is None else here.told

    def answered(self, connection: Connection, session_id: str, order: Order, ended: bool, joined: bool) -> None:
        """This connection was answered with a state.

        `joined`: by a snapshot, which every client takes; when it is the listener's only one, then all of them know it.
        """
        here = self._by_listener.get(connection.listener_id)
        if here is None:
            return
        alone = joined and here.ids == {connection.connection_id}
        tell = here.told.tell_all if alone else here.told.tell_one
        tell(session_id, order, ended)

    async def enter(self, connection: Connection) -> None:
        """Holds the connection; when it returns, every later packet of its listener reaches this node.

        Raises StoreUnavailable, and then holds nothing.
        """
        listener_id = connection.listener_id
        async with self._turns.of(listener_id):
            try:
                await self._bus.subscribe(listener_id)
            except BaseException:
                await self._forget_if_empty(listener_id)
                raise
            self._by_id[connection.connection_id] = connection
            self._empty.clear()
            self._by_listener.setdefault(listener_id, _Here()).ids.add(connection.connection_id)

    async def leave(self, connection_id: str) -> Connection | None:
        """Lets go of the connection; None when it was not held."""
        connection = self._by_id.pop(connection_id, None)
        if connection is None:
            return None
        self.on_left(connection_id)
        if not self._by_id:
            self._empty.set()
        async with self._turns.of(connection.listener_id):
            if (here := self._by_listener.get(connection.listener_id)) is not None:
                here.ids.discard(connection_id)
            await self._forget_if_empty(connection.listener_id)
        return connection

    async def _forget_if_empty(self, listener_id: str) -> None:
        here = self._by_listener.get(listener_id)
        if here is not None and here.ids:
            return
        self._by_listener.pop(listener_id, None)
        await self._bus.unsubscribe(listener_id)

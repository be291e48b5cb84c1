"""The contract of the state store: two implementations, memory and Redis, under one test suite.

A commit is atomic over all sessions of one listener: it compares the version of each, and either sets them all and
publishes the packets, or does nothing. The epoch names the life of the store; a store that lost data gets a higher one.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from playhead.playback.state import SessionState

SESSION_TTL_MS = (2 * 60 + 10) * 60 * 1000
"""A live session outlives its idle time of 2 h by 10 min."""
ENDED_TTL_MS = 10 * 60 * 1000
"""How long an ended session still says that it has ended, and where: its row may be on the way to PostgreSQL."""
LIVE_SESSIONS_MAX = 64
"""Live sessions of one listener."""
PRESENCE_LEASE_MS = 90_000
"""A connection whose node has not renewed it for so long is gone."""


class StoreUnavailable(Exception):
    """The state store does not answer. Nothing was acknowledged; try again in a moment."""


class Committed(Enum):
    """What became of a commit."""

    DONE = 1
    LOST = 0
    """Somebody else was faster, or the epoch has grown: load again and decide again."""
    FULL = -1
    """The listener has `LIVE_SESSIONS_MAX` live sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Sessions as they are in the store, and the epoch that the next commit must name."""

    epoch: int
    states: tuple[SessionState, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One session's part of a commit. `expected_version` None: there must be no live session of that script yet."""

    after: SessionState
    expected_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One socket of one device. `expires_at_ms`: its node's lease; renewed while the socket is open."""

    connection_id: str
    device_id: str
    name: str
    kind: str
    connected_at_ms: int
    expires_at_ms: int


class SessionStore(Protocol):
    """Every method may raise StoreUnavailable."""

    async def load(self, listener_id: str, session_id: str) -> Loaded:
        """That session, live or just ended; no states where there is none."""
        ...

    async def live(self, listener_id: str) -> Loaded:
        """All live sessions of the listener."""
        ...

    async def last_ended(self, listener_id: str, script_id: str) -> SessionState | None:
        """The listener's session of the script that ended last, if that was less than `ENDED_TTL_MS` ago."""
        ...

    async def commit(
        self, listener_id: str, epoch: int, changes: Sequence[Change], packets: Sequence[bytes]
    ) -> Committed:
        """Compare, set and publish in one step, or do nothing."""
        ...

    async def publish(self, listener_id: str, packet: bytes) -> None: ...

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        """Adds connections, or renews their leases."""
        ...

    async def drop_connection(self, listener_id: str, connection_id: str) -> None: ...

    async def connections(self, listener_id: str, now_ms: int) -> tuple[Connection, ...]:
        """The listener's connections whose lease has not run out, oldest first."""
        ...


OnPacket = Callable[[str, bytes], Awaitable[None]]
"""Called with the listener's id and an encoded packet."""
OnGap = Callable[[str], Awaitable[None]]
"""Called with the id of a listener some of whose packets may have been lost."""


class Bus(Protocol):
    """Packets of the listeners that this process holds devices of, and of no others."""

    async def subscribe(self, listener_id: str) -> None:
        """Returns when every later packet of the listener will be delivered. Raises StoreUnavailable."""
        ...

    async def unsubscribe(self, listener_id: str) -> None: ...

"""The contract of the state store: two implementations, memory and Redis, under one test suite.

A commit is atomic over all sessions of one listener: it compares the version of each, and either sets them all and
publishes the packets, or does nothing. The epoch names the life of the store; a store that lost data gets a higher one.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from playhead.auth.revocations import ended
from playhead.playback.deadlines import next_due_ms
from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.sessions.journal import Entry, OfflineInterval

SESSION_TTL_MS = (2 * 60 + 10) * 60 * 1000
"""A live session outlives its idle time of 2 h by 10 min."""
ENDED_TTL_MS = 10 * 60 * 1000
"""How long an ended session still says that it has ended, and where: its row may be on the way to PostgreSQL."""
LIVE_SESSIONS_MAX = 64
"""Live sessions of one listener."""
SESSION_APART_MS = 10_000
SESSION_BURST = 300
"""How fast a listener may begin sessions: so many at once, one in SESSION_APART_MS in the long run. When over, each
stands among the endings for half a day and more: nobody must fill that list alone."""
ANSWER_TTL_MS = 10 * 60 * 1000
"""How long a command that is sent again gets its first answer."""
ANSWERS_MAX = 128
"""Answers kept of one session, the oldest forgotten first."""
MOVES_TTL_MS = 30 * 60 * 1000
"""How long the store tells a session's latest moves itself, before they are read from PostgreSQL alone."""
JOURNAL_LENGTH_MAX = 100_000
"""Entries of one partition that may wait for PostgreSQL; at the limit commands are answered `overloaded`."""
JOURNAL_RESERVE = 10_000
"""Entries beyond that limit which only the server's own changes may take: nobody is there who would ask for them again,
and what others have asked for must not keep a sleep timer from stopping the sound."""
REVOKED_PER_PARTITION_MAX = 6_000
"""Endings of a partition that media tokens are held against. The oldest is forgotten first: its tokens open again. Who
begins sessions as fast as is allowed fills it in 15 h 50 min: the address of 3 h of sound is over by then."""
REVOKED_BY_OPERATOR_MAX = 20_000
"""What operators have revoked, some 5 MB in a process. None of it is forgotten before its time; one more is refused."""
DUE_CLAIM_MS = 5_000
"""What one process took to look at comes up again after so long, unless its state says otherwise by then."""
DUE_SEEN_MAX = 1_000
"""What of a partition is due, the oldest first, one look sees at most when it chooses what to take."""
LEFT_TTL_MS = SESSION_TTL_MS
NODE_GONE_GRACE_MS = 90_000
"""How long a sounding device whose node has died has to come back, at least."""
PRESENCE_RENEWAL_MS = 30_000
"""How often a node renews each of its leases: one that it leaves behind may be as old."""
PRESENCE_LEASE_MS = NODE_GONE_GRACE_MS + PRESENCE_RENEWAL_MS
"""A connection whose node has not renewed it for so long is gone."""
LEASE_ENDED_MS = 1
"""The end of a lease that a node ended itself, past by everybody's clock. Such a connection counts for nobody any more,
and whoever sweeps sees to what sounded on its device, and removes it."""
LEASE_DOUBTFUL_MS = 30_000
"""A lease that has no longer to run may have run out for somebody who looks: renewing it changes the list."""

OUTAGE_GRACE_MS = 90_000
"""How long a device may stay away after the servers, or their store, were away themselves."""


Order = tuple[int, int]
"""`(epoch, revision)` of a session, `(epoch, version)` of a listener's connections."""


class StoreUnavailable(Exception):
    """The state store does not answer. Nothing was acknowledged; try again in a moment."""


class Committed(Enum):
    """What became of a commit."""

    DONE = 1
    LOST = 0
    """Somebody else was faster, the epoch has grown, or an answer is kept under the id: load and decide again."""
    FULL = -1
    """The listener has `LIVE_SESSIONS_MAX` live sessions."""
    BACKLOG = -2
    """The partition's journal is at its limit, for the server's own changes with its reserve: PostgreSQL must catch up
    first."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Sessions as they are in the store, and the epoch that the next commit must name.

    `answer`: what the listener's command of the id that was asked for was answered, while that is kept.
    """

    epoch: int
    states: tuple[SessionState, ...] = ()
    answer: bytes | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One session's part of a commit. `expected_version` None: there must be no live session of that script yet.

    With the version unchanged nothing is set: only `entry` is kept, and the next deadline noted.
    """

    after: SessionState
    expected_version: int | None
    entry: Move | None = None
    """What the history gets."""
    offline: tuple[OfflineInterval, ...] = ()
    """What the journal gets beside it."""
    rest_until_ms: int = 0
    """It cannot be idle before; its other deadlines stay."""
    own: bool = False
    """The server makes it by itself: its commit may take of the journal's reserve."""

    @property
    def written(self) -> bool:
        return self.after.version != self.expected_version

    @property
    def kept(self) -> Entry | None:
        """What the journal gets; None where it is a deadline or an answer alone."""
        if not self.written and self.entry is None and not self.offline:
            return None
        return Entry(state=self.after, moves=() if self.entry is None else (self.entry,), offline=self.offline)

    @property
    def revoked_until_s(self) -> int | None:
        """When the last media token of the session expires, if it is over by this."""
        state = self.after
        if state.ended_at_ms is None:
            return None
        return ended(state.session_id, state.ended_at_ms, state.addressed_ms).until_s

    @property
    def due_at_ms(self) -> int | None:
        return next_due_ms(self.after, self.rest_until_ms)


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a command is answered, kept under its id for `ANSWER_TTL_MS`."""

    session_id: str
    command_id: str
    content: bytes


class DueSession(msgspec.Struct, frozen=True, kw_only=True, gc=False, cache_hash=True):
    """A session that somebody must look at."""

    listener_id: str
    session_id: str


class LapsedConnection(msgspec.Struct, frozen=True, kw_only=True, gc=False, cache_hash=True):
    """A connection whose node has not renewed its lease."""

    listener_id: str
    connection_id: str


class Connection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One socket of one device. `expires_at_ms`: its node's lease; renewed while the socket is open.

    `rtt_ms`: its last round trip, as the device measured it.
    """

    connection_id: str
    device_id: str
    name: str
    kind: str
    connected_at_ms: int
    expires_at_ms: int
    rtt_ms: int | None = None


class Present(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A listener's connections, and how this compares with every other look at them: of two, the one with the higher
    `order` is the later one. It is `(epoch, version)`; the version grows when one comes or goes, and not when a lease
    is renewed that had long to run.
    """

    order: Order
    connections: tuple[Connection, ...]


class Orders(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a listener's devices must have been told, without what that is: the order of each live session by its id,
    and that of the list of connections, which names the epoch of now."""

    sessions: Mapping[str, Order]
    present: Order


class SessionStore(Protocol):
    """Every method may raise StoreUnavailable."""

    async def load(self, listener_id: str, session_id: str, command_id: str | None = None) -> Loaded:
        """That session, live or just ended; no states where there is none."""
        ...

    async def live(self, listener_id: str, command_id: str | None = None) -> Loaded:
        """All live sessions of the listener."""
        ...

    async def orders(self, listener_ids: Sequence[str]) -> Mapping[str, Orders]:
        """Of each of these listeners; quick for those of the same partition."""
        ...

    async def count_beginning(self, listener_id: str) -> int:
        """Counts one more session that the listener begins: 0. Or, of too many, after how many ms there may be one:
        then nothing is counted."""
        ...

    async def last_ended(self, listener_id: str, script_id: str) -> SessionState | None:
        """The listener's session of the script that ended last, if that was less than `ENDED_TTL_MS` ago."""
        ...

    async def moves(self, listener_id: str, session_id: str) -> tuple[Move, ...]:
        """The session's latest moves and conflicts, in no order: what PostgreSQL may not have yet."""
        ...

    async def commit(
        self,
        listener_id: str,
        epoch: int,
        changes: Sequence[Change],
        packets: Sequence[bytes],
        answer: Answer | None = None,
        live: int | None = None,
    ) -> Committed:
        """Compare, set, journal, note deadlines, keep the answer and publish in one step, or do nothing.

        `live`: how many live sessions the listener must have; None: as many as there are.
        """
        ...

    async def publish(self, listener_id: str, packet: bytes) -> None: ...

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        """Adds connections, or renews their leases."""
        ...

    async def enter(self, listener_id: str, connection: Connection, now_ms: int) -> Present:
        """Adds a connection, and looks at all that there are then: of two that come at once, one sees the other."""
        ...

    async def drop_connection(
        self, listener_id: str, connection_id: str, now_ms: int, lapsed_by_ms: int | None = None
    ) -> bool:
        """Removes it; with the listener's last one, notes the time.

        `lapsed_by_ms`: only if its lease ends no later. Whether it is gone by this: else nobody has to be told.
        """
        ...

    async def connections(self, listener_id: str, now_ms: int) -> tuple[Connection, ...]:
        """The listener's connections whose lease has not run out, oldest first."""
        ...

    async def present(self, listener_id: str, now_ms: int) -> Present:
        """The same, with its order."""
        ...

    async def left_at_ms(self, listener_id: str) -> int | None:
        """When the listener's last connection went, if that was less than `LEFT_TTL_MS` ago."""
        ...

    async def due(self, now_ms: int, limit: int) -> tuple[DueSession | LapsedConnection, ...]:
        """Some of what is due, at most `limit`, or one of each partition if that is more; of each partition alike.

        Fewer than `limit`: there is no more. Held back from others for `DUE_CLAIM_MS`.
        """
        ...

    async def forget_due(self, item: DueSession | LapsedConnection) -> None:
        """It does not exist any more: nobody has to look at it again."""
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

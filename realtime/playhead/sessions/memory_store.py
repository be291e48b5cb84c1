"""The state store in one process's memory: of the declared single-node mode, and what tests of the service run on.

    commit   one at a time of a listener: compare → keep the entries (PostgreSQL) → set, note, publish → answer

Nothing is set or told that is not kept. Where nobody knows whether it was kept, the epoch grows, so that what follows
is later than anything that may still arrive there; and whoever asks for that listener next finds out first. Without a
keeper the entries stay in `journal`. Everything is forgotten when its time is over, as in Valkey.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from playhead.auth.revocations import Revocations, ended
from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.runtime.one_at_a_time import OneAtATime
from playhead.runtime.tasks import Outlasting
from playhead.sessions.journal import Entry
from playhead.sessions.memory_notes import Notes
from playhead.sessions.memory_sessions import Sessions
from playhead.sessions.store import (
    ANSWER_TTL_MS,
    DUE_CLAIM_MS,
    JOURNAL_LENGTH_MAX,
    JOURNAL_RESERVE,
    LEASE_DOUBTFUL_MS,
    LEFT_TTL_MS,
    LIVE_SESSIONS_MAX,
    PRESENCE_LEASE_MS,
    Answer,
    Change,
    Committed,
    Connection,
    DueSession,
    LapsedConnection,
    Loaded,
    OnPacket,
    Order,
    Orders,
    Present,
    StoreUnavailable,
)
from playhead.sessions.timetable import FORGET_MAX, Expiring, Timetable

log = structlog.get_logger(__name__)


class NotKept(StoreUnavailable):
    """The keeper did not try, so nothing is kept and nothing will be. Try again in a moment."""


class Keeper(Protocol):
    """Brings entries to where they outlive this process."""

    def has_room(self, reserve: int) -> bool:
        """Whether another entry may be on its way; `reserve`: so many more than at other times."""
        ...

    async def keep(self, entries: Sequence[Entry]) -> None:
        """Returns when all are kept. Raises NotKept, or StoreUnavailable: then nobody knows whether they are kept."""
        ...

    async def has_kept(self, state: SessionState) -> bool:
        """Whether that version of the session is the one that is kept. Raises StoreUnavailable."""
        ...


class _Commit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is set at once."""

    changes: Sequence[Change]
    packets: Sequence[bytes]
    answer: Answer | None
    live: int | None


class MemoryStore:
    """SessionStore and Bus of a single process. `on_packet` gets what listeners with a subscription are sent.

    `guard` raises StoreUnavailable while this process may not answer for the sessions.
    """

    def __init__(
        self,
        clock: Clock,
        on_packet: OnPacket | None = None,
        epoch: int = 1,
        journal_length_max: int = JOURNAL_LENGTH_MAX,
        journal_reserve: int = JOURNAL_RESERVE,
        keeper: Keeper | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._on_packet = on_packet
        self._epoch = epoch
        self._journal_length_max = journal_length_max
        self._journal_reserve = journal_reserve
        self._keeper = keeper
        self._guard = guard
        self.journal: deque[Entry] = deque()
        self.revocations = Revocations(clock.now_ms)
        self._sessions = Sessions()
        self._connections: Expiring[str, dict[str, Connection]] = Expiring()
        self._left_at_ms: Expiring[str, int] = Expiring()
        self._presence_versions: Expiring[str, int] = Expiring()
        self._notes = Notes()
        self._doubtful: Expiring[str, _Commit] = Expiring()
        self._due: Timetable[DueSession | LapsedConnection] = Timetable()
        self._subscribed: set[str] = set()
        self._turns = OneAtATime()
        self._outlasting = Outlasting()

    def raise_epoch(self, epoch: int) -> None:
        """Another life begins: states that were committed before are compared with what is kept of them."""
        self._epoch = max(self._epoch + 1, epoch)

    async def load(self, listener_id: str, session_id: str, command_id: str | None = None) -> Loaded:
        self._guard()
        if self._doubtful:
            await self._certain(listener_id)
        now_ms = self._clock.now_ms()
        state = self._sessions.of(listener_id, now_ms).get(session_id)
        return self._loaded(listener_id, () if state is None else (state,), command_id, now_ms)

    async def live(self, listener_id: str, command_id: str | None = None) -> Loaded:
        self._guard()
        if self._doubtful:
            await self._certain(listener_id)
        now_ms = self._clock.now_ms()
        states = tuple(_live(self._sessions.of(listener_id, now_ms)))
        return self._loaded(listener_id, states, command_id, now_ms)

    def _loaded(
        self, listener_id: str, states: tuple[SessionState, ...], command_id: str | None, now_ms: int
    ) -> Loaded:
        answer = None if command_id is None else self._notes.answer(listener_id, command_id, now_ms)
        return Loaded(epoch=self._epoch, states=states, answer=answer)

    async def orders(self, listener_ids: Sequence[str]) -> Mapping[str, Orders]:
        found = {}
        for listener_id in listener_ids:
            sessions = {state.session_id: state.order for state in (await self.live(listener_id)).states}
            found[listener_id] = Orders(sessions=sessions, present=self._present_order(listener_id))
        return found

    async def count_beginning(self, listener_id: str) -> int:
        return self._notes.count_beginning(listener_id, self._clock.now_ms())

    async def last_ended(self, listener_id: str, script_id: str) -> SessionState | None:
        self._guard()
        await self._certain(listener_id)
        known = self._sessions.of(listener_id, self._clock.now_ms())
        states = [state for state in known.values() if state.script_id == script_id]
        ended = [(state.ended_at_ms, state) for state in states if state.ended_at_ms is not None]
        return max(ended, key=lambda row: row[0])[1] if ended else None

    async def moves(self, listener_id: str, session_id: str) -> tuple[Move, ...]:
        self._guard()
        await self._certain(listener_id)
        return self._notes.moves(session_id, self._clock.now_ms())

    async def commit(
        self,
        listener_id: str,
        epoch: int,
        changes: Sequence[Change],
        packets: Sequence[bytes],
        answer: Answer | None = None,
        live: int | None = None,
    ) -> Committed:
        commit = _Commit(changes=changes, packets=packets, answer=answer, live=live)
        if self._keeper is None:
            return await self._in_turn(listener_id, epoch, commit)
        # it comes to its end when whoever asked is gone: what is kept must be set
        return await self._outlasting.run(self._in_turn(listener_id, epoch, commit))

    async def _in_turn(self, listener_id: str, epoch: int, commit: _Commit) -> Committed:
        if (before := self._turns.take(listener_id)) is not None:
            await before
        try:
            if self._doubtful:
                await self._settle(listener_id)
            # it may have waited long for its turn, and what changes nothing asks nobody else
            self._guard()
            refused = self._refused(listener_id, epoch, commit)
            if refused is not None:
                return refused
            await self._keep(listener_id, commit)
            await self._set(listener_id, commit)
            return Committed.DONE
        finally:
            self._turns.give(listener_id)

    def _refused(self, listener_id: str, epoch: int, commit: _Commit) -> Committed | None:
        now_ms = self._clock.now_ms()
        known = self._sessions.of(listener_id, now_ms)
        changes, answer, live = commit.changes, commit.answer, commit.live
        if epoch != self._epoch or (live is not None and live != len(_live(known))):
            return Committed.LOST
        if answer is not None and self._notes.answer(listener_id, answer.command_id, now_ms) is not None:
            return Committed.LOST
        created = 0
        for change in changes:
            if not _fits(known, change):
                return Committed.LOST
            created += change.expected_version is None
        if created and len(_live(known)) + created > LIVE_SESSIONS_MAX:
            return Committed.FULL
        return None if self._has_room(changes) else Committed.BACKLOG

    def _has_room(self, changes: Sequence[Change]) -> bool:
        reserve = self._journal_reserve if any(change.own for change in changes) else 0
        if self._keeper is not None:
            return self._keeper.has_room(reserve)
        return self._journal_length < self._journal_length_max + reserve

    @property
    def _journal_length(self) -> int:
        return len(self.journal)

    async def _keep(self, listener_id: str, commit: _Commit) -> None:
        entries = [entry for change in commit.changes if (entry := change.kept) is not None]
        if self._keeper is None:
            self.journal.extend(entries)
            return
        if not entries:
            return
        try:
            await self._keeper.keep(entries)
        except NotKept:
            raise
        except StoreUnavailable:
            self._doubtful.put(listener_id, commit, self._clock.now_ms() + ANSWER_TTL_MS)
            # by one, whatever time it is here: whoever comes next goes on from it, perhaps with another clock
            self.raise_epoch(self._epoch + 1)
            raise

    async def _certain(self, listener_id: str) -> None:
        """Before anything is told of a listener: nobody may be told less than what is kept."""
        if self._doubtful.get(listener_id, self._clock.now_ms()) is not None:
            async with self._turns.of(listener_id):
                await self._settle(listener_id)

    async def _settle(self, listener_id: str) -> None:
        """Finds out whether the last commit was kept, if that is in doubt, and sets it in that case."""
        doubtful = self._doubtful.get(listener_id, self._clock.now_ms())
        if doubtful is None:
            return
        assert self._keeper is not None
        written = next((change.after for change in doubtful.changes if change.written), None)
        kept = written is not None and await self._keeper.has_kept(written)
        self._doubtful.pop(listener_id)
        if kept:
            await self._set(listener_id, doubtful)

    async def _set(self, listener_id: str, commit: _Commit) -> None:
        now_ms = self._clock.now_ms()
        for change in commit.changes:
            self._apply(listener_id, change, now_ms)
        if commit.answer is not None:
            self._notes.keep_answer(listener_id, commit.answer, now_ms)
        for packet in commit.packets:
            await self.publish(listener_id, packet)

    def _apply(self, listener_id: str, change: Change, now_ms: int) -> None:
        state = change.after
        self._sessions.put(listener_id, state, now_ms)
        if state.ended_at_ms is not None:
            self.revocations.add([ended(state.session_id, state.ended_at_ms, state.addressed_ms)], now_ms)
        item = DueSession(listener_id=listener_id, session_id=state.session_id)
        if (due_at_ms := change.due_at_ms) is None:
            self._due.drop(item)
        else:
            self._due.put(item, due_at_ms)
        if change.entry is not None:
            self._notes.keep_move(state.session_id, change.entry, now_ms)

    async def publish(self, listener_id: str, packet: bytes) -> None:
        if self._on_packet is None or listener_id not in self._subscribed:
            return
        try:
            await self._on_packet(listener_id, packet)
        except Exception:
            # what it tells has happened, whether or not it can be delivered
            log.exception("A packet was not delivered.", action="packet_undelivered")

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        now_ms = self._clock.now_ms()
        rows = self._connections.get(listener_id, now_ms) or {}
        before = {key: row.expires_at_ms for key, row in rows.items()}
        for row in connections:
            rows[row.connection_id] = row
            lease = LapsedConnection(listener_id=listener_id, connection_id=row.connection_id)
            self._due.put(lease, row.expires_at_ms)
        self._connections.put(listener_id, rows, now_ms + 2 * PRESENCE_LEASE_MS)
        version = self._presence_versions.get(listener_id, now_ms)
        if version is None or any(before.get(row.connection_id, 0) < now_ms + LEASE_DOUBTFUL_MS for row in connections):
            self._count_up(listener_id)
        else:
            self._presence_versions.put(listener_id, version, now_ms + LEFT_TTL_MS)

    async def enter(self, listener_id: str, connection: Connection, now_ms: int) -> Present:
        await self.hold_connections(listener_id, [connection])
        return await self.present(listener_id, now_ms)

    async def drop_connection(
        self, listener_id: str, connection_id: str, now_ms: int, lapsed_by_ms: int | None = None
    ) -> bool:
        rows = self._connections.get(listener_id, now_ms) or {}
        lease, row = LapsedConnection(listener_id=listener_id, connection_id=connection_id), rows.get(connection_id)
        if row is None and lease not in self._due:
            return False
        if row is not None and lapsed_by_ms is not None and row.expires_at_ms > lapsed_by_ms:
            return False
        self._due.drop(lease)
        if rows.pop(connection_id, None) is not None and not rows:
            self._connections.pop(listener_id)
            self._left_at_ms.put(listener_id, now_ms, now_ms + LEFT_TTL_MS)
        self._count_up(listener_id)
        return True

    def _count_up(self, listener_id: str) -> None:
        """Never less than the time in us: when the count has run out, the next one is above it all the same."""
        now_ms = self._clock.now_ms()
        version = max((self._presence_versions.get(listener_id, now_ms) or 0) + 1, now_ms * 1_000)
        self._presence_versions.put(listener_id, version, now_ms + LEFT_TTL_MS)

    async def connections(self, listener_id: str, now_ms: int) -> tuple[Connection, ...]:
        held = self._connections.get(listener_id, self._clock.now_ms()) or {}
        rows = (row for row in held.values() if row.expires_at_ms > now_ms)
        return tuple(sorted(rows, key=lambda row: (row.connected_at_ms, row.connection_id)))

    async def present(self, listener_id: str, now_ms: int) -> Present:
        order = self._present_order(listener_id)
        return Present(order=order, connections=await self.connections(listener_id, now_ms))

    def _present_order(self, listener_id: str) -> Order:
        return (self._epoch, self._presence_versions.get(listener_id, self._clock.now_ms()) or 0)

    async def left_at_ms(self, listener_id: str) -> int | None:
        return self._left_at_ms.get(listener_id, self._clock.now_ms())

    def expect(self, item: DueSession, at_ms: int) -> None:
        """Somebody must look at a session that is not here yet."""
        self._due.put(item, at_ms)

    def put_back(self, state: SessionState) -> None:
        """A session as it is kept; it counts as committed in the life that its epoch names."""
        change = Change(after=state, expected_version=state.version)
        self._apply(state.listener_id, change, self._clock.now_ms())

    async def due(self, now_ms: int, limit: int) -> tuple[DueSession | LapsedConnection, ...]:
        self._guard()
        self._forget(now_ms)
        items = self._due.take(now_ms, limit)
        for item in items:
            self._due.put(item, now_ms + DUE_CLAIM_MS)
        return tuple(items)

    def _forget(self, now_ms: int) -> None:
        self._sessions.forget(now_ms)
        for kept in (self._connections, self._left_at_ms, self._presence_versions, self._doubtful):
            kept.forget(now_ms, FORGET_MAX)
        self._notes.forget(now_ms)
        self.revocations.add((), now_ms)

    async def forget_due(self, item: DueSession | LapsedConnection) -> None:
        self._due.drop(item)

    async def subscribe(self, listener_id: str) -> None:
        self._subscribed.add(listener_id)

    async def unsubscribe(self, listener_id: str) -> None:
        self._subscribed.discard(listener_id)


def _live(known: Mapping[str, SessionState]) -> list[SessionState]:
    return [state for state in known.values() if state.ended_at_ms is None]


def _fits(known: Mapping[str, SessionState], change: Change) -> bool:
    before = known.get(change.after.session_id)
    if change.expected_version is not None:
        return before is not None and before.version == change.expected_version
    return before is None and all(state.script_id != change.after.script_id for state in _live(known))

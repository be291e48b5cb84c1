"""The state store in one process's memory: the reference for the contract, and what tests of the service run on."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX, Move
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.journal import Entry
from playhead.sessions.store import (
    ANSWER_TTL_MS,
    ANSWERS_MAX,
    DUE_CLAIM_MS,
    ENDED_TTL_MS,
    JOURNAL_LENGTH_MAX,
    LIVE_SESSIONS_MAX,
    SESSION_TTL_MS,
    Answer,
    Change,
    Committed,
    Connection,
    DueSession,
    LapsedConnection,
    Loaded,
    OnPacket,
    Order,
)


class MemoryStore:
    """SessionStore and Bus of a single process. `on_packet` gets what listeners with a subscription are sent.

    `journal`: the entries that nobody has taken to PostgreSQL yet, oldest first.
    """

    def __init__(
        self,
        clock: Clock,
        on_packet: OnPacket | None = None,
        epoch: int = 1,
        journal_length_max: int = JOURNAL_LENGTH_MAX,
    ) -> None:
        self._clock = clock
        self._on_packet = on_packet
        self._epoch = epoch
        self._journal_length_max = journal_length_max
        self.journal: deque[Entry] = deque()
        self._sessions: dict[str, dict[str, tuple[int, SessionState]]] = defaultdict(dict)
        self._connections: dict[str, dict[str, Connection]] = defaultdict(dict)
        self._left_at_ms: dict[str, int] = {}
        self._answers: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._answered: dict[str, deque[tuple[str, str]]] = defaultdict(deque)
        self._moves: dict[str, deque[Move]] = defaultdict(lambda: deque(maxlen=MOVES_MAX))
        self._conflicts: dict[str, dict[str, Move]] = defaultdict(dict)
        self._due: dict[DueSession | LapsedConnection, int] = {}
        self._subscribed: set[str] = set()

    def _known(self, listener_id: str) -> dict[str, SessionState]:
        """The listener's sessions by id, without those whose time is over."""
        rows = self._sessions[listener_id]
        now_ms = self._clock.now_ms()
        for session_id in [key for key, (expires_at_ms, _) in rows.items() if expires_at_ms <= now_ms]:
            del rows[session_id]
        return {session_id: state for session_id, (_, state) in rows.items()}

    def _answer(self, listener_id: str, command_id: str | None) -> bytes | None:
        expires_at_ms, content = self._answers.get((listener_id, command_id or ""), (0, None))
        return content if self._clock.now_ms() < expires_at_ms else None

    async def load(self, listener_id: str, session_id: str, command_id: str | None = None) -> Loaded:
        state = self._known(listener_id).get(session_id)
        answer = self._answer(listener_id, command_id)
        return Loaded(epoch=self._epoch, states=() if state is None else (state,), answer=answer)

    async def live(self, listener_id: str, command_id: str | None = None) -> Loaded:
        states = tuple(state for state in self._known(listener_id).values() if state.ended_at_ms is None)
        return Loaded(epoch=self._epoch, states=states, answer=self._answer(listener_id, command_id))

    async def orders(self, listener_ids: Sequence[str]) -> Mapping[str, Mapping[str, Order]]:
        return {
            listener_id: {state.session_id: state.order for state in (await self.live(listener_id)).states}
            for listener_id in listener_ids
        }

    async def last_ended(self, listener_id: str, script_id: str) -> SessionState | None:
        states = [state for state in self._known(listener_id).values() if state.script_id == script_id]
        ended = [(state.ended_at_ms, state) for state in states if state.ended_at_ms is not None]
        return max(ended, key=lambda row: row[0])[1] if ended else None

    async def moves(self, listener_id: str, session_id: str) -> tuple[Move, ...]:
        return (*self._moves[session_id], *self._conflicts[session_id].values())

    async def commit(
        self,
        listener_id: str,
        epoch: int,
        changes: Sequence[Change],
        packets: Sequence[bytes],
        answer: Answer | None = None,
    ) -> Committed:
        refused = self._refused(listener_id, epoch, changes)
        if refused is not None:
            return refused
        for change in changes:
            self._apply(listener_id, change)
        if answer is not None:
            self._keep_answer(listener_id, answer)
        for packet in packets:
            await self.publish(listener_id, packet)
        return Committed.DONE

    def _refused(self, listener_id: str, epoch: int, changes: Sequence[Change]) -> Committed | None:
        known = self._known(listener_id)
        if epoch != self._epoch or not all(_fits(known, change) for change in changes):
            return Committed.LOST
        created = sum(change.expected_version is None for change in changes)
        if created and sum(state.ended_at_ms is None for state in known.values()) + created > LIVE_SESSIONS_MAX:
            return Committed.FULL
        return Committed.BACKLOG if len(self.journal) >= self._journal_length_max else None

    def _apply(self, listener_id: str, change: Change) -> None:
        state, entry = change.after, change.entry
        ttl_ms = SESSION_TTL_MS if state.ended_at_ms is None else ENDED_TTL_MS
        self._sessions[listener_id][state.session_id] = (self._clock.now_ms() + ttl_ms, state)
        if change.written or entry is not None or change.offline:
            self.journal.append(Entry(state=state, moves=() if entry is None else (entry,), offline=change.offline))
        item = DueSession(listener_id=listener_id, session_id=state.session_id)
        if change.due_at_ms is None:
            self._due.pop(item, None)
        else:
            self._due[item] = change.due_at_ms
        if entry is not None:
            self._keep_entry(state.session_id, entry)

    def _keep_entry(self, session_id: str, entry: Move) -> None:
        if not entry.refused:
            self._moves[session_id].append(entry)
            return
        conflicts = self._conflicts[session_id]
        conflicts[entry.entry_id] = entry
        if len(conflicts) > CONFLICTS_MAX:
            del conflicts[min(conflicts, key=lambda entry_id: conflicts[entry_id].at_ms)]

    def _keep_answer(self, listener_id: str, answer: Answer) -> None:
        key, kept = (listener_id, answer.command_id), self._answered[answer.session_id]
        self._answers[key] = (self._clock.now_ms() + ANSWER_TTL_MS, answer.content)
        kept.append(key)
        if len(kept) > ANSWERS_MAX:
            del self._answers[kept.popleft()]

    async def publish(self, listener_id: str, packet: bytes) -> None:
        if self._on_packet is not None and listener_id in self._subscribed:
            await self._on_packet(listener_id, packet)

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        for row in connections:
            self._connections[listener_id][row.connection_id] = row
            lease = LapsedConnection(listener_id=listener_id, connection_id=row.connection_id)
            self._due[lease] = row.expires_at_ms

    async def drop_connection(self, listener_id: str, connection_id: str, now_ms: int) -> None:
        held = self._connections[listener_id]
        self._due.pop(LapsedConnection(listener_id=listener_id, connection_id=connection_id), None)
        if held.pop(connection_id, None) is not None and not held:
            self._left_at_ms[listener_id] = now_ms

    async def connections(self, listener_id: str, now_ms: int) -> tuple[Connection, ...]:
        rows = (row for row in self._connections[listener_id].values() if row.expires_at_ms > now_ms)
        return tuple(sorted(rows, key=lambda row: (row.connected_at_ms, row.connection_id)))

    async def left_at_ms(self, listener_id: str) -> int | None:
        return self._left_at_ms.get(listener_id)

    async def due(self, now_ms: int, limit: int) -> tuple[DueSession | LapsedConnection, ...]:
        items = sorted((item for item, at_ms in self._due.items() if at_ms <= now_ms), key=self._due.__getitem__)
        for item in items[:limit]:
            self._due[item] = now_ms + DUE_CLAIM_MS
        return tuple(items[:limit])

    async def forget_due(self, item: DueSession | LapsedConnection) -> None:
        self._due.pop(item, None)

    async def subscribe(self, listener_id: str) -> None:
        self._subscribed.add(listener_id)

    async def unsubscribe(self, listener_id: str) -> None:
        self._subscribed.discard(listener_id)


def _fits(known: dict[str, SessionState], change: Change) -> bool:
    before = known.get(change.after.session_id)
    if change.expected_version is not None:
        return before is not None and before.version == change.expected_version
    same_script = (state for state in known.values() if state.script_id == change.after.script_id)
    return before is None and not any(state.ended_at_ms is None for state in same_script)

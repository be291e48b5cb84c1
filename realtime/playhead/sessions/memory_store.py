"""The state store in one process's memory: the reference for the contract, and what tests of the service run on."""

from collections import defaultdict
from collections.abc import Sequence

from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.store import (
    ENDED_TTL_MS,
    LIVE_SESSIONS_MAX,
    SESSION_TTL_MS,
    Change,
    Committed,
    Connection,
    Loaded,
    OnPacket,
)


class MemoryStore:
    """SessionStore and Bus of a single process. `on_packet` gets what listeners with a subscription are sent."""

    def __init__(self, clock: Clock, on_packet: OnPacket | None = None, epoch: int = 1) -> None:
        self._clock = clock
        self._on_packet = on_packet
        self._epoch = epoch
        self._sessions: dict[str, dict[str, tuple[int, SessionState]]] = defaultdict(dict)
        self._connections: dict[str, dict[str, Connection]] = defaultdict(dict)
        self._subscribed: set[str] = set()

    def _known(self, listener_id: str) -> dict[str, SessionState]:
        """The listener's sessions by id, without those whose time is over."""
        rows = self._sessions[listener_id]
        now_ms = self._clock.now_ms()
        for session_id in [key for key, (expires_at_ms, _) in rows.items() if expires_at_ms <= now_ms]:
            del rows[session_id]
        return {session_id: state for session_id, (_, state) in rows.items()}

    async def load(self, listener_id: str, session_id: str) -> Loaded:
        state = self._known(listener_id).get(session_id)
        return Loaded(epoch=self._epoch, states=() if state is None else (state,))

    async def live(self, listener_id: str) -> Loaded:
        states = self._known(listener_id).values()
        return Loaded(epoch=self._epoch, states=tuple(state for state in states if state.ended_at_ms is None))

    async def last_ended(self, listener_id: str, script_id: str) -> SessionState | None:
        states = [state for state in self._known(listener_id).values() if state.script_id == script_id]
        ended = [(state.ended_at_ms, state) for state in states if state.ended_at_ms is not None]
        return max(ended, key=lambda row: row[0])[1] if ended else None

    async def commit(
        self, listener_id: str, epoch: int, changes: Sequence[Change], packets: Sequence[bytes]
    ) -> Committed:
        known = self._known(listener_id)
        if epoch != self._epoch or not all(_fits(known, change) for change in changes):
            return Committed.LOST
        created = sum(change.expected_version is None for change in changes)
        if created and sum(state.ended_at_ms is None for state in known.values()) + created > LIVE_SESSIONS_MAX:
            return Committed.FULL
        for change in changes:
            ttl_ms = SESSION_TTL_MS if change.after.ended_at_ms is None else ENDED_TTL_MS
            row = (self._clock.now_ms() + ttl_ms, change.after)
            self._sessions[listener_id][change.after.session_id] = row
        for packet in packets:
            await self.publish(listener_id, packet)
        return Committed.DONE

    async def publish(self, listener_id: str, packet: bytes) -> None:
        if self._on_packet is not None and listener_id in self._subscribed:
            await self._on_packet(listener_id, packet)

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        self._connections[listener_id].update({row.connection_id: row for row in connections})

    async def drop_connection(self, listener_id: str, connection_id: str) -> None:
        self._connections[listener_id].pop(connection_id, None)

    async def connections(self, listener_id: str, now_ms: int) -> tuple[Connection, ...]:
        rows = (row for row in self._connections[listener_id].values() if row.expires_at_ms > now_ms)
        return tuple(sorted(rows, key=lambda row: (row.connected_at_ms, row.connection_id)))

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

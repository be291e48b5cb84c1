"""The state store that all nodes share: the commit semantics of MemoryStore, with the lives and deaths of a Valkey.

    crash     answers nobody for a while; comes back as it was, or as it was a moment before (`appendfsync everysec`)
    failover  the same, to a replica that is behind
    emptied   all keys are gone
    away      cannot be reached, and loses nothing

Whenever something may be lost the epoch grows, as `open` in functions.lua does it.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.flushing import Taken
from playhead.sessions.memory_journal import MemoryJournal
from playhead.sessions.memory_notes import Notes
from playhead.sessions.memory_sessions import Sessions
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.store import Change, DueSession
from playhead.sessions.timetable import Expiring, Fading, Timetable
from tests.simulation.record import ASKED, Commit, Loss, Record, Step

Kept = TypeVar("Kept", Expiring[Any, Any], Fading[Any, Any])


class Listening(Protocol):
    """A node's end of pub/sub."""

    def arrive(self, listener_id: str, packet: bytes) -> None: ...


class Judge(Protocol):
    """Who looks at every commit."""

    def committed(self, commit: Commit, current: SessionState | None, change: Change) -> None: ...


@dataclass(slots=True)
class Snapshot:
    """The store as it was."""

    commits: int
    life: int
    epoch: int
    fields: dict[str, Any]
    pending: dict[str, tuple[int, Taken]]
    """What flushers had in hand."""


class NotedTimes(Timetable[Any]):
    """Knows as well since when each time is known: one that is noted late lies in the past already."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.noted_ms: dict[Any, int] = {}

    def put(self, key: Any, at_ms: int) -> None:
        if self._at_ms.get(key) != at_ms:
            self.noted_ms[key] = self._clock.now_ms()
        super().put(key, at_ms)


class Valkey(MemoryStore):
    """One primary. `up` is False while nobody can talk to it."""

    def __init__(
        self,
        clock: Clock,
        record: Record,
        judge: Judge,
        rows: Mapping[str, SessionState],
        epoch: int,
        journal_max: int,
    ) -> None:
        super().__init__(clock, None, epoch, journal_max)
        self._due: NotedTimes = NotedTimes(clock)
        self.stream = MemoryJournal(self, clock)
        self.up = True
        self.life = 0
        """Counts its restarts: what was under way in an earlier one gets no answer."""
        self.record = record
        self.rows = rows
        self.judge = judge
        self.listening: dict[str, dict[Listening, None]] = {}
        self.on_due: Any = lambda: None

    @property
    def epoch(self) -> int:
        return self._epoch

    # a snapshot, and back to it

    def snapshot(self) -> Snapshot:
        fields: dict[str, Any] = {name: _copied(getattr(self, name)) for name in _EXPIRING}
        fields["_sessions"] = _copied_sessions(self._sessions)
        fields["_notes"] = _copied_notes(self._notes)
        fields["_due"] = self._copied_times()
        fields["journal"] = copy(self.journal)
        return Snapshot(len(self.record.commits), self.life, self._epoch, fields, copy(self.stream._pending))

    def _copied_times(self) -> NotedTimes:
        found = NotedTimes(self._clock)
        for key, at_ms in self._due._at_ms.items():
            found.put(key, at_ms)
        return found

    def come_back(self, kind: str, snapshot: Snapshot | None, loses_ms: int) -> None:
        """After a restart: as it was, or as it was then; another life either way."""
        kept = len(self.record.commits)
        stored_epoch = self._epoch
        if snapshot is not None:
            kept, stored_epoch = snapshot.commits, snapshot.epoch
            self.stream._pending = snapshot.pending
            for name, value in snapshot.fields.items():
                setattr(self, name, value)
        self._begin_life(kind, stored_epoch, loses_ms)
        self.record.note_loss(self.record.losses.pop(), kept, self.rows)

    def lose_everything(self) -> None:
        """As after FLUSHALL: not even the epoch is known; subscriptions stay."""
        for name in (*_EXPIRING, "_due", "journal"):
            getattr(self, name).clear()
        self._sessions, self._notes = Sessions(), Notes()
        self.stream._pending.clear()
        self._begin_life("emptied", 0, 0)
        self.record.note_loss(self.record.losses.pop(), 0, self.rows)

    def _begin_life(self, kind: str, stored_epoch: int, loses_ms: int) -> None:
        now_ms = self._clock.now_ms()
        self._epoch = max(stored_epoch + 1, now_ms)
        self.life += 1
        self.record.losses.append(Loss(now_ms, kind, loses_ms, self._epoch))
        self.on_due()

    @property
    def _journal_length(self) -> int:
        """What a flusher has in hand counts as well: a stream has it until it is done."""
        return len(self.journal) + len(self.stream._pending)

    # what is watched

    async def _set(self, listener_id: str, commit: Any) -> None:
        known = dict(self._sessions.of(listener_id, self._clock.now_ms()))
        await super()._set(listener_id, commit)
        for number, change in enumerate(commit.changes):
            if number > 0 and not change.written:
                # compared only
                continue
            command_id = commit.answer.command_id if commit.answer is not None and number == 0 else None
            self._note(listener_id, change, known.get(change.after.session_id), command_id)
        self.on_due()

    def _note(self, listener_id: str, change: Change, current: SessionState | None, command_id: str | None) -> None:
        record = self.record
        step = record.steps.get(id(change.after)) if change.written else None
        before = step.before if step is not None else self._newest(change.after.session_id, current)
        parent = None if before is None or before.version == 0 else record.commit_of(before)
        commit = Commit(
            index=len(record.commits),
            at_us=self._clock.now_ms() * 1000,
            listener_id=listener_id,
            after=change.after,
            parent=parent,
            step=step,
            asked=ASKED.get(),
            entry=change.entry,
            before=before,
            command_id=command_id,
            written=change.written,
        )
        record.note_commit(commit)
        self.judge.committed(commit, current, change)

    def _newest(self, session_id: str, current: SessionState | None) -> SessionState | None:
        """What a session is taken into a new epoch from."""
        row = self.rows.get(session_id)
        if row is None or current is None:
            return row or current
        return row if (row.order, row.version) > (current.order, current.version) else current

    async def publish(self, listener_id: str, packet: bytes) -> None:
        for bus in list(self.listening.get(listener_id, ())):
            bus.arrive(listener_id, packet)

    # what a test may look at without being a client

    def sessions(self) -> dict[str, SessionState]:
        """Every session that it has, live or just ended, by id."""
        found: dict[str, SessionState] = {}
        for listener_id in list(self._sessions._listeners):
            found.update(self._sessions.of(listener_id, self._clock.now_ms()))
        return found

    def entries(self, session_id: str) -> tuple[Move, ...]:
        return self._notes.moves(session_id, self._clock.now_ms())

    def waiting(self) -> bool:
        """Whether anything is on its way to PostgreSQL."""
        return bool(self.journal) or bool(self.stream._pending)

    def next_due_ms(self) -> int | None:
        return min(self._due._at_ms.values(), default=None)

    def overdue(self, since_ms: int) -> list[object]:
        """What has been due since before that time, and could be seen to be: a commit that keeps an entry alone
        notes the deadline of a session that is long idle anew, and nobody has had the time to look at it yet.
        """
        noted_ms = self._due.noted_ms
        return [item for item, at_ms in self._due._at_ms.items() if max(at_ms, noted_ms[item]) < since_ms]

    def has_deadline(self, state: SessionState) -> bool:
        return DueSession(listener_id=state.listener_id, session_id=state.session_id) in self._due

    def devices_of(self, listener_id: str) -> tuple[tuple[int, int], list[str]]:
        """The order of the listener's list of devices, and their ids, the oldest first."""
        now_ms = self._clock.now_ms()
        rows = (self._connections.get(listener_id, now_ms) or {}).values()
        held = sorted((row.connected_at_ms, row.connection_id, row.device_id, row.expires_at_ms) for row in rows)
        ids = dict.fromkeys(device_id for _, _, device_id, expires_at_ms in held if expires_at_ms > now_ms)
        return (self._epoch, self._presence_versions.get(listener_id, now_ms) or 0), list(ids)

    def held_connections(self) -> set[str]:
        now_ms = self._clock.now_ms()
        return {key for listener_id in self._connections for key in self._connections.get(listener_id, now_ms) or ()}


_EXPIRING = ("_connections", "_left_at_ms", "_presence_versions")
_NOTES = ("_answers", "_answered", "_moves", "_conflicts", "_begun")
"""What MemoryStore and its notes hold until their time is over."""


def _copied(kept: Kept) -> Kept:
    """As it is now: the states in it never change, and what holds them does."""
    found = type(kept)()
    for key, (until_ms, value) in kept._rows.items():
        found.put(key, copy(value), until_ms)
    return found


def _copied_sessions(sessions: Sessions) -> Sessions:
    found = Sessions()
    found._listeners = _copied(sessions._listeners)
    for _, kept in found._listeners._rows.values():
        kept.states, kept.until_ms = dict(kept.states), dict(kept.until_ms)
    return found


def _copied_notes(notes: Notes) -> Notes:
    found = Notes()
    for name in _NOTES:
        setattr(found, name, _copied(getattr(notes, name)))
    return found


__all__ = ["Judge", "Listening", "Snapshot", "Step", "Valkey"]

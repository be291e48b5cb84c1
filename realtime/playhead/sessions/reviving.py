"""A new epoch: how each session is taken into it when it is first touched, from the store or from its row.

The store may have lost its last changes, or all of them. What it has is compared with the row, and the later one wins;
either way the session is written once in the new epoch, as it is. So its order is higher than that of every state that
was lost, and devices that had seen one of those show what is true again. While PostgreSQL is away nothing is taken
over: a row that wins may be there. One that comes later than the others, when its row can be read again, may find that
its device sounds in another session by then: all live ones are looked at together, and the one that changed last plays
on. It happens once to a session in each life of the store, and takes of the journal's reserve: what is due in a session
must find it compared. Must not know: commands, devices' sockets.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import msgspec
import structlog
from msgspec import structs

from playhead.db import DatabaseUnavailable, Script
from playhead.playback.commands import Lost
from playhead.playback.deadlines import reduce_lost
from playhead.playback.endings import left_ms, stopped
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.archive import Archive
from playhead.sessions.codec import encode_state_packet, encode_told
from playhead.sessions.store import OUTAGE_GRACE_MS, Change, Committed, Loaded, SessionStore

log = structlog.get_logger(__name__)


class Held(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A session as the next commit must see it: `expected_version` None where the store has lost or never had it.

    `last`: of one that is created, the listener's session of the script before. `script`: as it is now, where that was
    looked up, and the command takes its file over. `over`: nobody can come back to it, its end alone is missing.
    """

    state: SessionState
    expected_version: int | None
    created: bool = False
    last: SessionState | None = None
    script: Script | None = None
    over: bool = False


class View(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Sessions of one listener, the epoch that the next commit must name, and the kept answer that was asked for."""

    epoch: int
    sessions: tuple[Held, ...]
    answer: bytes | None = None

    @classmethod
    def of(cls, loaded: Loaded) -> "View":
        """What was loaded, as it is."""
        held = [Held(state=state, expected_version=state.version) for state in loaded.states]
        return cls(epoch=loaded.epoch, sessions=tuple(held), answer=loaded.answer)

    @property
    def live_states(self) -> tuple[SessionState, ...]:
        """All live sessions in it."""
        return tuple(held.state for held in self.sessions if held.state.ended_at_ms is None)

    def session(self, session_id: str) -> Held | None:
        """The session, live or just ended."""
        for held in self.sessions:
            if held.state.session_id == session_id:
                return held
        return None

    def live(self, script_id: str) -> Held | None:
        """The live session of the script."""
        found = (row for row in self.sessions if row.state.script_id == script_id and row.state.ended_at_ms is None)
        return next(found, None)


class Reviver:
    """Raises StoreUnavailable; `bring_back` as well where the row cannot be read: its caller has read it."""

    def __init__(self, store: SessionStore, archive: Archive, clock: Clock) -> None:
        self._store = store
        self._archive = archive
        self._clock = clock

    async def take_over(self, listener_id: str, loaded: Loaded) -> View | None:
        """What was loaded, all of it in the epoch of now; None when somebody else was faster: load again.

        `loaded`: all live sessions of the listener.
        """
        live = [state for state in loaded.states if state.ended_at_ms is None]
        taken = await self._taken([state for state in live if state.epoch != loaded.epoch], loaded.epoch)
        if not taken:
            return View.of(loaded)
        changes = [structs.replace(each, own=True) for each in _together(live, taken, self._clock.now_ms())]
        packets = self._packets([change for change in changes if change.written])
        committed = await self._store.commit(listener_id, loaded.epoch, changes, packets, live=len(live))
        if committed is Committed.LOST:
            return None
        if committed is not Committed.DONE:
            return View.of(loaded)
        after = {change.after.session_id: change.after for change in changes}
        return View.of(
            structs.replace(loaded, states=tuple(after.get(state.session_id, state) for state in loaded.states))
        )

    async def _taken(self, old: Sequence[SessionState], epoch: int) -> Mapping[str, SessionState]:
        """Sessions of another epoch as they go into this one, by id; without those that PostgreSQL does not tell of."""
        if not old:
            # as nearly always
            return {}
        found = await asyncio.gather(*(self._newest(stored) for stored in old))
        return {
            stored.session_id: structs.replace(newest, epoch=epoch, version=max(stored.version, newest.version) + 1)
            for stored, newest in zip(old, found, strict=True)
            if newest is not None
        }

    async def _newest(self, stored: SessionState) -> SessionState | None:
        """The stored state, or its row where that is later; None: PostgreSQL does not tell."""
        try:
            row = await self._archive.get(stored.session_id)
        except DatabaseUnavailable:
            log.warning("PostgreSQL is away; a session stays in its epoch.", action="epoch_unchecked")
            return None
        newer = row is not None and (row.order, row.version) > (stored.order, stored.version)
        return row if row is not None and newer else stored

    async def bring_back(
        self, listener_id: str, row: SessionState, epoch: int, others: Sequence[SessionState]
    ) -> Held | None:
        """A live session that the store has lost, as it comes back from its row; None when somebody else was faster.

        `others`: the listener's live ones, as the store has them.
        """
        now_ms = self._clock.now_ms()
        connections = await self._store.connections(listener_id, now_ms)
        devices = {connection.device_id for connection in connections}
        state = as_it_comes_back(structs.replace(row, epoch=epoch, version=row.version + 1), others, devices, now_ms)
        # all of them, as what one of them begins to sound on meanwhile must be seen
        beside = [Change(after=_beside(other, state, now_ms), expected_version=other.version) for other in others]
        changes = [Change(after=state, expected_version=None, own=True), *beside]
        packets = self._packets([change for change in changes if change.written])
        committed = await self._store.commit(listener_id, epoch, changes, packets, live=len(others))
        if committed is Committed.LOST:
            return None
        if committed is not Committed.DONE:
            # a limit, which the next commit will name
            return Held(state=row, expected_version=None)
        return Held(state=state, expected_version=state.version)

    def _packets(self, changes: Sequence[Change]) -> list[bytes]:
        now_ms = self._clock.now_ms()
        return [encode_state_packet(change.after, encode_told(change.after), now_ms) for change in changes]


def as_it_comes_back(
    row: SessionState, others: Sequence[SessionState], devices: Collection[str], now_ms: int
) -> SessionState:
    """A row that says that it plays was true when the store lost it; who made the sound may be elsewhere by now."""
    device_id = row.active_device_id
    if not row.playing or device_id is None:
        return row
    if any(other.active_device_id == device_id and other.changed_at_ms > row.changed_at_ms for other in others):
        return _paused(row, now_ms)
    if device_id in devices:
        return row
    return reduce_lost(row, Lost(device_id=device_id, last_seen_at_ms=None, until_ms=now_ms + OUTAGE_GRACE_MS), now_ms)


def _beside(other: SessionState, back: SessionState, now_ms: int) -> SessionState:
    """Another session beside the one that comes back: paused, if both would sound on one device.

    One that has stayed in its epoch is not touched: its row may be later. It gives way when it is taken over.
    """
    both = back.playing and other.playing and other.active_device_id == back.active_device_id
    if not both or other.epoch != back.epoch:
        return other
    return structs.replace(_paused(other, now_ms), epoch=back.epoch, version=other.version + 1)


def _together(live: Sequence[SessionState], taken: Mapping[str, SessionState], now_ms: int) -> list[Change]:
    """What becomes of all live sessions when some are `taken` over: of those on one device the last changed plays on.

    All of them, those that change first: what one of the others begins to sound on meanwhile must be seen.
    """
    epoch = next(iter(taken.values())).epoch
    after = [taken.get(state.session_id, state) for state in live]
    sounding = [state for state in after if state.playing and state.active_device_id and state.epoch == epoch]
    last = {state.active_device_id: state for state in sorted(sounding, key=lambda state: state.changed_at_ms)}
    changes = []
    for stored, state in zip(live, after, strict=True):
        silent = state in sounding and last[state.active_device_id] is not state
        version = stored.version + 1 if state is stored else state.version
        found = structs.replace(_paused(state, now_ms), version=version) if silent else state
        changes.append(Change(after=found, expected_version=stored.version))
    return sorted(changes, key=lambda change: not change.written)


def _paused(state: SessionState, now_ms: int) -> SessionState:
    """Where it was last heard of: nobody knows how long it has sounded after that."""
    still = structs.replace(state, absent_since_ms=None, absent_until_ms=None, revision=state.revision + 1)
    return stopped(still, left_ms(state), now_ms)

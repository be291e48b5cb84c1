"""Batches of the journal into PostgreSQL: sessions, their moves, what was played when and without a connection.

    entries → one row of each session, move, quarter of an hour, offline stretch → one statement a table → one commit

An entry may come twice, late, or after a newer one: a row is replaced only by a later or a greater one, so storing a
batch again changes nothing. Must not know: where the journal is kept, and who is told that a batch is stored.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from playhead.db.codecs import time_from_ms
from playhead.db.errors import InvalidValue
from playhead.db.leases import LeaseLost, require
from playhead.db.limits import BATCH_TIMEOUT_S, ENTRIES_MAX
from playhead.db.pool import Connection, ServiceDatabase
from playhead.db.sessions import any_later, upsert
from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX, Move
from playhead.playback.state import SessionState, Slot

SLOTS_REMEMBERED_MAX = 50_000
"""Sessions whose slots are remembered."""
_NONE: frozenset[Slot] = frozenset()


class OfflineStretch(Protocol):
    """What a device played without a connection: places in ms, times in ms since the Unix epoch.

    `told_at_ms`: its start by the device's own clock, which with the place names the stretch; the other times are that
    brought within bounds.
    """

    @property
    def device_id(self) -> str: ...
    @property
    def start_ms(self) -> int: ...
    @property
    def end_ms(self) -> int: ...
    @property
    def told_at_ms(self) -> int: ...
    @property
    def started_at_ms(self) -> int: ...
    @property
    def ended_at_ms(self) -> int: ...


class JournalEntry(Protocol):
    """One change of one session."""

    @property
    def state(self) -> SessionState: ...
    @property
    def moves(self) -> tuple[Move, ...]: ...
    @property
    def offline(self) -> Sequence[OfflineStretch]: ...


# What belongs to a session that is not stored, because its script was deleted, is left out as well.
STORE_MOVES = """
insert into audio_position_history as stored
    (session_id, kind, epoch, revision, device_id, cause, from_ms, to_ms, at)
select new.*
from unnest(
    $1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
    $9::timestamptz[]
) as new (session_id, kind, epoch, revision, device_id, cause, from_ms, to_ms, at)
where exists (select from audio_sessions where audio_sessions.id = new.session_id)
on conflict (session_id, kind, epoch, revision, refused_device_id) do update
    set from_ms = excluded.from_ms, to_ms = excluded.to_ms, at = excluded.at
    where stored.kind = 'conflict' and stored.at < excluded.at
"""
FORGET_MOVES = """
delete from audio_position_history as kept
using unnest($1::uuid[]) as touched (session_id), lateral (
    select epoch, revision from audio_position_history
    where session_id = touched.session_id and kind = 'move'
    order by epoch desc, revision desc offset $2 limit 1
) as oldest
where kept.session_id = touched.session_id and kept.kind = 'move'
    and (kept.epoch, kept.revision) <= (oldest.epoch, oldest.revision)
"""
FORGET_CONFLICTS = """
delete from audio_position_history as kept
using unnest($1::uuid[]) as touched (session_id), lateral (
    select at, epoch, revision, refused_device_id from audio_position_history
    where session_id = touched.session_id and kind = 'conflict'
    order by at desc, epoch desc, revision desc, refused_device_id desc offset $2 limit 1
) as oldest
where kept.session_id = touched.session_id and kept.kind = 'conflict'
    and (kept.at, kept.epoch, kept.revision, kept.refused_device_id)
        <= (oldest.at, oldest.epoch, oldest.revision, oldest.refused_device_id)
"""
# A state carries hours of slots and adds to one: what is stored already is not even locked.
STORE_LISTENING = """
insert into audio_listening as stored (session_id, slot, listener_id, script_id, played_ms)
select new.*
from unnest($1::uuid[], $2::integer[], $3::uuid[], $4::uuid[], $5::bigint[])
    as new (session_id, slot, listener_id, script_id, played_ms)
where exists (select from audio_sessions where audio_sessions.id = new.session_id)
    and not exists (
        select from audio_listening as known
        where known.session_id = new.session_id and known.slot = new.slot and known.played_ms >= new.played_ms
    )
on conflict (session_id, slot) do update set played_ms = greatest(stored.played_ms, excluded.played_ms)
"""
STORE_OFFLINE = """
insert into audio_offline_intervals as stored
    (listener_id, script_id, device_id, told_at_ms, start_ms, end_ms, started_at, ended_at)
select new.*
from unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[], $8::timestamptz[]
) as new (listener_id, script_id, device_id, told_at_ms, start_ms, end_ms, started_at, ended_at)
where exists (select from audio_scripts where audio_scripts.id = new.script_id)
on conflict (listener_id, script_id, device_id, told_at_ms, start_ms) do update
    set end_ms = excluded.end_ms, ended_at = greatest(stored.ended_at, excluded.ended_at)
    where stored.end_ms < excluded.end_ms
"""


class JournalRepository:
    """Writes `audio_sessions`, `audio_position_history`, `audio_listening` and `audio_offline_intervals`.

    `lease_holder`: a process that may write only while it holds the lease of the sessions, and nobody else does.
    """

    def __init__(self, database: ServiceDatabase, lease_holder: str | None = None) -> None:
        self._database = database
        self._lease_holder = lease_holder
        self._server_began_at: datetime | None = None
        """Of the PostgreSQL that has stored it."""
        self._stored: dict[str, frozenset[Slot]] = {}
        """The slots of each session as they were last stored here. Amounts only grow: these need not be sent again."""

    async def store(self, entries: Sequence[JournalEntry]) -> None:
        """Stores all entries in one transaction, or raises and stores none.

        Entries of scripts that are gone are left out. Raises DatabaseUnavailable; InvalidValue for an entry that breaks
        a rule of its table, and for more than ENTRIES_MAX entries; LeaseLost; the driver's error for what is a bug.
        """
        if len(entries) > ENTRIES_MAX:
            raise InvalidValue(f"At most {ENTRIES_MAX} entries are stored at once.")
        if not entries:
            return
        moves, offline, slots = _moves(entries), _offline(entries), _slots(entries)
        # somebody waits for what is stored under a lease, and a renewal of that for its end
        alone = self._lease_holder is not None
        transaction = self._database.as_service_at_once() if alone else self._database.as_service_batch()
        async with transaction as connection:
            if self._lease_holder is None:
                await upsert(connection, (entry.state for entry in entries))
            else:
                await _upsert_alone(connection, self._lease_holder, [entry.state for entry in entries])
            if moves:
                await _send(connection, STORE_MOVES, moves)
                await _forget(connection, moves)
            await self._meet(connection)
            listening = _listening(entries, {key: told - self._stored.get(key, _NONE) for key, told in slots.items()})
            if listening:
                await _send(connection, STORE_LISTENING, listening)
            if offline:
                await _send(connection, STORE_OFFLINE, offline)
        self._remember(slots)

    async def _meet(self, connection: Connection) -> None:
        """What one server has stored, another one, after a failover, need not have."""
        began_at = await connection.fetchval("select pg_postmaster_start_time()")
        if began_at != self._server_began_at:
            self._stored.clear()
            self._server_began_at = began_at

    def _remember(self, slots: Mapping[str, frozenset[Slot]]) -> None:
        """Called after the commit: what was rolled back must be sent again."""
        if len(self._stored) >= SLOTS_REMEMBERED_MAX:
            self._stored.clear()
        self._stored |= slots


async def _upsert_alone(connection: Connection, holder: str, states: Sequence[SessionState]) -> None:
    """Of a writer that may be the only one: a state that is later than its own is another writer's, and it has lost."""
    await require(connection, holder)
    if await upsert(connection, states) < len(states) and await any_later(connection, states):
        raise LeaseLost("Another process has stored later states of these sessions.")


def _moves(entries: Sequence[JournalEntry]) -> list[tuple[object, ...]]:
    """One row of each move, and of each conflict the latest, in the order of their keys."""
    rows: dict[tuple[str, str], Move] = {}
    for entry in entries:
        for move in entry.moves:
            key = (entry.state.session_id, move.entry_id)
            if key not in rows or rows[key].at_ms < move.at_ms:
                rows[key] = move
    return [
        (
            session_id,
            "conflict" if move.refused else "move",
            move.epoch,
            move.revision,
            move.device_id,
            move.cause,
            move.from_ms,
            move.to_ms,
            time_from_ms(move.at_ms),
        )
        for (session_id, _), move in sorted(rows.items())
    ]


async def _forget(connection: Connection, moves: Sequence[tuple[object, ...]]) -> None:
    """Leaves as many of the touched sessions' entries as are kept."""
    for kind, statement, kept in (("move", FORGET_MOVES, MOVES_MAX), ("conflict", FORGET_CONFLICTS, CONFLICTS_MAX)):
        touched = sorted({str(row[0]) for row in moves if row[1] == kind})
        if touched:
            await connection.execute(statement, touched, kept, timeout=BATCH_TIMEOUT_S)


def _slots(entries: Sequence[JournalEntry]) -> dict[str, frozenset[Slot]]:
    """The greatest amount of each slot of each session."""
    told: dict[str, set[Slot]] = {}
    for entry in entries:
        told.setdefault(entry.state.session_id, set()).update(entry.state.played_slots)
    # the greater amount of a slot comes later and stays
    return {session_id: frozenset(dict(sorted(slots)).items()) for session_id, slots in told.items()}


def _listening(entries: Sequence[JournalEntry], slots: Mapping[str, frozenset[Slot]]) -> list[tuple[object, ...]]:
    """Rows of these slots, in the order of their keys."""
    sessions: dict[str, SessionState] = {entry.state.session_id: entry.state for entry in entries}
    return [
        (session_id, slot, sessions[session_id].listener_id, sessions[session_id].script_id, played_ms)
        for session_id in sorted(slots)
        for slot, played_ms in sorted(slots[session_id])
    ]


def _offline(entries: Sequence[JournalEntry]) -> list[tuple[object, ...]]:
    """One row of each stretch, the longest, in the order of their keys."""
    rows: dict[tuple[str, str, str, int, int], OfflineStretch] = {}
    for entry in entries:
        for row in entry.offline:
            listener_id, script_id = entry.state.listener_id, entry.state.script_id
            key = (listener_id, script_id, row.device_id, row.told_at_ms, row.start_ms)
            if key not in rows or rows[key].end_ms < row.end_ms:
                rows[key] = row
    return [
        (*key, row.end_ms, time_from_ms(row.started_at_ms), time_from_ms(row.ended_at_ms))
        for key, row in sorted(rows.items())
    ]


async def _send(connection: Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """`statement` takes a list of each column."""
    columns = (list(column) for column in zip(*rows, strict=True))
    await connection.execute(statement, *columns, timeout=BATCH_TIMEOUT_S)

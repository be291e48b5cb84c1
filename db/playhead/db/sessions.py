"""Sessions as the state store last told them: SessionState of the core, stored and given back unchanged.

Written by the journal's batches (`journal.py`) and read as the service; that a session is the asking listener's is
checked by the use-case layer, and by row level security where `get` is given claims. A write is fenced: of two states
of a session the later one by `(epoch, revision, version)` stays, in whatever order, however often and from how many
processes they arrive; only what was listened to and played is kept from both.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from playhead.db.codecs import (
    intervals_from,
    ms_from_time,
    multirange_text,
    pairs_text,
    seqs_from,
    slots_from,
    time_from_ms,
    time_from_us,
    us_from_time,
    uuid_from,
)
from playhead.db.gathered import Gathered
from playhead.db.limits import BATCH_TIMEOUT_S, PAGE_SIZE
from playhead.db.paging import AFTER_ALL, Page, Place, decode_cursor, page, rows_wanted
from playhead.db.pool import Claims, Connection, Database
from playhead.playback.history import Move
from playhead.playback.listened import INTERVALS_MAX, longest, union, within
from playhead.playback.state import Interval, Loop, SessionState


@dataclass(frozen=True, slots=True)
class _Column:
    """`sent`: the type of the parameter; `cast`: what the statement makes of it, where that is another."""

    name: str
    sent: str
    cast: str = ""
    fixed: bool = False
    """Never changed by a later state."""
    merged: str = ""
    """What a later state makes of it, where that is not simply its own value."""

    @property
    def replacing(self) -> str:
        return self.merged or f"excluded.{self.name}"


RANGE_BYTES = 16
"""What each range of a multirange takes at least."""


def _listened(new: str, duration_ms: str) -> str:
    """What was listened to stays listened to, also when the store has lost it meanwhile; within the duration, which a
    later state may have shortened. Of more intervals than a session keeps it is the longest: what a state has forgotten
    would gather in the row for ever.
    """
    return f"""(
        select case
            when pg_column_size(heard.whole) <= {INTERVALS_MAX * RANGE_BYTES} then heard.whole
            else (
                select range_agg(kept.part)
                from (
                    select part from unnest(heard.whole) as part
                    order by upper(part) - lower(part) desc, part limit {INTERVALS_MAX}
                ) as kept
            )
        end
        from (
            select (stored.listened + {new}) * int8multirange(int8range(0, {duration_ms})) as whole offset 0
        ) as heard
    )"""


_COLUMNS = (
    _Column("id", "uuid", fixed=True),
    _Column("listener_id", "uuid", fixed=True),
    _Column("script_id", "uuid", fixed=True),
    _Column("duration_ms", "bigint"),
    _Column("epoch", "bigint"),
    _Column("revision", "bigint"),
    _Column("version", "bigint"),
    _Column("playing", "boolean"),
    _Column("position_ms", "bigint"),
    _Column("anchored_at_ms", "bigint"),
    _Column("rate", "double precision"),
    _Column("loop_start_ms", "bigint"),
    _Column("loop_end_ms", "bigint"),
    _Column("loop_enabled", "boolean"),
    _Column("mode", "text"),
    _Column("active_device_id", "text"),
    _Column("active_connection_id", "text"),
    _Column("heard_ms", "bigint"),
    _Column("heard_at_ms", "bigint"),
    _Column("listened", "text", cast="::int8multirange", merged=_listened("excluded.listened", "excluded.duration_ms")),
    _Column("report_seqs", "text", cast="::jsonb"),
    _Column("played_ms", "bigint", merged="greatest(stored.played_ms, excluded.played_ms)"),
    _Column("played_slots", "text", cast="::jsonb"),
    _Column("moved_epoch", "bigint"),
    _Column("moved_revision", "bigint"),
    _Column("sleep_at_ms", "bigint"),
    _Column("sleep_at_end_of_loop", "boolean"),
    _Column("absent_since_ms", "bigint"),
    _Column("absent_until_ms", "bigint"),
    _Column("started_at", "timestamptz", fixed=True),
    _Column("changed_at", "timestamptz"),
    _Column("ended_at", "timestamptz"),
    _Column("finished", "boolean"),
    _Column("media_version", "text"),
    _Column("longest_ms", "bigint", merged="greatest(stored.longest_ms, excluded.longest_ms)"),
)
_NAMES = ", ".join(column.name for column in _COLUMNS)
UNENDED_PREFETCH = 500
_NEWEST_FIRST = "order by started_at desc, id desc"

# States of scripts that were deleted meanwhile are left out: they must not keep the others from being stored.
UPSERT = f"""
insert into audio_sessions as stored ({_NAMES})
select {", ".join(f"new.{column.name}{column.cast}" for column in _COLUMNS)}
from unnest({", ".join(f"${number}::{column.sent}[]" for number, column in enumerate(_COLUMNS, 1))}) as new ({_NAMES})
where exists (select from audio_scripts where audio_scripts.id = new.script_id)
on conflict (id) do update set
    {", ".join(f"{column.name} = {column.replacing}" for column in _COLUMNS if not column.fixed)}
where (stored.epoch, stored.revision, stored.version) < (excluded.epoch, excluded.revision, excluded.version)
    and stored.listener_id = excluded.listener_id and stored.script_id = excluded.script_id
"""
# An older state that comes late still knows what was listened to.
KEEP_HEARD = f"""
update audio_sessions as stored
set listened = {_listened("new.listened::int8multirange", "stored.duration_ms")},
    played_ms = greatest(stored.played_ms, new.played_ms)
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) as new (id, listener_id, listened, played_ms)
where stored.id = new.id and stored.listener_id = new.listener_id
    and (not new.listened::int8multirange <@ stored.listened or new.played_ms > stored.played_ms)
"""
ANY_LATER = """
select exists (
    select from audio_sessions as stored
    join unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) as told (id, epoch, revision, version)
        on stored.id = told.id
    where (stored.epoch, stored.revision, stored.version) > (told.epoch, told.revision, told.version)
)
"""
GET = f"select {_NAMES} from audio_sessions where id = $1"
GET_OF = f"select {_NAMES} from audio_sessions where id = any($1::uuid[])"
LATEST_OF = f"""
select latest.* from unnest($1::uuid[], $2::uuid[]) as asked (listener, script)
cross join lateral (
    select {_NAMES} from audio_sessions
    where listener_id = asked.listener and script_id = asked.script {_NEWEST_FIRST} limit 1
) as latest
"""
LIST_RECENT = f"""
select {_NAMES} from audio_sessions
where listener_id = $1 and (started_at, id) < ($2, $3) {_NEWEST_FIRST} limit $4
"""
LIST_LIVE = f"""
select {_NAMES} from audio_sessions
where listener_id = $1 and (started_at, id) < ($2, $3) and ended_at is null {_NEWEST_FIRST} limit $4
"""
UNENDED = f"select {_NAMES} from audio_sessions where ended_at is null order by listener_id limit $1"
# Read once, by the only process there is, at its start: no index.
ENDINGS = """
select id, ended_at, greatest(duration_ms, longest_ms) as addressed_ms from audio_sessions
where ended_at + greatest(duration_ms, longest_ms) * interval '1 millisecond' > $1 order by ended_at desc limit $2
"""
MOVES = """
select device_id, cause, from_ms, to_ms, at, epoch, revision from audio_position_history where session_id = $1
"""


class Ending(NamedTuple):
    """That a session is over, and since when. `addressed_ms`: see SessionState."""

    session_id: str
    ended_at_ms: int
    addressed_ms: int


class SessionRepository:
    """Rows of `audio_sessions`. Every method may raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_id = Gathered(self._get_of)
        self._latest = Gathered(self._latest_of)

    async def get(self, session_id: str, *, claims: Claims | None = None) -> SessionState | None:
        """The session as last stored; with `claims`, only if it is that listener's."""
        if claims is None:
            return await self._by_id.get(uuid_from(session_id))
        async with self._database.as_user(claims) as connection:
            return _state_or_none(await connection.fetchrow(GET, session_id))

    async def latest(self, listener_id: str, script_id: str) -> SessionState | None:
        """The listener's last session of the script, live or ended: where playback resumes."""
        return await self._latest.get((uuid_from(listener_id), uuid_from(script_id)))

    async def _get_of(self, session_ids: Sequence[UUID]) -> dict[UUID, SessionState]:
        async with self._database.as_service() as connection:
            return {row["id"]: _state(row) for row in await connection.fetch(GET_OF, session_ids)}

    async def _latest_of(self, pairs: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], SessionState]:
        async with self._database.as_service() as connection:
            rows = await connection.fetch(LATEST_OF, *zip(*pairs, strict=True))
        return {(row["listener_id"], row["script_id"]): _state(row) for row in rows}

    async def unended(self, limit: int) -> AsyncGenerator[SessionState, None]:
        """At most `limit` sessions that nobody has ended, some perhaps long over. Holds a connection meanwhile."""
        async with self._database.as_service_at_once() as connection:
            async for row in connection.cursor(UNENDED, limit, prefetch=UNENDED_PREFETCH):
                yield _state(row)

    async def endings(self, heard_out_after_ms: int, limit: int) -> tuple[Ending, ...]:
        """Sessions that are over, but would have been heard out after that time; the latest `limit`, latest first."""
        async with self._database.as_service_batch() as connection:
            rows = await connection.fetch(ENDINGS, time_from_ms(heard_out_after_ms), limit)
        return tuple(Ending(str(row["id"]), ms_from_time(row["ended_at"]), row["addressed_ms"]) for row in rows)

    async def moves(self, session_id: str) -> tuple[Move, ...]:
        """The session's moves and refused places that are kept, newest first."""
        async with self._database.as_service() as connection:
            rows = await connection.fetch(MOVES, session_id)
        moves = [_move(row) for row in rows]
        return tuple(sorted(moves, key=lambda move: (move.at_ms, move.epoch, move.revision), reverse=True))

    async def list_of(
        self, listener_id: str, *, live: bool = False, limit: int = PAGE_SIZE, cursor: str | None = None
    ) -> Page[SessionState]:
        """The listener's sessions, latest started first; `live`: only those that have not ended.

        Raises InvalidValue for a wrong limit or cursor.
        """
        wanted = rows_wanted(limit)
        after = decode_cursor(cursor) if cursor else AFTER_ALL
        statement = LIST_LIVE if live else LIST_RECENT
        async with self._database.as_service() as connection:
            rows = await connection.fetch(statement, listener_id, time_from_us(after.key), after.row_id, wanted)
        return page([_state(row) for row in rows], limit, place_of)


async def upsert(connection: Connection, states: Iterable[SessionState]) -> int:
    """Stores each state that is later than the stored one; answers how many were. Belongs into a transaction.

    Not counted: older states, of which only what was listened to and played is kept, and those of deleted scripts.
    """
    latest = merged(states)
    columns = (list(column) for column in zip(*map(_values, latest), strict=True))
    tag = await connection.execute(UPSERT, *columns, timeout=BATCH_TIMEOUT_S)
    written = int(tag.rpartition(" ")[2])
    if written < len(latest):
        heard = [(row.session_id, row.listener_id, multirange_text(row.listened), row.played_ms) for row in latest]
        await connection.execute(KEEP_HEARD, *map(list, zip(*heard, strict=True)), timeout=BATCH_TIMEOUT_S)
    return written


async def any_later(connection: Connection, states: Iterable[SessionState]) -> bool:
    """Whether a later state than the latest of these is stored of one of their sessions."""
    rows = [(state.session_id, *state.order, state.version) for state in merged(states)]
    later: bool = await connection.fetchval(ANY_LATER, *map(list, zip(*rows, strict=True)), timeout=BATCH_TIMEOUT_S)
    return later


def merged(states: Iterable[SessionState]) -> list[SessionState]:
    """The latest state of each session, with what any of its states has listened to and played; ordered by id.

    A statement refuses one row twice, and one order of locks for all writers keeps them from deadlocks.
    """
    latest: dict[str, SessionState] = {}
    heard: dict[str, set[tuple[Interval, ...]]] = {}
    played_ms: dict[str, int] = {}
    for state in states:
        session_id = state.session_id
        known = latest.get(session_id)
        if known is None or (known.order, known.version) < (state.order, state.version):
            latest[session_id] = state
        heard.setdefault(session_id, set()).add(state.listened)
        played_ms[session_id] = max(state.played_ms, played_ms.get(session_id, 0))
    return [_with(latest[key], heard[key], played_ms[key]) for key in sorted(latest)]


def _with(state: SessionState, heard: set[tuple[Interval, ...]], played_ms: int) -> SessionState:
    if len(heard) == 1 and state.played_ms == played_ms:
        return state
    listened = union((), (interval for listened in heard for interval in listened))
    return replace(state, listened=within(listened, state.duration_ms), played_ms=played_ms)


def _values(state: SessionState) -> tuple[object, ...]:
    """In the order of `_COLUMNS`."""
    loop = state.loop
    return (
        state.session_id,
        state.listener_id,
        state.script_id,
        state.duration_ms,
        state.epoch,
        state.revision,
        state.version,
        state.playing,
        state.position_ms,
        state.anchored_at_ms,
        state.rate,
        loop and loop.start_ms,
        loop and loop.end_ms,
        loop is not None and loop.enabled,
        state.mode,
        state.active_device_id,
        state.active_connection_id,
        state.heard_ms,
        state.heard_at_ms,
        multirange_text(state.listened),
        pairs_text(state.report_seqs),
        state.played_ms,
        pairs_text(state.played_slots),
        *state.moved,
        state.sleep_at_ms,
        state.sleep_at_end_of_loop,
        state.absent_since_ms,
        state.absent_until_ms,
        time_from_ms(state.started_at_ms),
        time_from_ms(state.changed_at_ms),
        None if state.ended_at_ms is None else time_from_ms(state.ended_at_ms),
        state.finished,
        state.media_version,
        state.longest_ms,
    )


def _state(row: Any) -> SessionState:
    start_ms, end_ms, ended_at = row["loop_start_ms"], row["loop_end_ms"], row["ended_at"]
    return SessionState(
        session_id=str(row["id"]),
        listener_id=str(row["listener_id"]),
        script_id=str(row["script_id"]),
        duration_ms=row["duration_ms"],
        epoch=row["epoch"],
        revision=row["revision"],
        version=row["version"],
        playing=row["playing"],
        position_ms=row["position_ms"],
        anchored_at_ms=row["anchored_at_ms"],
        rate=row["rate"],
        loop=None if start_ms is None else Loop(start_ms=start_ms, end_ms=end_ms, enabled=row["loop_enabled"]),
        mode=row["mode"],
        active_device_id=row["active_device_id"],
        active_connection_id=row["active_connection_id"],
        heard_ms=row["heard_ms"],
        heard_at_ms=row["heard_at_ms"],
        listened=longest(intervals_from(row["listened"])),
        report_seqs=seqs_from(row["report_seqs"]),
        played_ms=row["played_ms"],
        played_slots=slots_from(row["played_slots"]),
        moved=(row["moved_epoch"], row["moved_revision"]),
        sleep_at_ms=row["sleep_at_ms"],
        sleep_at_end_of_loop=row["sleep_at_end_of_loop"],
        absent_since_ms=row["absent_since_ms"],
        absent_until_ms=row["absent_until_ms"],
        started_at_ms=ms_from_time(row["started_at"]),
        changed_at_ms=ms_from_time(row["changed_at"]),
        ended_at_ms=None if ended_at is None else ms_from_time(ended_at),
        finished=row["finished"],
        media_version=row["media_version"],
        longest_ms=row["longest_ms"],
    )


def _move(row: Any) -> Move:
    return Move(
        cause=row["cause"],
        from_ms=row["from_ms"],
        to_ms=row["to_ms"],
        device_id=row["device_id"],
        at_ms=ms_from_time(row["at"]),
        epoch=row["epoch"],
        revision=row["revision"],
    )


def _state_or_none(row: "asyncpg.Record | None") -> SessionState | None:
    return None if row is None else _state(row)


def place_of(state: SessionState) -> Place:
    return Place(us_from_time(time_from_ms(state.started_at_ms)), state.session_id)

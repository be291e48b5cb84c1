"""What a listener has listened to: sessions of the past and of now, and played time by day of the listener's zone.

PostgreSQL knows it, as late as the flusher is; what the state store knows better of live sessions stands in front.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from playhead.db import Claims, Page, Played
from playhead.db.paging import encode_cursor
from playhead.db.sessions import place_of
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.store import SessionStore

DAYS_MAX = 366
"""Days in one answer."""


class SessionRows(Protocol):
    async def list_of(self, listener_id: str, *, limit: int, cursor: str | None) -> Page[SessionState]:
        """The listener's sessions, latest started first. May raise DatabaseUnavailable and InvalidValue."""
        ...


class PlayedRows(Protocol):
    async def played(self, claims: Claims, starts_s: Sequence[int]) -> Played:
        """Sums by day, of which `starts_s` has the beginnings and the last one's end. May raise DatabaseUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One session in a list. `live`: the next command may be for it."""

    state: SessionState
    live: bool


class Listening:
    """StoreUnavailable and DatabaseUnavailable pass through, and InvalidValue for a wrong cursor."""

    def __init__(self, store: SessionStore, sessions: SessionRows, played: PlayedRows, clock: Clock) -> None:
        self._store = store
        self._sessions = sessions
        self._played = played
        self._clock = clock

    async def sessions(self, listener_id: str, limit: int, cursor: str | None = None) -> Page[Listed]:
        """The listener's sessions, latest started first, as they are now."""
        rows = await self._sessions.list_of(listener_id, limit=limit, cursor=cursor)
        live = {state.session_id: state for state in (await self._store.live(listener_id)).states}
        known = {row.session_id: await self._newest(row, live) for row in rows.items}
        if cursor is None:
            known |= _not_yet_stored(live, rows)
        ordered = sorted(known.values(), key=_order, reverse=True)
        cut = len(ordered) > limit
        items = tuple(Listed(state=state, live=self._alive(state, live)) for state in ordered[:limit])
        return Page(items, encode_cursor(place_of(items[-1].state)) if cut else rows.next_cursor)

    async def _newest(self, row: SessionState, live: dict[str, SessionState]) -> SessionState:
        """The row, or what the store has of the session: also for the while after its end."""
        stored = live.get(row.session_id)
        if stored is None and self._alive(row, live):
            found = (await self._store.load(row.listener_id, row.session_id)).states
            stored = found[0] if found else None
        return row if stored is None or _version(stored) < _version(row) else stored

    def _alive(self, state: SessionState, live: dict[str, SessionState]) -> bool:
        if state.session_id in live:
            return True
        return state.ended_at_ms is None and self._clock.now_ms() - state.changed_at_ms < IDLE_END_MS

    async def played(self, claims: Claims, zone: ZoneInfo, first: date, last: date) -> Played:
        """Played time of each day from `first` to `last`, both included."""
        return await self._played.played(claims, day_starts(zone, first, last))


def _not_yet_stored(live: dict[str, SessionState], rows: Page[SessionState]) -> dict[str, SessionState]:
    """Live sessions that belong on the first page and are on their way to PostgreSQL."""
    listed = {row.session_id for row in rows.items}
    after = _order(rows.items[-1]) if rows.next_cursor is not None else (-1, "")
    return {key: state for key, state in live.items() if key not in listed and _order(state) > after}


def _order(state: SessionState) -> tuple[int, str]:
    return (state.started_at_ms, state.session_id)


def _version(state: SessionState) -> tuple[int, int, int]:
    return (*state.order, state.version)


def day_starts(zone: ZoneInfo, first: date, last: date) -> list[int]:
    """Where each day from `first` to `last` begins, and the last one ends, in seconds since the Unix epoch.

    A day begins with the first moment that has its date: where the clocks are put forward at midnight, that is later
    than 0:00, which does not exist then.
    """
    days = (last - first).days + 2
    return [_start_s(zone, first + timedelta(days=number)) for number in range(days)]


def _start_s(zone: ZoneInfo, day: date) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return round((midnight.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())

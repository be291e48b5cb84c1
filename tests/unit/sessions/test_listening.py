"""Days of a time zone, and sessions as they are now in front of how they were stored."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead.db import Claims, Page, Played
from playhead.db.paging import decode_cursor, encode_cursor
from playhead.db.sessions import place_of
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.state import SessionState
from playhead.sessions.listening import Listening, day_starts
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.store import Change, Committed
from tests.support.sessions import SetClock, new_id
from tests.support.states import LISTENER_ID, NOW_MS, make_state

ZONES = sorted(name for name in available_timezones() if "/" in name)


@given(st.sampled_from(ZONES), st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_a_day_begins_with_its_first_moment_and_days_follow_each_other(zone_name: str, day: date) -> None:
    zone = ZoneInfo(zone_name)
    starts = day_starts(zone, day, day + timedelta(days=2))
    assert len(starts) == 4 and starts == sorted(starts)
    for start_s, next_s, expected in zip(starts, starts[1:], (day, day + timedelta(days=1)), strict=False):
        if start_s == next_s:
            continue  # a day that this zone has left out
        assert datetime.fromtimestamp(start_s, zone).date() == expected
        assert datetime.fromtimestamp(start_s - 1, zone).date() < expected
        assert start_s % 900 == 0, "quarters of an hour fall into days"


def test_a_day_may_have_23_or_25_hours() -> None:
    hours = [
        (end_s - start_s) // 3600
        for start_s, end_s in (
            day_starts(ZoneInfo("Europe/Berlin"), day, day)
            for day in (date(2026, 3, 29), date(2026, 10, 25), date(2026, 11, 1))
        )
    ]
    assert hours == [23, 25, 24]


def test_the_days_of_utc_begin_at_midnight() -> None:
    (start_s, _) = day_starts(ZoneInfo("UTC"), date(2026, 11, 1), date(2026, 11, 1))
    assert datetime.fromtimestamp(start_s, UTC) == datetime(2026, 11, 1, tzinfo=UTC)


class Rows:
    """The listener's stored sessions."""

    def __init__(self, *states: SessionState) -> None:
        self.states = list(states)

    async def list_of(self, listener_id: str, *, limit: int, cursor: str | None) -> Page[SessionState]:
        ordered = sorted(self.states, key=lambda state: (state.started_at_ms, state.session_id), reverse=True)
        if cursor is not None:
            after = decode_cursor(cursor)
            places = [(place.key, place.row_id) for place in map(place_of, ordered)]
            ordered = [row for row, place in zip(ordered, places, strict=True) if place < (after.key, after.row_id)]
        more = len(ordered) > limit
        return Page(tuple(ordered[:limit]), encode_cursor(place_of(ordered[limit - 1])) if more else None)

    async def played(self, claims: Claims, starts_s: Sequence[int]) -> Played:
        raise AssertionError("not asked for here")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(clock: SetClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def listening(store: MemoryStore, rows: Rows, clock: SetClock) -> Listening:
    return Listening(store, rows, rows, clock)


def state(number: int, **fields: object) -> SessionState:
    """A session of a script of its own, started later the higher the number."""
    return make_state(session_id=new_id(), script_id=new_id(), started_at_ms=NOW_MS + number, version=1, **fields)


async def keep(store: MemoryStore, *states: SessionState) -> None:
    for row in states:
        change = Change(after=row, expected_version=None)
        assert await store.commit(LISTENER_ID, 1, [change], []) is Committed.DONE


async def listed(listening: Listening, limit: int = 50, cursor: str | None = None) -> list[tuple[SessionState, bool]]:
    page = await listening.sessions(LISTENER_ID, limit, cursor)
    return [(item.state, item.live) for item in page.items]


async def test_a_live_session_is_shown_as_the_store_has_it(
    listening: Listening, store: MemoryStore, rows: Rows
) -> None:
    stored = state(1)
    later = replace(stored, revision=stored.revision + 1, version=2)
    rows.states = [stored]
    await keep(store, later)
    assert await listed(listening) == [(later, True)]


async def test_a_row_that_is_later_than_the_store_is_shown(
    listening: Listening, store: MemoryStore, rows: Rows
) -> None:
    """The store has lost its last seconds."""
    lost = state(1)
    rows.states = [replace(lost, revision=lost.revision + 1)]
    await keep(store, lost)
    assert [row for row, _ in await listed(listening)] == rows.states


async def test_a_session_that_has_just_ended_is_not_live_any_more_before_its_row_says_so(
    listening: Listening, store: MemoryStore, rows: Rows
) -> None:
    stored = state(1, playing=False)
    ended = replace(stored, version=2, ended_at_ms=NOW_MS)
    rows.states = [stored]
    await keep(store, ended)
    assert await listed(listening) == [(ended, False)]


async def test_a_session_that_the_store_has_lost_is_live_while_it_could_come_back(
    listening: Listening, rows: Rows, clock: SetClock
) -> None:
    rows.states = [state(1)]
    clock.time_ms = rows.states[0].changed_at_ms + IDLE_END_MS - 1
    assert await listed(listening) == [(rows.states[0], True)]
    clock.advance(1)
    assert await listed(listening) == [(rows.states[0], False)]


async def test_sessions_on_their_way_to_postgresql_stand_on_the_first_page(
    listening: Listening, store: MemoryStore, rows: Rows
) -> None:
    rows.states = [state(number) for number in (1, 2, 4)]
    young, newest = state(3), state(9)
    await keep(store, young, newest)
    expected = [newest, rows.states[2], young, rows.states[1], rows.states[0]]
    assert [row for row, _ in await listed(listening)] == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_pages_follow_each_other_without_a_gap_once_all_is_stored(
    listening: Listening, store: MemoryStore, rows: Rows, limit: int
) -> None:
    """What a full first page has pushed out comes with the next one."""
    everything = [state(number) for number in range(6)]
    live = [everything[1], everything[5]]
    await keep(store, *live)
    rows.states = [row for row in everything if row is not everything[5]]
    first = await listening.sessions(LISTENER_ID, limit)
    rows.states = everything
    found, cursor = [item.state for item in first.items], first.next_cursor
    while cursor is not None:
        page = await listening.sessions(LISTENER_ID, limit, cursor)
        assert len(page.items) <= limit
        found, cursor = [*found, *(item.state for item in page.items)], page.next_cursor
    assert found == everything[::-1]

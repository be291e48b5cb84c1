"""Played time by day: quarters of an hour fall into days, stretches are divided at midnight, nothing counts twice."""

from collections.abc import Awaitable, Callable
from datetime import date
from zoneinfo import ZoneInfo

import pytest

from playhead.db.journal import JournalRepository
from playhead.db.listening import SLOT_S, ListeningRepository, Played, PlayedDay
from playhead.db.pool import Claims, Database
from playhead.db.scripts import ScriptRepository
from playhead.sessions.listening import day_starts
from tests.integration.db.rows import Stretch, entry, listener, session, stretch, uploaded

BERLIN, UTC = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
NOV = date(2026, 11, 1)
MIDNIGHT_S = day_starts(UTC, NOV, NOV)[0]
MIDNIGHT_MS = MIDNIGHT_S * 1_000
HOUR_MS = 3_600_000

Play = Callable[..., Awaitable[None]]


@pytest.fixture
def claims() -> Claims:
    return listener()


@pytest.fixture
async def script_id(scripts: ScriptRepository) -> str:
    return (await uploaded(scripts)).script_id


@pytest.fixture
def play(journal: JournalRepository, claims: Claims, script_id: str) -> Play:
    """`play({slot: ms, …}, stretch…)`: in a session of its own."""

    async def run(slots: dict[int, int], *stretches: Stretch) -> None:
        state = session(script_id, listener_id=claims["sub"], played_slots=tuple(slots.items()))
        await journal.store([entry(state, offline=stretches)])

    return run


@pytest.fixture
def days(database: Database, claims: Claims) -> Callable[..., Awaitable[Played]]:
    async def run(first: date = NOV, last: date = NOV, zone: ZoneInfo = UTC) -> Played:
        return await ListeningRepository(database).played(claims, day_starts(zone, first, last))

    return run


Days = Callable[..., Awaitable[Played]]


def offline(
    began_ms: int, ended_ms: int, *, audio_ms: int | None = None, told_ms: int = 0, device: str = "p"
) -> Stretch:
    """A stretch at a time after midnight; of as much audio as time passed, unless told otherwise."""
    return stretch(
        device_id=device,
        end_ms=ended_ms - began_ms if audio_ms is None else audio_ms,
        told_at_ms=told_ms or began_ms,
        started_at_ms=MIDNIGHT_MS + began_ms,
        ended_at_ms=MIDNIGHT_MS + ended_ms,
    )


async def test_a_day_without_anything_is_nought(days: Days) -> None:
    found = await days(NOV, date(2026, 11, 30))
    assert found == Played(days=(PlayedDay(),) * 30, scripts=0)


async def test_slots_are_added_up_over_sessions_in_the_day_they_lie_in(days: Days, play: Play) -> None:
    first_slot = MIDNIGHT_S // SLOT_S
    await play({first_slot - 1: 1, first_slot: 10, first_slot + 95: 100, first_slot + 96: 1_000})
    await play({first_slot: 5})
    found = await days(NOV, date(2026, 11, 2))
    assert [day.online_ms for day in found.days] == [115, 1_000]
    assert found.scripts == 1


@pytest.mark.parametrize(
    ("zone", "day", "slots"),
    [
        ("Europe/Berlin", date(2026, 11, 1), 96),
        ("Europe/Berlin", date(2026, 10, 25), 100),
        ("Europe/Berlin", date(2026, 3, 29), 92),
        ("Asia/Kolkata", date(2026, 11, 1), 96),
        ("Asia/Kathmandu", date(2026, 11, 1), 96),
        ("Australia/Lord_Howe", date(2026, 10, 4), 94),
        ("America/Havana", date(2026, 3, 8), 92),
        ("America/Havana", date(2026, 11, 1), 100),
        ("Pacific/Apia", date(2011, 12, 30), 0),
    ],
)
async def test_a_day_has_the_slots_of_its_zone_and_no_other(
    days: Days, play: Play, zone: str, day: date, slots: int
) -> None:
    """25 hours when the clocks go back, 23 when they go forward, also where midnight itself is left out or comes twice;
    and in one zone a day that never was."""
    start_s, end_s = day_starts(ZoneInfo(zone), day, day)
    assert (end_s - start_s, start_s % SLOT_S) == (slots * SLOT_S, 0)
    around = range(start_s // SLOT_S - 4, end_s // SLOT_S + 4)
    await play(dict.fromkeys(around, 1))
    assert [row.online_ms for row in (await days(day, day, ZoneInfo(zone))).days] == [slots]


async def test_a_stretch_over_midnight_is_divided_by_time(days: Days, play: Play) -> None:
    await play({}, offline(23 * HOUR_MS, 26 * HOUR_MS, audio_ms=900))
    found = await days(date(2026, 10, 31), date(2026, 11, 3))
    assert [day.offline_ms for day in found.days] == [0, 300, 600, 0]
    only_the_second = await days(date(2026, 11, 2), date(2026, 11, 2))
    assert [day.offline_ms for day in only_the_second.days] == [600]


async def test_offline_and_online_are_told_apart(days: Days, play: Play) -> None:
    await play({MIDNIGHT_S // SLOT_S: 7}, offline(0, HOUR_MS))
    assert (await days()).days == (PlayedDay(online_ms=7, offline_ms=HOUR_MS),)


async def test_two_devices_may_play_at_once_but_one_cannot(days: Days, play: Play) -> None:
    await play({}, offline(0, HOUR_MS), offline(0, HOUR_MS, device="q"))
    assert (await days()).days == (PlayedDay(offline_ms=2 * HOUR_MS),)
    await play({}, offline(0, HOUR_MS // 2, told_ms=1), offline(HOUR_MS // 2, HOUR_MS, told_ms=2))
    assert (await days()).days == (PlayedDay(offline_ms=2 * HOUR_MS),), "the same hour, told in halves"


async def test_a_stretch_whose_times_were_no_use_counts_in_the_moment_it_was_told(days: Days, play: Play) -> None:
    """Its clock ran ahead, so both times were brought back to the moment of the report."""
    await play({}, offline(5, 5, audio_ms=60_000))
    await play({}, offline(24 * HOUR_MS, 24 * HOUR_MS, audio_ms=1_000))
    found = await days(NOV, date(2026, 11, 2))
    assert [day.offline_ms for day in found.days] == [60_000, 1_000]


async def test_a_listener_reads_own_days_alone(database: Database, play: Play) -> None:
    await play({MIDNIGHT_S // SLOT_S: 7}, offline(0, HOUR_MS))
    found = await ListeningRepository(database).played(listener(), day_starts(UTC, NOV, NOV))
    assert found == Played(days=(PlayedDay(),), scripts=0)

"""What a listener has played, by day: sums over quarters of an hour and over what was played without a connection.

Days come as the instants at which they begin, so PostgreSQL needs no time zone. A stretch that was played without a
connection and runs over midnight is divided by time. Where a device tells of two stretches at once, which nobody can
have heard, each counts in part: together they are no longer than the time that passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from playhead.db.codecs import time_from_ms
from playhead.db.pool import Claims, Database

SLOT_S = 15 * 60

# Under the listener's policy, as all of this.
PLAYED = """
select width_bucket(slot, $1::integer[]) as day, sum(played_ms)::bigint as ms
from audio_listening
where slot >= $2 and slot < $3
group by 1
"""
PLAYED_OFFLINE = """
with parts as (
    select
        device_id,
        day,
        greatest(started_at, ($1::timestamptz[])[day]) as begun,
        least(ended_at, ($1::timestamptz[])[day + 1]) as done,
        ended_at - started_at as whole,
        end_ms - start_ms as ms
    from audio_offline_intervals, lateral generate_series(
        greatest(width_bucket(started_at, $1::timestamptz[]), 1),
        least(width_bucket(ended_at, $1::timestamptz[]), cardinality($1::timestamptz[]) - 1)
    ) as day
    where ended_at >= $2 and started_at < $3
),
devices as (
    select
        day,
        sum(case
            when whole > interval '0' then ms * extract(epoch from done - begun) / extract(epoch from whole)
            else ms
        end) as ms,
        extract(epoch from sum(done - begun)) as told_s,
        range_agg(tstzrange(begun, done)) as spans
    from parts
    group by day, device_id
)
select day, sum(
    case when told_s > 0
        then ms * (select extract(epoch from sum(upper(span) - lower(span))) from unnest(spans) as span) / told_s
        else ms end
)::bigint as ms
from devices
group by day
"""
SCRIPTS = """
select count(*) from (
    select script_id from audio_listening where slot >= $1 and slot < $2 and played_ms > 0
    union
    select script_id from audio_offline_intervals where ended_at >= $3 and started_at < $4
) as played
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedDay:
    """Milliseconds of audio that were played, repeats included; `offline_ms`: without a connection, on top of these."""

    online_ms: int = 0
    offline_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """`days`: one row per day that was asked for; `scripts`: how many different ones were played in them."""

    days: tuple[PlayedDay, ...]
    scripts: int


class ListeningRepository:
    """Sums of `audio_listening` and `audio_offline_intervals`. Every method may raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def played(self, claims: Claims, starts_s: Sequence[int]) -> Played:
        """`starts_s`: where each day begins and the last one ends, in seconds since the Unix epoch, ascending."""
        slots = [start_s // SLOT_S for start_s in starts_s]
        times = [time_from_ms(start_s * 1_000) for start_s in starts_s]
        first_slot, last_slot, begin, end = slots[0], slots[-1], times[0], times[-1]
        async with self._database.as_user(claims) as connection:
            online = {row["day"]: row["ms"] for row in await connection.fetch(PLAYED, slots, first_slot, last_slot)}
            offline = {row["day"]: row["ms"] for row in await connection.fetch(PLAYED_OFFLINE, times, begin, end)}
            scripts: int = await connection.fetchval(SCRIPTS, first_slot, last_slot, begin, end)
        days = range(1, len(starts_s))
        return Played(
            days=tuple(PlayedDay(online_ms=online.get(day, 0), offline_ms=offline.get(day, 0)) for day in days),
            scripts=scripts,
        )

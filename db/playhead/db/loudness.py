"""Whose loudness is still to be measured, and what it came to. As the service.

    take → hold, again and again → measured            once for each media version
           its holder dies: after the hold another one takes it, LOUDNESS_ATTEMPTS_MAX times in all
           its holder stops, cannot read the source now, or has its ffmpeg killed: give_back, not counted

Only scripts whose beginning is encoded are taken: what somebody waits for goes first.
"""

from dataclasses import dataclass

from playhead.db.limits import LOUDNESS_ATTEMPTS_MAX
from playhead.db.pool import ServiceDatabase
from playhead.media import Loudness


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """A script in the hands of one who measures it. `attempt` counts this time too."""

    script_id: str
    media_version: str
    source_key: str
    attempt: int


TAKE = f"""
update audio_scripts
set loudness_attempts = loudness_attempts + 1, loudness_held_until = now() + make_interval(secs => $1)
where id = (
    select id from audio_scripts
    where integrated_lufs is null and loudness_attempts < {LOUDNESS_ATTEMPTS_MAX} and status in ('processing', 'ready')
      and progress > 0 and (loudness_held_until is null or loudness_held_until < now())
    order by created_at desc limit 1
    for update skip locked
)
returning id, media_version, source_key, loudness_attempts
"""
_STILL_HELD = "id = $1 and media_version = $2 and loudness_attempts = $3 and integrated_lufs is null"
_HOLD = f"""
update audio_scripts set loudness_held_until = now() + make_interval(secs => $4) where {_STILL_HELD} returning true
"""
_GIVE_BACK = f"""
update audio_scripts
set loudness_attempts = loudness_attempts - 1, loudness_held_until = now() + make_interval(secs => $4)
where {_STILL_HELD} returning true
"""
# whoever has measured the version: all come to the same
_MEASURED = """
update audio_scripts set integrated_lufs = $3, true_peak_dbtp = $4, loudness_held_until = null
where id = $1 and media_version = $2 and integrated_lufs is null returning true
"""


class LoudnessRepository:
    """What of `audio_scripts` is about loudness. Every method may raise DatabaseUnavailable."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    async def take(self, hold_s: float) -> Unmeasured | None:
        """The newest script that nobody measures, held for so long; None: there is none."""
        async with self._database.as_service() as connection:
            row = await connection.fetchrow(TAKE, hold_s)
        if row is None:
            return None
        return Unmeasured(
            script_id=str(row["id"]),
            media_version=row["media_version"],
            source_key=row["source_key"],
            attempt=row["loudness_attempts"],
        )

    async def hold(self, taken: Unmeasured, hold_s: float) -> bool:
        """Holds it for so long from now on. False: it is another one's, or there is nothing to measure any more."""
        return await self._move(_HOLD, taken, taken.attempt, hold_s)

    async def give_back(self, taken: Unmeasured, hold_s: float = 0.0) -> bool:
        """Lets anybody take it after `hold_s`; the attempt does not count."""
        return await self._move(_GIVE_BACK, taken, taken.attempt, hold_s)

    async def measured(self, taken: Unmeasured, loudness: Loudness) -> bool:
        """False: it is known already, or the script has another file now."""
        return await self._move(_MEASURED, taken, loudness.integrated_lufs, loudness.true_peak_dbtp)

    async def _move(self, statement: str, taken: Unmeasured, *values: float) -> bool:
        async with self._database.as_service() as connection:
            return bool(await connection.fetchval(statement, taken.script_id, taken.media_version, *values))

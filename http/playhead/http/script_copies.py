"""What media are served from: copies of scripts' rows, for a second each, and for as long as PostgreSQL is away.

Owns: the copies of this process, and when PostgreSQL is asked again. Must not know: who may ask.

    younger than COPY_MS            answered
    older                           PostgreSQL is asked, once for all who want that row
    older, and PostgreSQL is away   answered all the same; one request tries again every TRY_AGAIN_MS, no other waits

What is served of a version never changes but for whether it is there. So with PostgreSQL away a script that was deleted
in the meantime stays open, at most until it is back. A copy's age has no limit of its own: no address is signed without
PostgreSQL, and each ends by itself, after the script's length and 12 h.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from playhead.cache import BoundedMap, Flights
from playhead.db import DatabaseUnavailable, Script
from playhead.runtime.clock import Clock

COPY_MS = 1_000
COPIES_MAX = 10_000
"""Of a process, some 15 MB; those that were asked for longest ago go first."""
TRY_AGAIN_MS = 5_000
"""As long as a PostgreSQL that neither answers nor refuses keeps one request waiting."""

log = structlog.get_logger(__name__)

Read = Callable[[str, str], Awaitable[Script | None]]
"""The script with that version of its media. May raise DatabaseUnavailable."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """`script` None: there is none of that version."""

    script: Script | None
    until_ms: int


class ScriptCopies:
    """`version` answers as `read` does, from copies where that will do."""

    def __init__(self, read: Read, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._copies: BoundedMap[tuple[str, str], _Copy] = BoundedMap(COPIES_MAX, 0, lambda _copy: 0)
        self._flights: Flights[Script | None] = Flights()
        self._try_again_ms: int | None = None
        """None: PostgreSQL answers."""

    async def version(self, script_id: str, media_version: str) -> Script | None:
        """The script as it is, or was, with that version.

        Raises DatabaseUnavailable where PostgreSQL is away and this process has never looked that version up.
        """
        version, now_ms = (script_id, media_version), self._clock.now_ms()
        kept = self._copies.get(version)
        if kept is not None and now_ms < max(kept.until_ms, self._try_again_ms or 0):
            return kept.script
        if self._try_again_ms is not None:
            # tries for all: who has a copy need not wait for what comes of it
            self._try_again_ms = now_ms + TRY_AGAIN_MS
        try:
            script = await self._flights.join(version, lambda: self._read(script_id, media_version))
        except DatabaseUnavailable as error:
            self._note_away(error)
            if kept is None:
                raise
            return kept.script
        self._try_again_ms = None
        self._copies.put(version, _Copy(script, now_ms + COPY_MS))
        return script

    def _note_away(self, error: DatabaseUnavailable) -> None:
        if self._try_again_ms is None:
            log.warning("Media are served from copies of rows.", action="media_from_copies", error=str(error))
        self._try_again_ms = self._clock.now_ms() + TRY_AGAIN_MS

"""What may be played: a script as PostgreSQL has it now, for those who cannot wait for that for long."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from playhead.db import DatabaseUnavailable, Script
from playhead.playback.state import Media

LOOK_UP_TIMEOUT_S = 0.3
"""How long a `play` may wait for what it can do without: the script's present file, and the stream's address."""


class Scripts(Protocol):
    """What may be played. May raise DatabaseUnavailable."""

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        """The script, if these claims may hear it."""
        ...


async def look_up(scripts: Scripts, claims: Mapping[str, str], script_id: str) -> Script | None:
    """The script, soon. Raises DatabaseUnavailable where PostgreSQL does not answer in LOOK_UP_TIMEOUT_S."""
    # not cancelled when it is late: that would take as long as PostgreSQL takes to hear of it
    looking = asyncio.ensure_future(scripts.get(claims, script_id))
    looking.add_done_callback(_look_at)
    await asyncio.wait({looking}, timeout=LOOK_UP_TIMEOUT_S)
    if not looking.done():
        raise DatabaseUnavailable(f"PostgreSQL has not answered for {LOOK_UP_TIMEOUT_S:g} s.")
    return looking.result()


def media_of(script: Script) -> Media | None:
    """The file that the script has; None: it has none that can be played."""
    if script.duration_ms <= 0 or script.status == "failed":
        return None
    return Media(version=script.media_version, duration_ms=script.duration_ms)


def _look_at(looking: "asyncio.Future[Script | None]") -> None:
    """An error that nobody waits for any more is no news."""
    if not looking.cancelled():
        looking.exception()

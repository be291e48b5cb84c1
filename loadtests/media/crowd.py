"""Many who come within seconds, each to a random place of a script of its own that nobody has encoded, and listen on.

Each fetches as a player does: one segment after the other until BUFFER_S are in hand, and then as they are played.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.media.firsts import random_segment
from loadtests.media.listener import SEGMENT_S, Answers, Listener, NotPlayed, listening
from loadtests.media.place import Place
from playhead.db import Script

ARRIVE_S = 10.0
LISTEN_S = 20.0
"""How long each listens."""
BUFFER_S = 30.0


@dataclass(slots=True, kw_only=True)
class Crowd:
    """What they saw. `segment_ms`: until a segment was there, refusals included; `first_ms`: until each one played."""

    listeners: int
    first_ms: list[float] = field(default_factory=list)
    segment_ms: list[float] = field(default_factory=list)
    stalled_ms: list[float] = field(default_factory=list)
    """Of each who began to play: how long the sound stood still."""
    answers: Answers = field(default_factory=Answers)
    failed: list[str] = field(default_factory=list)
    """Of those who gave up, why."""


async def crowd(
    place: Place, kinds: Sequence[str], listeners: int, chance: random.Random, listen_s: float = LISTEN_S
) -> Crowd:
    """They come evenly within ARRIVE_S."""
    scripts = [await place.fresh(kinds[number % len(kinds)]) for number in range(listeners)]
    seen = Crowd(listeners=listeners)
    await place.idle()

    async def come(number: int, script: Script) -> None:
        await asyncio.sleep(number * ARRIVE_S / listeners)
        try:
            async with listening(place, seen.answers) as listener:
                await _listen(listener, script, random_segment(script, chance), seen, listen_s)
        except NotPlayed as error:
            seen.failed.append(str(error))

    await asyncio.gather(*(come(number, script) for number, script in enumerate(scripts)))
    return seen


async def _listen(listener: Listener, script: Script, segment: int, seen: Crowd, listen_s: float) -> None:
    began_s = time.monotonic()
    playlist = await listener.tune_in(script.script_id)
    buffer = Buffer()
    while time.monotonic() < began_s + listen_s and segment < len(playlist.segments):
        asked_s = time.monotonic()
        await listener.segment(playlist, segment)
        now_s = time.monotonic()
        seen.segment_ms.append((now_s - asked_s) * 1_000)
        if not buffer.filled:
            seen.first_ms.append((now_s - began_s) * 1_000)
        buffer.fill(now_s)
        segment += 1
        await asyncio.sleep(buffer.full_for_s(time.monotonic()))
    seen.stalled_ms.append(buffer.stalled_s * 1_000)


@dataclass(slots=True)
class Buffer:
    """What a player has in hand, and how long it had nothing. Times in seconds of one clock."""

    stalled_s: float = 0.0
    filled: int = 0
    _empty_at_s: float = 0.0

    def fill(self, now_s: float) -> None:
        """A segment more; the first one starts the sound."""
        if self.filled:
            self.stalled_s += max(0.0, now_s - self._empty_at_s)
        self._empty_at_s = max(now_s, self._empty_at_s) + SEGMENT_S
        self.filled += 1

    def full_for_s(self, now_s: float) -> float:
        """How long nothing more is fetched."""
        return max(0.0, self._empty_at_s - now_s - (BUFFER_S - SEGMENT_S))

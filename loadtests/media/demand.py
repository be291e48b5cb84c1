"""Places that nobody has encoded, asked for by few clients all the time: how many a second are there?"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.media.firsts import SEEK_FIRST_SEGMENT
from loadtests.media.listener import Answers, Listener, NotPlayed, listening
from loadtests.media.place import Place
from playhead.db import Script
from playhead.media import SEGMENT_SAMPLES

APART_SEGMENTS = 10
"""How far two places of a script lie apart: what is encoded ahead for the one is none of the other."""
STEP_SEGMENTS = 15
SCRIPTS_A_CLIENT = 5


@dataclass(slots=True, kw_only=True)
class Loop:
    """So many clients for so long. `times_ms`: of a segment, refusals included."""

    clients: int
    seconds: float = 0.0
    times_ms: list[float] = field(default_factory=list)
    failed: int = 0
    answers: Answers = field(default_factory=Answers)

    @property
    def per_s(self) -> float:
        return len(self.times_ms) / self.seconds


async def loop(place: Place, kinds: Sequence[str], clients: int, seconds: float, chance: random.Random) -> Loop:
    """Each client asks for the next place as soon as it has one."""
    scripts = [await place.fresh(kinds[number % len(kinds)]) for number in range(SCRIPTS_A_CLIENT * clients)]
    todo = iter(places(scripts, chance))
    done = Loop(clients=clients)
    await place.idle()
    began_s = time.monotonic()
    until_s = began_s + seconds

    async def client() -> None:
        async with listening(place, done.answers) as listener:
            while time.monotonic() < until_s and (found := next(todo, None)) is not None:
                await _one(done, listener, *found)

    await asyncio.gather(*(client() for _ in range(clients)))
    done.seconds = time.monotonic() - began_s
    return done


async def _one(done: Loop, listener: Listener, script: Script, segment: int) -> None:
    try:
        playlist = await listener.tune_in(script.script_id)
        began_s = time.monotonic()
        await listener.segment(playlist, segment)
        done.times_ms.append((time.monotonic() - began_s) * 1_000)
    except NotPlayed:
        done.failed += 1


def places(scripts: Sequence[Script], chance: random.Random) -> list[tuple[Script, int]]:
    """Places of all scripts in random order, APART_SEGMENTS or more between any two of a script."""
    found = [
        (script, start + chance.randrange(STEP_SEGMENTS - APART_SEGMENTS))
        for script in scripts
        for start in range(SEEK_FIRST_SEGMENT, script.total_samples // SEGMENT_SAMPLES - STEP_SEGMENTS, STEP_SEGMENTS)
    ]
    chance.shuffle(found)
    return found

"""The first sound, and the sound after a seek: cold where nobody has encoded it, warm where somebody has.

Each sample takes a script of its own that nobody has encoded, waits until the server is idle, and goes

    first sound (cold) → seek to a place nobody has encoded (cold) → another player: first sound → seek there (warm)
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from loadtests.media.listener import Listener, NotPlayed, Playlist, listening
from loadtests.media.place import Place
from playhead.db import Script
from playhead.media import SEGMENT_SAMPLES

FIRST_COLD, FIRST_WARM, SEEK_COLD, SEEK_WARM = "first_cold", "first_warm", "seek_cold", "seek_warm"
FIRST_BUSY, SEEK_BUSY = "first_cold_busy", "seek_cold_busy"
HTTP, SOCKET, CHROMIUM = "http", "socket", "chromium"
FAILURES_MAX = 3
"""So many samples one after the other without sound, and the rest is not tried."""
SEEK_FIRST_SEGMENT = 20
"""Beyond what a player buffers at the beginning."""


class Player(Protocol):
    """A client. Times in ms; its methods raise NotPlayed."""

    async def first_sound(self, script_id: str) -> float: ...

    async def seek(self, segment: int) -> float: ...

    async def settled(self) -> None:
        """Returns when it fetches nothing more for a while."""


OpenPlayer = Callable[[], AbstractAsyncContextManager[Player]]
Key = tuple[str, str, str]
"""What was measured, by which client, of which kind of source."""


@dataclass(slots=True)
class Samples:
    """What was seen. `failed`: by what and client."""

    times_ms: defaultdict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def of(self, what: str, client: str) -> list[float]:
        """The times of all kinds, in ms."""
        return [time_ms for key, times in self.times_ms.items() if key[:2] == (what, client) for time_ms in times]


class HttpPlayer:
    """A listener over HTTP who measures. A first sound is there with the first segment's last byte."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._playlist: Playlist | None = None

    async def first_sound(self, script_id: str) -> float:
        began_s = time.perf_counter()
        self._playlist = await self._listener.first_sound(script_id)
        return (time.perf_counter() - began_s) * 1_000

    async def seek(self, segment: int) -> float:
        assert self._playlist is not None
        began_s = time.perf_counter()
        await self._listener.segment(self._playlist, segment)
        return (time.perf_counter() - began_s) * 1_000

    async def settled(self) -> None:
        """It fetches what it is told to, and no more."""


@asynccontextmanager
async def http_player(place: Place) -> AsyncIterator[Player]:
    async with listening(place) as listener:
        yield HttpPlayer(listener)


@dataclass(slots=True, kw_only=True)
class Sampler:
    """Takes samples with one kind of client, for `seconds_max` at most. `busy`: the worker has other work meanwhile."""

    place: Place
    client: str
    open_player: OpenPlayer
    samples: Samples
    chance: random.Random
    seconds_max: float
    busy: bool = False
    failures: int = 0

    async def warm_up(self, kind: str) -> None:
        """A sample that does not count: a fresh server and client load what they need."""
        await replace(self, samples=Samples())._take_one(kind)

    async def take(self, kinds: Sequence[str], rounds: int) -> str | None:
        """`rounds` samples of each kind; answers what was left out."""
        until_s = time.monotonic() + self.seconds_max
        for number in range(rounds):
            for kind in kinds:
                if self.failures >= FAILURES_MAX:
                    return f"Samples of {self.client}: broken off, as no sound came {FAILURES_MAX} times in a row."
                if time.monotonic() > until_s:
                    return f"Samples of {self.client}: {number} of {rounds} rounds in {self.seconds_max:.0f} s."
                await self._take_one(kind)
        return None

    async def _take_one(self, kind: str) -> None:
        script = await self.place.fresh(kind)
        segment = random_segment(script, self.chance)
        first, seek = (FIRST_BUSY, SEEK_BUSY) if self.busy else (FIRST_COLD, SEEK_COLD)
        if await self._listen(script, segment, first, seek) and not self.busy:
            await self._listen(script, segment, FIRST_WARM, SEEK_WARM)

    async def _listen(self, script: Script, segment: int, first: str, seek: str) -> bool:
        """A player that starts, and jumps; False: no sound came."""
        what = first
        try:
            async with self.open_player() as player:
                await self.place.idle()
                self._note(first, script, await player.first_sound(script.script_id))
                await player.settled()
                await self.place.idle()
                what = seek
                self._note(seek, script, await player.seek(segment))
        except NotPlayed:
            self.samples.failed[what, self.client] += 1
            self.failures += 1
            return False
        self.failures = 0
        return True

    def _note(self, what: str, script: Script, time_ms: float) -> None:
        self.samples.times_ms[what, self.client, script.title].append(time_ms)


def random_segment(script: Script, chance: random.Random) -> int:
    """Somewhere in the script, but neither where it begins nor where it ends."""
    last = script.total_samples // SEGMENT_SAMPLES - 1
    return chance.randrange(min(SEEK_FIRST_SEGMENT, last), last)

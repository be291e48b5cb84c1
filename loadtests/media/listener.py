"""A listener over HTTP, who does what a player does: playlists, init section, segments.

By the contract a segment is answered with 200, or with 503 and `Retry-After`: then it is asked again after that time,
as long as the listener has patience.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin

import aiohttp

from loadtests.media.place import API, Place
from playhead.media import OUTPUT_RATE_HZ, SEGMENT_SAMPLES

SEGMENT_S = SEGMENT_SAMPLES / OUTPUT_RATE_HZ
INTO_SEGMENT_S = 1.0
"""Where in a segment a player's seek leads: its rest is enough to begin with."""
PATIENCE_S = 20.0
"""How long a listener tries to get one segment."""
ANSWER_TIMEOUT_S = 30.0


class NotPlayed(Exception):
    """The sound did not come. The text says why."""


@dataclass(slots=True)
class Answers:
    """Every answer to a request for a segment: how long it took, and what it was."""

    times_ms: list[float] = field(default_factory=list)
    refused: int = 0
    """503 with `Retry-After`."""
    without_retry_after: int = 0
    """503 without: the contract is broken."""


@dataclass(frozen=True, slots=True)
class Playlist:
    """What a media playlist names, as addresses."""

    init: str
    segments: tuple[str, ...]


class Listener:
    """One connection pool, as a player has it. `answers` is shared by those who are counted together."""

    def __init__(self, http: aiohttp.ClientSession, place: Place, answers: Answers) -> None:
        self._http = http
        self._url = place.url
        self._token = place.listener_token()
        self._answers = answers

    async def first_sound(self, script_id: str, segment: int = 0) -> Playlist:
        """All that a player fetches until it can sound from `segment` on. Raises NotPlayed."""
        return await self._first_sound(await self.tune_in(script_id), segment)

    async def first_sound_of(self, master_url: str) -> Playlist:
        """The same with an address that is known. Raises NotPlayed."""
        return await self._first_sound(await self._tuned(master_url), 0)

    async def _first_sound(self, playlist: Playlist, segment: int) -> Playlist:
        await asyncio.gather(self._bytes(playlist.init), self.segment(playlist, segment))
        return playlist

    async def tune_in(self, script_id: str) -> Playlist:
        """From the stream's address to the playlist of the rung that a player begins with. Raises NotPlayed."""
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._http.get(f"{self._url}{API}/stream/{script_id}?quality=auto", headers=headers) as answer:
            if answer.status != 200:
                raise NotPlayed(f"GET /stream: {answer.status}")
            return await self._tuned(str((await answer.json())["stream_url"]))

    async def _tuned(self, master_url: str) -> Playlist:
        (first, *_others) = addresses(await self._text(master_url))
        media_url = urljoin(master_url, first)
        return parsed(media_url, await self._text(media_url))

    async def segment(self, playlist: Playlist, number: int) -> int:
        """Its size in bytes, once it came. Raises NotPlayed when patience is over, and where it is no 200 or 503."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            began_s = time.monotonic()
            async with self._http.get(playlist.segments[number]) as answer:
                body = await answer.read()
            self._answers.times_ms.append((time.monotonic() - began_s) * 1_000)
            if answer.status == 200:
                return len(body)
            if answer.status != 503:
                raise NotPlayed(f"segment {number}: {answer.status}")
            wait_s = self._wait_s(answer.headers.get("Retry-After"))
            if time.monotonic() + wait_s > until_s:
                raise NotPlayed(f"segment {number} was not made in {PATIENCE_S:g} s")
            await asyncio.sleep(wait_s)

    def _wait_s(self, retry_after: str | None) -> float:
        if retry_after is None or not retry_after.isdecimal():
            self._answers.without_retry_after += 1
            return 1.0
        self._answers.refused += 1
        return float(retry_after)

    async def _text(self, url: str) -> str:
        return (await self._bytes(url)).decode()

    async def _bytes(self, url: str) -> bytes:
        async with self._http.get(url) as answer:
            if answer.status != 200:
                raise NotPlayed(f"{url.rpartition('/')[2]}: {answer.status}")
            return await answer.read()


def addresses(playlist: str) -> list[str]:
    """The lines of a playlist that name something to fetch."""
    return [line for line in playlist.splitlines() if line and not line.startswith("#")]


def parsed(url: str, playlist: str) -> Playlist:
    """A media playlist with the addresses that it names."""
    (init_line,) = [line for line in playlist.splitlines() if line.startswith("#EXT-X-MAP:")]
    init = init_line.partition('URI="')[2].partition('"')[0]
    return Playlist(urljoin(url, init), tuple(urljoin(url, line) for line in addresses(playlist)))


@asynccontextmanager
async def listening(place: Place, answers: Answers | None = None) -> AsyncIterator[Listener]:
    """A listener who has no connection yet. What ends a request without an answer is a NotPlayed."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            yield Listener(http, place, Answers() if answers is None else answers)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotPlayed(f"no answer: {error!r}") from error

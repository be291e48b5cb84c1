"""`playhead check-hls URL`: fetches a stream as a player would, and says which rules of HLS authoring it breaks.

Owns: HTTP, what is fetched in which order, and the report. Must not know: the rules (playhead.media.authoring).

    multivariant ──► media playlists ──► init sections ──► all segments, or a sample: pairs of neighbours

Names in the report are relative to the multivariant playlist, so it shows no token.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from playhead.app.errors import CommandFailed
from playhead.media.authoring import (
    DELIBERATE,
    Breach,
    Delivery,
    Fragment,
    Init,
    MediaPlaylist,
    Variant,
    check_alike,
    check_init,
    check_media_delivery,
    check_media_playlist,
    check_multivariant,
    check_playlist_delivery,
    check_rates,
    check_segment,
    check_timeline,
    sampled,
)

REQUEST_TIMEOUT_S = 30.0
BODY_BYTES_MAX = 32 * 1024 * 1024
"""A playlist of 24 hours has 400 kB, a segment 200 kB."""
RETRIES_MAX = 5
RETRY_AFTER_S_MAX = 5
"""A segment that is encoded when it is asked for may need a moment."""
OK, UNAVAILABLE = 200, 503


@dataclass(frozen=True, slots=True)
class Fetched:
    delivery: Delivery
    body: bytes


@dataclass(slots=True)
class Report:
    """What was looked at, and what is wrong with it."""

    breaches: list[Breach] = field(default_factory=list)
    playlists: int = 0
    segments: int = 0
    segments_offered: int = 0

    @property
    def broken(self) -> list[Breach]:
        return [breach for breach in self.breaches if not breach.deliberate]

    def lines(self) -> Iterable[str]:
        """The report: what is broken, what is not met on purpose, and how much was looked at."""
        yield from map(str, self.broken)
        for rule, why in DELIBERATE.items():
            places = [breach.where for breach in self.breaches if breach.rule is rule]
            if places:
                more = f" and {len(places) - 1} more" if len(places) > 1 else ""
                yield f"on purpose: {rule.clause} ({rule.demand}) {places[0]}{more}: {rule.text}; not met. {why}"
        yield (
            f"{len(self.broken)} rules are broken in {self.playlists} media playlists"
            f" and {self.segments} of {self.segments_offered} segments."
        )


class Fetcher:
    """GET as a player sends it; waits and asks again where it is told so (503, Retry-After)."""

    def __init__(self, session: aiohttp.ClientSession, base: URL) -> None:
        self._session = session
        self._base = base.join(URL("./"))

    async def fetch(self, url: URL) -> Fetched:
        """Raises CommandFailed when there is no answer at all."""
        for trial in range(RETRIES_MAX + 1):
            fetched, wait_s = await self._once(url)
            if wait_s is None or trial == RETRIES_MAX:
                break
            await asyncio.sleep(wait_s)
        return fetched

    async def _once(self, url: URL) -> tuple[Fetched, float | None]:
        try:
            async with self._session.get(url, headers={"Accept-Encoding": "gzip"}) as response:
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > BODY_BYTES_MAX:
                        raise CommandFailed(f"{self.name(url)} has more than {BODY_BYTES_MAX} bytes.")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise CommandFailed(f"{self.name(url)} does not answer: {type(error).__name__} {error}".rstrip()) from None
        delivery = Delivery(
            name=self.name(url),
            status=response.status,
            scheme=response.url.scheme,
            host=response.url.raw_host or "",
            redirected=bool(response.history),
            content_type=response.headers.get("Content-Type", ""),
            content_encoding=response.headers.get("Content-Encoding", ""),
        )
        return Fetched(delivery, bytes(body)), _wait_s(response)

    def name(self, url: URL) -> str:
        """The URL as it is told: from the multivariant playlist's folder on."""
        return url.path.removeprefix(self._base.path) if url.origin() == self._base.origin() else str(url)


def _wait_s(response: aiohttp.ClientResponse) -> float | None:
    after = response.headers.get("Retry-After", "")
    if response.status != UNAVAILABLE or not after.isdecimal():
        return None
    return float(min(int(after), RETRY_AFTER_S_MAX))


async def check_hls(address: str, segments_max: int | None) -> int:
    """Prints the report; 1 when a rule is broken. `segments_max`: of each variant; None: all. Raises CommandFailed."""
    url = URL(address)
    if url.scheme not in ("http", "https") or not url.host:
        raise CommandFailed(f"{address} is no http(s) address of a playlist.")
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        report = await examine(Fetcher(session, url), url, segments_max)
    for line in report.lines():
        print(line)
    return 1 if report.broken else 0


async def examine(fetcher: Fetcher, url: URL, segments_max: int | None) -> Report:
    """Looks at everything below the multivariant playlist at `url`."""
    report = Report()
    fetched = await fetcher.fetch(url)
    report.breaches += check_playlist_delivery(fetched.delivery)
    if fetched.delivery.status != OK:
        return report
    offered, breaches = check_multivariant(fetched.delivery.name, fetched.body)
    report.breaches += breaches
    playlists: dict[str, MediaPlaylist] = {}
    for variant in offered.variants:
        playlist_url = url.join(URL(variant.uri))
        playlist = await _playlist(fetcher, playlist_url, report)
        if playlist is not None:
            playlists[variant.uri] = playlist
            await _media(fetcher, playlist_url, variant, playlist, segments_max, report)
    if playlists:
        report.breaches += check_alike(playlists)
    return report


async def _playlist(fetcher: Fetcher, url: URL, report: Report) -> MediaPlaylist | None:
    fetched = await fetcher.fetch(url)
    report.breaches += check_playlist_delivery(fetched.delivery)
    if fetched.delivery.status != OK:
        return None
    playlist, breaches = check_media_playlist(fetched.delivery.name, fetched.body)
    report.breaches += breaches
    report.playlists += 1
    report.segments_offered += len(playlist.segments)
    return playlist


async def _media(
    fetcher: Fetcher, url: URL, variant: Variant, playlist: MediaPlaylist, segments_max: int | None, report: Report
) -> None:
    """The init section and the segments of one variant. Elementary streams have neither boxes nor an init section."""
    if playlist.init_uri is None:
        return
    fetched = await fetcher.fetch(url.join(URL(playlist.init_uri)))
    report.breaches += check_media_delivery(fetched.delivery)
    if fetched.delivery.status != OK:
        return
    init, breaches = check_init(fetched.delivery.name, fetched.body, variant.codecs)
    report.breaches += breaches
    if init is not None:
        numbers = sampled(len(playlist.segments), segments_max or len(playlist.segments))
        fragments = await _segments(fetcher, url, playlist, init, numbers, report)
        report.breaches += check_timeline(playlist, init, fragments)
        sizes_bytes = {number: fragment.size_bytes for number, fragment in fragments.items()}
        report.breaches += check_rates(variant, playlist, sizes_bytes)


async def _segments(
    fetcher: Fetcher, url: URL, playlist: MediaPlaylist, init: Init, numbers: list[int], report: Report
) -> dict[int, Fragment]:
    fragments = {}
    for number in numbers:
        fetched = await fetcher.fetch(url.join(URL(playlist.segments[number].uri)))
        report.breaches += check_media_delivery(fetched.delivery)
        if fetched.delivery.status != OK:
            continue
        report.segments += 1
        fragment, breaches = check_segment(fetched.delivery.name, fetched.body, init)
        report.breaches += breaches
        if fragment is not None:
            fragments[number] = fragment
    return fragments

"""The origin of HLS media: signed paths in, playlists and segments out.

The token in the path is the authority, so whatever has a valid one may ask, from any site. Playlists and init segments
are computed from the script's row; segments come from the storage, or are encoded while the player waits. A bad token
is 403, as CDNs answer it.
"""

from collections.abc import Callable

from aiohttp import web

from playhead.auth.media_paths import InvalidMediaToken, MediaSigner
from playhead.auth.revocations import Revocations
from playhead.cache import BoundedMap, Flights
from playhead.db import Script, ScriptRepository
from playhead.http.media_facts import FACTS_TYPE, media_facts
from playhead.http.origin_paths import MediaPath, parse_media_path
from playhead.http.problems import HttpCode, Problem, problem, respond
from playhead.http.representations import Representation, binary_representation, respond_to, text_representation
from playhead.http.services import NotNow, SegmentsOnDemand
from playhead.media import (
    Grid,
    Rung,
    init_segment,
    media_playlist,
    multivariant_playlist,
    segment_key,
)
from playhead.playback.rejections import Code
from playhead.runtime.clock import Clock
from playhead.storage import Storage

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
SEGMENT_TYPE = "audio/mp4"
FOR_EVER = "public, max-age=31536000, immutable"
"""Of segments: their bytes never change below a media version."""
FOR_A_WHILE = "public, max-age=300"
"""Of playlists: a later release may write the same script's playlist better."""
SCRIPT_COPY_MS = 1_000
SCRIPT_COPIES_MAX = 1_000
PLAYLISTS_MAX = 1_000
PLAYLISTS_BYTES_MAX = 16 * 1024 * 1024


class Origin:
    """Serves media. Keeps copies of script rows for 1 s, and playlists for as long as there is room."""

    def __init__(
        self,
        signer: MediaSigner,
        revocations: Revocations,
        scripts: ScriptRepository,
        storage: Storage,
        on_demand: SegmentsOnDemand,
        clock: Clock,
    ) -> None:
        self._signer = signer
        self._revocations = revocations
        self._scripts = scripts
        self._storage = storage
        self._on_demand = on_demand
        self._clock = clock
        self._rows: BoundedMap[str, tuple[int, Script | None]] = BoundedMap(SCRIPT_COPIES_MAX, 0, lambda _row: 0)
        self._flights: Flights[Script | None] = Flights()
        self._playlists: BoundedMap[Grid, Representation] = BoundedMap(
            PLAYLISTS_MAX, PLAYLISTS_BYTES_MAX, lambda playlist: playlist.size_bytes
        )
        self._multivariant = text_representation(multivariant_playlist(), PLAYLIST_TYPE, FOR_A_WHILE)

    async def serve(self, request: web.Request) -> web.Response:
        found = await self._find(request)
        return respond(found) if isinstance(found, Problem) else respond_to(request, found)

    async def _find(self, request: web.Request) -> Representation | Problem:
        asked = parse_media_path(request.rel_url.raw_path)
        if asked is None:
            return problem(Code.NOT_FOUND)
        try:
            claims = self._signer.verify(asked.token, asked.path, self._clock.now_ms() // 1000)
            self._revocations.check(claims)
        except InvalidMediaToken as error:
            return problem(Code.FORBIDDEN, str(error))
        script = await self._script(asked.script_id)
        if script is None or script.media_version != asked.media_version:
            return problem(Code.NOT_FOUND)
        return await self._made(asked, script, lambda: request.transport is not None)

    async def _made(self, asked: MediaPath, script: Script, wanted: Callable[[], bool]) -> Representation | Problem:
        grid = Grid(source_rate=script.source_rate, source_samples=script.source_samples)
        if asked.kind == "facts":
            facts = media_facts(grid, script.media_version).model_dump_json()
            return text_representation(facts, FACTS_TYPE, FOR_A_WHILE)
        if asked.rung is None:
            return self._multivariant
        if asked.kind == "init":
            return binary_representation(init_segment(asked.rung), SEGMENT_TYPE, FOR_EVER)
        if asked.segment is None:
            return self._playlist(grid)
        if asked.segment >= grid.segments:
            return problem(Code.NOT_FOUND)
        return await self._segment(script, asked.rung, asked.segment, wanted)

    async def _segment(
        self, script: Script, rung: Rung, segment: int, wanted: Callable[[], bool]
    ) -> Representation | Problem:
        """`wanted`: whether the player is still connected."""
        body = await self._storage.get(segment_key(script.script_id, script.media_version, rung.name, segment))
        if body is None and script.status == "failed":
            return problem(Code.NOT_FOUND)
        made = body or await self._on_demand.segment(script, rung, segment, wanted)
        if isinstance(made, NotNow):
            refusal = problem(HttpCode.SEGMENT_NOT_READY, made.reason)
            return refusal.model_copy(update={"retry_after_ms": made.retry_after_s * 1_000})
        return binary_representation(made, SEGMENT_TYPE, FOR_EVER)

    def _playlist(self, grid: Grid) -> Representation:
        kept = self._playlists.get(grid)
        if kept is None:
            kept = text_representation(media_playlist(grid), PLAYLIST_TYPE, FOR_A_WHILE)
            self._playlists.put(grid, kept)
        return kept

    async def _script(self, script_id: str) -> Script | None:
        """The row, at most SCRIPT_COPY_MS old."""
        kept = self._rows.get(script_id)
        now_ms = self._clock.now_ms()
        if kept is not None and now_ms < kept[0]:
            return kept[1]
        row = await self._flights.join(script_id, lambda: self._scripts.stored(script_id))
        self._rows.put(script_id, (now_ms + SCRIPT_COPY_MS, row))
        return row


ORIGIN = web.AppKey("origin", Origin)


async def serve_media(request: web.Request) -> web.StreamResponse:
    return await request.app[ORIGIN].serve(request)

"""The origin of HLS media: signed paths in, playlists and segments out.

The token in the path is the authority, so whatever has a valid one may ask, from any site. Playlists and init segments
are computed from the script's row; segments come from the storage, or are encoded while the player waits. A bad token
is 403, as CDNs answer it, and no answer says what is bad about it. A file that the script had before is served like
its present one, for as long as its tokens may last: who listens to it hears nothing of the replacement. Nor does a
request need PostgreSQL for a script that this process has served before.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from playhead.auth.media_paths import InvalidMediaToken, MediaSigner
from playhead.auth.revocations import Revocations
from playhead.cache import BoundedMap
from playhead.db import Script, ScriptRepository
from playhead.http.media_facts import FACTS_TYPE, media_facts
from playhead.http.media_refusals import refused_token
from playhead.http.origin_paths import MediaPath, parse_media_path
from playhead.http.problems import HttpCode, Problem, problem, respond
from playhead.http.representations import Representation, binary_representation, respond_to, text_representation
from playhead.http.script_copies import ScriptCopies
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
NOT_MADE = "The segment is not encoded yet. GET encodes it."
NOT_MADE_RETRY_S = 1
"""Of a HEAD, for which nothing is encoded."""
PLAYLISTS_MAX = 1_000
PLAYLISTS_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asker:
    """Who asks for a segment. `listener`: whom its address was given to; of an earlier release's the session."""

    listener: str | None
    wants_bytes: bool
    is_there: Callable[[], bool]


class Origin:
    """Serves media. Keeps playlists for as long as there is room."""

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
        self._scripts = ScriptCopies(scripts.version, clock)
        self._storage = storage
        self._on_demand = on_demand
        self._clock = clock
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
            return refused_token(error)
        script = await self._scripts.version(asked.script_id, asked.media_version)
        if script is None:
            return problem(Code.NOT_FOUND)
        asker = _Asker(
            listener=claims.listener or claims.session_id,
            wants_bytes=request.method != "HEAD",
            is_there=lambda: request.transport is not None,
        )
        return await self._made(asked, script, asker)

    async def _made(self, asked: MediaPath, script: Script, asker: "_Asker") -> Representation | Problem:
        grid = script.grid
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
        return await self._segment(script, asked.rung, asked.segment, asker)

    async def _segment(self, script: Script, rung: Rung, segment: int, asker: "_Asker") -> Representation | Problem:
        body = await self._storage.get(segment_key(script.script_id, script.media_version, rung.name, segment))
        if not body and script.status == "failed":
            return problem(Code.NOT_FOUND)
        if not body and not asker.wants_bytes:
            made: bytes | NotNow = NotNow(NOT_MADE, NOT_MADE_RETRY_S)
        else:
            made = body or await self._on_demand.segment(script, rung, segment, asker.is_there, asker.listener)
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


ORIGIN = web.AppKey("origin", Origin)


async def serve_media(request: web.Request) -> web.StreamResponse:
    return await request.app[ORIGIN].serve(request)

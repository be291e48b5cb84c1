"""The use cases of scripts: list, stream, prepare. Visibility is asked of PostgreSQL before anything else.

What is cached, and for how long:

    audio:stream:<script>:<quality>   24 h   the stream answer without its signature, which is made per request
    audio:prepare:<script>:status      5 min  that a worker was asked; so polling asks the queue once in 5 min

How far a script is, and how loud, comes from the row that the visibility check has read anyway: a copy could only be
older.
"""

import functools
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from playhead.db import FormerVersion, Script
from playhead.http.answers import (
    ScriptsAnswer,
    StreamAnswer,
    prepare_answer,
    script_answer,
)
from playhead.http.bodies import PageFields, PrepareFields, ScriptPath, StreamFields
from playhead.http.loudness_answer import loudness_answer
from playhead.http.route import Answer, Call
from playhead.http.services import Services
from playhead.http.upload_checks import UNFINISHED_MAX, check_waiting
from playhead.media import FIRST_RUNG, Loudness, rung_named
from playhead.media.playlists import MEDIA_NAME, MULTIVARIANT_NAME
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.codec import milliseconds, seconds
from playhead.sessions.streams import StreamLink

STREAM_TTL_S = 24 * 3_600.0
PREPARE_TTL_S = 5 * 60.0
DECODED_MAX = 1_000
"""Of the cached values that were asked for last; some 1 MB."""
ASKED = b"asked"
CANCELLED = "Its owner has cancelled it, and can go on where it was with `prepare`."
FAILED_LATELY = "The script has failed a moment ago. Try again in 5 minutes."


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsigned:
    """All of a stream answer that is the same for every listener. `playlist`: below the script's version."""

    duration: float
    bitrate: int
    ready: bool
    media_version: str
    playlist: str


async def list_scripts(call: Call[PageFields]) -> Answer | Rejection:
    fields, principal = call.fields, call.principal
    page = await call.services.scripts.list_visible(principal.claims, limit=fields.limit, cursor=fields.cursor)
    rows = [script_answer(script, principal.listener_id) for script in page.items]
    return Answer(ScriptsAnswer(scripts=rows, next_cursor=page.next_cursor))


async def stream(call: Call[StreamFields]) -> Answer | Rejection:
    services, fields = call.services, call.fields
    found = await services.scripts.get(call.principal.claims, fields.script_id)
    if found is None:
        return Rejection(code=Code.NOT_FOUND)
    if fields.media_version not in (None, found.media_version):
        for former in await services.scripts.former_versions(found.script_id):
            theirs = former.script.visibility == "listeners" or found.owner_id == call.principal.listener_id
            if former.script.media_version == fields.media_version and theirs:
                return Answer(_former_answer(services, former, fields.quality, call.principal.listener_id))
    if found.status == "failed":
        return Rejection(code=Code.SCRIPT_FAILED)
    unsigned, cached = await _unsigned(services, found, fields.quality)
    link = services.links.link(
        found.script_id,
        found.media_version,
        found.duration_ms,
        unsigned.playlist,
        listener_id=call.principal.listener_id,
    )
    return Answer(_stream_answer(unsigned, link, found.loudness, cached))


def _former_answer(services: Services, former: FormerVersion, quality: str, listener_id: str) -> StreamAnswer:
    """No address outlives what it leads to."""
    script, unsigned = former.script, _describe(former.script, quality)
    until_s = int(former.kept_until.timestamp())
    link = services.links.link(
        script.script_id,
        script.media_version,
        script.duration_ms,
        unsigned.playlist,
        listener_id=listener_id,
        not_after_s=until_s,
    )
    return _stream_answer(unsigned, link, script.loudness, cached=False)


def _stream_answer(unsigned: Unsigned, link: StreamLink, loudness: Loudness | None, cached: bool) -> StreamAnswer:
    return StreamAnswer(
        stream_url=link.url,
        duration=unsigned.duration,
        bitrate=unsigned.bitrate,
        format="hls",
        cached=cached,
        expires_at=datetime.fromtimestamp(link.expires_at_s, UTC),
        ready=unsigned.ready,
        media_version=unsigned.media_version,
        loudness=loudness_answer(loudness),
    )


async def _unsigned(services: Services, found: Script, quality: str) -> tuple[Unsigned, bool]:
    """The cached part, unless it is of another version of the script, or of another release of ours: then anew."""
    key = f"audio:stream:{found.script_id}:{quality}"

    async def make() -> bytes:
        return json.dumps(asdict(_describe(found, quality))).encode()

    kept = await services.cache.get_or_make(key, STREAM_TTL_S, make)
    unsigned = _decoded(kept.value)
    if unsigned is not None and _still_true(unsigned, found):
        return unsigned, kept.cached
    await services.cache.put(key, await make(), STREAM_TTL_S)
    return _describe(found, quality), False


@functools.lru_cache(DECODED_MAX)
def _decoded(value: bytes) -> Unsigned | None:
    try:
        return Unsigned(**json.loads(value))
    except (ValueError, TypeError):
        return None


def _still_true(unsigned: Unsigned, found: Script) -> bool:
    return unsigned.media_version == found.media_version and unsigned.ready == (found.status == "ready")


def _describe(found: Script, quality: str) -> Unsigned:
    rung = rung_named(quality)
    return Unsigned(
        duration=seconds(found.duration_ms),
        bitrate=(rung or FIRST_RUNG).bits_per_s,
        ready=found.status == "ready",
        media_version=found.media_version,
        playlist=MULTIVARIANT_NAME if rung is None else f"{rung.name}/{MEDIA_NAME}",
    )


async def prepare(call: Call[PrepareFields]) -> Answer | Rejection:
    """Sees to it that a worker knows of the script. A failed one is put back to work, once in PREPARE_TTL_S; one that
    was cancelled by its owner alone.

    Raises Refused.
    """
    services, claims = call.services, call.principal.claims
    found = await services.scripts.get(claims, call.fields.script_id)
    if found is None:
        return Rejection(code=Code.NOT_FOUND)
    if found.status == "ready":
        return Answer(prepare_answer(found), status=202)
    if found.status == "failed":
        if found.error == CANCELLED and found.owner_id != call.principal.listener_id:
            return Rejection(code=Code.SCRIPT_FAILED, detail=CANCELLED)
        if not await _source_is_kept(services, found):
            return Rejection(code=Code.SCRIPT_FAILED)
    if call.fields.position is not None:
        services.on_demand.soon(found.script_id, milliseconds(call.fields.position))
    asked_before = await _ask_once(services, found)
    if found.status == "failed" and asked_before:
        return Rejection(code=Code.SCRIPT_FAILED, detail=FAILED_LATELY)
    return Answer(prepare_answer(await services.scripts.get(claims, found.script_id) or found), status=202)


async def cancel(call: Call[ScriptPath]) -> Answer | Rejection:
    """Ends the work on the listener's own script, which is `failed` then. Harmless when repeated."""
    services, principal = call.services, call.principal
    found = await services.scripts.get(principal.claims, call.fields.script_id)
    if found is None:
        return Rejection(code=Code.NOT_FOUND)
    if found.owner_id != principal.listener_id:
        return Rejection(code=Code.FORBIDDEN, detail="Only its owner may cancel a script.")
    if found.status == "ready":
        return Rejection(code=Code.CONFLICT, detail="The script is ready: there is nothing to cancel.")
    await services.scripts.failed(found.script_id, CANCELLED, media_version=found.media_version)
    await services.cache.drop(_asked_key(found.script_id))
    return Answer(prepare_answer(await services.scripts.stored(found.script_id) or found))


async def _ask_once(services: Services, found: Script) -> bool:
    """Asks a worker, unless one was asked less than PREPARE_TTL_S ago: whether that was so. Raises Refused."""

    async def ask() -> bytes:
        if found.status == "failed":
            await _requeue(services, found)
        await services.enqueue(found.script_id)
        return ASKED

    kept = await services.cache.get_or_make(_asked_key(found.script_id), PREPARE_TTL_S, ask)
    return kept.cached


async def _requeue(services: Services, found: Script) -> None:
    """Puts it back to work, unless its owner has as many there as uploads could bring there. Raises Refused."""
    if await services.scripts.requeue(found.script_id, unfinished_max=UNFINISHED_MAX) is None:
        await check_waiting(services, found.owner_id, "of its owner")


def _asked_key(script_id: str) -> str:
    return f"audio:prepare:{script_id}:status"


async def _source_is_kept(services: Services, found: Script) -> bool:
    return found.source_key is not None and await services.storage.exists(found.source_key)

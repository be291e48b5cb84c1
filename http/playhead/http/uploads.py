"""POST /scripts: a file becomes a script.

    may they? → stream to storage, hashing → measure → row (queued, or failed with the reason) → job

The source is stored under a name of its own for each upload, so that whatever goes wrong it can be deleted without
looking whose it is. It is kept when the row that names it was written, or may have been.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass

import structlog
from aiohttp import web

from playhead.auth.tokens import Principal
from playhead.db import CreatedScript, Creation, DatabaseUnavailable, Script, Source, Visibility
from playhead.http.answers import script_answer
from playhead.http.bodies import UploadFields
from playhead.http.decoding import Pace
from playhead.http.problems import Problem, problem, respond
from playhead.http.route import Answer, respond_with
from playhead.http.services import Services, Unplayable
from playhead.http.upload_bodies import UPLOAD_PACE, InvalidForm, UploadBody, open_body
from playhead.media import media_prefix, media_version, source_key
from playhead.playback.rejections import Code
from playhead.storage import DISK_RESERVE_BYTES, StorageFailed

log = structlog.get_logger(__name__)

UPLOADS_MAX = 16
"""Uploads that one process takes at once."""
LISTENER_UPLOADS_MAX = 2
"""Of those, from one listener: nobody can hold all places alone."""
UNFINISHED_MAX = 100
"""Scripts of one listener that wait for the worker or are in its hands; a few more when uploads end together."""
FREE_CHECK_BYTES = 64 * 1024 * 1024
"""How much of a file is written until the free space is looked at again."""
INGESTS_MAX = 4
"""Files that one process measures at once; the others wait."""
EMPTY = "The file is empty. Upload it again."


class _TooLarge(Exception):
    """The file has more bytes than may be uploaded."""


class _DiskFull(Exception):
    """There is too little space left for the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    """What the script will be called, and who may hear it."""

    script_id: str
    title: str
    visibility: Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A file that has arrived whole."""

    key: str
    size_bytes: int
    media_version: str


class Uploads:
    """Takes uploads, so many at once, that come at `pace` or faster."""

    def __init__(self, services: Services, pace: Pace = UPLOAD_PACE) -> None:
        self._services = services
        self._pace = pace
        self._under_way: Counter[str] = Counter()
        self._ingests = asyncio.Semaphore(INGESTS_MAX)

    async def take(self, request: web.Request, principal: Principal) -> web.Response:
        listener_id = principal.listener_id
        if self._under_way.total() >= UPLOADS_MAX:
            return respond(problem(Code.OVERLOADED, f"{UPLOADS_MAX} uploads are under way. Try again in a moment."))
        if self._under_way[listener_id] >= LISTENER_UPLOADS_MAX:
            detail = f"{LISTENER_UPLOADS_MAX} uploads of yours are under way. Send the next when one has ended."
            return respond(problem(Code.OVERLOADED, detail))
        self._under_way[listener_id] += 1
        try:
            outcome = await self._taken(request, principal)
        except InvalidForm as error:
            outcome = problem(Code.INVALID, str(error))
        except _DiskFull:
            outcome = problem(Code.OVERLOADED, "The server's disk is nearly full. Try again later.")
        finally:
            self._under_way -= Counter({listener_id: 1})
        return respond(outcome) if isinstance(outcome, Problem) else respond_with(outcome)

    async def _taken(self, request: web.Request, principal: Principal) -> Answer | Problem:
        if request.content_length is not None and self._too_large(request):
            return self._size_problem()
        await self._check_room(request.content_length or 0)
        if await self._services.scripts.unfinished_of(principal.listener_id, UNFINISHED_MAX) >= UNFINISHED_MAX:
            return problem(Code.OVERLOADED, f"{UNFINISHED_MAX} scripts of yours are being prepared. Wait for some.")
        body = await open_body(request, self._pace)
        if isinstance(body, Problem):
            return body
        refusal = _refused_visibility(body.fields, principal)
        if refusal is not None:
            return refusal
        script_id = body.fields.script_id or self._services.new_id()
        before = await self._services.scripts.stored(script_id) if body.fields.script_id else None
        if before is not None and before.owner_id != principal.listener_id:
            return problem(Code.SCRIPT_EXISTS)
        return await self._kept_or_deleted(body, principal, script_id, before)

    async def _kept_or_deleted(
        self, body: UploadBody, principal: Principal, script_id: str, before: Script | None
    ) -> Answer | Problem:
        key = source_key(script_id, self._services.new_id())
        sources = {key}
        try:
            stored = await self._store(body, key)
            fields = await body.rest()
            if isinstance(fields, Problem):
                return fields
            if refusal := _refused_visibility(fields, principal):
                return refusal
            upload = _Upload(
                script_id=script_id,
                title=fields.title or body.title,
                visibility=fields.visibility or ("listeners" if principal.may_publish else "private"),
            )
            measured = await self._measure(stored)
            if isinstance(measured, Unplayable):
                return await self._failed(principal, upload, measured)
            sources.add(measured.source_key)
            try:
                created = await self._services.scripts.create(
                    principal.claims,
                    script_id=script_id,
                    title=upload.title,
                    visibility=upload.visibility,
                    source=measured,
                )
            except DatabaseUnavailable:
                # The row may be there, and then it names the source.
                sources.clear()
                log.warning("A source may belong to no script.", action="source_in_doubt", source_key=key)
                raise
            if created.outcome in (Creation.CREATED, Creation.REPLACED):
                sources.clear()
        except _TooLarge:
            return self._size_problem()
        finally:
            for source in sources:
                await _quietly(self._services.storage.delete_prefix(source))
        return await self._answer(created, before, principal)

    async def _store(self, body: UploadBody, key: str) -> _Stored:
        check_at_bytes = FREE_CHECK_BYTES
        async with self._services.storage.upload(key) as target:
            async for piece in body.file():
                if target.size_bytes >= check_at_bytes:
                    await self._check_room(0)
                    check_at_bytes += FREE_CHECK_BYTES
                if target.size_bytes + len(piece) > self._services.upload_bytes_max:
                    raise _TooLarge
                await target.write(piece)
        return _Stored(key=key, size_bytes=target.size_bytes, media_version=media_version(target.sha256))

    async def _check_room(self, more_bytes: int) -> None:
        """Raises _DiskFull when `more_bytes` would not leave DISK_RESERVE_BYTES free."""
        free_bytes = await self._services.storage.free_bytes()
        if free_bytes is not None and free_bytes < DISK_RESERVE_BYTES + more_bytes:
            log.error("An upload was refused: the disk is nearly full.", action="disk_full", free_bytes=free_bytes)
            raise _DiskFull

    async def _measure(self, stored: _Stored) -> Source | Unplayable:
        if stored.size_bytes == 0:
            return Unplayable(EMPTY)
        async with self._ingests:
            return await self._services.ingest(stored.key, stored.size_bytes, stored.media_version)

    async def _failed(self, principal: Principal, upload: _Upload, unplayable: Unplayable) -> Problem:
        created = await self._services.scripts.create_failed(
            principal.claims,
            script_id=upload.script_id,
            title=upload.title,
            visibility=upload.visibility,
            error=unplayable.reason,
        )
        if created.outcome is Creation.TAKEN:
            return problem(Code.SCRIPT_EXISTS)
        return problem(Code.NOT_AUDIO, unplayable.reason).model_copy(update={"script_id": upload.script_id})

    async def _answer(self, created: CreatedScript, before: Script | None, principal: Principal) -> Answer | Problem:
        if created.script is None or created.outcome is Creation.EXISTS:
            return problem(Code.SCRIPT_EXISTS)
        body = script_answer(created.script, principal.listener_id)
        if created.outcome is Creation.UNCHANGED:
            return Answer(body)
        if created.outcome is Creation.REPLACED and before is not None:
            await self._forget(before, created.script)
        try:
            await self._services.enqueue(created.script.script_id)
        except DatabaseUnavailable as error:
            # The row is there: the worker's sweep for lost jobs, or the next `prepare`, finds it.
            log.warning("An upload's job was not queued.", action="job_unqueued", error=str(error))
        return Answer(body, status=201)

    async def _forget(self, before: Script, after: Script) -> None:
        """Deletes what is left of a failed upload that was replaced."""
        if before.source_key is not None and before.source_key != after.source_key:
            await _quietly(self._services.storage.delete_prefix(before.source_key))
        if before.media_version and before.media_version != after.media_version:
            prefix = media_prefix(before.script_id, before.media_version)
            await _quietly(self._services.storage.delete_prefix(prefix))

    def _too_large(self, request: web.Request) -> bool:
        """Whether the announced length of a raw body is over the limit already."""
        raw = not request.content_type.startswith("multipart/")
        return raw and (request.content_length or 0) > self._services.upload_bytes_max

    def _size_problem(self) -> Problem:
        return problem(Code.TOO_LARGE, f"A file may have {self._services.upload_bytes_max} bytes.")


UPLOADS = web.AppKey("uploads", Uploads)


async def upload(request: web.Request, principal: Principal) -> web.StreamResponse:
    return await request.app[UPLOADS].take(request, principal)


def _refused_visibility(fields: UploadFields, principal: Principal) -> Problem | None:
    if fields.visibility != "listeners" or principal.may_publish:
        return None
    return problem(Code.FORBIDDEN, "Uploads for every listener need a token with the scope `scripts:write`.")


async def _quietly(deletion: Awaitable[int]) -> None:
    """Deletes; what cannot be deleted now is left over, which is no reason to answer differently."""
    try:
        await deletion
    except StorageFailed as error:
        log.error("Something was left in the storage.", action="storage_leftover", error=str(error))

"""Uploads that come in parts, so that one that breaks off can go on, through whichever process.

    POST   /uploads        what the file will be               → its id, and where it goes on
    PUT    /uploads/{id}   the next bytes of it                → where it goes on; with the last ones what it has become
    GET    /uploads/{id}   …                                   → where it goes on
    DELETE /uploads/{id}   never mind

No process remembers anything that the others need: what has arrived is what lies in the storage, and the first who
writes a block has written it; so it is with the word whether it becomes a script or is deleted. A file that is whole
is joined to a source and taken in as a plain upload is; who dies meanwhile, or two who do it at once, make one script,
for its id is known from the beginning.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from playhead.auth.tokens import Principal
from playhead.cache import Flights
from playhead.db import Script
from playhead.http.answers import ScriptAnswer, script_answer
from playhead.http.decoding import Pace, decode, pieces, validate
from playhead.http.intake import Abandoned, Intake, Stored
from playhead.http.problems import HttpCode, Problem, Refused, problem, respond
from playhead.http.resumable_models import DeclaredBody, NoFields, UploadAnswer, UploadPath, UploadsAnswer
from playhead.http.route import API, Answer, Call, respond_with
from playhead.http.services import Services
from playhead.http.unfinished_uploads import BecomesScript, Declared, Finished, Unfinished, UnfinishedUploads
from playhead.http.upload_bodies import UNTITLED, UPLOAD_PACE
from playhead.http.upload_checks import (
    Wanted,
    check_failures,
    check_kept,
    check_room,
    check_size,
    check_visibility,
    check_waiting,
    known_file,
    own_script,
    watched,
)
from playhead.http.upload_parts import Part, part_of
from playhead.media import media_version
from playhead.playback.rejections import Code, Rejection
from playhead.storage import BLOCK_BYTES, ObjectMissing, Overtaken

OPEN_MAX = 8
"""Uploads of one listener that are not whole. Together they may be declared with as much as one file may have."""
COPIES = 2
"""While a whole upload is joined it is there twice."""
OTHER_FILE = "sha256: What has arrived is another file than was declared. Begin anew."
BECOMES_SCRIPT = "The file is whole and becomes a script. Ask with `Content-Range: bytes */<size>` what it has become."


async def begin(call: Call[DeclaredBody]) -> Answer | Rejection:
    """Raises Refused."""
    services, principal, body = call.services, call.principal, call.fields
    check_size(services, body.size)
    before = None if body.script_id is None else await own_script(services, principal, body.script_id)
    wanted = Wanted.of(
        principal,
        before,
        script_id=body.script_id or services.new_id(),
        own_id=body.script_id is not None,
        title=body.title,
        untitled=UNTITLED,
        visibility=body.visibility,
    )
    if known := await _known(services, principal, wanted, body, before):
        return known
    await check_room(services, COPIES * body.size)
    await check_kept(services, principal, body.size)
    await check_waiting(services, principal.listener_id)
    await check_failures(services, principal.listener_id)
    begun = await _begun(services, principal.listener_id, wanted, body)
    return Answer(begun, status=201, location=f"{API}/uploads/{begun.upload_id}")


async def _known(
    services: Services, principal: Principal, wanted: Wanted, body: DeclaredBody, before: Script | None
) -> Answer | None:
    """The script that the file has become before, as far as that can be told."""
    version = None if body.sha256 is None else media_version(body.sha256)
    if version is None:
        return None
    if before is not None and before.status != "failed" and before.media_version == version:
        return Answer(script_answer(before, principal.listener_id))
    return await known_file(services, principal, wanted, version, body.size)


async def _begun(services: Services, owner_id: str, wanted: Wanted, body: DeclaredBody) -> UploadAnswer:
    uploads, upload_id = _uploads(services), services.new_id()
    declared = Declared(
        script_id=wanted.script_id,
        own_id=wanted.own_id,
        title=wanted.title,
        visibility=wanted.visibility,
        size=body.size,
        sha256=body.sha256,
        block_bytes=BLOCK_BYTES,
        replaces=wanted.replaces,
    )
    await uploads.begin(owner_id, upload_id, declared)
    # Counted afterwards: of many that begin at once some may be refused in vain, but never are there too many.
    opened = await uploads.of(owner_id)
    declared_bytes = sum(upload.declared.size for upload in opened)
    [begun] = [upload for upload in opened if upload.upload_id == upload_id]
    if len(opened) > OPEN_MAX or declared_bytes > services.upload_bytes_max:
        await uploads.abandon(owner_id, upload_id)
        detail = (
            f"You have {len(opened) - 1} uploads that are not whole, with {declared_bytes - body.size} bytes; "
            f"{OPEN_MAX} and {services.upload_bytes_max} bytes are the most. Finish or delete one of GET /uploads."
        )
        raise Refused(problem(Code.OVERLOADED, detail))
    return _receiving(begun)


async def list_uploads(call: Call[NoFields]) -> Answer | Rejection:
    found = await _uploads(call.services).of(call.principal.listener_id)
    return Answer(UploadsAnswer(uploads=[_receiving(upload) for upload in found]))


async def look(call: Call[UploadPath]) -> Answer | Rejection:
    uploads, owner_id, upload_id = _uploads(call.services), call.principal.listener_id, call.fields.upload_id
    if (found := await uploads.find(owner_id, upload_id)) is not None:
        return Answer(_receiving(found))
    if (finished := await uploads.finished(owner_id, upload_id)) is not None:
        return Answer(_finished(upload_id, *finished))
    return Rejection(code=Code.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who sends a part, until `ended`; who reschedules `turn` ends it."""

    turn: asyncio.Timeout
    ended: asyncio.Event


class Parts:
    """Takes the parts, at `pace` or faster, in the same places as plain uploads.

    A part that begins where the upload ends takes the turn of another that is still awaited in this process: a client
    that comes back need not wait until its broken connection is noticed. In another process that one finds its next
    block written.
    """

    def __init__(self, services: Services, intake: Intake, pace: Pace = UPLOAD_PACE) -> None:
        self._services = services
        self._uploads = _uploads(services)
        self._intake = intake
        self._pace = pace
        self._senders: dict[tuple[str, str], _Sender] = {}
        """By owner and upload: an id that is another listener's names nothing of his."""
        self._finishing: Flights[Answer | Problem] = Flights()

    async def put(self, request: web.Request, principal: Principal, upload_id: str) -> Answer | Problem:
        """Raises Refused and Incomplete."""
        upload = await self._uploads.find(principal.listener_id, upload_id)
        if upload is None:
            return await self._outcome(principal, upload_id)
        check_visibility(upload.declared.visibility, principal)  # the right may have been withdrawn since it began
        part = part_of(request, upload.declared)
        if part.end > upload.offset_bytes:
            if part.start != upload.offset_bytes:
                return _elsewhere(upload)
            upload = await self._received(request, principal, upload, part)
        if upload is None:
            return await self._outcome(principal, upload_id)
        return await self._answer(principal, upload)

    async def delete(self, principal: Principal, upload_id: str) -> bool:
        """Ends who sends it, and removes it. False: there is none. Raises Refused where it is a script as good as."""
        await self._end_sender(principal.listener_id, upload_id)
        try:
            return await self._uploads.abandon(principal.listener_id, upload_id)
        except BecomesScript:
            raise Refused(problem(Code.CONFLICT, BECOMES_SCRIPT)) from None

    async def _received(
        self, request: web.Request, principal: Principal, upload: Unfinished, part: Part
    ) -> Unfinished | None:
        """The upload with the part; None where it is gone meanwhile. Raises Refused and Incomplete."""
        await self._end_sender(principal.listener_id, upload.upload_id)
        ended = asyncio.Event()
        try:
            with self._intake.place(principal.listener_id):
                return await self._appended(request, principal, upload, part, ended)
        finally:
            ended.set()

    async def _appended(
        self, request: web.Request, principal: Principal, upload: Unfinished, part: Part, ended: asyncio.Event
    ) -> Unfinished | None:
        owner_id, upload_id = principal.listener_id, upload.upload_id
        await check_room(self._services, part.end - part.start)
        late = False
        try:
            async with asyncio.timeout(None) as turn:
                self._senders[owner_id, upload_id] = _Sender(turn, ended)
                await upload.blocks.append(part.start, watched(self._services, pieces(request, self._pace)))
        except (TimeoutError, Overtaken):
            late = True
        finally:
            if (sender := self._senders.get((owner_id, upload_id))) is not None and sender.ended is ended:
                del self._senders[owner_id, upload_id]
            await self._uploads.clear(owner_id, upload_id)
        now = await self._uploads.find(owner_id, upload_id)
        if late and now is not None:
            raise Refused(_elsewhere(now))
        return now

    async def _end_sender(self, owner_id: str, upload_id: str) -> None:
        sender = self._senders.pop((owner_id, upload_id), None)
        if sender is not None:
            sender.turn.reschedule(asyncio.get_running_loop().time())
            await sender.ended.wait()

    async def _answer(self, principal: Principal, upload: Unfinished) -> Answer | Problem:
        if not upload.is_whole:
            return Answer(_receiving(upload), status=202)
        with self._intake.place(principal.listener_id):
            flight = principal.listener_id, upload.upload_id
            return await self._finishing.join(flight, lambda: self._finish(principal, upload))

    async def _finish(self, principal: Principal, upload: Unfinished) -> Answer | Problem:
        declared = upload.declared
        await check_room(self._services, declared.size)
        async with self._intake.source(declared.script_id) as sources:
            [key] = sources
            try:
                joined = await upload.blocks.join(key)
            except ObjectMissing:  # another process has finished it, or it was abandoned
                return await self._outcome(principal, upload.upload_id)
            try:
                outcome = await self._taken_in(principal, upload, Stored.of(key, joined), joined.sha256, sources)
            except Abandoned:
                return await self._outcome(principal, upload.upload_id)
        await self._keep(principal, upload, outcome)
        return outcome

    async def _taken_in(
        self, principal: Principal, upload: Unfinished, stored: Stored, sha256: str, sources: set[str]
    ) -> Answer | Problem:
        """Raises Abandoned and Refused: then there is no script."""
        owner_id, upload_id, declared = principal.listener_id, upload.upload_id, upload.declared

        async def claim() -> None:
            if not await self._uploads.take(owner_id, upload_id):
                raise Abandoned

        if declared.sha256 not in (None, sha256):
            await claim()
            return problem(Code.INVALID, OTHER_FILE)
        before = await self._services.scripts.stored(declared.script_id)
        wanted = Wanted(
            script_id=declared.script_id,
            own_id=declared.own_id,
            title=declared.title,
            untitled=UNTITLED if before is None else before.title,
            visibility=declared.visibility,
            replaces=declared.replaces,
        )
        try:
            return await self._intake.take(principal, wanted, stored, sources, before, claim)
        except Refused:
            await self._uploads.untake(owner_id, upload_id)
            raise

    async def _keep(self, principal: Principal, upload: Unfinished, outcome: Answer | Problem) -> None:
        """What is kept is what no repetition mends: all else was raised."""
        body = None if isinstance(outcome, Problem) else outcome.body
        finished = Finished(
            declared=upload.declared,
            status=outcome.status,
            script_id=body.script_id if isinstance(body, ScriptAnswer) else None,
            problem=outcome if isinstance(outcome, Problem) else None,
        )
        await self._uploads.finish(principal.listener_id, upload.upload_id, finished)

    async def _outcome(self, principal: Principal, upload_id: str) -> Answer | Problem:
        """What has become of an upload that is no more."""
        kept = await self._uploads.finished(principal.listener_id, upload_id)
        if kept is None:
            return problem(Code.NOT_FOUND)
        finished, _ = kept
        if finished.script_id is None:
            return finished.problem or problem(Code.NOT_FOUND)
        script = await self._services.scripts.get(principal.claims, finished.script_id)
        if script is None:
            return problem(Code.NOT_FOUND)
        return Answer(script_answer(script, principal.listener_id), status=finished.status)


PARTS = web.AppKey("parts", Parts)


async def put_part(request: web.Request, principal: Principal) -> web.StreamResponse:
    path = validate(UploadPath, dict(request.match_info))
    if isinstance(path, Problem):
        return respond(path)
    outcome = await request.app[PARTS].put(request, principal, path.upload_id)
    return respond(outcome) if isinstance(outcome, Problem) else respond_with(outcome)


async def abandon(request: web.Request, principal: Principal) -> web.StreamResponse:
    path = await decode(request, UploadPath, has_body=False)
    if isinstance(path, Problem):
        return respond(path)
    deleted = await request.app[PARTS].delete(principal, path.upload_id)
    return respond_with(Answer(None, status=204)) if deleted else respond(problem(Code.NOT_FOUND))


def _uploads(services: Services) -> UnfinishedUploads:
    return UnfinishedUploads(services.storage, services.clock)


def _elsewhere(upload: Unfinished) -> Problem:
    return problem(HttpCode.WRONG_OFFSET).model_copy(update={"offset": upload.offset_bytes})


def _receiving(upload: Unfinished) -> UploadAnswer:
    declared = upload.declared
    return UploadAnswer(
        upload_id=upload.upload_id,
        script_id=declared.script_id,
        title=declared.title or UNTITLED,
        size=declared.size,
        offset=upload.offset_bytes,
        block_bytes=declared.block_bytes,
        status="receiving",
        expires_at=datetime.fromtimestamp(upload.expires_at_s, UTC),
    )


def _finished(upload_id: str, finished: Finished, expires_at_s: float) -> UploadAnswer:
    declared = finished.declared
    return UploadAnswer(
        upload_id=upload_id,
        script_id=finished.script_id,
        title=declared.title or UNTITLED,
        size=declared.size,
        offset=declared.size,
        block_bytes=declared.block_bytes,
        status="finished",
        expires_at=datetime.fromtimestamp(expires_at_s, UTC),
    )

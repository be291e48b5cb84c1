"""POST /scripts: a file becomes a script.

    may they? → stream to storage, hashing → take in

How a file is taken in is in intake.py; one that comes in parts, in resumable.py.
"""

from aiohttp import web

from playhead.auth.tokens import Principal
from playhead.db import Script
from playhead.http.decoding import Pace
from playhead.http.intake import Intake, Stored
from playhead.http.problems import Problem, problem, respond
from playhead.http.route import Answer, respond_with
from playhead.http.services import Services
from playhead.http.upload_bodies import UPLOAD_PACE, InvalidForm, UploadBody, open_body
from playhead.http.upload_checks import (
    Wanted,
    check_failures,
    check_kept,
    check_room,
    check_size,
    check_visibility,
    check_waiting,
    own_script,
    watched,
)
from playhead.playback.rejections import Code


class Uploads:
    """Takes uploads that come at `pace` or faster, as many at once as `intake` does."""

    def __init__(self, services: Services, pace: Pace = UPLOAD_PACE) -> None:
        self._services = services
        self._pace = pace
        self.intake = Intake(services)

    async def take(self, request: web.Request, principal: Principal) -> web.Response:
        """Raises Refused and Incomplete."""
        try:
            with self.intake.place(principal.listener_id):
                outcome = await self._taken(request, principal)
        except InvalidForm as error:
            outcome = problem(Code.INVALID, str(error))
        return respond(outcome) if isinstance(outcome, Problem) else respond_with(outcome)

    async def _taken(self, request: web.Request, principal: Principal) -> Answer | Problem:
        announced_bytes = request.content_length or 0
        if not request.content_type.startswith("multipart/"):
            check_size(self._services, announced_bytes)
        await check_room(self._services, announced_bytes)
        await check_kept(self._services, principal, 0)  # it may be a file that is kept already
        await check_waiting(self._services, principal.listener_id)
        await check_failures(self._services, principal.listener_id)
        body = await open_body(request, self._pace)
        if isinstance(body, Problem):
            return body
        check_visibility(body.fields.visibility, principal)
        own_id = body.fields.script_id
        before = await own_script(self._services, principal, own_id) if own_id else None
        return await self._stored(body, principal, own_id, before)

    async def _stored(
        self, body: UploadBody, principal: Principal, own_id: str | None, before: Script | None
    ) -> Answer | Problem:
        script_id = own_id or self._services.new_id()
        async with self.intake.source(script_id) as sources:
            [key] = sources
            stored = await self._store(body, key)
            fields = await body.rest()
            if isinstance(fields, Problem):
                return fields
            wanted = Wanted.of(
                principal,
                before,
                script_id=script_id,
                own_id=own_id is not None,
                title=fields.title,
                untitled=body.title,
                visibility=fields.visibility,
            )
            return await self.intake.take(principal, wanted, stored, sources, before)

    async def _store(self, body: UploadBody, key: str) -> Stored:
        async with self._services.storage.upload(key) as target:
            async for piece in watched(self._services, body.file()):
                check_size(self._services, target.size_bytes + len(piece))
                await target.write(piece)
        return Stored.of(key, target)


UPLOADS = web.AppKey("uploads", Uploads)


async def upload(request: web.Request, principal: Principal) -> web.StreamResponse:
    return await request.app[UPLOADS].take(request, principal)

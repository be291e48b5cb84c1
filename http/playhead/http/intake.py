"""A file that lies whole in the storage becomes a script, however it came there.

    its owner has it already? → measure → has by now? → row (queued, or failed with the reason) → job

A source is stored under a name of its own for each upload, so that whatever goes wrong it can be deleted without
looking whose it is. It is kept when the row that names it was written, or may have been. The file that a script had
before is nobody's here: it is kept for who listens to it, and collected later (`playhead.db.script_uploads`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog

from playhead.auth.tokens import Principal
from playhead.db import CreatedScript, Creation, DatabaseUnavailable, Script, Source
from playhead.db.limits import FORMER_VERSIONS_MAX
from playhead.http.answers import script_answer
from playhead.http.problems import Problem, Refused, problem
from playhead.http.route import Answer
from playhead.http.services import Services, Unplayable
from playhead.http.upload_checks import Wanted, check_kept, known_file
from playhead.media import media_version, source_key
from playhead.playback.rejections import Code
from playhead.storage import StorageFailed, Upload

log = structlog.get_logger(__name__)

UPLOADS_MAX = 16
"""Uploads that one process takes at once."""
LISTENER_UPLOADS_MAX = 2
"""Of those, from one listener: nobody can hold all places alone."""
INGESTS_MAX = 4
"""Files that one process measures at once; the others wait."""
EMPTY = "The file is empty. Upload it again."
OTHER_CAME_FIRST = (
    "The script has another file than when this upload began: another upload came first. Look at it, and upload again "
    "if this file shall replace that one."
)
TOO_MANY_FORMER = (
    f"The script has had {FORMER_VERSIONS_MAX} other files lately, which are kept for who listens to them: each for "
    "its length and 13 hours. Try again when one of them has gone."
)


Claim = Callable[[], Awaitable[None]]
"""Is called right before the script is made. Raises Abandoned."""


class Abandoned(Exception):
    """Whoever sent the file wants no script of it any more."""


async def unclaimed() -> None:
    """Of a file whose sender waits for its script: nobody else can give it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that has arrived whole."""

    key: str
    size_bytes: int
    media_version: str

    @classmethod
    def of(cls, key: str, upload: Upload) -> "Stored":
        return cls(key=key, size_bytes=upload.size_bytes, media_version=media_version(upload.sha256))


class Intake:
    """Takes in so many uploads at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._under_way: Counter[str] = Counter()
        self._ingests = asyncio.Semaphore(INGESTS_MAX)

    @contextmanager
    def place(self, listener_id: str) -> Iterator[None]:
        """One of the places for uploads. Raises Refused where there is none."""
        if self._under_way.total() >= UPLOADS_MAX:
            raise Refused(problem(Code.OVERLOADED, f"{UPLOADS_MAX} uploads are under way. Try again in a moment."))
        if self._under_way[listener_id] >= LISTENER_UPLOADS_MAX:
            detail = f"{LISTENER_UPLOADS_MAX} uploads of yours are under way. Send the next when one has ended."
            raise Refused(problem(Code.OVERLOADED, detail))
        self._under_way[listener_id] += 1
        try:
            yield
        finally:
            self._under_way -= Counter({listener_id: 1})

    @asynccontextmanager
    async def source(self, script_id: str) -> AsyncIterator[set[str]]:
        """The key of a source that is about to be stored; what is still in the set at the end is deleted."""
        keys = {source_key(script_id, self._services.new_id())}
        try:
            yield keys
        finally:
            for key in keys:
                await _quietly(self._services.storage.delete_prefix(key))

    async def take(
        self,
        principal: Principal,
        wanted: Wanted,
        stored: Stored,
        sources: set[str],
        before: Script | None,
        claim: Claim = unclaimed,
    ) -> Answer | Problem:
        """Makes the script of what is stored, and leaves in `sources` what is of no use. `before`: as it stood.

        Raises Abandoned, Refused.
        """
        if known := await known_file(self._services, principal, wanted, stored.media_version, stored.size_bytes):
            await claim()
            return known
        if before is None or before.media_version != stored.media_version:
            await check_kept(self._services, principal, stored.size_bytes)
        measured = await self._measure(stored)
        if isinstance(measured, Unplayable):
            await claim()
            return await self._failed(principal, wanted, measured)
        sources.update(measured.keys)
        await claim()
        try:
            created = await self._services.scripts.create(
                principal.claims,
                script_id=wanted.script_id,
                title=wanted.title or measured.tags.title or wanted.untitled,
                visibility=wanted.visibility,
                source=measured,
                replaces=wanted.replaces,
                or_same_file=not wanted.own_id,
            )
        except DatabaseUnavailable:
            # The row may be there, and then it names the source.
            sources.clear()
            log.warning("A source may belong to no script.", action="source_in_doubt", source_key=stored.key)
            raise
        if created.outcome in (Creation.CREATED, Creation.REPLACED):
            sources.clear()
        return await self._answer(created, wanted, before, principal)

    async def _measure(self, stored: Stored) -> Source | Unplayable:
        if stored.size_bytes == 0:
            return Unplayable(EMPTY)
        async with self._ingests:
            return await self._services.ingest(stored.key, stored.size_bytes, stored.media_version)

    async def _failed(self, principal: Principal, wanted: Wanted, unplayable: Unplayable) -> Problem:
        created = await self._services.scripts.create_failed(
            principal.claims,
            script_id=wanted.script_id,
            title=wanted.title or wanted.untitled,
            visibility=wanted.visibility,
            error=unplayable.reason,
        )
        if created.outcome is Creation.TAKEN:
            return problem(Code.SCRIPT_EXISTS)
        return problem(Code.NOT_AUDIO, unplayable.reason).model_copy(update={"script_id": wanted.script_id})

    async def _answer(
        self, created: CreatedScript, wanted: Wanted, before: Script | None, principal: Principal
    ) -> Answer | Problem:
        if created.outcome is Creation.TOO_MANY:
            raise Refused(problem(Code.OVERLOADED, TOO_MANY_FORMER))
        if created.outcome is Creation.EXISTS and wanted.replaces is not None:
            return problem(Code.CONFLICT, OTHER_CAME_FIRST)
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
        """Deletes the copy of the same file, of which its script could not be made the first time."""
        if before.media_version == after.media_version:
            for key in before.keys - after.keys:
                await _quietly(self._services.storage.delete_prefix(key))


async def _quietly(deletion: Awaitable[int]) -> None:
    """Deletes; what cannot be deleted now is left over, which is no reason to answer differently."""
    try:
        await deletion
    except StorageFailed as error:
        log.error("Something was left in the storage.", action="storage_leftover", error=str(error))

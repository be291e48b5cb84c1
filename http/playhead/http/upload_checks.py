"""What every upload is asked before anything of it is kept: may they, is there room, is it somebody else's id.

What is refused raises Refused.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import ceil

import structlog

from playhead.auth.tokens import Principal
from playhead.db import Script, Visibility
from playhead.http.answers import script_answer
from playhead.http.problems import HttpCode, Refused, problem
from playhead.http.route import Answer
from playhead.http.services import Services
from playhead.playback.rejections import Code
from playhead.storage import DISK_RESERVE_BYTES

log = structlog.get_logger(__name__)

UNFINISHED_MAX = 100
"""Scripts of one listener that wait for the worker or are in its hands; a few more when uploads end together."""
UNPLAYABLE_MAX = 100
"""Files of one listener within a day that could not be played; each leaves a row that says why."""
FREE_CHECK_BYTES = 64 * 1024 * 1024
"""How much of a file is written until the free space is looked at again."""
DISK_FULL = "The server's disk is nearly full. Try again later."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the script will be called, and who may hear it. `own_id`: the app has chosen its id.

    `title` None: nobody gave one, and it is called `untitled`, where the file does not say either. `replaces`: the
    media version that a script of that id had when the upload began; None: there was none.
    """

    script_id: str
    own_id: bool
    title: str | None
    untitled: str
    visibility: Visibility
    replaces: str | None = None

    @classmethod
    def of(
        cls,
        principal: Principal,
        before: Script | None,
        *,
        script_id: str,
        own_id: bool,
        title: str | None,
        untitled: str,
        visibility: Visibility | None,
    ) -> "Wanted":
        """`before`: the caller's script that gets another file; what is not said stays as it is there.

        Raises Refused where the caller may not let so many hear it.
        """
        if before is None:
            heard_by = visibility or ("listeners" if principal.may_publish else "private")
        else:
            heard_by = visibility or before.visibility
        check_visibility(heard_by, principal)
        return cls(
            script_id=script_id,
            own_id=own_id,
            title=title,
            untitled=untitled if before is None else before.title,
            visibility=heard_by,
            replaces=None if before is None else before.media_version,
        )


def check_visibility(visibility: Visibility | None, principal: Principal) -> None:
    if visibility == "listeners" and not principal.may_publish:
        detail = "Uploads for every listener need a token with the scope `scripts:write`."
        raise Refused(problem(Code.FORBIDDEN, detail))


def check_size(services: Services, size_bytes: int) -> None:
    if size_bytes > services.upload_bytes_max:
        raise Refused(problem(Code.TOO_LARGE, f"A file may have {services.upload_bytes_max} bytes."))


async def check_room(services: Services, more_bytes: int) -> None:
    """That `more_bytes` leave DISK_RESERVE_BYTES free."""
    free_bytes = await services.storage.free_bytes()
    if free_bytes is not None and free_bytes < DISK_RESERVE_BYTES + more_bytes:
        log.error("An upload was refused: the disk is nearly full.", action="disk_full", free_bytes=free_bytes)
        raise Refused(problem(Code.OVERLOADED, DISK_FULL))


async def check_kept(services: Services, principal: Principal, more_bytes: int) -> None:
    """That the listener may keep so much more here. Who may publish is trusted with what everybody hears, and may."""
    most = services.owner_bytes_max
    if not most or principal.may_publish:
        return
    kept = await services.scripts.kept_bytes_of(principal.listener_id)
    if kept + more_bytes > most:
        detail = (
            f"Your files have {kept} bytes, and {more_bytes} more are beyond the {most} that this server keeps for one "
            "listener. Replace a script's file by a smaller one, or ask who runs the server for more room."
        )
        raise Refused(problem(Code.TOO_LARGE, detail))


async def check_waiting(services: Services, owner_id: str, whose: str = "of yours") -> None:
    """That the owner has not enough scripts that wait already."""
    if await services.scripts.unfinished_of(owner_id, UNFINISHED_MAX) >= UNFINISHED_MAX:
        detail = f"{UNFINISHED_MAX} scripts {whose} are being prepared. Wait for some."
        raise Refused(problem(Code.OVERLOADED, detail))


async def check_failures(services: Services, owner_id: str) -> None:
    """That not too many of the owner's uploads have failed within a day."""
    until_s = await services.scripts.unplayable_until_s(owner_id, UNPLAYABLE_MAX)
    if until_s is not None:
        detail = (
            f"{UNPLAYABLE_MAX} files of yours could not be played within a day; GET /scripts says why. Send no more of "
            "that kind, and others after `Retry-After`."
        )
        raise Refused(problem(HttpCode.TOO_FAST, detail).model_copy(update={"retry_after_ms": ceil(until_s * 1_000)}))


async def watched(services: Services, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, as long as the disk has room."""
    unchecked_bytes = 0
    async for piece in pieces:
        unchecked_bytes += len(piece)
        if unchecked_bytes > FREE_CHECK_BYTES:
            await check_room(services, 0)
            unchecked_bytes = 0
        yield piece


async def own_script(services: Services, principal: Principal, script_id: str) -> Script | None:
    """The caller's script of that id, if there is one; refused where it is somebody else's."""
    found = await services.scripts.stored(script_id)
    if found is not None and found.owner_id != principal.listener_id:
        raise Refused(problem(Code.SCRIPT_EXISTS))
    return found


async def known_file(
    services: Services, principal: Principal, wanted: Wanted, media_version: str, size_bytes: int
) -> Answer | None:
    """The answer where the owner has this file already, and has not asked for a script of a certain id."""
    if wanted.own_id:
        return None
    owner_id = principal.listener_id
    found = await services.scripts.same_file(owner_id, media_version, size_bytes, wanted.visibility)
    return None if found is None else Answer(script_answer(found, owner_id))

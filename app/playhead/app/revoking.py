"""`playhead revoke`: ends a session, whoever's it is, or takes back the addresses of a script that were given out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from playhead.app.databases import database
from playhead.app.errors import CommandFailed
from playhead.app.stores import server_clock
from playhead.auth.media_paths import media_prefix
from playhead.auth.revocations import Revocation, ended, taken_back
from playhead.db import ScriptRepository, SessionRepository
from playhead.playback.commands import End
from playhead.playback.rejections import Code, Rejection
from playhead.runtime.clock import Clock
from playhead.runtime.settings import Settings
from playhead.sessions.committing import SERVER
from playhead.sessions.presence import Presence
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.revocations import ListFull, find_session, revoke
from playhead.sessions.service import SessionService


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    store: RedisStore
    sessions: SessionRepository
    scripts: ScriptRepository
    clock: Clock


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[_Parts]:
    assert settings.redis_url is not None
    async with database(settings) as opened, server_clock(settings) as clock:
        store = RedisStore(settings.redis_url.get_secret_value(), clock)
        try:
            yield _Parts(store=store, sessions=SessionRepository(opened), scripts=ScriptRepository(opened), clock=clock)
        finally:
            await store.stop()


async def revoke_session(settings: Settings, session_id: str) -> int:
    """Ends it if it lives, and revokes its addresses in any case. Raises CommandFailed where there is none."""
    async with _opened(settings) as parts:
        state = await find_session(parts.store.calls, session_id) or await parts.sessions.get(session_id)
        if state is None:
            raise CommandFailed(f"There is no session {session_id}.")
        if state.ended_at_ms is None:
            await _end(parts, settings, state.listener_id, session_id)
        await _enter(parts, ended(session_id, parts.clock.now_ms(), state.addressed_ms))
    print("The session is over, and its addresses are revoked.")
    return 0


async def _enter(parts: _Parts, row: Revocation) -> None:
    try:
        await revoke(parts.store.calls, row)
    except ListFull as error:
        raise CommandFailed(str(error)) from error


async def _end(parts: _Parts, settings: Settings, listener_id: str, session_id: str) -> None:
    presence = Presence(parts.store, parts.clock, settings.connections_per_listener_max)
    service = SessionService(
        parts.store, parts.sessions, parts.scripts, presence, parts.clock, new_id=lambda: str(uuid4())
    )
    answer = await service.apply(listener_id, session_id, End(), SERVER)
    # one that is long over, and whose end alone is missing, is not found
    if isinstance(answer, Rejection) and answer.code is not Code.NOT_FOUND:
        raise CommandFailed(f"The session could not be ended: {answer.code.value}. Try again.")


async def revoke_script(settings: Settings, script_id: str) -> int:
    """Voids every address of it that was given out until now, of its former files too.

    Addresses are told apart by their ends, and those of a former file end with it at the latest. So it is kept longer,
    for those which its listeners get from now on. Raises CommandFailed where there is no such script.
    """
    async with _opened(settings) as parts:
        script = await parts.scripts.stored(script_id)
        if script is None:
            raise CommandFailed(
                f"There is no script {script_id}. One that was deleted is gone at the servers; take it out of an "
                "edge's cache with POST /purge."
            )
        await parts.scripts.keep_former_longer(script_id)
        former = [version.script for version in await parts.scripts.former_versions(script_id)]
        for version in (script, *former):
            prefix = media_prefix(version.script_id, version.media_version)
            await _enter(parts, taken_back(prefix, parts.clock.now_ms(), version.duration_ms))
    print("The addresses are revoked. Who may still hear the script gets another one.")
    return 0

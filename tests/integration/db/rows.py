"""Listeners, scripts and session states for tests: fresh ids each time, so tests may share a database."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from playhead.db.pool import Claims, Database
from playhead.db.script_rows import CreatedScript, Script, Source, Visibility
from playhead.db.scripts import ScriptRepository
from playhead.db.sessions import upsert
from playhead.playback.history import Move
from playhead.playback.state import SessionState

SOURCE = Source(
    source_key="sources/one",
    source_bytes=14_400_000,
    source_codec="mp3",
    source_rate=44_100,
    source_samples=158_760_000,
    source_start_s=0.025,
    duration_ms=3_600_000,
    total_samples=172_800_000,
    media_version="0123456789abcdef",
)

Store = Callable[[Sequence[SessionState]], Awaitable[int]]


def new_id() -> str:
    return str(uuid.uuid4())


def listener() -> Claims:
    """The claims of somebody whom nobody has seen before."""
    return {"sub": new_id(), "role": "authenticated"}


async def upload(
    scripts: ScriptRepository,
    owner: Claims,
    *,
    script_id: str | None = None,
    title: str = "Script",
    visibility: Visibility = "listeners",
    replaces: str | None = None,
    or_same_file: bool = False,
    **changed: Any,
) -> CreatedScript:
    return await scripts.create(
        owner,
        script_id=script_id or new_id(),
        title=title,
        visibility=visibility,
        source=replace(SOURCE, **changed),
        replaces=replaces,
        or_same_file=or_same_file,
    )


async def uploaded(
    scripts: ScriptRepository, owner: Claims | None = None, *, visibility: Visibility = "listeners"
) -> Script:
    """A queued script that was just uploaded."""
    created = await upload(scripts, owner or listener(), visibility=visibility)
    assert created.script is not None
    return created.script


def session(script_id: str, **changed: Any) -> SessionState:
    """A state of a new session of a new listener, playing since the Unix time 1,700,000,000.123."""
    state = SessionState(
        session_id=new_id(),
        listener_id=new_id(),
        script_id=script_id,
        duration_ms=3_600_000,
        epoch=1,
        revision=1,
        version=1,
        playing=True,
        position_ms=1_000,
        anchored_at_ms=1_700_000_000_123,
        rate=1.0,
        started_at_ms=1_700_000_000_123,
        changed_at_ms=1_700_000_000_123,
    )
    return structs.replace(state, **changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What a device played without a connection: a minute, from the start of the script."""

    device_id: str = "phone"
    start_ms: int = 0
    end_ms: int = 60_000
    told_at_ms: int = 1_700_000_000_123
    started_at_ms: int = 1_700_000_000_123
    ended_at_ms: int = 1_700_000_060_123


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    state: SessionState
    moves: tuple[Move, ...] = ()
    offline: tuple[Stretch, ...] = ()


def entry(state: SessionState, moves: tuple[Move, ...] = (), offline: tuple[Stretch, ...] = ()) -> Entry:
    return Entry(state=state, moves=moves, offline=offline)


def stretch(**changed: Any) -> Stretch:
    return replace(Stretch(), **changed)


def move(**changed: Any) -> Move:
    """A seek on the phone that made the first state."""
    seek = Move(
        cause="seek",
        from_ms=1_000,
        to_ms=500_000,
        device_id="phone",
        at_ms=1_700_000_000_123,
        epoch=1,
        revision=1,
    )
    return structs.replace(seek, **changed)


async def stored(database: Database, states: Sequence[SessionState]) -> int:
    """Stores states as a batch of the journal does; answers how many were later than what was stored."""
    async with database.as_service_batch() as connection:
        return await upsert(connection, states)

"""What the routes need, given by the composition root, and where a request finds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from playhead.auth.media_paths import MediaSigner
from playhead.auth.revocations import Revocations
from playhead.auth.tokens import TokenVerifier
from playhead.cache import Cache
from playhead.db import BookmarkRepository, Script, ScriptRepository, Source
from playhead.http.health import Check
from playhead.media import Rung
from playhead.runtime.clock import Clock
from playhead.runtime.limits import COMMAND_RATE, Rate
from playhead.runtime.metrics import Metrics
from playhead.runtime.settings import StoreKind
from playhead.sessions.announcements import Announcements
from playhead.sessions.listening import Listening
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.streams import StreamLinks
from playhead.storage import Storage


@dataclass(frozen=True, slots=True)
class Unplayable:
    """Why a file cannot become a script, for its owner to read."""

    reason: str


class Unmeasured(Exception):
    """A file could not be measured here and now, and is not to blame. The text is for the log."""


class Ingest(Protocol):
    """Measures an upload that lies in the storage."""

    async def __call__(self, source_key: str, source_bytes: int, media_version: str) -> Source | Unplayable:
        """Everything that a script's row says of its source, which may lie under another key from now on.

        May raise StorageFailed and Unmeasured; then the source is where it was.
        """
        ...


class Enqueue(Protocol):
    """Asks a worker to prepare a script."""

    async def __call__(self, script_id: str) -> object:
        """Harmless when repeated; what it answers says nothing here. May raise DatabaseUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class NotNow:
    """A segment cannot be had now: why, and when to ask again."""

    reason: str
    retry_after_s: int


class SegmentsOnDemand(Protocol):
    """Encodes what is asked for and not there."""

    async def segment(
        self, script: Script, rung: Rung, segment: int, wanted: Callable[[], bool], listener: str | None
    ) -> bytes | NotNow:
        """A segment within the script's grid; `wanted`: whether who asked is still there; `listener`: of whom not too
        much is made at once. May raise StorageFailed."""
        ...

    def soon(self, script_id: str, position_ms: int) -> None:
        """Somebody will listen from there: a segment that is not there yet may be made now. Does not wait."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases, and what stands below them.

    `media_base_url`: where stream addresses point to, which the player page must be allowed to fetch from.
    `player_dir` None, or without an index.html: the page says how to build it.
    `readiness`: by the name that `/readyz` answers; `store`: where it says that sessions live. `asyncapi`: makes the
    document of the socket protocol. `owner_bytes_max`: of who may not publish; 0: no limit. `rate`: how fast a
    listener may ask.
    """

    sessions: SessionService
    listening: Listening
    presence: Presence
    scripts: ScriptRepository
    bookmarks: BookmarkRepository
    announcements: Announcements
    storage: Storage
    links: StreamLinks
    signer: MediaSigner
    revocations: Revocations
    verifier: TokenVerifier
    cache: Cache
    metrics: Metrics
    clock: Clock
    new_id: Callable[[], str]
    ingest: Ingest
    enqueue: Enqueue
    on_demand: SegmentsOnDemand
    store: StoreKind
    readiness: Mapping[str, Check]
    upload_bytes_max: int
    owner_bytes_max: int
    media_base_url: str
    rate: Rate = COMMAND_RATE
    cors_origins: tuple[str, ...] = ()
    player_dir: Path | None = None
    asyncapi: Callable[[], Mapping[str, Any]] = dict


SERVICES = web.AppKey("services", Services)

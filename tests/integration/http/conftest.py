"""The REST surface of one server, over a migrated PostgreSQL, an empty Valkey and an empty storage."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web_runner import BaseRunner

from playhead.app.on_demand import OnDemand
from playhead.auth.media_paths import MediaSigner
from playhead.auth.tokens import TokenVerifier
from playhead.cache import Cache, OwnClaims, RedisBackend
from playhead.db import BookmarkRepository, Database, ListeningRepository, ScriptRepository, SessionRepository, Source
from playhead.http import Services, Unplayable, create_app, resumable, valkey_check
from playhead.http.unreadable import Runner
from playhead.runtime.metrics import create_metrics
from playhead.sessions.announcements import Announcements
from playhead.sessions.listening import Listening
from playhead.sessions.presence import Presence
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.revocations import RevocationFeed
from playhead.sessions.service import SessionService
from playhead.sessions.streams import StreamLinks
from playhead.storage import LocalStorage, Storage
from playhead.transcode import Ingest, PrepareQueue, Refusal
from tests.integration.db.conftest import database, logins, logins_folder, migrated_template, owner_url
from tests.integration.http.uploading import files
from tests.integration.http.world import AUDIENCE, JWT_KEY, MEDIA_KEYS, MEDIA_URL, UPLOAD_BYTES_MAX, World, new_id
from tests.support.audio import Kind, make, wheel_programs
from tests.support.clocks import SystemClock

__all__ = ["database", "logins", "logins_folder", "migrated_template", "owner_url"]

CONNECTIONS_MAX = 8


class Measuring:
    """The real ingest, as the composition root binds it."""

    def __init__(self, storage: Storage) -> None:
        self._ingest = Ingest(wheel_programs(), storage)

    async def __call__(self, source_key: str, source_bytes: int, media_version: str) -> Source | Unplayable:
        measured = await self._ingest(source_key, media_version)
        return Unplayable(measured.reason) if isinstance(measured, Refusal) else measured


@pytest.fixture
def media_folder(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def nothing_is_left(media_folder: Path) -> Iterator[None]:
    """That the storage is as empty after the test as before."""
    yield
    assert files(media_folder) == []


@pytest.fixture(scope="session")
def mp3(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three seconds of sound."""
    path = make(tmp_path_factory.mktemp("audio"), Kind("sound.mp3", "-c:a libmp3lame -b:a 64k"), 3.0)
    return path.read_bytes()


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey_url, SystemClock())
    yield store
    await store.stop()


@pytest.fixture
async def services(database: Database, store: RedisStore, media_folder: Path) -> AsyncIterator[Services]:
    clock, metrics = SystemClock(), create_metrics()
    scripts, sessions = ScriptRepository(database), SessionRepository(database)
    presence = Presence(store, clock, CONNECTIONS_MAX)
    signer = MediaSigner(MEDIA_KEYS)
    storage = LocalStorage(media_folder)
    revoked = RevocationFeed(store.calls, clock)
    await revoked.start()
    on_demand = OnDemand(scripts, storage, PrepareQueue(database.jobs()).hurry)
    services = Services(
        sessions=SessionService(store, sessions, scripts, presence, clock, new_id, on_demand.soon),
        listening=Listening(store, sessions, ListeningRepository(database), clock),
        presence=presence,
        scripts=scripts,
        bookmarks=BookmarkRepository(database),
        announcements=Announcements(store, clock, metrics),
        storage=storage,
        links=StreamLinks(signer, MEDIA_URL, clock),
        signer=signer,
        revocations=revoked.revocations,
        verifier=TokenVerifier(JWT_KEY, ["HS256"], AUDIENCE),
        cache=Cache(RedisBackend(store.client, timeout_s=5.0), time.monotonic),
        metrics=metrics,
        clock=clock,
        new_id=new_id,
        ingest=Measuring(storage),
        enqueue=PrepareQueue(database.jobs()).enqueue,
        on_demand=on_demand,
        store="redis",
        readiness={"postgresql": database.check, "valkey": valkey_check(store.client)},
        upload_bytes_max=UPLOAD_BYTES_MAX,
        owner_bytes_max=0,
        media_base_url=MEDIA_URL,
        cors_origins=("https://app.example.org",),
    )
    async with on_demand.running(1, OwnClaims(), metrics):
        yield services
    await revoked.stop()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few seconds of sound have several."""
    monkeypatch.setattr(resumable, "BLOCK_BYTES", 4_096)


class Server(TestServer):
    """A server as `playhead serve` runs it: handlers go on when their client goes away, bodies are not decoded."""

    async def _make_runner(self, **options: Any) -> BaseRunner:
        return Runner(self.app, **{**options, "handler_cancellation": False, "auto_decompress": False})


@pytest.fixture
async def world(services: Services) -> AsyncIterator[World]:
    async with TestClient(Server(create_app(services))) as client:
        yield World(client=client, services=services)

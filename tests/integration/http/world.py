"""A server's REST surface over real PostgreSQL, Valkey and storage, and listeners who call it."""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from playhead.auth.tokens import issue
from playhead.db import Script, ScriptRepository, Source, Tags, Visibility
from playhead.db.script_rows import NO_TAGS
from playhead.http import Services
from playhead.http.route import API
from playhead.media import Grid, cover_key, media_version, source_key

JWT_KEY = "a key for tests that is long enough to be taken"
AUDIENCE = "authenticated"
MEDIA_KEYS = {"new": "a media key for tests, the one that signs", "old": "a media key for tests, the one before"}
UPLOAD_BYTES_MAX = 3_000_000
MEDIA_URL = "https://media.example.org"
TOKEN_S = 3_600
HOUR = Grid(source_rate=44_100, source_samples=44_100 * 3_600)


def new_id() -> str:
    return str(uuid.uuid4())


def token(listener_id: str, *, expires_in_s: int = TOKEN_S, scopes: tuple[str, ...] = (), key: str = JWT_KEY) -> str:
    return issue(
        key,
        listener_id=listener_id,
        audience=AUDIENCE,
        expires_at_s=int(time.time()) + expires_in_s,
        scopes=scopes,
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem; fails for anything else."""
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.body)
        found: str = self.json["code"]
        assert self.json["status"] == self.status
        return found


async def read(response: ClientResponse) -> Reply:
    return Reply(response.status, response.headers, await response.read())


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who calls the API: a listener with a token, or nobody."""

    client: "TestClient[Any, Any]" = field(repr=False)
    listener_id: str = ""
    token: str | None = field(default=None, repr=False)

    @property
    def claims(self) -> dict[str, str]:
        return {"sub": self.listener_id, "role": "authenticated"}

    async def call(self, method: str, path: str, **options: Any) -> Reply:
        """`path` below the API's root, or from `/` on where it does not stand there."""
        headers = dict(options.pop("headers", {}))
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        target = path if path.startswith(("/p/", "/healthz", "/readyz", "/docs", "/openapi")) else API + path
        async with self.client.request(method, target, headers=headers, **options) as response:
            return await read(response)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Reply:
        return await self.call("POST", path, **({} if body is None else {"json": body}), **options)

    async def put(self, path: str, body: object) -> Reply:
        return await self.call("PUT", path, json=body)

    async def delete(self, path: str) -> Reply:
        return await self.call("DELETE", path)

    async def play(self, script_id: str, **fields: Any) -> Any:
        """Plays, and answers what the server said; fails unless it agreed."""
        reply = await self.post("/play", {"script_id": script_id, **fields})
        assert reply.status in (200, 201), reply.body
        return reply.json


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The surface under test."""

    client: "TestClient[Any, Any]"
    services: Services

    def listener(self, *, scopes: tuple[str, ...] = ()) -> Caller:
        """A listener whom nobody has seen before."""
        listener_id = new_id()
        return Caller(client=self.client, listener_id=listener_id, token=token(listener_id, scopes=scopes))

    def nobody(self) -> Caller:
        return Caller(client=self.client)

    @property
    def scripts(self) -> ScriptRepository:
        return self.services.scripts

    async def script(
        self,
        owner: Caller,
        *,
        visibility: Visibility = "private",
        grid: Grid = HOUR,
        ready: bool = False,
        tags: Tags = NO_TAGS,
        cover: bytes | None = None,
    ) -> Script:
        """A script of that owner, as an upload leaves it; `ready`: as the worker does. `cover`: a png."""
        script_id = new_id()
        source = source_of(script_id, grid)
        if cover is not None:
            tags = replace(tags, cover_key=cover_key(source.source_key, "png"))
            await self.services.storage.put(cover_key(source.source_key, "png"), cover)
        created = await self.scripts.create(
            owner.claims,
            script_id=script_id,
            title="A script",
            visibility=visibility,
            source=replace(source, tags=tags),
        )
        assert created.script is not None
        await self.services.storage.put(source.source_key, b"the source")
        if not ready:
            return created.script
        assert await self.scripts.claim(script_id) is not None
        assert await self.scripts.ready(script_id)
        found = await self.scripts.stored(script_id)
        assert found is not None
        return found

    async def fail(self, script_id: str, reason: str = "It went wrong.") -> None:
        assert await self.scripts.claim(script_id) is not None
        assert await self.scripts.failed(script_id, reason)


def source_of(script_id: str, grid: Grid) -> Source:
    """What ingest would say of a source of that length."""
    version = media_version(script_id.replace("-", ""))
    return Source(
        source_key=source_key(script_id, version),
        source_bytes=10,
        source_codec="mp3",
        source_rate=grid.source_rate,
        source_samples=grid.source_samples,
        source_start_s=0.0,
        duration_ms=grid.duration_ms,
        total_samples=grid.total_samples,
        media_version=version,
    )

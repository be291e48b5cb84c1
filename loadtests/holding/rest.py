"""Requests over every route, one after the other, as apps make them that know nothing of sockets.

Each round is a listener's: it plays, steers, looks, marks and ends. What a round cannot reach is in NOT_SAMPLED.
"""

import asyncio
import io
import time
import uuid
import wave
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import aiohttp

from playhead.auth.tokens import issue

API = "/api/v1/audio"
AUDIENCE = "authenticated"
TOKEN_S = 7_200
TIMEOUT_S = 10.0
UPLOAD_EVERY = 20
"""Rounds; measuring an upload is ffmpeg's work, on the same cores."""
CACHED_STREAM = "GET /stream/{script_id} (cached)"
UPLOAD = "POST /scripts"
NOT_SAMPLED = (
    "GET /p/{token}/… media: there is no worker here, so there are no segments",
    "GET /docs, /openapi.json, /asyncapi.json and the player page: for people, made once",
)
Call = tuple[str, str, dict[str, Any] | None]
"""Method, path, body."""


class Sampler:
    """`calls_per_s` at most. `times_ms` and `failed` by method and route."""

    def __init__(self, url: str, jwt_key: str, script_id: str, calls_per_s: float) -> None:
        self.times_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.failed: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self._url = url
        self._jwt_key = jwt_key
        self._script_id = script_id
        self._pause_s = 1.0 / calls_per_s
        self._rounds = 0

    async def sample_for_ever(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        while True:
            # each round over connections of its own, so that every server process has its share
            async with aiohttp.ClientSession(self._url, timeout=timeout) as http:
                await self._round(http)

    async def _round(self, http: aiohttp.ClientSession) -> None:
        self._rounds += 1
        http.headers["Authorization"] = f"Bearer {self._token()}"
        script = self._script_id
        started = await self._call(http, "POST", "/play", {"script_id": script, "position": 10.0})
        if started is None:
            return
        session = {"session_id": started["session_id"]}
        steering: Sequence[tuple[str, dict[str, Any]]] = (
            ("/seek", {"position": 60.0}),
            ("/rate", {"rate": 1.25}),
            ("/loop", {"start": 60.0, "end": 90.0, "enabled": True}),
            ("/sleep", {"after": 600}),
            ("/mode", {"mode": "handoff"}),
            ("/transfer", {"device_id": "rest"}),
            ("/pause", {}),
        )
        for path, fields in steering:
            await self._call(http, "POST", path, {**session, **fields})
        await self._call(http, "PUT", "/progress", {**session, "position": 61.0, "playback_rate": 1.25})
        await self._look(http, session["session_id"])
        await self._mark(http)
        if self._rounds % UPLOAD_EVERY == 1:
            await self._upload(http)
        await self._call(http, "DELETE", f"/session/{session['session_id']}", None, "/session/{session_id}")

    async def _look(self, http: aiohttp.ClientSession, session_id: str) -> None:
        script = self._script_id
        for path, route in (
            (f"/session/{session_id}", "/session/{session_id}"),
            ("/sessions", "/sessions"),
            ("/scripts", "/scripts"),
            (f"/scripts/{script}", "/scripts/{script_id}"),
            (f"/stats?tz=Europe/Berlin&from={date.today() - timedelta(days=6)}&to={date.today()}", "/stats"),
        ):
            await self._call(http, "GET", path, None, route)
        for quality in ("low", "low", "auto", "auto"):
            await self._call(http, "GET", f"/stream/{script}?quality={quality}", None, "/stream/{script_id}")
        await self._call(http, "POST", f"/prepare/{script}", None, "/prepare/{script_id}")
        history = await self._call(
            http, "GET", f"/sessions/{session_id}/history", None, "/sessions/{session_id}/history"
        )
        if history and history["entries"]:
            entry = {"session_id": session_id, "entry_id": history["entries"][0]["entry_id"]}
            await self._call(http, "POST", "/restore", entry)
        now_ms = int(time.time() * 1000)
        stretch = {"start": 100.0, "end": 110.0, "started_at": now_ms - 20_000, "ended_at": now_ms - 10_000}
        await self._call(http, "POST", "/offline", {"script_id": script, "position": 110.0, "intervals": [stretch]})
        for path in ("/healthz", "/readyz"):
            await self._timed(http, f"GET {path}", "GET", path, None)

    async def _mark(self, http: aiohttp.ClientSession) -> None:
        made = await self._call(http, "POST", "/bookmark", {"script_id": self._script_id, "position": 12.5})
        await self._call(http, "GET", f"/bookmarks/{self._script_id}", None, "/bookmarks/{script_id}")
        if made:
            path, route = f"/bookmark/{made['bookmark_id']}", "/bookmark/{bookmark_id}"
            await self._call(http, "PATCH", path, {"title": "Here"}, route)
            await self._call(http, "DELETE", path, None, route)

    async def _upload(self, http: aiohttp.ClientSession) -> None:
        kind = {"Content-Type": "audio/wav"}
        await self._timed(http, UPLOAD, "POST", f"{API}/scripts?title=Load", second_of_silence(), kind)

    async def _call(
        self, http: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any] | None, route: str = ""
    ) -> Any:
        name = f"{method} {route or path}"
        if path.startswith("/stream/") and self.times_ms.get(name):
            name = CACHED_STREAM
        return await self._timed(http, name, method, API + path, body)

    async def _timed(
        self,
        http: aiohttp.ClientSession,
        name: str,
        method: str,
        path: str,
        body: dict[str, Any] | bytes | None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        await asyncio.sleep(self._pause_s)
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        began_s = time.perf_counter()
        try:
            async with http.request(method, path, headers=headers, **content) as answer:
                raw = await answer.read()
                self.times_ms[name].append((time.perf_counter() - began_s) * 1000)
                self.statuses[f"{name} {answer.status}"] += 1
                self.failed[name] += answer.status >= 400
                return await answer.json() if raw and answer.status < 400 else None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.times_ms[name].append((time.perf_counter() - began_s) * 1000)
            self.statuses[f"{name} {type(error).__name__}"] += 1
            self.failed[name] += 1
            return None

    def _token(self) -> str:
        return issue(
            self._jwt_key,
            listener_id=str(uuid.uuid4()),
            audience=AUDIENCE,
            expires_at_s=int(time.time()) + TOKEN_S,
            scopes=("scripts:write",),
        )


def second_of_silence() -> bytes:
    """A file that can be measured in no time, and is none that was uploaded before."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(48_000)
        sound.writeframes(uuid.uuid4().bytes + bytes(2 * 48_000))
    return file.getvalue()


@asynccontextmanager
async def sampling(url: str, jwt_key: str, script_id: str, calls_per_s: float) -> AsyncIterator[Sampler]:
    """Requests in the background until the end."""
    sampler = Sampler(url, jwt_key, script_id, calls_per_s)
    task = asyncio.create_task(sampler.sample_for_ever())
    try:
        yield sampler
    finally:
        ended = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if ended:
            task.result()

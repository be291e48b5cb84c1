"""What was acknowledged comes to PostgreSQL by the flusher, though it be killed, stopped, or away for a while."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.support.system import RunningSystem

API = "/api/v1/audio"
TIMEOUT_S = 30.0


class App:
    """An app of a new listener over REST, on the first server."""

    def __init__(self, system: RunningSystem, client: aiohttp.ClientSession) -> None:
        self._system, self._client = system, client
        self._headers = {"Authorization": f"Bearer {system.token(str(uuid.uuid4()))}"}

    async def post(self, path: str, **fields: Any) -> Any:
        url = f"{self._system.base_url}{API}{path}"
        async with self._client.post(url, json=fields, headers=self._headers) as answer:
            assert answer.status in (200, 201), await answer.text()
            return json.loads(await answer.read())


@pytest.fixture
async def app(running_system: RunningSystem) -> AsyncIterator[App]:
    async with aiohttp.ClientSession() as client:
        yield App(running_system, client)


@pytest.fixture
async def stored(running_system: RunningSystem) -> AsyncIterator[Callable[[str], Awaitable[int]]]:
    """The revision in which a session is in PostgreSQL; -1 where it is not."""
    connection = await asyncpg.connect(running_system.database_url)

    async def look(session_id: str) -> int:
        found = await connection.fetchval("select revision from audio_sessions where id = $1", session_id)
        return -1 if found is None else int(found)

    yield look
    await connection.close()


Stored = Callable[[str], Awaitable[int]]


async def arrives(stored: Stored, session_id: str, revision: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while await stored(session_id) != revision:
            await asyncio.sleep(0.05)


async def seek(app: App, session_id: str, count: int) -> int:
    """So many seeks; answers the last revision that was acknowledged."""
    return max([int((await app.post("/seek", session_id=session_id, position=n))["revision"]) for n in range(count)])


async def test_commands_are_taken_while_the_flusher_is_away_and_arrive_when_another_one_runs(
    running_system: RunningSystem, app: App, stored: Stored
) -> None:
    session_id = (await app.post("/play", script_id=running_system.script_id))["session_id"]
    await arrives(stored, session_id, 1)
    running_system.flusher.kill()
    try:
        revision = await seek(app, session_id, 20)
        assert await stored(session_id) == 1
    finally:
        running_system.flusher.start()
    await arrives(stored, session_id, revision)


async def test_a_flusher_that_is_told_to_stop_ends_well_and_loses_nothing(
    running_system: RunningSystem, app: App, stored: Stored
) -> None:
    session_id = (await app.post("/play", script_id=running_system.script_id))["session_id"]
    seeking = asyncio.create_task(seek(app, session_id, 50))
    try:
        assert await asyncio.to_thread(running_system.flusher.stop) == 0
    finally:
        running_system.flusher.start()
    await arrives(stored, session_id, await seeking)

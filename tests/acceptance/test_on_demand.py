"""A script is heard before anything of it is encoded: two server processes, no worker, players that jump about."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from playhead.media import FIRST_RUNG, SEGMENT_SAMPLES
from playhead.transcode import Precedence
from tests.support.audio import Kind, error, heard, make, reference
from tests.support.system import Process, RunningSystem, metric_at
from tests.support.systems import StartSystem

API = "/api/v1/audio"
SOURCE = Kind("long.mp3", "-c:a libmp3lame -b:a 128k")
SOURCE_S = 180.0
LISTENERS, HEARD = 12, 3
ASKED_MAX = 60
STILL_TIMEOUT_S = 90.0
SAME_MAX, SHIFTED_MIN = 0.005, 0.03
"""Shares of the energy: what AAC changes, and what a shift by a sample does (see integration/transcode)."""


@pytest.fixture
async def system(make_system: StartSystem, valkey_url: str) -> RunningSystem:
    system = make_system(valkey_url, servers=2, helper_commands=())
    await asyncio.to_thread(system.start)
    return system


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def got(http: aiohttp.ClientSession, url: str) -> bytes:
    """As a player asks: again after `Retry-After`."""
    for _ in range(ASKED_MAX):
        async with http.get(url) as reply:
            if reply.status == 200:
                return await reply.read()
            assert reply.status == 503, await reply.text()
            await asyncio.sleep(float(reply.headers["Retry-After"]))
    raise AssertionError("the segment never came")


async def stream(http: aiohttp.ClientSession, system: RunningSystem, script_id: str, token: str) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    async with http.get(f"{system.base_urls[0]}{API}/stream/{script_id}", headers=headers) as reply:
        return str((await reply.json())["stream_url"]).rpartition("/")[0]


async def test_listeners_at_random_places_of_a_fresh_upload_hear_what_was_uploaded(
    system: RunningSystem, http: aiohttp.ClientSession, tmp_path: Path, free_port: int
) -> None:
    source = make(tmp_path, SOURCE, SOURCE_S)
    token = system.token(str(uuid.uuid4()), scopes=("scripts:write",))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "audio/mpeg"}
    upload = f"{system.base_urls[0]}{API}/scripts"
    async with http.post(upload, params={"title": "Long"}, headers=headers, data=BytesIO(source.read_bytes())) as reply:
        assert reply.status == 201, await reply.text()
        script_id = (await reply.json())["script_id"]
    path = urlsplit(await stream(http, system, script_id, token)).path
    expected = reference(source)
    segments = len(expected) // SEGMENT_SAMPLES
    places = random.Random(5)

    async def listen(server: str) -> None:
        """A few segments on, from a place of one's own."""
        path = urlsplit(await stream(http, system, script_id, system.token(str(uuid.uuid4())))).path
        first = places.randrange(segments - HEARD)
        for segment in range(first, first + HEARD):
            await got(http, f"{server}{path}/{FIRST_RUNG.name}/{segment}.m4s")

    precedence, seen = Precedence(system.folder), asyncio.create_task(claimed(system.folder))
    await asyncio.gather(*(listen(system.base_urls[n % 2]) for n in range(LISTENERS)))
    async with asyncio.timeout(STILL_TIMEOUT_S):
        await seen
    whole = await asyncio.to_thread(heard, f"{system.base_urls[0]}{path}/{FIRST_RUNG.name}/index.m3u8")
    assert error(whole, expected) < SAME_MAX
    assert error(whole[1:], expected) > SHIFTED_MIN
    await asyncio.to_thread(stands_still, system, precedence, free_port)


async def claimed(folder: Path) -> None:
    """Returns when somebody encodes on demand."""
    while not Precedence(folder).is_claimed:
        await asyncio.sleep(0.005)


def stands_still(system: RunningSystem, precedence: Precedence, metrics_port: int) -> None:
    """A worker that takes the script does so while somebody else has precedence."""
    environment = system.environment(metrics_port=metrics_port)
    worker = Process("worker", ("worker",), environment, system.folder / "worker.log")
    precedence.claim()
    worker.start()
    try:
        deadline_s = time.monotonic() + STILL_TIMEOUT_S
        while not stood_s(metrics_port):
            assert time.monotonic() < deadline_s, worker.log()
            time.sleep(0.1)
    finally:
        precedence.give_up()
        worker.stop()


def stood_s(metrics_port: int) -> float:
    """Nothing while it does not listen yet."""
    with suppress(OSError):
        return metric_at(metrics_port, "playhead_demand_gave_way_seconds_total")
    return 0.0

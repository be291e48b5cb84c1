"""An upload's whole way through a bucket: taken in, measured, encoded, and served to a player."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestClient
from prometheus_client import CollectorRegistry

from playhead.db import Database
from playhead.http import Services, create_app
from playhead.media import LADDER, segment_key
from playhead.runtime.metrics import create_metrics
from playhead.storage import S3Storage
from playhead.transcode import Encoder, PrepareQueue, Worker
from tests.integration.http.conftest import (
    Measuring,
    Server,
    database,
    logins,
    logins_folder,
    media_folder,
    migrated_template,
    mp3,
    owner_url,
    services,
    small_blocks,
    store,
)
from tests.integration.http.resuming import BLOCK_BYTES, asked, begun, put
from tests.integration.http.uploading import AUDIO
from tests.integration.http.world import World
from tests.support.audio import wheel_programs
from tests.support.buckets import MakeS3

__all__ = [
    "database",
    "logins",
    "logins_folder",
    "media_folder",
    "migrated_template",
    "mp3",
    "owner_url",
    "services",
    "small_blocks",
    "store",
]

WAIT_S = 30.0


@pytest.fixture
def bucket_storage(s3: MakeS3) -> S3Storage:
    return s3()


@pytest.fixture
async def world(services: Services, bucket_storage: S3Storage) -> AsyncIterator[World]:
    stored = replace(services, storage=bucket_storage, ingest=Measuring(bucket_storage))
    async with TestClient(Server(create_app(stored))) as client:
        yield World(client=client, services=stored)


async def test_what_is_uploaded_into_a_bucket_is_encoded_and_served_from_there(
    world: World, database: Database, bucket_storage: S3Storage, mp3: bytes
) -> None:
    anna = world.listener()
    reply = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
    assert reply.status == 201, reply.body
    script_id = reply.json["script_id"]
    await _prepared(world, database, bucket_storage, script_id)

    stream = (await anna.get(f"/stream/{script_id}?quality=low")).json
    below = urlsplit(stream["stream_url"]).path.rpartition("/")[0]
    script = await world.scripts.stored(script_id)
    assert script is not None and stream["ready"]
    for rung in LADDER:
        key = segment_key(script_id, script.media_version, rung.name, 0)
        served = await _get(world, f"{below.rpartition('/')[0]}/{rung.name}/0.m4s")
        assert served == (200, await bucket_storage.get(key))
    whole = (await _get(world, f"{below}/0.m4s"))[1]
    assert await _get(world, f"{below}/0.m4s", Range="bytes=10-19") == (206, whole[10:20])


async def test_a_file_that_comes_in_parts_is_joined_in_the_bucket(
    world: World, bucket_storage: S3Storage, mp3: bytes, small_blocks: None
) -> None:
    anna = world.listener()
    upload_id = await begun(anna, mp3)
    assert (await put(anna, upload_id, mp3, 0, 3 * BLOCK_BYTES)).status == 202
    assert (await put(anna, upload_id, mp3, BLOCK_BYTES)).json["offset"] == 3 * BLOCK_BYTES
    reply = await put(anna, upload_id, mp3, 3 * BLOCK_BYTES)
    assert reply.status == 201, reply.body
    script = await world.scripts.stored(reply.json["script_id"])
    assert script is not None and script.source_key is not None
    assert await bucket_storage.get(script.source_key) == mp3
    assert [found.key async for found in bucket_storage.list("uploads")] == []
    assert (await asked(anna, upload_id, len(mp3))).json == reply.json


async def test_a_bucket_that_is_away_is_answered_with_what_to_do(world: World, s3: MakeS3, mp3: bytes) -> None:
    away = replace(world.services, storage=s3(endpoint="http://127.0.0.1:1"))
    async with TestClient(Server(create_app(away))) as client:
        anna = World(client=client, services=away).listener()
        reply = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
    assert (reply.status, reply.json["code"]) == (503, "unavailable")


async def _prepared(world: World, database: Database, storage: S3Storage, script_id: str) -> None:
    """Runs a worker until the script is ready."""
    worker = Worker(
        queue=PrepareQueue(database.jobs()),
        scripts=world.scripts,
        storage=storage,
        encoder=Encoder(wheel_programs()),
        metrics=create_metrics(CollectorRegistry()),
        slots=2,
        attempts_max=1,
    )
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(stop))
    async with asyncio.timeout(WAIT_S):
        while (row := await world.scripts.stored(script_id)) is None or row.status not in ("ready", "failed"):
            await asyncio.sleep(0.05)
    stop.set()
    await working
    assert row.status == "ready", row.error


async def _get(world: World, path: str, **headers: str) -> tuple[int, bytes]:
    async with world.client.get(path, headers=headers) as response:
        return response.status, await response.read()

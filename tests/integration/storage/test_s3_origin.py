"""What a player is answered while the bucket is away, or breaks off: a problem or the whole, never a part."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs

from playhead.app.on_demand import OnDemand
from playhead.auth.media_paths import media_prefix
from playhead.cache import OwnClaims
from playhead.db import Database
from playhead.http import Services, create_app
from playhead.media import FIRST_RUNG, OUTPUT_RATE_HZ, Grid, init_segment, media_playlist, segment_key
from playhead.transcode import PrepareQueue
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
    store,
)
from tests.integration.http.uploading import AUDIO
from tests.integration.http.world import Caller, Reply, World
from tests.support.audio import decoded, joined
from tests.support.buckets import BRIEF, MakeS3
from tests.support.flaky_bucket import GONE, SLOW_DOWN, BreakOff, Fault, FlakyBucket, always, first, well
from tests.support.seaweed import ACCESS_KEY, SECRET_KEY

__all__ = [
    "database",
    "logins",
    "logins_folder",
    "media_folder",
    "migrated_template",
    "mp3",
    "owner_url",
    "services",
    "store",
]

GRID = Grid(source_rate=48_000, source_samples=48_000 * 20)
"""Twenty seconds: four segments."""
SEGMENT = bytes(range(256)) * 100
EXPIRES_IN_S = 60
FAULTS = {
    "refuses": SLOW_DOWN,
    "is gone": GONE,
    "breaks off before the body": BreakOff(0),
    "breaks off in the body": BreakOff(1_000),
    "is gone in the body": BreakOff(1_000, reset=True),
}

with_every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@pytest.fixture
async def world(services: Services, database: Database, s3: MakeS3, flaky: FlakyBucket) -> AsyncIterator[World]:
    """A server whose media are in a flaky bucket. Its encoders have a cache of sources of their own, as on another
    machine than the one that took the upload."""
    storage = s3(BRIEF, endpoint=flaky.url)
    elsewhere = s3(BRIEF, endpoint=flaky.url, cache="elsewhere")
    on_demand = OnDemand(services.scripts, elsewhere, PrepareQueue(database.jobs()).hurry)
    stored = replace(services, storage=storage, ingest=Measuring(storage), on_demand=on_demand)
    async with on_demand.running(1, OwnClaims(), services.metrics), TestClient(Server(create_app(stored))) as client:
        yield World(client=client, services=stored)


@pytest.fixture
def anna(world: World) -> Caller:
    return world.listener()


def below(world: World, script_id: str, media_version: str) -> str:
    """The signed path that the script's media lie below."""
    expires_at_s = world.services.clock.now_ms() // 1_000 + EXPIRES_IN_S
    return world.services.signer.sign(media_prefix(script_id, media_version), expires_at_s)


async def encoded(world: World, anna: Caller) -> str:
    """The path of a script whose first segment is encoded: SEGMENT."""
    script = await world.script(anna, grid=GRID)
    key = segment_key(script.script_id, script.media_version, FIRST_RUNG.name, 0)
    assert await world.services.storage.put(key, SEGMENT)
    return below(world, script.script_id, script.media_version) + FIRST_RUNG.name


def is_told_to_return(reply: Reply) -> bool:
    kept = reply.headers["Cache-Control"], reply.headers.get("ETag"), reply.headers.get("Content-Range")
    return (reply.status, reply.headers["Retry-After"], kept) == (503, "1", ("no-store", None, None))


def errors(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    assert not any(secret in str(logs) for secret in (ACCESS_KEY, SECRET_KEY, "X-Amz"))
    return [log["action"] for log in logs if log["log_level"] in ("warning", "error")]


@with_every_fault
async def test_a_segment_that_the_bucket_does_not_give_is_a_problem_and_whole_again_afterwards(
    world: World, anna: Caller, flaky: FlakyBucket, fault: Fault
) -> None:
    path = f"{await encoded(world, anna)}/0.m4s"
    flaky.rule = always(fault, method="GET", below=".m4s")
    with capture_logs() as logs:
        reply = await anna.get(path)
        part = await anna.get(path, headers={"Range": "bytes=10-19"})
        head = await anna.call("HEAD", path)
    assert [is_told_to_return(each) for each in (reply, part, head)] == [True] * 3
    assert (reply.code, reply.json["retry"], part.code, head.body) == ("unavailable", True, "unavailable", b"")
    assert errors(logs) == ["storage_failed"] * 3
    flaky.rule = well
    reply, part = await anna.get(path), await anna.get(path, headers={"Range": "bytes=10-19"})
    assert (reply.status, reply.body) == (200, SEGMENT)
    assert (part.status, part.body) == (206, SEGMENT[10:20])


async def test_a_segment_that_breaks_off_once_is_whole_and_no_listener_hears_of_it(
    world: World, anna: Caller, flaky: FlakyBucket
) -> None:
    path = f"{await encoded(world, anna)}/0.m4s"
    flaky.rule = first(1, BreakOff(10_000), method="GET")
    with capture_logs() as logs:
        reply = await anna.get(path)
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, SEGMENT, str(len(SEGMENT)))
    assert (flaky.failed, errors(logs)) == (1, [])


async def test_what_is_computed_is_served_without_the_bucket(world: World, anna: Caller, flaky: FlakyBucket) -> None:
    path = await encoded(world, anna)
    flaky.rule = always(GONE)
    init, playlist = await anna.get(f"{path}/init.mp4"), await anna.get(f"{path}/index.m3u8")
    assert (init.status, init.body) == (200, init_segment(FIRST_RUNG))
    assert (playlist.status, playlist.body.decode()) == (200, media_playlist(GRID))


@with_every_fault
async def test_a_segment_whose_source_the_bucket_does_not_give_is_encoded_as_soon_as_it_does(
    world: World, anna: Caller, flaky: FlakyBucket, s3: MakeS3, mp3: bytes, fault: Fault
) -> None:
    made = (await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)).json
    path = f"{below(world, made['script_id'], made['media_version'])}{FIRST_RUNG.name}/0.m4s"
    flaky.rule = always(fault, method="GET", below="/sources/")
    with capture_logs() as logs:
        reply = await anna.get(path)
    assert (is_told_to_return(reply), reply.code) == (True, "unavailable")
    assert errors(logs) == ["demand_source_unread", "storage_failed"]
    key = segment_key(made["script_id"], made["media_version"], FIRST_RUNG.name, 0)
    assert not await s3().exists(key)
    flaky.rule = well
    reply = await anna.get(path)
    assert (reply.status, reply.body) == (200, await s3().get(key))
    assert len(decoded(joined([reply.body]))) >= 3 * OUTPUT_RATE_HZ

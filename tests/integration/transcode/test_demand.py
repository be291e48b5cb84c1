"""Segments on demand, with real ffmpeg and a real source: made once, whoever asks, and never kept waiting for long."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from playhead.cache import Claims, OwnClaims, RedisClaims
from playhead.db import Script
from playhead.media import FIRST_RUNG, LADDER, Grid, segment_key
from playhead.runtime.metrics import Metrics, create_metrics
from playhead.runtime.redis import connect
from playhead.storage import LocalStorage
from playhead.transcode import Demand, Encoder, EncoderSource, Programs, SegmentNotNow
from playhead.transcode.demand import BLOCK_SEGMENTS, CLAIM_S, FAILED_RETRY_S, RUNS_PER_SLOT
from playhead.transcode.demand_slots import Need
from tests.integration.transcode.conftest import SourceMaker
from tests.support.audio import Kind

DURATION_S = 70.0
"""Thirteen segments: two blocks and a part of the third."""
SOURCE = Kind("sweep.flac", "-c:a flac")
ENDED_S = 20.0
SOON_S = 0.3
GRID = Grid(source_rate=SOURCE.rate, source_samples=round(SOURCE.rate * DURATION_S))
VERSION = "0123456789abcdef"
MakeDemand = Callable[..., Demand]


def script_of(source_key: str) -> Script:
    now = datetime.now(UTC)
    return Script(
        script_id=source_key.split("/")[1],
        owner_id=str(uuid.uuid4()),
        title="A script",
        visibility="listeners",
        status="queued",
        error=None,
        progress=0.0,
        source_key=source_key,
        source_bytes=1,
        source_codec="flac",
        source_rate=GRID.source_rate,
        source_samples=GRID.source_samples,
        source_start_s=0.0,
        duration_ms=GRID.duration_ms,
        total_samples=GRID.total_samples,
        media_version=VERSION,
        created_at=now,
        updated_at=now,
    )


async def stored_script(storage: LocalStorage, content: bytes) -> Script:
    script = script_of(f"sources/{uuid.uuid4()}/upload")
    assert script.source_key is not None
    async with storage.upload(script.source_key) as upload:
        await upload.write(content)
    return script


@pytest.fixture(scope="module")
def flac(tmp_path_factory: pytest.TempPathFactory, source: SourceMaker) -> Path:
    return source(SOURCE, DURATION_S)


@pytest.fixture
async def script(storage: LocalStorage, flac: Path) -> Script:
    return await stored_script(storage, flac.read_bytes())


@pytest.fixture
def metrics() -> Metrics:
    return create_metrics(CollectorRegistry())


@pytest.fixture
async def demand(encoder: Encoder, storage: LocalStorage, metrics: Metrics) -> AsyncIterator[Demand]:
    made = Demand(encoder, storage, OwnClaims(), metrics, slots=2)
    yield made
    await made.stop()


@pytest.fixture
async def hanging(tmp_path: Path, programs: Programs, storage: LocalStorage, metrics: Metrics) -> AsyncIterator[Demand]:
    """One slot, and an ffmpeg that never says anything."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    silent = Programs(ffmpeg=str(program), ffprobe=programs.ffprobe, version="0", tie=programs.tie)
    made = Demand(Encoder(silent), storage, OwnClaims(), metrics, slots=1, wait_s=SOON_S)
    yield made
    await made.stop()


@pytest.fixture
async def claims(valkey_url: str) -> AsyncIterator[Claims]:
    client = connect(valkey_url)
    yield RedisClaims(client, timeout_s=5.0)
    await client.aclose()


def ended(metrics: Metrics, how: str) -> float:
    return float(metrics.demand.runs.labels(how)._value.get())


async def until_ended(metrics: Metrics, how: str, runs: float) -> None:
    async with asyncio.timeout(ENDED_S):
        while ended(metrics, how) < runs:
            await asyncio.sleep(0.01)


async def stored(storage: LocalStorage, script: Script, segment: int) -> bytes | None:
    return await storage.get(segment_key(script.script_id, VERSION, FIRST_RUNG.name, segment))


async def test_what_is_asked_for_comes_as_one_run_from_there_would_make_it_and_the_rest_of_its_block_after_it(
    demand: Demand, encoder: Encoder, storage: LocalStorage, script: Script, metrics: Metrics, flac: Path
) -> None:
    first, end = BLOCK_SEGMENTS + 2, 2 * BLOCK_SEGMENTS
    wanted: dict[int, bytes] = {}

    async def keep(_rung: object, segment: int, body: bytes) -> None:
        wanted[segment] = body

    await encoder.encode(EncoderSource(path=flac, grid=GRID, start_s=0.0), first, end, [FIRST_RUNG], keep)
    assert await demand.segment(script, FIRST_RUNG, first) == wanted[first]
    await until_ended(metrics, "encoded", 1)
    assert [await stored(storage, script, segment) for segment in range(first, end)] == list(wanted.values())
    for outside in (first - 1, end):
        assert await stored(storage, script, outside) is None


async def test_many_who_ask_for_segments_of_one_block_share_a_run(
    demand: Demand, script: Script, metrics: Metrics
) -> None:
    asked = [demand.segment(script, FIRST_RUNG, segment) for segment in (0, 1, 2, 3, 4) for _ in range(20)]
    bodies = await asyncio.gather(*asked)
    assert len(set(bodies)) == BLOCK_SEGMENTS
    await until_ended(metrics, "encoded", 1)
    assert metrics.segments.labels(FIRST_RUNG.name)._value.get() == BLOCK_SEGMENTS


async def test_what_nobody_waits_for_gives_way_to_who_hears_nothing(
    encoder: Encoder, storage: LocalStorage, script: Script, metrics: Metrics
) -> None:
    demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1)
    await demand.segment(script, FIRST_RUNG, 0)
    await demand.segment(script, FIRST_RUNG, BLOCK_SEGMENTS)
    assert ended(metrics, "gave_way") == 1
    assert await demand.segment(script, FIRST_RUNG, BLOCK_SEGMENTS - 1), "which is made when it is asked for"
    await until_ended(metrics, "encoded", 1)
    await demand.stop()


async def test_who_fills_a_buffer_waits_for_who_hears_nothing(hanging: Demand, script: Script) -> None:
    hanging._lately.put((script.script_id, VERSION, FIRST_RUNG.name, 4), hanging._now_s())
    hanging._wait_s = ENDED_S
    asked = [asyncio.ensure_future(hanging.segment(script, FIRST_RUNG, segment)) for segment in (0, 10)]
    async with asyncio.timeout(ENDED_S):
        while not hanging._slots.newcomers_waiting:
            await asyncio.sleep(0.01)
    asked.append(asyncio.ensure_future(hanging.segment(script, FIRST_RUNG, 5)))
    await asyncio.sleep(SOON_S)
    run = hanging._runs[script.script_id, VERSION, FIRST_RUNG.name, 5]
    assert run.ticket.need is Need.FILLING and run.encoding is None, (
        "the newcomers' slot is taken, and one of them waits"
    )
    await hanging.stop()
    await asyncio.gather(*asked, return_exceptions=True)


async def test_who_jumps_back_in_a_block_gets_a_run_that_ends_where_the_other_began(
    demand: Demand, script: Script, metrics: Metrics
) -> None:
    await asyncio.gather(demand.segment(script, FIRST_RUNG, 3), demand.segment(script, FIRST_RUNG, 1))
    await until_ended(metrics, "encoded", 2)
    assert metrics.segments.labels(FIRST_RUNG.name)._value.get() == BLOCK_SEGMENTS - 1


async def test_each_rung_and_the_end_of_the_script(demand: Demand, script: Script, metrics: Metrics) -> None:
    last = GRID.segments - 1
    bodies = await asyncio.gather(*(demand.segment(script, rung, last) for rung in LADDER))
    assert len(bodies[0]) < len(bodies[1]) < len(bodies[2])
    await until_ended(metrics, "encoded", len(LADDER))


async def test_of_two_processes_one_encodes_and_both_answer_the_same_bytes(
    encoder: Encoder, storage: LocalStorage, script: Script, claims: Claims
) -> None:
    told = [create_metrics(CollectorRegistry()) for _ in range(2)]
    demands = [Demand(encoder, storage, claims, metrics, slots=2) for metrics in told]
    for segment in (0, BLOCK_SEGMENTS + 3):
        one, other = await asyncio.gather(*(demand.segment(script, FIRST_RUNG, segment) for demand in demands))
        assert one == other == await stored(storage, script, segment)
    async with asyncio.timeout(ENDED_S):
        while sum(ended(metrics, "encoded") for metrics in told) < 2:
            await asyncio.sleep(0.01)
    assert sum(metrics.segments.labels(FIRST_RUNG.name)._value.get() for metrics in told) == BLOCK_SEGMENTS + 2
    for demand in demands:
        await demand.stop()


async def test_what_a_killed_process_had_claimed_is_made_by_who_waits_once_the_claim_has_run_out(
    encoder: Encoder, storage: LocalStorage, script: Script, claims: Claims, metrics: Metrics
) -> None:
    demand = Demand(encoder, storage, claims, metrics, slots=1)
    assert CLAIM_S < ENDED_S
    assert await claims.take(f"audio:making:{script.script_id}:{VERSION}-{FIRST_RUNG.name}-0", b"0 5", SOON_S)
    assert await demand.segment(script, FIRST_RUNG, 1)
    await until_ended(metrics, "encoded", 1)
    await demand.stop()


async def test_what_another_process_has_stored_meanwhile_is_what_everybody_gets(
    encoder: Encoder, storage: LocalStorage, script: Script, metrics: Metrics
) -> None:
    class Overtaken(OwnClaims):
        async def take(self, key: str, value: bytes, ttl_s: float) -> bool:
            return await storage.put(segment_key(script.script_id, VERSION, FIRST_RUNG.name, 0), b"theirs")

    demand = Demand(encoder, storage, Overtaken(), metrics, slots=1)
    assert await demand.segment(script, FIRST_RUNG, 0) == b"theirs"
    await demand.stop()


async def test_without_valkey_each_process_makes_for_itself(
    encoder: Encoder, storage: LocalStorage, script: Script, metrics: Metrics
) -> None:
    nobody = connect("redis://127.0.0.1:1")
    demand = Demand(encoder, storage, RedisClaims(nobody), metrics, slots=1)
    assert await demand.segment(script, FIRST_RUNG, 0)
    await until_ended(metrics, "encoded", 1)
    await demand.stop()
    await nobody.aclose()


async def test_a_claim_of_what_begins_later_is_nothing_to_wait_for(
    encoder: Encoder, storage: LocalStorage, script: Script, claims: Claims, metrics: Metrics
) -> None:
    demand = Demand(encoder, storage, claims, metrics, slots=1)
    assert await claims.take(f"audio:making:{script.script_id}:{VERSION}-{FIRST_RUNG.name}-0", b"3 5", 60.0)
    assert await demand.segment(script, FIRST_RUNG, 1)
    await until_ended(metrics, "encoded", 1)
    await demand.stop()


async def test_who_would_wait_too_long_is_told_when_to_ask_again(
    hanging: Demand, script: Script, metrics: Metrics
) -> None:
    with pytest.raises(SegmentNotNow) as told:
        await hanging.segment(script, FIRST_RUNG, 0)
    assert 1 <= told.value.retry_after_s <= 3
    assert metrics.demand.answers.labels("not_now")._value.get() == 1


async def test_beyond_the_limits_of_a_script_and_of_all_nobody_is_kept_waiting(
    hanging: Demand, storage: LocalStorage, script: Script
) -> None:
    hanging._wait_s = ENDED_S
    places = [(rung, block * BLOCK_SEGMENTS) for block in range(2) for rung in LADDER][: RUNS_PER_SLOT // 2]
    scripts = [script, await stored_script(storage, b"another one"), await stored_script(storage, b"a third")]
    asked: list[asyncio.Future[bytes]] = []
    for each in scripts[:2]:
        asked += [asyncio.ensure_future(hanging.segment(each, rung, segment)) for rung, segment in places]
        asked.append(asyncio.ensure_future(hanging.segment(each, LADDER[0], 4)))  # of a run that is under way
        await asyncio.sleep(0)
        with pytest.raises(SegmentNotNow):  # the script has its share
            await asyncio.wait_for(hanging.segment(each, LADDER[2], BLOCK_SEGMENTS), SOON_S)
    with pytest.raises(SegmentNotNow):
        await asyncio.wait_for(hanging.segment(scripts[2], LADDER[1], 0), SOON_S)
    assert not any(task.done() for task in asked)
    await hanging.stop()
    with pytest.raises(SegmentNotNow):
        await hanging.segment(scripts[2], LADDER[1], 0)
    await asyncio.gather(*asked, return_exceptions=True)


async def test_what_nobody_waits_for_any_more_is_not_begun(hanging: Demand, script: Script, metrics: Metrics) -> None:
    gone = [hanging.segment(script, LADDER[n], 5, lambda: False) for n in range(3)]
    await asyncio.gather(*gone, return_exceptions=True)
    await until_ended(metrics, "unneeded", 3)


async def test_a_place_that_cannot_be_encoded_is_said_so_and_left_alone_for_a_while(
    encoder: Encoder, storage: LocalStorage, metrics: Metrics
) -> None:
    now_s = [1_000.0]
    demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1, now_s=lambda: now_s[0])
    broken = await stored_script(storage, b"this is no audio")
    for at_s, failures in ((1_000.0, 1), (1_000.0 + FAILED_RETRY_S - 1, 1), (1_000.0 + FAILED_RETRY_S, 2)):
        now_s[0] = at_s
        with pytest.raises(SegmentNotNow, match="from 0:00 to 0:28 could not be decoded") as told:
            await demand.segment(broken, FIRST_RUNG, 0)
        assert told.value.retry_after_s == FAILED_RETRY_S
        assert ended(metrics, "failed") == failures
    await demand.stop()


async def test_a_source_that_is_gone_is_no_reason_to_wait(
    demand: Demand, storage: LocalStorage, script: Script
) -> None:
    assert script.source_key is not None
    await storage.delete_prefix(script.source_key)
    with pytest.raises(SegmentNotNow, match="source is gone"):
        await demand.segment(script, FIRST_RUNG, 0)


async def test_what_will_be_wanted_is_made_beforehand_where_nobody_waits(
    demand: Demand, storage: LocalStorage, script: Script, metrics: Metrics
) -> None:
    demand.warm(script, FIRST_RUNG, 2)
    demand.warm(script, FIRST_RUNG, 3)
    await until_ended(metrics, "encoded", 1)
    assert await stored(storage, script, 2) and await stored(storage, script, 4)


async def test_what_is_under_way_at_the_end_is_given_up_and_its_askers_are_told(
    hanging: Demand, script: Script, metrics: Metrics
) -> None:
    hanging._wait_s = ENDED_S
    asked = asyncio.ensure_future(hanging.segment(script, FIRST_RUNG, 0))
    await asyncio.sleep(SOON_S / 3)
    await hanging.stop()
    with pytest.raises(SegmentNotNow):
        await asyncio.wait_for(asked, ENDED_S / 4)
    assert ended(metrics, "cancelled") == 1

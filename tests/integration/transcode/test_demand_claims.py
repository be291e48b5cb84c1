"""Segments on demand by several processes, which share a storage and a Valkey: one encodes, the others wait for it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from playhead.cache import CacheUnavailable, Claims, OwnClaims, RedisClaims
from playhead.db import Script
from playhead.media import FIRST_RUNG, segment_key
from playhead.runtime.metrics import Metrics, create_metrics
from playhead.runtime.redis import connect
from playhead.storage import LocalStorage
from playhead.transcode import Demand, Encoder, Programs, SegmentNotNow
from playhead.transcode.demand import UNREAD_BYTES_MAX
from playhead.transcode.demand_making import CLAIM_S
from playhead.transcode.demand_run import AHEAD_SEGMENTS
from tests.integration.transcode.demanding import (
    ENDED_S,
    VERSION,
    encoded,
    ended,
    stored,
    until_ended,
    until_stored,
)

SOON_S = 0.3
ANSWER_S = 5.0


@pytest.fixture
def encoder(programs: Programs) -> Encoder:
    return Encoder(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")


class Answering(RedisClaims):
    """Of one process. `late`: so many times what it takes is taken, and the answer comes too late.

    `stuck`: the next one that it gives up says so there, and gets nowhere.
    """

    late = 0
    stuck: asyncio.Event | None = None

    async def take(self, key: str, value: bytes, ttl_s: float) -> bool:
        taken = await super().take(key, value, ttl_s)
        if self.late:
            self.late -= 1
            raise CacheUnavailable("too late")
        return taken

    async def give_up(self, key: str) -> None:
        stuck, self.stuck = self.stuck, None
        if stuck is not None:
            stuck.set()
            await asyncio.Event().wait()
        await super().give_up(key)


@pytest.fixture
async def processes(valkey_url: str) -> AsyncIterator[tuple[Answering, Answering]]:
    """Two processes' claims."""
    client = connect(valkey_url)
    yield Answering(client, ANSWER_S), Answering(client, ANSWER_S)
    await client.aclose()


@pytest.fixture
def claims(processes: tuple[Answering, Answering]) -> Answering:
    return processes[0]


@pytest.fixture
def theirs(processes: tuple[Answering, Answering]) -> Claims:
    return processes[1]


def claim_key(script: Script, block: int = 0) -> str:
    return f"audio:made-by:{script.script_id}:{VERSION}-{FIRST_RUNG.name}-{block}"


async def test_of_two_processes_one_encodes_and_both_answer_the_same_bytes(
    encoder: Encoder, storage: LocalStorage, script: Script, processes: tuple[Claims, Claims]
) -> None:
    told = [create_metrics(CollectorRegistry()) for _ in processes]
    demands = [Demand(encoder, storage, *each, slots=2) for each in zip(processes, told, strict=True)]
    for segment in (0, AHEAD_SEGMENTS + 3):
        one, other = await asyncio.gather(*(demand.segment(script, FIRST_RUNG, segment) for demand in demands))
        assert one == other == await stored(storage, script, segment)
        await until_stored(storage, script, segment + AHEAD_SEGMENTS - 1)
    assert encoded(*told) == 2 * AHEAD_SEGMENTS
    for demand in demands:
        await demand.stop()


async def test_what_a_killed_process_had_claimed_is_made_by_who_waits_once_the_claim_has_run_out(
    encoder: Encoder, storage: LocalStorage, script: Script, claims: Claims, theirs: Claims, metrics: Metrics
) -> None:
    demand = Demand(encoder, storage, claims, metrics, slots=1)
    assert CLAIM_S < ENDED_S
    assert await theirs.take(claim_key(script), b"0 5", SOON_S)
    assert await demand.segment(script, FIRST_RUNG, 1)
    await demand.stop()


@pytest.mark.parametrize("stores", [True, False], ids=["which stores it", "which gives up"])
async def test_another_process_that_is_slow_is_looked_at_now_and_then_while_somebody_will_ask_again(
    encoder: Encoder, storage: LocalStorage, script: Script, metrics: Metrics, stores: bool
) -> None:
    class Theirs(OwnClaims):
        held: bytes | None = b"0 5"
        wanted = 0

        async def take(self, key: str, value: bytes, ttl_s: float) -> bool:
            self.wanted += 1
            return self.held is None

        async def value(self, key: str) -> bytes | None:
            return self.held

    claims = Theirs()
    demand = Demand(encoder, storage, claims, metrics, slots=1, wait_s=SOON_S)
    with pytest.raises(SegmentNotNow):
        await demand.segment(script, FIRST_RUNG, 0)
    await asyncio.sleep(SOON_S)
    assert claims.wanted == 1
    if stores:
        await storage.put(segment_key(script.script_id, VERSION, FIRST_RUNG.name, 0), b"theirs")
        await until_ended(metrics, "followed", 1)
        assert encoded(metrics) == 0
    else:
        claims.held = None
        await until_stored(storage, script, 0)
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
    await demand.stop()
    await nobody.aclose()


async def test_a_claim_of_what_begins_later_is_nothing_to_wait_for(
    encoder: Encoder, storage: LocalStorage, script: Script, claims: Claims, theirs: Claims, metrics: Metrics
) -> None:
    demand = Demand(encoder, storage, claims, metrics, slots=1)
    assert await theirs.take(claim_key(script), b"3 5", 60.0)
    assert await demand.segment(script, FIRST_RUNG, 1)
    await until_ended(metrics, "followed", 1)
    assert encoded(metrics) == 2, "up to where the other one began"
    await demand.stop()


@pytest.mark.parametrize("late", [1, 100], ids=["once", "always"])
async def test_a_claim_that_is_answered_too_late_keeps_its_own_maker_waiting_for_nothing_and_is_given_up(
    encoder: Encoder,
    storage: LocalStorage,
    script: Script,
    claims: Answering,
    theirs: Claims,
    metrics: Metrics,
    late: int,
) -> None:
    claims.late = late
    demand = Demand(encoder, storage, claims, metrics, slots=1)
    async with asyncio.timeout(CLAIM_S / 2):
        for segment in range(AHEAD_SEGMENTS):
            assert await demand.segment(script, FIRST_RUNG, segment)
    assert (ended(metrics, "followed"), encoded(metrics) >= AHEAD_SEGMENTS) == (0, True)
    await demand.stop()
    assert await theirs.value(claim_key(script)) is None


async def test_a_claim_that_this_process_has_left_behind_is_its_own(
    encoder: Encoder, storage: LocalStorage, script: Script, claims: Answering, metrics: Metrics
) -> None:
    """As when it was given up while Valkey answered nobody."""
    assert await claims.take(claim_key(script), b"0 5", CLAIM_S)
    demand = Demand(encoder, storage, claims, metrics, slots=1)
    async with asyncio.timeout(CLAIM_S / 2):
        assert await demand.segment(script, FIRST_RUNG, 0)
    await demand.stop()


async def test_whoever_is_not_sure_of_its_claim_takes_nobody_elses_away(
    encoder: Encoder, storage: LocalStorage, script: Script, claims: Answering, theirs: Claims, metrics: Metrics
) -> None:
    claims.late = 1
    assert await theirs.take(claim_key(script), b"0 5", 60.0)
    demand = Demand(encoder, storage, claims, metrics, slots=1)
    assert await demand.segment(script, FIRST_RUNG, 0), "which two may make"
    await demand.stop()
    assert await theirs.value(claim_key(script)) == b"0 5"


async def test_who_is_stopped_while_it_gives_up_its_claim_leaves_none_behind(
    encoder: Encoder, storage: LocalStorage, script: Script, claims: Answering, theirs: Claims, metrics: Metrics
) -> None:
    giving_up = claims.stuck = asyncio.Event()
    demand = Demand(encoder, storage, claims, metrics, slots=1)
    assert await demand.segment(script, FIRST_RUNG, 0)
    await asyncio.wait_for(giving_up.wait(), ENDED_S)
    assert await theirs.value(claim_key(script))
    await demand.stop()
    assert await theirs.value(claim_key(script)) is None

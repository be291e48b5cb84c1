"""Segments on demand, with real ffmpeg and a real source: made once, whoever asks, and never kept waiting for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from playhead.cache import OwnClaims
from playhead.db import Script
from playhead.media import FIRST_RUNG, LADDER, segment_key
from playhead.runtime.metrics import Metrics
from playhead.storage import LocalStorage
from playhead.transcode import Demand, Encoder, EncoderSource, Programs, SegmentNotNow
from playhead.transcode.demand import (
    FAILED_RETRY_S,
    LISTENER_RUNS_MAX,
    RUNS_PER_SLOT,
    RUNS_PER_WANTED,
    UNEXPECTED,
    UNREAD_BYTES_MAX,
)
from playhead.transcode.demand_run import AHEAD_SEGMENTS
from playhead.transcode.demand_turns import Need
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.demanding import (
    DURATION_S,
    ENDED_S,
    GRID,
    SOURCE,
    VERSION,
    encoded,
    ended,
    stored,
    stored_script,
    until_ended,
    until_stored,
)

SOON_S = 0.3


@pytest.fixture(scope="module")
def flac(tmp_path_factory: pytest.TempPathFactory, source: SourceMaker) -> Path:
    return source(SOURCE, DURATION_S)


@pytest.fixture
def encoder(programs: Programs) -> Encoder:
    return Encoder(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")


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


async def test_what_is_asked_for_comes_as_one_run_from_there_would_make_it_and_what_a_player_buffers_after_it(
    demand: Demand, encoder: Encoder, storage: LocalStorage, script: Script, metrics: Metrics, flac: Path
) -> None:
    first, held = 3, 3 + AHEAD_SEGMENTS
    wanted: dict[int, bytes] = {}

    async def keep(_rung: object, segment: int, body: bytes) -> None:
        wanted[segment] = body

    await encoder.encode(EncoderSource(path=flac, grid=GRID, start_s=0.0), first, GRID.segments, [FIRST_RUNG], keep)
    assert await demand.segment(script, FIRST_RUNG, first) == wanted[first]
    await until_stored(storage, script, held - 1)
    await asyncio.sleep(SOON_S)
    assert await stored(storage, script, first - 1) is None and await stored(storage, script, held) is None
    assert await demand.segment(script, FIRST_RUNG, held) == wanted[held], "which the same encoder goes on with"
    await until_ended(metrics, "encoded", 1)
    assert [await stored(storage, script, segment) for segment in wanted] == list(wanted.values())


async def test_many_who_ask_for_neighbouring_segments_share_a_run(
    demand: Demand, storage: LocalStorage, script: Script, metrics: Metrics
) -> None:
    asked = [demand.segment(script, FIRST_RUNG, segment) for segment in range(AHEAD_SEGMENTS) for _ in range(20)]
    assert len(set(await asyncio.gather(*asked))) == AHEAD_SEGMENTS
    await until_stored(storage, script, 2 * AHEAD_SEGMENTS - 2)
    assert encoded(metrics) == 2 * AHEAD_SEGMENTS - 1


async def test_of_more_encoders_than_are_kept_the_one_that_is_needed_last_ends_and_comes_back_when_it_is_asked(
    demand: Demand, storage: LocalStorage, script: Script, metrics: Metrics
) -> None:
    demand._making._encoders_max = 1
    await demand.segment(script, FIRST_RUNG, 0)
    await until_stored(storage, script, AHEAD_SEGMENTS - 1)
    await demand.segment(script, FIRST_RUNG, 2 * AHEAD_SEGMENTS)
    await until_ended(metrics, "gave_way", 1)
    assert await demand.segment(script, FIRST_RUNG, AHEAD_SEGMENTS)


async def test_who_has_heard_what_comes_before_is_no_newcomer(hanging: Demand, script: Script) -> None:
    hanging._making._heard.put((script.script_id, VERSION, 5), 7.0)
    hanging._wait_s = ENDED_S
    asked = [asyncio.ensure_future(hanging.segment(script, FIRST_RUNG, segment)) for segment in (0, 5, 10)]
    asked.append(asyncio.ensure_future(hanging.segment(script, LADDER[0], 5)))
    await asyncio.sleep(SOON_S)
    tickets = [run.ticket for run in hanging._tasks]
    assert [ticket.need for ticket in tickets] == [Need.NEWCOMER, Need.LISTENING, Need.NEWCOMER, Need.LISTENING]
    assert tickets[1].due_s == tickets[3].due_s == 7.0
    await hanging.stop()
    await asyncio.gather(*asked, return_exceptions=True)


async def test_who_jumps_back_gets_a_run_that_ends_where_the_other_began(
    demand: Demand, script: Script, metrics: Metrics, storage: LocalStorage
) -> None:
    await asyncio.gather(demand.segment(script, FIRST_RUNG, 3), demand.segment(script, FIRST_RUNG, 1))
    await until_ended(metrics, "encoded", 1)
    await until_stored(storage, script, 2 + AHEAD_SEGMENTS)
    assert encoded(metrics) == AHEAD_SEGMENTS + 2


async def test_what_is_stored_already_is_not_encoded_again(
    demand: Demand, script: Script, metrics: Metrics, storage: LocalStorage
) -> None:
    for segment in (2, 3):
        await storage.put(segment_key(script.script_id, VERSION, FIRST_RUNG.name, segment), b"there")
    assert await demand.segment(script, FIRST_RUNG, 1) and await demand.segment(script, FIRST_RUNG, 4)
    await until_stored(storage, script, 3 + AHEAD_SEGMENTS)
    assert encoded(metrics) == 1 + AHEAD_SEGMENTS
    assert await demand.segment(script, FIRST_RUNG, 2) == b"there", "though its asker was too early to find it"


async def test_what_a_power_failure_left_empty_is_made_whoever_comes_to_it_first(
    demand: Demand, script: Script, metrics: Metrics, storage: LocalStorage
) -> None:
    emptied = (0, 2, 2 + AHEAD_SEGMENTS)
    for segment in emptied:
        await storage.put(segment_key(script.script_id, VERSION, FIRST_RUNG.name, segment), b"")
    assert await demand.segment(script, FIRST_RUNG, 2), "asked for"
    assert await demand.segment(script, FIRST_RUNG, 1 + AHEAD_SEGMENTS)
    await until_stored(storage, script, 3 + AHEAD_SEGMENTS)
    assert await stored(storage, script, 2 + AHEAD_SEGMENTS), "come past"
    assert await demand.segment(script, FIRST_RUNG, 0)
    assert all([await stored(storage, script, segment) for segment in emptied])


async def test_each_rung_and_the_end_of_the_script(demand: Demand, script: Script, metrics: Metrics) -> None:
    last = GRID.segments - 1
    bodies = await asyncio.gather(*(demand.segment(script, rung, last) for rung in LADDER))
    assert len(bodies[0]) < len(bodies[1]) < len(bodies[2])
    await until_ended(metrics, "encoded", len(LADDER))


async def test_who_would_wait_too_long_is_told_when_to_ask_again(
    hanging: Demand, script: Script, metrics: Metrics
) -> None:
    with pytest.raises(SegmentNotNow) as told:
        await hanging.segment(script, FIRST_RUNG, 0)
    assert 1 <= told.value.retry_after_s <= 2
    assert metrics.demand.answers.labels("not_now")._value.get() == 1


async def test_beyond_the_limits_of_a_listener_a_script_and_all_nobody_is_kept_waiting(
    hanging: Demand, storage: LocalStorage, script: Script
) -> None:
    assert (hanging._runs_max, hanging._script_runs_max) == (RUNS_PER_SLOT, RUNS_PER_SLOT // 2)
    hanging._wait_s, hanging._runs_max, hanging._script_runs_max = ENDED_S, 2 * LISTENER_RUNS_MAX + 2, 6
    scripts = [script, await stored_script(storage, b"another one"), await stored_script(storage, b"a third")]
    asked: list[asyncio.Future[bytes]] = []

    async def waits(script: Script, place: int, listener: str | None) -> bool:
        """At that place of the script, each in a run of its own; False: nobody is kept waiting there."""
        rung, segment = LADDER[place % 3], place // 3 * AHEAD_SEGMENTS
        asked.append(asyncio.ensure_future(hanging.segment(script, rung, segment, listener=listener)))
        await asyncio.sleep(0)
        return not asked[-1].done()

    hers = [await waits(scripts[0], place, "she") for place in range(LISTENER_RUNS_MAX + 1)]
    assert hers == [True] * LISTENER_RUNS_MAX + [False] and not await waits(scripts[1], 0, "she")
    assert [await waits(scripts[0], place, None) for place in (5, 6, 7)] == [True, True, False], "the script's share"
    assert await waits(scripts[0], 0, "he"), "what is under way is for everybody"
    assert [await waits(scripts[1 + n // 3], n % 3, None) for n in range(5)] == [True] * 4 + [False]
    await hanging.stop()
    assert not await waits(scripts[2], 2, None)
    await asyncio.gather(*asked, return_exceptions=True)


async def test_those_who_leave_at_once_fill_no_more_than_there_is_room_for(hanging: Demand, script: Script) -> None:
    hanging._wait_s, hanging._runs_max = ENDED_S, 1
    places = [(rung, block * AHEAD_SEGMENTS) for rung in LADDER for block in range(2)]
    gone = [asyncio.ensure_future(hanging.segment(script, *place, lambda: False)) for place in places]
    await asyncio.sleep(0)
    assert [task.done() for task in gone] == [False] * RUNS_PER_WANTED + [True] * (len(gone) - RUNS_PER_WANTED)
    # also those whose runs have not even begun
    async with asyncio.timeout(ENDED_S / 2):
        await hanging.stop()
        told = await asyncio.gather(*gone, return_exceptions=True)
    assert {type(error) for error in told} == {SegmentNotNow}


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
        with pytest.raises(SegmentNotNow, match="from 0:00 to 1:14 could not be decoded") as told:
            await demand.segment(broken, FIRST_RUNG, 0)
        assert told.value.retry_after_s == FAILED_RETRY_S
        assert ended(metrics, "failed") == failures
    await demand.stop()


async def test_what_failed_for_whatever_reason_is_left_alone_for_a_while(
    programs: Programs, storage: LocalStorage, script: Script, metrics: Metrics
) -> None:
    removed = Programs(ffmpeg="/no/such/ffmpeg", ffprobe=programs.ffprobe, version="0")
    demand = Demand(Encoder(removed), storage, OwnClaims(), metrics, slots=1)
    for _ in range(3):
        with pytest.raises(SegmentNotNow, match=UNEXPECTED):
            await demand.segment(script, FIRST_RUNG, 0)
    assert ended(metrics, "failed") == 1
    await demand.stop()


async def test_a_source_is_not_fetched_on_for_those_who_have_left(
    encoder: Encoder, tmp_path: Path, script: Script, metrics: Metrics
) -> None:
    class Slow(LocalStorage):
        @asynccontextmanager
        async def local_file(self, key: str) -> AsyncIterator[Path]:
            await asyncio.Event().wait()
            yield Path(key)

    demand = Demand(encoder, Slow(tmp_path / "slow"), OwnClaims(), metrics, slots=1, wait_s=SOON_S)
    here = iter([True, False])  # when it begins to wait, and from then on
    with pytest.raises(SegmentNotNow):
        await demand.segment(script, FIRST_RUNG, 0, lambda: next(here, False))
    await until_ended(metrics, "cancelled", 1)
    assert not demand._tasks
    await demand.stop()


async def test_who_was_told_to_ask_again_keeps_the_place_in_the_queue(
    hanging: Demand, script: Script, metrics: Metrics
) -> None:
    with pytest.raises(SegmentNotNow):
        await hanging.segment(script, FIRST_RUNG, 0)
    (run,) = hanging._tasks
    assert run.awaited_at(hanging._now_s()) and not run.awaited
    await hanging.stop()


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
    await until_stored(storage, script, 1 + AHEAD_SEGMENTS)
    assert encoded(metrics) == AHEAD_SEGMENTS


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

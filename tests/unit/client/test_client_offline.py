"""What an app tells that was played without a connection."""

import asyncio

import pytest

from playhead.client import (
    Client,
    Credited,
    OfflineLog,
    Refused,
)
from playhead.client.core.line import RECONNECT_MS_MIN
from playhead.client.core.offline import STRETCHES_PER_BATCH
from playhead.client.core.reports import REPORT_INTERVAL_MS
from tests.unit.client.conftest import CREDITED, World, settled
from tests.unit.client.core.recording import (
    NOW_MS,
    SCRIPT_ID,
    SESSION_ID,
    accepted,
    make_state,
    refused,
    wire,
)


def offline_log(turns: int = 1) -> OfflineLog:
    log = OfflineLog(make_state())
    for turn in range(turns):
        log.runs(100.0, NOW_MS + turn * 10_000)
        log.stands(110.0, NOW_MS + turn * 10_000 + 10_000)
    return log


async def test_each_batch_goes_on_from_the_state_that_the_one_before_made(world: World, phone: Client) -> None:
    told = asyncio.ensure_future(phone.offline(offline_log(STRETCHES_PER_BATCH + 1)))
    first = await world.network.answer("offline", accepted(make_state(revision=6), **CREDITED))
    second = await world.network.answer("offline", accepted(make_state(revision=7), **CREDITED))
    assert [len(payload["intervals"]) for payload in (first, second)] == [STRETCHES_PER_BATCH, 1]
    assert [payload["base"]["revision"] for payload in (first, second)] == [5, 6]
    answer = await told
    assert isinstance(answer, Credited) and answer.total_listened == 10.0 and answer.state.revision == 7


async def test_a_conflict_is_raised_once_everything_is_credited_and_the_listener_may_insist(
    world: World, phone: Client
) -> None:
    log = offline_log(STRETCHES_PER_BATCH + 1)
    told = asyncio.ensure_future(phone.offline(log))
    conflict = refused("conflict", state=wire(make_state(revision=9, position=7.0)), reported=110.0)
    for _ in range(2):
        payload = await world.network.answer("offline", conflict)
        assert payload["base"]["revision"] == 5
    with pytest.raises(Refused) as raised:
        await told
    assert raised.value.state is not None
    assert (raised.value.state.position, raised.value.reported) == (7.0, 110.0)

    insisted = asyncio.ensure_future(phone.offline(log, mine=True))
    for _ in range(2):
        payload = await world.network.answer("offline", accepted(make_state(revision=10), **CREDITED))
        assert "base" not in payload
    assert (await insisted).state.revision == 10


async def test_a_log_that_is_told_again_after_a_lost_answer_is_no_conflict_with_its_own_end(
    world: World, phone: Client
) -> None:
    """All of it was done the first time: the place is where its last batch ends, which the first one is behind."""
    told = asyncio.ensure_future(phone.offline(offline_log(STRETCHES_PER_BATCH + 1)))
    conflict = refused("conflict", state=wire(make_state(revision=7, position=110.0)), reported=100.0)
    await world.network.answer("offline", conflict)
    last = await world.network.answer("offline", accepted(make_state(revision=7), **CREDITED))
    assert last["base"]["revision"] == 5
    assert (await told).state.revision == 7


async def test_another_refusal_ends_it(world: World, phone: Client) -> None:
    told = asyncio.ensure_future(phone.offline(offline_log(STRETCHES_PER_BATCH + 1)))
    await world.network.answer("offline", refused("not_found"))
    with pytest.raises(Refused, match="not_found"):
        await told


async def test_what_was_played_without_a_connection_is_told_before_the_next_report(world: World, phone: Client) -> None:
    """A report made first would be credited the same time, and both would count."""
    with pytest.raises(ValueError, match="join"):
        phone.play_on(SESSION_ID)
    joining = asyncio.ensure_future(phone.join(script_id=SCRIPT_ID))
    await world.network.answer("join", world.snapshot(make_state()))
    await joining
    log = phone.play_on(SESSION_ID)
    world.network.told.closed(1)
    log.runs(100.0, NOW_MS)
    await world.timing.advance(RECONNECT_MS_MIN)
    log.stands(100.4, round(world.timing.now_ms()))
    await world.connect()
    await world.network.answer("join", world.snapshot(make_state()))
    world.network.tell_time()
    await world.timing.advance(REPORT_INTERVAL_MS)
    assert world.network.sent.empty()
    told = asyncio.ensure_future(phone.offline(log))
    await world.network.answer("offline", accepted(make_state(revision=6), **CREDITED))
    await told
    report = await world.network.answer("progress", accepted(make_state(revision=6), **CREDITED))
    assert report["revision"] == 6


async def test_who_gives_a_log_up_reports_again(world: World, phone: Client) -> None:
    joining = asyncio.ensure_future(phone.join(script_id=SCRIPT_ID))
    await world.network.answer("join", world.snapshot(make_state()))
    await joining
    world.network.tell_time()
    log = phone.play_on(SESSION_ID)
    log.runs(100.0, NOW_MS)
    log.stands(100.4, round(world.timing.now_ms()))
    telling = asyncio.ensure_future(phone.offline(log))
    await settled()
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    await world.network.answer("offline", accepted(make_state(revision=6), **CREDITED))
    await world.timing.advance(REPORT_INTERVAL_MS)
    await world.network.answer("progress", accepted(make_state(), **CREDITED))


async def joined(world: World, phone: Client) -> None:
    joining = asyncio.ensure_future(phone.join(script_id=SCRIPT_ID))
    await world.network.answer("join", world.snapshot(make_state()))
    await joining
    world.network.tell_time()
    await settled()


async def test_what_was_pressed_while_the_sound_played_on_is_sent_after_the_log(world: World, phone: Client) -> None:
    """Before it a pause would be credited the way to its place as well, and a seek would be in conflict with it."""
    await joined(world, phone)
    log = phone.play_on(SESSION_ID)
    log.runs(100.0, NOW_MS)
    world.network.told.closed(1)
    pausing = asyncio.ensure_future(phone.pause(SESSION_ID, position=103.0))
    log.stands(103.0, NOW_MS + 3_000)
    await world.timing.advance(RECONNECT_MS_MIN)
    await world.connect()
    telling = asyncio.ensure_future(phone.offline(log))
    await world.network.answer("join", world.snapshot(make_state()))
    await world.network.answer("offline", accepted(make_state(revision=6, position=103.0), **CREDITED))
    await world.network.answer("pause", accepted(make_state(revision=7, playing=False, position=103.0)))
    assert (await telling).state.revision == 6 and (await pausing).state.revision == 7


@pytest.mark.parametrize(("code", "retry"), [("unavailable", True), ("not_found", False)])
async def test_a_log_that_the_server_could_not_take_yet_is_still_to_be_told(
    world: World, phone: Client, code: str, retry: bool
) -> None:
    await joined(world, phone)
    log = phone.play_on(SESSION_ID)
    telling = asyncio.ensure_future(phone.offline(log))
    await settled()
    while not telling.done():
        while not world.network.sent.empty():
            await world.network.answer("offline", refused(code, retry=retry))
        world.network.tell_time()
        await world.timing.advance(500)
    with pytest.raises(Refused) as raised:
        await telling
    assert raised.value.retry is retry
    phone.report()
    await settled()
    events = [world.network.sent.get_nowait()[2] for _ in range(world.network.sent.qsize())]
    assert ("progress" in events) is not retry


async def test_a_log_that_need_not_be_told_is_dropped_and_what_waited_goes(world: World, phone: Client) -> None:
    await joined(world, phone)
    log = phone.play_on(SESSION_ID)
    pausing = asyncio.ensure_future(phone.pause(SESSION_ID))
    phone.report()
    await settled()
    assert world.network.sent.empty()
    phone.drop(log)
    await world.network.answer("pause", accepted(make_state(revision=6, playing=False)))
    assert (await pausing).state.revision == 6
    await world.network.answer("progress", accepted(make_state(revision=6, playing=False), **CREDITED))

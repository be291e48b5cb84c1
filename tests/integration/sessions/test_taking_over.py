"""What the only server process takes over, in memory, from the one before: after a crash, after a stop, after days."""

import pytest

from playhead.auth.tokens import Principal
from playhead.db import (
    Database,
    Script,
    ScriptRepository,
)
from playhead.playback.commands import End, Pause, Report, Seek, SetSleep
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.store import OUTAGE_GRACE_MS
from tests.integration.db.rows import uploaded
from tests.integration.sessions.memory_process import (
    PHONE,
    apply,
    live,
    memory_process,
    play,
    row,
)
from tests.support.sessions import SetClock, make_principal, new_id


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def script(database: Database) -> Script:
    return await uploaded(ScriptRepository(database))


@pytest.fixture
def principal() -> Principal:
    """Somebody whom nobody has seen before."""
    return make_principal(new_id())


# another process of the same node, after a crash


async def test_after_a_crash_everything_acknowledged_goes_on_in_a_later_epoch(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await apply(first, await play(first, principal, script, position_ms=5_000), Pause(position_ms=5_000))
        await first.die()
        async with memory_process(database, clock) as second:
            assert (await second.live(principal.listener_id)) == (), "nothing is loaded that does not play"
            back = await apply(second, state, Seek(position_ms=6_000))
            assert (back.revision, back.position_ms) == (state.revision + 1, 6_000)
            assert back.epoch > state.epoch
            assert await row(second, state) == back


async def test_a_session_that_played_is_there_and_falls_silent_when_its_device_plays_another_script(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await play(first, principal, script, position_ms=5_000)
        await first.die()
        async with memory_process(database, clock) as second:
            other = await uploaded(ScriptRepository(database))
            await play(second, principal, other)
            assert not (await live(second, state)).playing
            assert not (await row(second, state)).playing


async def test_a_device_that_does_not_come_back_is_paused_after_its_grace_where_it_was_last_heard(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await play(first, principal, script, position_ms=5_000)
        clock.advance(10_000)
        state = await apply(first, state, Report(position_ms=15_000, revision=state.revision, seq=1))
        clock.advance(3_000)
        await first.die()
        async with memory_process(database, clock) as second:
            await second.settled()
            clock.advance(OUTAGE_GRACE_MS - 1)
            await second.sweeper.sweep()
            assert (await live(second, state)).playing
            clock.advance(1)
            await second.sweeper.sweep()
            paused = await row(second, state)
            assert (paused.playing, paused.position_ms) == (False, 15_000)


async def test_a_device_that_comes_back_in_its_grace_plays_on(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await play(first, principal, script, position_ms=5_000)
        await first.die()
        async with memory_process(database, clock) as second:
            await second.settled()
            await second.presence.attach(principal.listener_id, "phone-2", "phone", "n", "phone")
            for _ in range(2):
                clock.advance(OUTAGE_GRACE_MS // 2)
                await second.presence.renew()
                await second.sweeper.sweep()
            kept = await live(second, state)
            assert (kept.playing, kept.absent_until_ms, kept.position_ms) == (True, None, 5_000)


async def test_a_grace_that_ran_out_while_no_process_was_there_begins_anew(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await play(first, principal, script, position_ms=5_000)
        clock.advance(2_000)
        await first.presence.detach(principal.listener_id, "phone-1")
        await first.service.device_lost(principal.listener_id, "phone", "phone-1", clock.time_ms, grace_ms=10_000)
    clock.advance(600_000)
    async with memory_process(database, clock) as second:
        await second.sweeper.sweep()
        assert (await live(second, state)).playing
        clock.advance(OUTAGE_GRACE_MS)
        await second.sweeper.sweep()
        paused = await live(second, state)
        assert (paused.playing, paused.position_ms) == (False, 7_000)


# deadlines of the process before


async def test_a_sleep_timer_that_ran_out_while_no_process_was_there_pauses_where_the_sound_was_then(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await apply(first, await play(first, principal, script, position_ms=5_000), SetSleep(after_ms=30_000))
        await first.die()
    clock.advance(3_600_000)
    async with memory_process(database, clock) as second:
        await second.sweeper.sweep()
        asleep = await row(second, state)
        assert (asleep.playing, asleep.position_ms) == (False, 35_000)


async def test_an_idle_session_ends_when_its_time_has_come_though_nobody_has_touched_it_since(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await apply(first, await play(first, principal, script), Pause())
        await first.die()
    async with memory_process(database, clock) as second:
        clock.advance(IDLE_END_MS - 1)
        await second.sweeper.sweep()
        assert (await row(second, state)).ended_at_ms is None
        clock.advance(1)
        await second.sweeper.sweep()
        ended = await row(second, state)
        assert ended.ended_at_ms == clock.time_ms and ended.epoch > state.epoch


async def test_a_session_that_was_over_long_before_the_start_ends_too(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await apply(first, await play(first, principal, script), Pause())
        await first.die()
    clock.advance(10 * IDLE_END_MS)
    async with memory_process(database, clock) as second:
        clock.advance(OUTAGE_GRACE_MS)
        await second.sweeper.sweep()
        assert (await row(second, state)).ended_at_ms == clock.time_ms


async def test_an_old_session_without_an_end_does_not_take_the_place_of_the_one_that_followed_it(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        old = await apply(first, await play(first, principal, script, position_ms=1_000), Pause())
        await first.die()
    clock.advance(2 * IDLE_END_MS)
    async with memory_process(database, clock) as second:
        new = await apply(second, await play(second, principal, script, position_ms=8_000), Pause())
        assert new.session_id != old.session_id
        await second.die()
    async with memory_process(database, clock) as third:
        clock.advance(OUTAGE_GRACE_MS)
        await third.sweeper.sweep()
        again = await play(third, principal, script)
        assert (again.session_id, again.position_ms) == (new.session_id, 8_000)


async def test_the_end_of_a_session_is_an_end_for_the_next_process_as_well(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock) as first:
        state = await apply(first, await play(first, principal, script, position_ms=500_000), End())
        await first.die()
    async with memory_process(database, clock) as second:
        answer = await second.service.apply(state.listener_id, state.session_id, Pause(), PHONE)
        assert isinstance(answer, Rejection) and answer.code is Code.NOT_FOUND
        again = await play(second, principal, script)
        assert again.session_id != state.session_id and again.position_ms == 500_000

"""How fast one listener may begin sessions: a burst, then one now and then; what lives goes on, as do others."""

import pytest
from msgspec.structs import replace

from playhead.playback.commands import End, Offline, Play
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.answers import Outcome
from playhead.sessions.store import REVOKED_PER_PARTITION_MAX, SESSION_APART_MS, SESSION_BURST
from tests.support.sessions import make_principal, new_id
from tests.support.states import LISTENER_ID, OTHER_SCRIPT_ID, SCRIPT_ID
from tests.unit.sessions.world import PHONE, World, make_world


@pytest.fixture
async def world() -> World:
    return await make_world()


async def play_and_end(world: World, times: int) -> None:
    for _ in range(times):
        session_id = (await world.play()).state.session_id
        await world.apply(session_id, End())


async def play(world: World, script_id: str = SCRIPT_ID, listener_id: str = LISTENER_ID) -> Outcome | Rejection:
    return await world.service.play(make_principal(listener_id), script_id, Play(), PHONE)


async def test_a_listener_may_begin_so_many_sessions_at_once_and_one_more_waits(world: World) -> None:
    await play_and_end(world, SESSION_BURST)
    commits = world.store.commits
    answer = await play(world)
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.reason.retry, answer.retry_after_ms) == (Code.OVERLOADED, True, SESSION_APART_MS)
    assert "begins new sessions faster" in answer.message
    assert world.store.commits == commits
    world.clock.advance(SESSION_APART_MS - 1)
    assert isinstance(await play(world), Rejection)
    world.clock.advance(1)
    await play_and_end(world, 1)
    assert isinstance(await play(world), Rejection)


async def test_what_is_told_of_offline_begins_no_session_beyond_that_either(world: World) -> None:
    await play_and_end(world, SESSION_BURST)
    told = Offline(intervals=((0, 1_000),), position_ms=1_000, base=None)
    answer = await world.service.offline(make_principal(), SCRIPT_ID, told, PHONE)
    assert isinstance(answer, Rejection) and answer.retry_after_ms == SESSION_APART_MS
    world.clock.advance(SESSION_APART_MS)
    assert isinstance(await world.service.offline(make_principal(), SCRIPT_ID, told, PHONE), Outcome)


async def test_a_session_that_lives_is_played_as_often_as_one_likes(world: World) -> None:
    live = await world.play(OTHER_SCRIPT_ID)
    await play_and_end(world, SESSION_BURST - 1)
    assert isinstance(await play(world), Rejection)
    again = await world.play(OTHER_SCRIPT_ID)
    assert again.state.session_id == live.state.session_id


async def test_a_play_that_is_sent_again_is_answered_as_the_first_time(world: World) -> None:
    await play_and_end(world, SESSION_BURST - 1)
    origin = replace(PHONE, command_id=new_id())
    first = await world.play(origin=origin)
    assert (await world.play(origin=origin)).state.session_id == first.state.session_id


async def test_one_listener_holds_up_no_other(world: World) -> None:
    await play_and_end(world, SESSION_BURST)
    assert isinstance(await play(world, listener_id=new_id()), Outcome)


def test_who_begins_sessions_as_fast_as_is_allowed_does_not_fill_a_partition_before_an_address_is_over() -> None:
    """Of one that ended first, of a script of three hours."""
    address_ms = (3 + 12) * 3_600_000
    assert SESSION_BURST + address_ms / SESSION_APART_MS < REVOKED_PER_PARTITION_MAX

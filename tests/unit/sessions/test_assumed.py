"""A command is decided on what this process has committed last, and never answered from it alone."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from playhead.playback.commands import End, Pause, Report, Seek, SetRate
from playhead.playback.rejections import Code
from playhead.playback.state import SessionState
from playhead.sessions.assumed import Assumed
from playhead.sessions.service import SessionService
from tests.support.sessions import new_id
from tests.support.states import LISTENER_ID, OTHER_SCRIPT_ID
from tests.unit.sessions.world import DESK, PHONE, World, accepted, make_world, refused

NAMED = replace(PHONE, command_id="11111111-0000-4000-8000-000000000000")
OTHER = replace(PHONE, command_id="22222222-0000-4000-8000-000000000000")


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


def beside(world: World) -> SessionService:
    """What another process has: the same store, and nothing that it has committed itself."""
    return SessionService(world.store, world.rows, world.scripts, world.presence, world.clock, new_id)


def count_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the store's methods by which sessions are looked at, as they are called from now on."""
    looks: list[str] = []

    def counted(name: str) -> Callable[..., Awaitable[Any]]:
        look = getattr(world.store, name)

        async def call(*arguments: Any) -> Any:
            looks.append(name)
            return await look(*arguments)

        return call

    for name in ("load", "live"):
        monkeypatch.setattr(world.store, name, counted(name))
    return looks


async def test_what_follows_a_command_of_this_process_needs_no_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = (await world.play()).state.session_id
    looks, commits = count_looks(world, monkeypatch), world.store.commits
    for number in range(5):
        sought = await world.apply(session_id, Seek(position_ms=5_000 + number))
    world.clock.advance(2_000)
    told = await world.apply(session_id, Report(position_ms=7_004, revision=sought.state.revision, seq=1))
    assert (looks, world.store.commits - commits) == ([], 6)
    assert (await world.service.live_states(LISTENER_ID)) == (told.state,)


async def test_what_another_process_has_changed_meanwhile_is_seen(world: World) -> None:
    session_id = (await world.play()).state.session_id
    accepted(await beside(world).apply(LISTENER_ID, session_id, Seek(position_ms=60_000), DESK))
    after = (await world.apply(session_id, SetRate(rate=2.0))).state
    assert (after.revision, after.position_ms, after.rate) == (3, 60_000, 2.0)


async def test_a_race_that_is_lost_on_what_was_assumed_is_run_again_after_a_look(world: World) -> None:
    session_id = (await world.play()).state.session_id

    async def faster() -> None:
        accepted(await beside(world).apply(LISTENER_ID, session_id, Seek(position_ms=60_000), DESK))

    world.store.step_in = faster
    after = (await world.apply(session_id, SetRate(rate=2.0))).state
    assert (after.revision, after.position_ms, after.rate) == (3, 60_000, 2.0)


async def test_a_command_that_another_process_has_answered_gets_that_answer(world: World) -> None:
    """Here it would change nothing, which is never answered without a look; that finds the answer."""
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, Pause())
    first = accepted(await beside(world).apply(LISTENER_ID, session_id, Pause(), NAMED))
    revision = (await world.apply(session_id, Seek(position_ms=5_000), OTHER)).state.revision
    again = await world.apply(session_id, Pause(), NAMED)
    assert (again.state.revision, again.server_time_ms) == (first.state.revision, first.server_time_ms)
    (live,) = await world.service.live_states(LISTENER_ID)
    assert live.revision == revision


async def test_an_id_is_refused_for_another_command_though_that_would_be_taken(world: World) -> None:
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, Seek(position_ms=5_000), NAMED)
    answer = await world.service.apply(LISTENER_ID, session_id, Seek(position_ms=9_000), NAMED)
    assert refused(answer) is Code.COMMAND_ID_REUSED
    assert (await world.service.live_states(LISTENER_ID))[0].position_ms == 5_000


async def test_nothing_is_refused_on_an_assumption(world: World) -> None:
    state = (await world.play()).state
    accepted(await beside(world).apply(LISTENER_ID, state.session_id, Seek(position_ms=60_000), DESK))
    answer = await world.service.apply(
        LISTENER_ID, state.session_id, Seek(position_ms=70_000), PHONE, expected_revision=state.revision + 1
    )
    assert accepted(answer).state.position_ms == 70_000


async def test_what_would_change_nothing_is_not_answered_on_an_assumption(world: World) -> None:
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, Pause())
    accepted(await beside(world).apply(LISTENER_ID, session_id, Seek(position_ms=60_000), DESK))
    # without an id nothing is committed for it
    assert (await world.apply(session_id, Pause())).state.position_ms == 60_000


async def test_a_session_that_has_ended_elsewhere_is_over(world: World) -> None:
    session_id = (await world.play()).state.session_id
    accepted(await beside(world).apply(LISTENER_ID, session_id, End(), DESK))
    answer = await world.service.apply(LISTENER_ID, session_id, Seek(position_ms=5_000), PHONE)
    assert refused(answer) is Code.SESSION_ENDED


@pytest.mark.parametrize("emptied", [False, True])
async def test_in_another_life_of_the_store_sessions_are_compared_with_their_rows_first(
    world: World, emptied: bool
) -> None:
    state = (await world.play()).state
    later = (await world.apply(state.session_id, Seek(position_ms=60_000))).state
    world.flush()
    world.store.begin_another_life(emptied=emptied)
    if not emptied:
        world.store.go_back(state)
    after = (await world.apply(state.session_id, SetRate(rate=2.0))).state
    assert (after.epoch, after.position_ms, after.revision > later.revision) == (world.store.epoch, 60_000, True)


async def test_of_two_sessions_the_one_that_was_committed_last_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await world.play()).state.session_id
    second = (await world.play(OTHER_SCRIPT_ID)).state.session_id
    looks = count_looks(world, monkeypatch)
    await world.apply(second, Seek(position_ms=5_000))
    assert looks == []
    assert not (await world.apply(first, Seek(position_ms=5_000))).state.playing
    assert looks == ["load"]


def named(state: SessionState, number: int) -> SessionState:
    return replace(state, listener_id=f"listener-{number}")


async def test_so_many_listeners_are_kept_and_those_that_were_used_last(world: World) -> None:
    state = (await world.play()).state
    assumed = Assumed(entries_max=2)
    for number in (1, 2):
        assumed.note(state.epoch, named(state, number))
    assert assumed.view("listener-1", state.session_id) is not None
    assumed.note(state.epoch, named(state, 3))
    assert len(assumed) == 2
    kept = [number for number in (1, 2, 3) if assumed.view(f"listener-{number}", state.session_id) is not None]
    assert kept == [1, 3]


async def test_an_end_and_a_state_of_another_epoch_are_not_kept(world: World) -> None:
    state = (await world.play()).state
    for after, epoch in ((replace(state, ended_at_ms=state.changed_at_ms), state.epoch), (state, state.epoch + 1)):
        assumed = Assumed()
        assumed.note(state.epoch, state)
        assumed.note(epoch, after)
        assert len(assumed) == 0

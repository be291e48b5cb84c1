"""Others are faster each time that a listener's sessions are to be taken into the store's new life."""

import pytest
from msgspec import structs

from playhead.playback.commands import Pause, Seek
from playhead.playback.state import SessionState
from playhead.sessions.finding import TAKE_OVER_ATTEMPTS_MAX, Contended
from playhead.sessions.service import Snapshot
from tests.support.states import LISTENER_ID
from tests.unit.sessions.world import DESK, World, make_world


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


async def behind(world: World) -> tuple[SessionState, SessionState]:
    """The store has a state of another epoch, and PostgreSQL a later one; both are answered, in this order."""
    stored = (await world.play(position_ms=100_000)).state
    later = (await world.apply(stored.session_id, Seek(position_ms=700_000))).state
    world.flush()
    world.store.begin_another_life(emptied=False)
    world.store.go_back(stored)
    return stored, later


def taken_over(state: SessionState, world: World) -> SessionState:
    """The same state as the store's present life has written it."""
    return structs.replace(state, epoch=world.store.epoch, version=state.version + 1)


async def test_a_take_over_that_loses_every_race_answers_with_no_state_that_nobody_has_compared(world: World) -> None:
    stored, later = await behind(world)
    # one is lost on what the process has committed last, before it looks
    world.store.losses_to_come = 1 + TAKE_OVER_ATTEMPTS_MAX
    commits = world.store.commits
    with pytest.raises(Contended):
        await world.service.apply(LISTENER_ID, stored.session_id, Pause(), DESK)
    assert world.store.commits == commits + 1 + TAKE_OVER_ATTEMPTS_MAX
    assert (await world.store.live(LISTENER_ID)).states == (stored,), "nothing was written on top of it"
    # the same again has a chance, and finds the later state
    after = await world.apply(stored.session_id, Pause(), DESK)
    assert (after.state.revision, after.state.position_ms) == (later.revision + 1, 700_000)


async def test_neither_does_a_device_that_joins_get_one(world: World) -> None:
    stored, later = await behind(world)
    world.store.losses_to_come = TAKE_OVER_ATTEMPTS_MAX
    with pytest.raises(Contended):
        await world.service.join_session(LISTENER_ID, stored.session_id)
    snapshot = await world.service.join_session(LISTENER_ID, stored.session_id)
    assert isinstance(snapshot, Snapshot) and snapshot.state == taken_over(later, world)


async def test_a_take_over_that_wins_the_last_race_goes_on(world: World) -> None:
    stored, later = await behind(world)
    # the first of them on what the process has committed last
    world.store.losses_to_come = TAKE_OVER_ATTEMPTS_MAX
    after = await world.apply(stored.session_id, Pause(), DESK)
    assert (after.state.revision, after.state.position_ms) == (later.revision + 1, 700_000)


async def test_a_row_that_was_read_before_the_store_was_lost_again_does_not_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await world.play(position_ms=100_000)).state
    world.flush()
    world.store.begin_another_life(emptied=True)
    read = world.rows.get

    async def slowly(session_id: str) -> SessionState | None:
        row = await read(session_id)
        monkeypatch.setattr(world.rows, "get", read)
        # another process has brought it back and changed it, it is a row, and the store is lost once more
        await world.apply(session_id, Seek(position_ms=700_000), DESK)
        world.flush()
        world.store.begin_another_life(emptied=True)
        return row

    monkeypatch.setattr(world.rows, "get", slowly)
    after = await world.service.join_session(LISTENER_ID, first.session_id)
    assert isinstance(after, Snapshot) and after.state is not None
    assert (after.state.position_ms, after.state.epoch) == (700_000, world.store.epoch)

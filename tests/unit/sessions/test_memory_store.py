"""What the contract suite does not show of the store in memory: when it forgets, and what it takes over."""

from collections import deque
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from msgspec import Struct, structs

from playhead.auth.revocations import ended
from playhead.playback.history import CONFLICT, Move
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.store import (
    ANSWER_TTL_MS,
    DUE_CLAIM_MS,
    ENDED_TTL_MS,
    LEFT_TTL_MS,
    MOVES_TTL_MS,
    PRESENCE_LEASE_MS,
    SESSION_TTL_MS,
    Answer,
    Change,
    Committed,
    Connection,
    DueSession,
)
from tests.support.keepers import HeldKeeper
from tests.support.sessions import SetClock, new_id
from tests.support.states import LISTENER_ID, NOW_MS, SCRIPT_ID, SESSION_ID, make_state

FIRST = make_state(version=1, revision=1, epoch=NOW_MS)
SECOND = structs.replace(FIRST, version=2, revision=2, position_ms=7)
REVOKED_MS = 1_000 * ended(SESSION_ID, NOW_MS, FIRST.duration_ms).until_s - NOW_MS
"""How long it is known that a session has ended: longer than anything else."""
ANSWER = Answer(session_id=SESSION_ID, command_id="c-1", content=b"first")


def move(number: int, cause: str = "seek") -> Move:
    return Move(cause=cause, from_ms=1, to_ms=2, device_id="phone", at_ms=NOW_MS, epoch=7, revision=number)


def connection(**changed: Any) -> Connection:
    row = Connection(
        connection_id="c", device_id="d", name="n", kind="phone", connected_at_ms=NOW_MS, expires_at_ms=NOW_MS + 1
    )
    return structs.replace(row, **changed)


# forgetting


@pytest.mark.parametrize(("ended_at_ms", "ttl_ms"), [(None, SESSION_TTL_MS), (NOW_MS, ENDED_TTL_MS)])
async def test_a_session_is_forgotten_when_its_time_is_over(ended_at_ms: int | None, ttl_ms: int) -> None:
    clock = SetClock()
    store = MemoryStore(clock)
    first = Change(after=make_state(version=1), expected_version=None)
    assert await store.commit(LISTENER_ID, 1, [first], [b"nobody listens"]) is Committed.DONE
    clock.advance(1_000)
    second = Change(after=structs.replace(first.after, version=2, ended_at_ms=ended_at_ms), expected_version=1)
    assert await store.commit(LISTENER_ID, 1, [second], []) is Committed.DONE
    clock.advance(ttl_ms - 1)
    assert len((await store.load(LISTENER_ID, SESSION_ID)).states) == 1
    clock.advance(1)
    assert (await store.load(LISTENER_ID, SESSION_ID)).states == (await store.live(LISTENER_ID)).states == ()
    assert await store.last_ended(LISTENER_ID, SCRIPT_ID) is None


async def test_of_two_sessions_of_a_listener_each_has_its_own_time() -> None:
    clock = SetClock()
    store = MemoryStore(clock)
    await store.commit(LISTENER_ID, 1, [Change(after=FIRST, expected_version=None)], [])
    other = make_state(session_id=new_id(), script_id=new_id(), version=1, ended_at_ms=NOW_MS)
    await store.commit(LISTENER_ID, 1, [Change(after=other, expected_version=None)], [])
    clock.advance(ENDED_TTL_MS)
    assert (await store.load(LISTENER_ID, other.session_id)).states == ()
    assert (await store.load(LISTENER_ID, SESSION_ID)).states == (FIRST,)


async def test_what_lies_beside_a_session_is_kept_for_its_time_from_when_it_was_last_written() -> None:
    clock = SetClock()
    store = MemoryStore(clock)
    change = Change(after=FIRST, expected_version=None, entry=move(1))
    await store.commit(LISTENER_ID, 1, [change], [], ANSWER)
    clock.advance(ANSWER_TTL_MS - 1)
    assert (await store.live(LISTENER_ID, "c-1")).answer == b"first"
    clock.advance(1)
    assert (await store.live(LISTENER_ID, "c-1")).answer is None
    conflict = Change(after=FIRST, expected_version=1, entry=move(2, CONFLICT))
    await store.commit(LISTENER_ID, 1, [conflict], [])
    clock.advance(MOVES_TTL_MS - ANSWER_TTL_MS)
    assert await store.moves(LISTENER_ID, SESSION_ID) == (move(2, CONFLICT),)
    clock.advance(ANSWER_TTL_MS)
    assert await store.moves(LISTENER_ID, SESSION_ID) == ()


async def test_when_a_listener_left_is_known_for_as_long_as_a_session_lives() -> None:
    clock = SetClock()
    store = MemoryStore(clock)
    await store.hold_connections(LISTENER_ID, [connection()])
    await store.drop_connection(LISTENER_ID, "c", NOW_MS)
    clock.advance(LEFT_TTL_MS - 1)
    assert await store.left_at_ms(LISTENER_ID) == NOW_MS
    clock.advance(1)
    assert await store.left_at_ms(LISTENER_ID) is None


async def test_connections_that_nobody_renews_are_gone_in_the_end_even_if_nobody_drops_them() -> None:
    clock = SetClock()
    store = MemoryStore(clock)
    await store.hold_connections(LISTENER_ID, [connection()])
    clock.advance(2 * PRESENCE_LEASE_MS)
    assert await store.connections(LISTENER_ID, 0) == ()


async def live_a_while(store: MemoryStore, clock: SetClock, listeners: int) -> None:
    """A life of everybody who comes, listens, is refused a place, sends a command twice, ends and goes."""
    for number in range(listeners):
        listener_id, session_id = new_id(), new_id()
        epoch = (await store.live(listener_id)).epoch
        await store.subscribe(listener_id)
        await store.hold_connections(listener_id, [connection(expires_at_ms=clock.time_ms + PRESENCE_LEASE_MS)])
        state = make_state(listener_id=listener_id, session_id=session_id, version=1, changed_at_ms=clock.time_ms)
        for version in range(1, 6):
            after = structs.replace(state, version=version, ended_at_ms=clock.time_ms if version == 5 else None)
            change = Change(after=after, expected_version=version - 1 or None, entry=move(version))
            answer = Answer(session_id=session_id, command_id=new_id(), content=b"x")
            assert await store.commit(listener_id, epoch, [change], [b"p"], answer) is Committed.DONE
            clock.advance(1_000)
        refused = Change(after=after, expected_version=5, entry=move(9, CONFLICT))
        assert await store.commit(listener_id, epoch, [refused], []) is Committed.DONE
        # every other one just vanishes, as with a lost network
        if number % 2:
            await store.drop_connection(listener_id, "c", clock.time_ms)
        await store.unsubscribe(listener_id)
        for item in await store.due(clock.time_ms, 1_000):
            await store.forget_due(item)


def held(thing: object, seen: set[int]) -> int:
    """How many values are held by it, through containers and objects of ours."""
    if id(thing) in seen or isinstance(thing, str | bytes | int | float | None | type):
        return 0
    seen.add(id(thing))
    parts: Iterable[object] = ()
    if isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values()]
    elif is_dataclass(thing) and not isinstance(thing, type):
        parts = [getattr(thing, field.name) for field in fields(thing)]
    elif isinstance(thing, Struct):
        parts = structs.astuple(thing)
    elif hasattr(thing, "__dict__") and type(thing).__module__.startswith("playhead"):
        parts = vars(thing).values()
    elif isinstance(thing, list | tuple | set | deque):
        parts = thing
    return 1 + sum(held(part, seen) for part in parts)


async def test_a_long_life_takes_no_more_room_than_a_short_one() -> None:
    clock, keeper = SetClock(), HeldKeeper()
    store = MemoryStore(clock, keeper=keeper)
    await live_a_while(store, clock, 200)
    clock.advance(REVOKED_MS)
    await store.due(clock.time_ms, 1_000)
    keeper.kept.clear()
    little = held(store, set())
    for _ in range(5):
        await live_a_while(store, clock, 400)
    clock.advance(REVOKED_MS)
    for item in await store.due(clock.time_ms, 1_000):
        await store.forget_due(item)
    clock.advance(DUE_CLAIM_MS)
    await store.due(clock.time_ms, 1_000)
    keeper.kept.clear()
    assert held(store, set()) <= little + 10
    assert little < 200


# taking over


async def test_a_session_that_is_put_back_is_there_with_its_deadline_as_of_another_life() -> None:
    store = MemoryStore(SetClock(), epoch=5)
    store.raise_epoch(NOW_MS)
    store.put_back(structs.replace(FIRST, sleep_at_ms=NOW_MS + 5))
    loaded = await store.live(LISTENER_ID)
    assert (loaded.epoch, loaded.states[0].epoch, loaded.states[0].session_id) == (NOW_MS, NOW_MS, SESSION_ID)
    assert await store.due(NOW_MS + 5, 9) == (DueSession(listener_id=LISTENER_ID, session_id=SESSION_ID),)
    assert not store.journal


async def test_a_deadline_that_nobody_has_met_comes_up_again() -> None:
    clock = SetClock()
    store = MemoryStore(clock)
    item = DueSession(listener_id=LISTENER_ID, session_id=SESSION_ID)
    store.expect(item, NOW_MS)
    for _ in range(3):
        assert await store.due(clock.time_ms, 9) == (item,)
        clock.advance(DUE_CLAIM_MS - 1)
        assert await store.due(clock.time_ms, 9) == (), "somebody may be at it"
        clock.advance(1)
    await store.forget_due(item)
    assert await store.due(clock.time_ms, 9) == ()


async def test_a_session_that_is_only_expected_comes_up_when_it_is_due() -> None:
    store = MemoryStore(SetClock())
    item = DueSession(listener_id=LISTENER_ID, session_id=SESSION_ID)
    store.expect(item, NOW_MS + 5)
    assert await store.due(NOW_MS + 4, 9) == ()
    assert await store.due(NOW_MS + 5, 9) == (item,)


def test_the_epoch_only_grows() -> None:
    store = MemoryStore(SetClock(), epoch=10)
    for asked, epoch in ((20, 20), (5, 21), (21, 22)):
        store.raise_epoch(asked)
        assert store._epoch == epoch

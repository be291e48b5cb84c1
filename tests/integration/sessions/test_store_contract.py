"""The contract of the state store and its bus: the same tests in memory, in memory on PostgreSQL, and on Valkey."""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from playhead.playback.state import SessionState
from playhead.sessions.keys import partition_of
from playhead.sessions.store import (
    LIVE_SESSIONS_MAX,
    Change,
    Committed,
)
from tests.integration.sessions.lines import Line
from tests.support.sessions import new_id
from tests.support.states import (
    LISTENER_ID,
    NOW_MS,
    OTHER_LISTENER_ID,
    OTHER_SCRIPT_ID,
    OTHER_SESSION_ID,
    make_loop,
    make_state,
)

FIRST = make_state(
    version=1, revision=1, loop=make_loop(90_000, 110_000), listened=((0, 5), (7, 9)), report_seqs=(("phone", 3),)
)


def neighbour() -> str:
    """Another listener of the same partition: what separates the two is not the partition."""
    return next(other for other in iter(new_id, "") if partition_of(other) == partition_of(LISTENER_ID))


async def commit(line: Line, *changes: tuple[SessionState, int | None], packets: tuple[bytes, ...] = ()) -> Committed:
    listener_id = changes[0][0].listener_id
    epoch = (await line.store.live(listener_id)).epoch
    rows = [Change(after=structs.replace(after, epoch=epoch), expected_version=expected) for after, expected in changes]
    return await line.store.commit(listener_id, epoch, rows, packets)


async def stored(line: Line, session_id: str = FIRST.session_id) -> SessionState | None:
    return next(iter((await line.store.load(LISTENER_ID, session_id)).states), None)


def another(number: int = 0, **fields: Any) -> SessionState:
    """A first state of another session of another script."""
    return structs.replace(FIRST, session_id=new_id(), script_id=f"{number:08}-0000-4000-8000-000000000000", **fields)


# reading


async def test_of_an_unknown_listener_there_is_an_epoch_and_nothing_else(line: Line) -> None:
    live, loaded = await line.store.live(LISTENER_ID), await line.store.load(LISTENER_ID, FIRST.session_id)
    assert (live.states, loaded.states) == ((), ())
    assert live.epoch == loaded.epoch > 0
    assert await line.store.last_ended(LISTENER_ID, FIRST.script_id) is None
    assert await line.store.connections(LISTENER_ID, NOW_MS) == ()


async def test_what_is_committed_is_read_back_unchanged(line: Line) -> None:
    assert await commit(line, (FIRST, None)) is Committed.DONE
    live = await line.store.live(LISTENER_ID)
    expected = structs.replace(FIRST, epoch=live.epoch)
    assert live.states == (expected,)
    assert (await line.store.load(LISTENER_ID, FIRST.session_id)).states == (expected,)


async def test_another_listener_sees_nothing_of_it_not_even_in_the_same_partition(line: Line) -> None:
    await commit(line, (FIRST, None))
    for listener_id in (OTHER_LISTENER_ID, neighbour()):
        assert (await line.store.load(listener_id, FIRST.session_id)).states == ()
        assert (await line.store.live(listener_id)).states == ()
        assert await line.store.last_ended(listener_id, FIRST.script_id) is None


# committing


async def test_a_commit_needs_exactly_the_version_it_was_decided_on(line: Line) -> None:
    await commit(line, (FIRST, None))
    second = structs.replace(FIRST, version=2, position_ms=1)
    for wrong in (0, 2, 11):
        assert await commit(line, (second, wrong)) is Committed.LOST
    found = await stored(line)
    assert found is not None and found.version == 1
    assert await commit(line, (second, 1)) is Committed.DONE
    found = await stored(line)
    assert found is not None and (found.version, found.position_ms) == (2, 1)


async def test_of_many_commits_on_one_version_exactly_one_wins(line: Line) -> None:
    await commit(line, (FIRST, None))
    racers = [structs.replace(FIRST, version=2, position_ms=number) for number in range(20)]
    outcomes = await asyncio.gather(*(commit(line, (racer, 1)) for racer in racers))
    assert sorted(outcome.name for outcome in outcomes) == ["DONE"] + ["LOST"] * 19
    found = await stored(line)
    assert found is not None and found.position_ms == racers[outcomes.index(Committed.DONE)].position_ms


async def test_an_update_of_a_session_that_is_not_there_is_lost(line: Line) -> None:
    assert await commit(line, (FIRST, 0)) is Committed.LOST
    assert await stored(line) is None


async def test_of_two_devices_that_create_a_session_of_one_script_one_wins(line: Line) -> None:
    twins = [structs.replace(FIRST, session_id=new_id()) for _ in range(5)]
    outcomes = await asyncio.gather(*(commit(line, (twin, None)) for twin in twins))
    assert sorted(outcome.name for outcome in outcomes) == ["DONE"] + ["LOST"] * 4
    (live,) = (await line.store.live(LISTENER_ID)).states
    assert live.session_id == twins[outcomes.index(Committed.DONE)].session_id


async def test_a_session_is_not_created_over_one_with_its_id(line: Line) -> None:
    await commit(line, (FIRST, None))
    assert await commit(line, (structs.replace(FIRST, script_id=OTHER_SCRIPT_ID), None)) is Committed.LOST


async def test_sessions_of_two_scripts_and_of_two_listeners_stand_side_by_side(line: Line) -> None:
    theirs = structs.replace(FIRST, session_id=new_id(), listener_id=neighbour())
    assert [await commit(line, (state, None)) for state in (FIRST, another(), theirs)] == [Committed.DONE] * 3
    assert len((await line.store.live(LISTENER_ID)).states) == 2
    assert len((await line.store.live(theirs.listener_id)).states) == 1


async def test_several_sessions_change_together(line: Line) -> None:
    other = another()
    await commit(line, (FIRST, None))
    outcome = await commit(line, (other, None), (structs.replace(FIRST, version=2, playing=False), 1))
    assert outcome is Committed.DONE
    found = {state.session_id: state for state in (await line.store.live(LISTENER_ID)).states}
    assert (found[FIRST.session_id].playing, found[other.session_id].playing) == (False, True)


@pytest.mark.parametrize("wrong_first", [True, False])
async def test_one_wrong_version_and_nothing_is_written_or_published(line: Line, wrong_first: bool) -> None:
    other = another()
    await line.bus.subscribe(LISTENER_ID)
    await commit(line, (FIRST, None), (other, None))
    before = (await line.store.live(LISTENER_ID)).states
    good, wrong = (
        (structs.replace(FIRST, version=2, position_ms=1), 1),
        (structs.replace(other, version=2, position_ms=1), 7),
    )
    changes = (wrong, good) if wrong_first else (good, wrong)
    assert await commit(line, *changes, packets=(b"never",)) is Committed.LOST
    assert set((await line.store.live(LISTENER_ID)).states) == set(before)
    assert await line.arrived_until(LISTENER_ID, b"marker") == []


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_commit_of_another_epoch_is_lost(line: Line, difference: int) -> None:
    await line.bus.subscribe(LISTENER_ID)
    epoch = (await line.store.live(LISTENER_ID)).epoch
    change = Change(after=FIRST, expected_version=None)
    assert await line.store.commit(LISTENER_ID, epoch + difference, [change], [b"never"]) is Committed.LOST
    assert await stored(line) is None
    assert await line.arrived_until(LISTENER_ID, b"marker") == []


# orders


async def test_orders_are_those_of_the_live_sessions_of_exactly_the_listeners_asked_for(line: Line) -> None:
    near, far = neighbour(), OTHER_LISTENER_ID
    second = another(2, revision=70_000, version=90_000)
    await commit(line, (FIRST, None), (second, None))
    await commit(line, (another(3, listener_id=near), None))
    await commit(line, (another(4, listener_id=far, revision=3), None))
    nobody = new_id()
    found = await line.store.orders([LISTENER_ID, far, nobody])
    assert found.keys() == {LISTENER_ID, far, nobody} and found[nobody].sessions == {}
    for listener_id in (LISTENER_ID, far):
        live = (await line.store.live(listener_id)).states
        assert found[listener_id].sessions == {state.session_id: state.order for state in live}
    assert found[LISTENER_ID].sessions.keys() == {FIRST.session_id, second.session_id}
    assert await line.store.orders([]) == {}


async def test_an_order_follows_each_commit_and_goes_with_the_end(line: Line) -> None:
    await commit(line, (FIRST, None))
    await commit(line, (structs.replace(FIRST, version=2, revision=2), 1))
    ((_, revision),) = (await line.store.orders([LISTENER_ID]))[LISTENER_ID].sessions.values()
    assert revision == 2
    await commit(line, (structs.replace(FIRST, version=3, revision=3, ended_at_ms=NOW_MS), 2))
    assert (await line.store.orders([LISTENER_ID]))[LISTENER_ID].sessions == {}


async def test_orders_of_very_many_listeners_are_found_at_once(line: Line) -> None:
    listeners = [new_id() for _ in range(300)]
    for number, listener_id in enumerate(listeners[:20]):
        await commit(line, (another(number, listener_id=listener_id, revision=number + 1), None))
    found = await line.store.orders(listeners)
    revisions = [[revision for _, revision in found[listener_id].sessions.values()] for listener_id in listeners]
    assert revisions == [[number + 1] for number in range(20)] + [[]] * 280


async def test_orders_name_the_epoch_that_the_next_commits_must_name(line: Line) -> None:
    await commit(line, (FIRST, None))
    listeners = [LISTENER_ID, neighbour(), OTHER_LISTENER_ID]
    found = {listener_id: orders.present[0] for listener_id, orders in (await line.store.orders(listeners)).items()}
    assert found == {listener_id: (await line.store.live(listener_id)).epoch for listener_id in listeners}


# the limit


async def test_at_the_limit_of_live_sessions_no_more_are_created_but_all_go_on(line: Line) -> None:
    for number in range(LIVE_SESSIONS_MAX - 1):
        assert await commit(line, (another(number), None)) is Committed.DONE
    both = [(another(98), None), (another(99), None)]
    assert await commit(line, *both) is Committed.FULL
    assert await commit(line, (FIRST, None)) is Committed.DONE
    assert await commit(line, (another(99), None), packets=(b"never",)) is Committed.FULL
    assert len((await line.store.live(LISTENER_ID)).states) == LIVE_SESSIONS_MAX
    assert await commit(line, (structs.replace(FIRST, version=2), 1)) is Committed.DONE
    assert await commit(line, (structs.replace(FIRST, version=3, ended_at_ms=NOW_MS), 2)) is Committed.DONE
    assert await commit(line, (another(99), None)) is Committed.DONE


async def test_a_commit_may_depend_on_how_many_sessions_are_live(line: Line) -> None:
    async def play_beside(live: int, changes: list[Change]) -> Committed:
        epoch = (await line.store.live(LISTENER_ID)).epoch
        return await line.store.commit(LISTENER_ID, epoch, changes, [], live=live)

    await commit(line, (FIRST, None))
    epoch = (await line.store.live(LISTENER_ID)).epoch
    second = Change(after=structs.replace(another(1), epoch=epoch), expected_version=None)
    assert await play_beside(0, [second]) is Committed.LOST
    assert await play_beside(2, [second]) is Committed.LOST
    assert await play_beside(1, [second]) is Committed.DONE
    await commit(line, (structs.replace(FIRST, version=2, ended_at_ms=NOW_MS), 1))
    third = Change(after=structs.replace(another(2), epoch=epoch), expected_version=None)
    assert await play_beside(2, [third]) is Committed.LOST
    assert await play_beside(1, [third]) is Committed.DONE


async def test_a_session_that_is_only_compared_stays_as_it_is_and_decides_all_the_same(line: Line) -> None:
    await commit(line, (FIRST, None))
    assert await commit(line, (another(1), None), (FIRST, 2)) is Committed.LOST
    assert await commit(line, (another(1), None), (FIRST, 1)) is Committed.DONE
    assert await stored(line) == structs.replace(FIRST, epoch=(await line.store.live(LISTENER_ID)).epoch)


# the end


async def test_an_ended_session_is_no_longer_live_but_still_known(line: Line) -> None:
    await commit(line, (FIRST, None))
    assert await line.store.last_ended(LISTENER_ID, FIRST.script_id) is None
    await commit(line, (structs.replace(FIRST, version=2, ended_at_ms=NOW_MS), 1))
    assert (await line.store.live(LISTENER_ID)).states == ()
    found = await stored(line)
    assert found is not None and found.ended_at_ms == NOW_MS
    assert await line.store.last_ended(LISTENER_ID, FIRST.script_id) == found
    assert await line.store.last_ended(LISTENER_ID, OTHER_SCRIPT_ID) is None


async def test_an_ended_session_makes_room_for_the_next_of_its_script(line: Line) -> None:
    await commit(line, (FIRST, None))
    await commit(line, (structs.replace(FIRST, version=2, ended_at_ms=NOW_MS), 1))
    assert await commit(line, (FIRST, None)) is Committed.LOST
    following = structs.replace(FIRST, session_id=OTHER_SESSION_ID)
    assert await commit(line, (following, None)) is Committed.DONE
    (live,) = (await line.store.live(LISTENER_ID)).states
    assert live.session_id == OTHER_SESSION_ID
    await commit(line, (structs.replace(following, version=2, ended_at_ms=NOW_MS + 1), 1))
    last = await line.store.last_ended(LISTENER_ID, FIRST.script_id)
    assert last is not None and last.session_id == OTHER_SESSION_ID


# the bus


async def test_packets_arrive_exactly_with_their_commit_and_in_order(line: Line) -> None:
    await line.bus.subscribe(LISTENER_ID)
    await commit(line, (FIRST, None), packets=(b"1", b"2"))
    await commit(line, (structs.replace(FIRST, version=2), 1))
    await commit(line, (structs.replace(FIRST, version=3), 2), packets=(b"3",))
    await line.store.publish(LISTENER_ID, b"4")
    assert [await line.arrived() for _ in range(4)] == [(LISTENER_ID, text) for text in (b"1", b"2", b"3", b"4")]


async def test_a_packet_may_hold_any_bytes(line: Line) -> None:
    await line.bus.subscribe(LISTENER_ID)
    packet = bytes(range(256)) * 64
    await commit(line, (FIRST, None), packets=(packet, b""))
    assert [await line.arrived(), await line.arrived()] == [(LISTENER_ID, packet), (LISTENER_ID, b"")]


async def test_only_packets_of_subscribed_listeners_arrive(line: Line) -> None:
    near = neighbour()
    await line.bus.subscribe(LISTENER_ID)
    for listener_id in (OTHER_LISTENER_ID, near):
        await line.store.publish(listener_id, b"never")
    assert await line.arrived_until(LISTENER_ID, b"marker") == []
    await line.bus.subscribe(near)
    assert await line.arrived_until(near, b"for the other") == []


async def test_after_unsubscribing_nothing_arrives_any_more(line: Line) -> None:
    await line.bus.subscribe(LISTENER_ID)
    await line.bus.subscribe(OTHER_LISTENER_ID)
    await line.bus.unsubscribe(LISTENER_ID)
    await line.store.publish(LISTENER_ID, b"never")
    assert await line.arrived_until(OTHER_LISTENER_ID, b"marker") == []


async def test_subscribing_twice_delivers_once(line: Line) -> None:
    await line.bus.subscribe(LISTENER_ID)
    await line.bus.subscribe(LISTENER_ID)
    await line.store.publish(LISTENER_ID, b"once")
    assert await line.arrived_until(LISTENER_ID, b"marker") == [(LISTENER_ID, b"once")]


async def test_subscriptions_that_come_and_go_quickly_end_subscribed(line: Line) -> None:
    for number in range(50):
        await line.bus.subscribe(LISTENER_ID)
        await line.store.publish(LISTENER_ID, b"%d" % number)
        assert await line.arrived() == (LISTENER_ID, b"%d" % number)
        await line.bus.unsubscribe(LISTENER_ID)
    await line.bus.unsubscribe(LISTENER_ID)
    await line.bus.subscribe(LISTENER_ID)
    assert await line.arrived_until(LISTENER_ID, b"marker") == []

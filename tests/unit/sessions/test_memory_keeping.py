"""That a store in memory is never ahead of what is kept, nor tells anything while it may not answer."""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.store import JOURNAL_RESERVE, Answer, Change, Committed, Connection, StoreUnavailable
from tests.support.keepers import HeldKeeper
from tests.support.sessions import SetClock, new_id
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID, SCRIPT_ID, SESSION_ID, make_state

FIRST = make_state(version=1, revision=1, epoch=NOW_MS)
SECOND = structs.replace(FIRST, version=2, revision=2, position_ms=7)
ANSWER = Answer(session_id=SESSION_ID, command_id="c-1", content=b"first")


def move(number: int, cause: str = "seek") -> Move:
    return Move(cause=cause, from_ms=1, to_ms=2, device_id="phone", at_ms=NOW_MS, epoch=7, revision=number)


class Telling:
    """A store on a keeper, and the packets that its listener was sent."""

    def __init__(self) -> None:
        self.clock, self.keeper = SetClock(), HeldKeeper()
        self.sent: list[bytes] = []
        self.trouble: str | None = None
        self.store = MemoryStore(self.clock, self._take, epoch=NOW_MS, keeper=self.keeper, guard=self._guard)

    async def _take(self, _listener_id: str, packet: bytes) -> None:
        if packet == b"poison":
            raise ValueError("cannot be delivered")
        self.sent.append(packet)

    def _guard(self) -> None:
        if self.trouble is not None:
            raise StoreUnavailable(self.trouble)

    async def commit(self, state: SessionState, expected: int | None, **options: Any) -> Committed:
        answer, packets = options.pop("answer", None), options.pop("packets", [b"packet"])
        change = Change(after=state, expected_version=expected, **options)
        return await self.store.commit(state.listener_id, options.pop("epoch", NOW_MS), [change], packets, answer)

    async def states(self) -> tuple[SessionState, ...]:
        return (await self.store.load(LISTENER_ID, SESSION_ID)).states


@pytest.fixture
async def telling() -> Telling:
    """The first state is there."""
    made = Telling()
    await made.store.subscribe(LISTENER_ID)
    await made.commit(FIRST, None, packets=[])
    return made


async def test_nothing_is_set_told_or_answered_before_it_is_kept(telling: Telling) -> None:
    telling.keeper.open.clear()
    under_way = asyncio.create_task(telling.commit(SECOND, 1, answer=ANSWER, entry=move(2)))
    await telling.keeper.until_waiting(1)
    assert not under_way.done() and telling.sent == []
    assert await telling.states() == (FIRST,)
    loaded = await telling.store.live(LISTENER_ID, "c-1")
    assert (loaded.states, loaded.answer) == ((FIRST,), None)
    assert await telling.store.moves(LISTENER_ID, SESSION_ID) == ()
    telling.keeper.open.set()
    assert await under_way is Committed.DONE
    assert await telling.states() == (SECOND,) and telling.sent == [b"packet"]
    assert telling.keeper.kept[-1].state == SECOND and telling.keeper.kept[-1].moves == (move(2),)


async def test_what_changes_nothing_is_not_answered_either_when_the_lease_has_run_out_before_its_turn(
    telling: Telling,
) -> None:
    telling.keeper.open.clear()
    before = asyncio.create_task(telling.commit(SECOND, 1))
    await telling.keeper.until_waiting(1)
    late = asyncio.create_task(telling.commit(SECOND, 2, answer=ANSWER, packets=[]))
    await asyncio.sleep(0)
    telling.trouble = "the lease has run out"
    telling.keeper.open.set()
    assert await before is Committed.DONE, "it was kept, and so the lease was held"
    with pytest.raises(StoreUnavailable, match="run out"):
        await late


async def test_while_nothing_can_be_kept_nothing_changes_and_the_epoch_stays(telling: Telling) -> None:
    telling.keeper.away = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await telling.commit(SECOND, 1, answer=ANSWER)
    assert telling.sent == []
    loaded = await telling.store.live(LISTENER_ID, "c-1")
    assert (loaded.states, loaded.answer, loaded.epoch) == ((FIRST,), None, NOW_MS)
    telling.keeper.away = False
    assert await telling.commit(SECOND, 1) is Committed.DONE


async def test_what_was_kept_though_nobody_heard_of_it_is_set_before_anything_else_is_told(telling: Telling) -> None:
    telling.keeper.unheard = 1
    with pytest.raises(StoreUnavailable):
        await telling.commit(SECOND, 1, answer=ANSWER)
    assert telling.sent == []
    loaded = await telling.store.load(LISTENER_ID, SESSION_ID, "c-1")
    assert (loaded.states, loaded.answer) == ((SECOND,), b"first")
    assert telling.sent == [b"packet"]
    assert loaded.epoch > NOW_MS, "what comes next is later than anything that may still arrive"


async def test_what_was_not_kept_and_may_still_be_is_older_than_all_that_follows(telling: Telling) -> None:
    telling.keeper.lost = 1
    with pytest.raises(StoreUnavailable):
        await telling.commit(SECOND, 1, answer=ANSWER)
    loaded = await telling.store.load(LISTENER_ID, SESSION_ID, "c-1")
    assert (loaded.states, loaded.answer, telling.sent) == ((FIRST,), None, [])
    third = structs.replace(SECOND, epoch=loaded.epoch, position_ms=9)
    assert third.order > SECOND.order
    assert await telling.store.commit(LISTENER_ID, NOW_MS, [Change(after=third, expected_version=1)], []) is (
        Committed.LOST
    )
    change = Change(after=third, expected_version=1)
    assert await telling.store.commit(LISTENER_ID, loaded.epoch, [change], []) is Committed.DONE


async def test_a_commit_finds_out_by_itself_what_was_kept_before_it(telling: Telling) -> None:
    telling.keeper.unheard = 1
    with pytest.raises(StoreUnavailable):
        await telling.commit(SECOND, 1)
    blind = Change(after=structs.replace(SECOND, epoch=NOW_MS + 1, position_ms=9), expected_version=1)
    assert await telling.store.commit(LISTENER_ID, NOW_MS + 1, [blind], []) is Committed.LOST
    assert await telling.states() == (SECOND,)


async def test_a_doubt_raises_the_epoch_by_one_whatever_this_machine_takes_the_time_for(telling: Telling) -> None:
    """Those of the next process, and of Redis after it, must be later, and should not be hours ahead for it."""
    telling.clock.advance(3_600_000)
    telling.keeper.lost = 1
    with pytest.raises(StoreUnavailable):
        await telling.commit(SECOND, 1)
    assert (await telling.store.live(LISTENER_ID)).epoch == NOW_MS + 1


async def test_while_it_cannot_be_found_out_nothing_is_told_of_that_listener_and_all_of_others(
    telling: Telling,
) -> None:
    telling.keeper.unheard = 1
    with pytest.raises(StoreUnavailable):
        await telling.commit(SECOND, 1)
    telling.keeper.away = True
    for ask in (telling.store.load(LISTENER_ID, SESSION_ID), telling.store.live(LISTENER_ID)):
        with pytest.raises(StoreUnavailable):
            await ask
    assert (await telling.store.live(OTHER_LISTENER_ID)).states == ()
    telling.keeper.away = False
    assert await telling.states() == (SECOND,)


async def test_commits_of_one_listener_see_each_other_and_those_of_others_do_not_wait(telling: Telling) -> None:
    telling.keeper.open.clear()
    racers = [
        asyncio.create_task(telling.commit(structs.replace(SECOND, position_ms=number), 1)) for number in range(3)
    ]
    theirs = make_state(listener_id=OTHER_LISTENER_ID, session_id=new_id(), version=1, epoch=NOW_MS)
    other = asyncio.create_task(telling.commit(theirs, None))
    await telling.keeper.until_waiting(2)
    assert telling.keeper.waiting == 2, "one of each listener"
    telling.keeper.open.set()
    assert [await racer for racer in racers] == [Committed.DONE, Committed.LOST, Committed.LOST]
    assert await other is Committed.DONE
    (state,) = await telling.states()
    assert (state.position_ms, telling.sent) == (0, [b"packet"])


async def test_a_caller_that_goes_away_undoes_nothing(telling: Telling) -> None:
    telling.keeper.open.clear()
    under_way = asyncio.create_task(telling.commit(SECOND, 1, answer=ANSWER))
    await telling.keeper.until_waiting(1)
    under_way.cancel()
    with pytest.raises(asyncio.CancelledError):
        await under_way
    telling.keeper.open.set()
    third = structs.replace(SECOND, version=3, position_ms=9)
    assert await telling.commit(third, 2) is Committed.DONE
    assert await telling.states() == (third,)
    assert (await telling.store.live(LISTENER_ID, "c-1")).answer == b"first"


async def test_what_needs_no_keeping_waits_for_nothing(telling: Telling) -> None:
    telling.keeper.away = True
    assert await telling.commit(FIRST, 1, answer=ANSWER) is Committed.DONE
    assert (await telling.store.live(LISTENER_ID, "c-1")).answer == b"first"


async def test_a_packet_that_cannot_be_delivered_does_not_undo_what_it_tells(telling: Telling) -> None:
    assert await telling.commit(SECOND, 1, packets=[b"poison", b"good"]) is Committed.DONE
    assert (await telling.states(), telling.sent) == ((SECOND,), [b"good"])


async def test_too_much_on_its_way_is_a_backlog(telling: Telling) -> None:
    telling.keeper.room = 0
    assert await telling.commit(SECOND, 1) is Committed.BACKLOG
    assert await telling.states() == (FIRST,)


async def test_the_servers_own_changes_have_a_reserve_of_what_may_be_on_its_way(telling: Telling) -> None:
    telling.keeper.room = 1 - JOURNAL_RESERVE
    assert await telling.commit(SECOND, 1) is Committed.BACKLOG
    assert await telling.commit(SECOND, 1, own=True) is Committed.DONE
    telling.keeper.room = -JOURNAL_RESERVE
    third = structs.replace(SECOND, version=3, revision=3)
    assert await telling.commit(third, 2, own=True) is Committed.BACKLOG


async def test_without_the_right_to_answer_it_answers_nothing_but_who_is_connected(telling: Telling) -> None:
    telling.trouble = "another process has the sessions"
    for ask in (
        telling.states(),
        telling.store.live(LISTENER_ID),
        telling.store.last_ended(LISTENER_ID, SCRIPT_ID),
        telling.store.moves(LISTENER_ID, SESSION_ID),
        telling.commit(SECOND, 1),
        telling.store.due(NOW_MS, 1),
    ):
        with pytest.raises(StoreUnavailable, match="another process"):
            await ask
    connected = {"connected_at_ms": NOW_MS, "expires_at_ms": NOW_MS + 1}
    await telling.store.hold_connections(
        LISTENER_ID, [Connection(connection_id="c", device_id="d", name="n", kind="phone", **connected)]
    )
    assert len(await telling.store.connections(LISTENER_ID, NOW_MS)) == 1

"""What a commit keeps beside the states: answers, moves, deadlines, the journal. The same tests on every store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import structs

from playhead.db import Logins, open_database
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.history import CONFLICT, CONFLICTS_MAX, MOVES_MAX, Move
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.journal import Entry, OfflineInterval, decode_entry
from playhead.sessions.keys import ListenerKeys
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import (
    ANSWERS_MAX,
    DUE_CLAIM_MS,
    PRESENCE_LEASE_MS,
    Answer,
    Change,
    Committed,
    Connection,
    DueSession,
    LapsedConnection,
    SessionStore,
)
from tests.integration.sessions.memory_process import memory_process
from tests.support.sessions import SetClock, new_id
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID, SESSION_ID, make_state

JOURNAL_LENGTH_MAX = 3 * ANSWERS_MAX
JOURNAL_RESERVE = 2
FIRST = make_state(version=1, revision=1, playing=False)
DUE = DueSession(listener_id=LISTENER_ID, session_id=SESSION_ID)
IDLE_MS = NOW_MS + IDLE_END_MS


@dataclass(slots=True)
class Kept:
    """A store of one kind, and a look into its journal."""

    store: SessionStore
    journal: Callable[[], Awaitable[list[Entry]]]
    version: int = 0

    async def commit(self, after: SessionState = FIRST, **options: Any) -> Committed:
        """Commits a next version of `after`."""
        answer, packets = options.pop("answer", None), options.pop("packets", ())
        epoch = (await self.store.live(after.listener_id)).epoch
        expected, self.version = self.version or None, self.version + 1
        change = Change(
            after=structs.replace(after, epoch=epoch, version=self.version), expected_version=expected, **options
        )
        return await self.store.commit(after.listener_id, epoch, [change], packets, answer)

    async def keep(self, **options: Any) -> Committed:
        """Commits without a new version: what lies beside the state alone."""
        answer = options.pop("answer", None)
        loaded = await self.store.load(LISTENER_ID, SESSION_ID)
        change = Change(after=loaded.states[0], expected_version=loaded.states[0].version, **options)
        return await self.store.commit(LISTENER_ID, loaded.epoch, [change], [], answer)


@asynccontextmanager
async def durable(logins: Logins, clock: Clock) -> AsyncIterator[Kept]:
    """What PostgreSQL was given stands for the journal: its entries are on their way for as long as a commit takes."""
    async with (
        open_database(logins.app_url, logins.service_url, connections_max=2) as database,
        memory_process(database, clock) as process,
    ):

        async def entries() -> list[Entry]:
            return process.journal.stored

        yield Kept(process.store, entries)


@pytest.fixture
async def kept(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    clock = SetClock()
    if kind == "durable":
        async with durable(request.getfixturevalue("logins"), clock) as made:
            yield made
        return
    if kind == "memory":
        memory = MemoryStore(
            clock, epoch=NOW_MS, journal_length_max=JOURNAL_LENGTH_MAX, journal_reserve=JOURNAL_RESERVE
        )

        async def entries() -> list[Entry]:
            return list(memory.journal)

        yield Kept(memory, entries)
        return
    store = RedisStore(request.getfixturevalue("valkey_url"), clock, JOURNAL_LENGTH_MAX, JOURNAL_RESERVE)

    async def streamed() -> list[Entry]:
        rows: Any = await store.client.xrange(ListenerKeys(LISTENER_ID).journal)
        return [decode_entry(fields) for _, fields in rows]

    yield Kept(store, streamed)
    await store.stop()


def answer(content: bytes = b"first", command_id: str = "c-1") -> Answer:
    return Answer(session_id=SESSION_ID, command_id=command_id, content=content)


def move(revision: int, **fields: Any) -> Move:
    made = Move(
        cause="seek", from_ms=1, to_ms=2, device_id="phone", at_ms=NOW_MS + revision, epoch=7, revision=revision
    )
    return structs.replace(made, **fields)


def conflict(revision: int, **fields: Any) -> Move:
    return move(revision, cause=CONFLICT, **fields)


# answers


async def test_an_answer_is_found_by_its_commands_id_with_either_way_of_loading(kept: Kept) -> None:
    assert await kept.commit(answer=answer()) is Committed.DONE
    assert (await kept.store.load(LISTENER_ID, SESSION_ID, "c-1")).answer == b"first"
    assert (await kept.store.live(LISTENER_ID, "c-1")).answer == b"first"
    for loaded in (
        await kept.store.load(LISTENER_ID, SESSION_ID, "c-2"),
        await kept.store.load(LISTENER_ID, SESSION_ID),
        await kept.store.live(LISTENER_ID),
        await kept.store.live(OTHER_LISTENER_ID, "c-1"),
    ):
        assert loaded.answer is None


async def test_an_answer_is_kept_without_a_new_version_too(kept: Kept) -> None:
    await kept.commit()
    assert await kept.keep(answer=answer()) is Committed.DONE
    loaded = await kept.store.load(LISTENER_ID, SESSION_ID, "c-1")
    assert (loaded.answer, loaded.states[0].version) == (b"first", 1)
    assert len(await kept.journal()) == 1


async def test_of_a_commit_that_is_lost_no_answer_is_kept(kept: Kept) -> None:
    await kept.commit()
    kept.version = 7
    assert await kept.commit(answer=answer(), entry=move(1)) is Committed.LOST
    assert (await kept.store.load(LISTENER_ID, SESSION_ID, "c-1")).answer is None
    assert await kept.store.moves(LISTENER_ID, SESSION_ID) == ()
    assert len(await kept.journal()) == 1


async def test_a_commit_is_lost_when_an_answer_is_kept_under_its_commands_id(kept: Kept) -> None:
    assert await kept.commit(answer=answer()) is Committed.DONE
    assert await kept.keep(answer=answer(b"second")) is Committed.LOST
    assert await kept.keep(answer=answer(b"other", "c-2")) is Committed.DONE
    assert (await kept.store.load(LISTENER_ID, SESSION_ID, "c-1")).answer == b"first"


async def test_past_the_limit_the_oldest_answer_is_forgotten(kept: Kept) -> None:
    for number in range(ANSWERS_MAX + 1):
        await kept.commit(answer=answer(b"%d" % number, f"c-{number}"))
    assert (await kept.store.live(LISTENER_ID, "c-0")).answer is None
    assert (await kept.store.live(LISTENER_ID, "c-1")).answer == b"1"
    assert (await kept.store.live(LISTENER_ID, f"c-{ANSWERS_MAX}")).answer == b"%d" % ANSWERS_MAX


# moves


async def test_moves_and_conflicts_are_told_as_they_were_kept(kept: Kept) -> None:
    await kept.commit(entry=move(1))
    await kept.keep(entry=conflict(1, device_id="desk"))
    assert set(await kept.store.moves(LISTENER_ID, SESSION_ID)) == {move(1), conflict(1, device_id="desk")}
    assert await kept.store.moves(LISTENER_ID, new_id()) == ()


async def test_a_conflict_of_the_same_device_and_base_takes_the_place_of_the_one_before(kept: Kept) -> None:
    await kept.commit()
    for place_ms in (5, 6):
        await kept.keep(entry=conflict(1, to_ms=place_ms))
    assert await kept.store.moves(LISTENER_ID, SESSION_ID) == (conflict(1, to_ms=6),)


async def test_the_oldest_moves_and_conflicts_are_forgotten_first(kept: Kept) -> None:
    await kept.commit()
    for number in range(MOVES_MAX + 2):
        await kept.keep(entry=move(number))
    for number in range(CONFLICTS_MAX + 2):
        await kept.keep(entry=conflict(number))
    rows = await kept.store.moves(LISTENER_ID, SESSION_ID)
    moves = [row for row in rows if not row.refused]
    conflicts = sorted((row for row in rows if row.refused), key=lambda row: row.at_ms)
    assert moves == [move(number) for number in range(2, MOVES_MAX + 2)]
    assert conflicts == [conflict(number) for number in range(2, CONFLICTS_MAX + 2)]


# the journal


async def test_every_change_is_in_the_journal_with_what_belongs_to_it(kept: Kept) -> None:
    times = {"told_at_ms": NOW_MS, "started_at_ms": NOW_MS, "ended_at_ms": NOW_MS + 5}
    interval = OfflineInterval(device_id="phone", start_ms=0, end_ms=5, **times)
    await kept.commit(entry=move(1), offline=(interval,))
    await kept.commit(structs.replace(FIRST, position_ms=7))
    await kept.keep(entry=conflict(2))
    first, second, third = await kept.journal()
    assert (first.state.version, first.moves, first.offline) == (1, (move(1),), (interval,))
    assert (second.state.position_ms, second.moves, second.offline) == (7, (), ())
    assert (third.state, third.moves) == (second.state, (conflict(2),))


@pytest.mark.parametrize("kind", ["memory", "redis"], indirect=True)  # the third keeps no journal
async def test_at_the_limit_of_the_journal_nothing_is_accepted(kept: Kept) -> None:
    for _ in range(JOURNAL_LENGTH_MAX):
        assert await kept.commit() is Committed.DONE
    before = await kept.store.load(LISTENER_ID, SESSION_ID)
    assert await kept.commit(answer=answer()) is Committed.BACKLOG
    assert await kept.store.load(LISTENER_ID, SESSION_ID) == before
    assert len(await kept.journal()) == JOURNAL_LENGTH_MAX


@pytest.mark.parametrize("kind", ["memory", "redis"], indirect=True)
async def test_at_the_limit_of_the_journal_the_servers_own_changes_have_a_reserve(kept: Kept) -> None:
    for _ in range(JOURNAL_LENGTH_MAX):
        await kept.commit()
    for _ in range(JOURNAL_RESERVE):
        assert await kept.commit(own=True) is Committed.DONE
    full = kept.version
    assert await kept.commit(own=True) is Committed.BACKLOG
    kept.version = full
    assert await kept.commit() is Committed.BACKLOG
    assert len(await kept.journal()) == JOURNAL_LENGTH_MAX + JOURNAL_RESERVE


# deadlines


async def test_a_session_comes_up_when_it_is_due_and_not_before(kept: Kept) -> None:
    await kept.commit()
    assert await kept.store.due(IDLE_MS - 1, 10) == ()
    assert await kept.store.due(IDLE_MS, 10) == (DUE,)


async def test_what_one_took_comes_up_again_only_after_a_while(kept: Kept) -> None:
    await kept.commit()
    takers = await asyncio.gather(*(kept.store.due(IDLE_MS, 10) for _ in range(5)))
    assert sorted(map(len, takers)) == [0, 0, 0, 0, 1]
    assert await kept.store.due(IDLE_MS + DUE_CLAIM_MS - 1, 10) == ()
    assert await kept.store.due(IDLE_MS + DUE_CLAIM_MS, 10) == (DUE,)


async def test_every_commit_notes_the_next_deadline(kept: Kept) -> None:
    await kept.commit()
    await kept.commit(structs.replace(FIRST, sleep_at_ms=NOW_MS + 5))
    assert await kept.store.due(NOW_MS + 5, 10) == (DUE,)
    await kept.commit(FIRST)
    assert await kept.store.due(NOW_MS + 5 + DUE_CLAIM_MS, 10) == ()
    await kept.keep(rest_until_ms=IDLE_MS + 100)
    assert await kept.store.due(IDLE_MS + 99, 10) == ()
    assert await kept.store.due(IDLE_MS + 100, 10) == (DUE,)


async def test_an_ended_session_is_never_due(kept: Kept) -> None:
    await kept.commit()
    await kept.commit(structs.replace(FIRST, ended_at_ms=NOW_MS))
    assert await kept.store.due(IDLE_MS * 2, 10) == ()


async def test_what_does_not_exist_is_forgotten_when_it_is_said(kept: Kept) -> None:
    await kept.commit()
    await kept.store.forget_due(DUE)
    assert await kept.store.due(IDLE_MS, 10) == ()


async def test_one_look_takes_no_more_than_it_can_carry(kept: Kept) -> None:
    rows = [connection(number) for number in range(5)]
    await kept.store.hold_connections(LISTENER_ID, rows)
    late_ms = NOW_MS + PRESENCE_LEASE_MS
    first = await kept.store.due(late_ms, 3)
    second = await kept.store.due(late_ms, 3)
    assert (len(first), len(second)) == (3, 2)
    assert {item.connection_id for item in (*first, *second) if isinstance(item, LapsedConnection)} == {
        row.connection_id for row in rows
    }


# leases


def connection(number: int = 1, **fields: Any) -> Connection:
    row = Connection(
        connection_id=f"connection-{number}",
        device_id="phone",
        name="n",
        kind="phone",
        connected_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + PRESENCE_LEASE_MS,
    )
    return structs.replace(row, **fields)


async def test_a_lease_comes_up_when_it_was_not_renewed(kept: Kept) -> None:
    late_ms = NOW_MS + PRESENCE_LEASE_MS
    await kept.store.hold_connections(LISTENER_ID, [connection(1), connection(2)])
    await kept.store.hold_connections(LISTENER_ID, [connection(2, expires_at_ms=late_ms + 1)])
    lapsed = LapsedConnection(listener_id=LISTENER_ID, connection_id="connection-1")
    assert await kept.store.due(late_ms, 10) == (lapsed,)
    await kept.store.drop_connection(LISTENER_ID, "connection-1", late_ms)
    await kept.store.drop_connection(LISTENER_ID, "connection-2", late_ms)
    assert await kept.store.due(late_ms * 2, 10) == ()


async def test_when_the_last_connection_goes_the_time_is_noted(kept: Kept) -> None:
    await kept.store.hold_connections(LISTENER_ID, [connection(1), connection(2, rtt_ms=80)])
    assert (await kept.store.connections(LISTENER_ID, NOW_MS))[1].rtt_ms == 80
    await kept.store.drop_connection(LISTENER_ID, "connection-1", NOW_MS + 1)
    assert await kept.store.left_at_ms(LISTENER_ID) is None
    await kept.store.drop_connection(LISTENER_ID, "connection-2", NOW_MS + 2)
    assert await kept.store.left_at_ms(LISTENER_ID) == NOW_MS + 2
    await kept.store.drop_connection(LISTENER_ID, "connection-2", NOW_MS + 3)
    assert await kept.store.left_at_ms(LISTENER_ID) == NOW_MS + 2
    assert await kept.store.left_at_ms(OTHER_LISTENER_ID) is None

"""Batches of the journal in PostgreSQL: stored once, however often, in whatever order, and beside bad company."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec import structs

from playhead.app.embedded import EmbeddedPostgres
from playhead.db.errors import DatabaseUnavailable, InvalidValue
from playhead.db.journal import JournalRepository
from playhead.db.limits import ENTRIES_MAX
from playhead.db.logins import ensure_logins
from playhead.db.migrate import Connection, migrate, owner_connection
from playhead.db.pool import open_database
from playhead.db.scripts import ScriptRepository
from playhead.db.sessions import SessionRepository
from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX, Move
from tests.integration.db.rows import Entry, Store, entry, move, new_id, session, stretch, uploaded


@pytest.fixture
async def script_id(scripts: ScriptRepository) -> str:
    return (await uploaded(scripts)).script_id


def conflict(**changed: object) -> Move:
    return move(cause="conflict", **changed)


async def listening(owner: Connection, session_id: str) -> dict[int, int]:
    rows = await owner.fetch("select slot, played_ms from audio_listening where session_id = $1", session_id)
    return {row["slot"]: row["played_ms"] for row in rows}


async def offline(owner: Connection, listener_id: str) -> list[tuple[str, int, int, int]]:
    rows = await owner.fetch(
        "select device_id, told_at_ms, start_ms, end_ms from audio_offline_intervals "
        "where listener_id = $1 order by 1, 2",
        listener_id,
    )
    return [tuple(row) for row in rows]


async def test_an_entry_is_stored_with_all_that_lies_beside_it(
    journal: JournalRepository, sessions: SessionRepository, owner: Connection, script_id: str
) -> None:
    state = session(script_id, played_slots=((7, 900_000), (8, 3)))
    moves = (move(), conflict(device_id="desk", to_ms=0, at_ms=1_700_000_000_124))
    await journal.store([entry(state, moves, (stretch(),))])
    assert await sessions.get(state.session_id) == state
    assert await sessions.moves(state.session_id) == (moves[1], moves[0])
    assert await listening(owner, state.session_id) == {7: 900_000, 8: 3}
    assert await offline(owner, state.listener_id) == [("phone", 1_700_000_000_123, 0, 60_000)]


async def test_entries_of_a_batch_become_the_latest_state_and_the_greatest_amounts(
    journal: JournalRepository, sessions: SessionRepository, owner: Connection, script_id: str
) -> None:
    """A batch after a long outage: the latest state does not carry the oldest slots any more."""
    first = session(script_id, played_slots=((1, 5), (2, 5)), listened=((0, 10),), played_ms=10)
    second = structs.replace(first, revision=2, played_slots=((2, 9), (3, 1)), listened=((5, 20),), played_ms=20)
    await journal.store([entry(second), entry(first)])
    assert await sessions.get(first.session_id) == structs.replace(second, listened=((0, 20),))
    assert await listening(owner, first.session_id) == {1: 5, 2: 9, 3: 1}


async def test_any_order_and_any_repetition_of_entries_ends_in_the_same_rows(
    journal: JournalRepository, sessions: SessionRepository, owner: Connection, script_id: str
) -> None:
    base = session(script_id)
    found: set[Any] = set()
    for order in itertools.permutations(range(3)):
        own = structs.replace(base, session_id=new_id(), listener_id=new_id())
        entries = [
            entry(
                structs.replace(own, revision=number, played_slots=((5, 10 * number), (5 + number, 1))),
                (move(revision=number), conflict(at_ms=1_000 + number, to_ms=number)),
                (stretch(end_ms=60_000 + number),),
            )
            for number in range(1, 4)
        ]
        for batch in ([entries[number]] for number in (*order, *order)):
            await journal.store(batch)
        await journal.store([entries[number] for number in order])
        stored = await sessions.get(own.session_id)
        assert stored is not None
        moves = await sessions.moves(own.session_id)
        amounts = await listening(owner, own.session_id)
        found.add((stored.revision, moves, tuple(sorted(amounts.items())), *await offline(owner, own.listener_id)))
    assert len(found) == 1
    revision, moves, slots, *stretches = found.pop()
    assert revision == 3
    assert [(row.cause, row.revision, row.to_ms) for row in moves] == [
        ("seek", 3, 500_000),
        ("seek", 2, 500_000),
        ("seek", 1, 500_000),
        ("conflict", 1, 3),
    ]
    assert slots == ((5, 30), (6, 1), (7, 1), (8, 1))
    assert stretches == [("phone", 1_700_000_000_123, 0, 60_003)]


async def test_what_was_rolled_back_at_the_commit_is_stored_when_it_is_sent_again(
    journal: JournalRepository, owner: Connection, script_id: str
) -> None:
    """What a repository remembers as stored must be stored."""
    state = session(script_id, played_slots=((1, 5),))
    await owner.execute(
        """
        create function public.refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
        create constraint trigger refusing after insert on audio_listening deferrable initially deferred
            for each row execute function public.refuse();
        """
    )
    try:
        with pytest.raises(asyncpg.RaiseError):
            await journal.store([entry(state)])
    finally:
        await owner.execute("drop trigger refusing on audio_listening; drop function public.refuse()")
    assert await listening(owner, state.session_id) == {}
    await journal.store([entry(state)])
    assert await listening(owner, state.session_id) == {1: 5}
    await journal.store([entry(structs.replace(state, revision=2, played_slots=((1, 5), (2, 1))))])
    assert await listening(owner, state.session_id) == {1: 5, 2: 1}


async def test_another_server_that_is_behind_is_told_all_amounts_anew(
    start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path
) -> None:
    """As after a failover to a replica: what one server has stored another need not have."""
    server = start_postgres()
    await migrate(server.url())
    logins = await ensure_logins(server.url(), tmp_path)
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as database:
        journal = JournalRepository(database)
        state = session((await uploaded(ScriptRepository(database))).script_id, played_slots=((1, 5), (2, 5)))
        await journal.store([entry(state)])
        async with owner_connection(server.url()) as owner:
            await owner.execute("delete from audio_listening where slot = 1")
            await journal.store([entry(structs.replace(state, revision=2, played_slots=((1, 5), (2, 6))))])
            assert await listening(owner, state.session_id) == {2: 6}, "what is stored is not sent again"
        server.kill()
        server.start()
        later = structs.replace(state, revision=3, played_slots=((1, 5), (2, 6), (3, 1)))
        async with asyncio.timeout(30):
            while True:
                with suppress(DatabaseUnavailable):
                    await journal.store([entry(later)])
                    break
        async with owner_connection(server.url()) as owner:
            assert await listening(owner, state.session_id) == {1: 5, 2: 6, 3: 1}


async def test_a_row_of_a_deleted_script_is_left_out_and_the_others_are_stored(
    journal: JournalRepository, sessions: SessionRepository, owner: Connection, script_id: str
) -> None:
    lost = session(new_id(), played_slots=((1, 1),))
    kept = session(script_id, played_slots=((1, 1),))
    await journal.store([entry(state, (move(),), (stretch(),)) for state in (lost, kept)])
    assert await sessions.get(lost.session_id) is None
    assert await sessions.get(kept.session_id) == kept
    assert len(await sessions.moves(kept.session_id)) == 1
    assert await listening(owner, lost.session_id) == {}
    assert await offline(owner, lost.listener_id) == []


async def test_deleting_a_script_takes_everything_of_it_away(
    journal: JournalRepository, sessions: SessionRepository, owner: Connection, script_id: str
) -> None:
    state = session(script_id, played_slots=((1, 1),))
    await journal.store([entry(state, (move(),), (stretch(),))])
    await owner.execute("delete from audio_scripts where id = $1", script_id)
    assert await sessions.moves(state.session_id) == ()
    assert await listening(owner, state.session_id) == {}
    assert await offline(owner, state.listener_id) == []


@pytest.mark.parametrize("whole", [True, False])
async def test_the_oldest_moves_and_conflicts_are_forgotten(
    journal: JournalRepository, sessions: SessionRepository, script_id: str, whole: bool
) -> None:
    state = session(script_id)
    moves = [move(revision=number, at_ms=1_000 + number) for number in range(MOVES_MAX + 1)]
    conflicts = [conflict(revision=number, at_ms=9_000 - number) for number in range(CONFLICTS_MAX + 1)]
    other = session(script_id)
    await journal.store([entry(other, tuple(moves[:3]))])
    entries = [entry(state, (row,)) for row in (*moves[:-1], *conflicts[:-1])]
    await store_each(journal, entries, whole)
    assert len(await sessions.moves(state.session_id)) == MOVES_MAX + CONFLICTS_MAX
    await store_each(journal, [entry(state, (moves[-1],)), entry(state, (conflicts[-1],))], whole)
    kept = await sessions.moves(state.session_id)
    assert {row for row in kept if not row.refused} == set(moves[1:])
    assert {row for row in kept if row.refused} == set(conflicts[:-1]), "the one refused first, not that of the lowest"
    assert len(await sessions.moves(other.session_id)) == 3


async def store_each(journal: JournalRepository, entries: Sequence[Entry], whole: bool) -> None:
    for batch in [entries] if whole else [[one] for one in entries]:
        await journal.store(batch)


async def test_two_devices_refused_for_one_state_have_an_entry_each_and_one_device_the_latest(
    journal: JournalRepository, sessions: SessionRepository, script_id: str
) -> None:
    state = session(script_id)
    early, late = conflict(at_ms=1_000, to_ms=1), conflict(at_ms=2_000, to_ms=2)
    desk = conflict(at_ms=1_500, device_id="desk")
    for batch in ([late], [early, desk]):
        await journal.store([entry(state, (row,)) for row in batch])
    assert await sessions.moves(state.session_id) == (late, desk)


async def test_a_batch_of_an_offline_device_sent_again_adds_nothing_and_a_longer_stretch_replaces(
    journal: JournalRepository, owner: Connection, script_id: str
) -> None:
    state = session(script_id)
    first = stretch()
    again = replace(first, started_at_ms=first.started_at_ms + 5_000, ended_at_ms=first.ended_at_ms + 5_000)
    longer, elsewhere = replace(first, end_ms=90_000), stretch(told_at_ms=1_800_000_000_000)
    await journal.store([entry(state, offline=(longer, first, again))])
    await journal.store([entry(state, offline=(first, elsewhere))])
    assert await offline(owner, state.listener_id) == [
        ("phone", first.told_at_ms, 0, 90_000),
        ("phone", elsewhere.told_at_ms, 0, 60_000),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"moves": (move(to_ms=-1),)},
        {"moves": (move(cause=""),)},
        {"moves": (move(device_id="d" * 201),)},
        {"offline": (stretch(start_ms=9, end_ms=8),)},
        {"offline": (stretch(ended_at_ms=0),)},
        {"offline": (stretch(device_id="d" * 201),)},
    ],
)
async def test_a_batch_with_a_row_that_breaks_a_rule_stores_nothing_at_all(
    journal: JournalRepository, sessions: SessionRepository, script_id: str, bad: dict[str, tuple[object, ...]]
) -> None:
    good, other = session(script_id), session(script_id)
    with pytest.raises(InvalidValue):
        await journal.store([entry(good), Entry(state=other, **bad)])  # type: ignore[arg-type]
    assert await sessions.get(good.session_id) is None


async def test_a_batch_has_a_limit(journal: JournalRepository, sessions: SessionRepository, script_id: str) -> None:
    entries = [entry(session(script_id)) for _ in range(ENTRIES_MAX)]
    await journal.store(entries)
    assert await sessions.get(entries[-1].state.session_id) == entries[-1].state
    with pytest.raises(InvalidValue):
        await journal.store([*entries, entry(session(script_id))])
    await journal.store([])


async def test_writers_that_store_the_same_sessions_at_once_do_not_block_each_other_for_good(
    journal: JournalRepository, sessions: SessionRepository, script_id: str
) -> None:
    states = [session(script_id, played_slots=((1, 1), (2, 2))) for _ in range(50)]
    batches = [
        [entry(structs.replace(state, revision=revision), (move(revision=revision),), (stretch(),)) for state in order]
        for revision, order in enumerate((states, states[::-1], states, states[::-1]), 1)
    ]
    await asyncio.gather(*(journal.store(batch) for batch in batches))
    for state in states:
        stored = await sessions.get(state.session_id)
        assert stored is not None and stored.revision == 4
        assert len(await sessions.moves(state.session_id)) == 4


async def test_the_database_itself_refuses_a_second_row_of_one_move(
    owner: Connection, store: Store, script_id: str
) -> None:
    insert = (
        "insert into audio_position_history (session_id, kind, epoch, revision, device_id, cause, from_ms, to_ms, at) "
        "values ($1, 'move', 1, 1, $2, 'seek', 0, 1, now())"
    )
    state = session(script_id)
    await store([state])
    await owner.execute(insert, state.session_id, "phone")
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute(insert, state.session_id, "desk")

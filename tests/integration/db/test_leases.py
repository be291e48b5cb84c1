"""The lease of the process that keeps sessions in its memory: one at a time, by PostgreSQL's clock, in any order."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from playhead.db.errors import DatabaseUnavailable
from playhead.db.journal import JournalRepository
from playhead.db.leases import SERVERS_NODE, HeldBy, LeaseLost, LeaseRepository, require
from playhead.db.limits import EPOCHS_MAX
from playhead.db.migrate import Connection
from playhead.db.pool import Database
from playhead.db.scripts import ScriptRepository
from playhead.db.sessions import SessionRepository
from tests.integration.db.rows import Store, entry, new_id, session, uploaded

ONE, TWO = new_id(), new_id()
LONG_S = 600.0
EXPIRE = "update audio_store_lease set expires_at = clock_timestamp() - interval '1 ms'"


@pytest.fixture
async def leases(database: Database, owner: Connection) -> AsyncIterator[LeaseRepository]:
    """Nobody has ever taken it."""
    await owner.execute("delete from audio_store_lease")
    yield LeaseRepository(database)


async def take(leases: LeaseRepository, holder: str, node: str = "", lease_s: float = LONG_S) -> int:
    epoch = await leases.take(holder, node or f"node of {holder}", lease_s)
    assert isinstance(epoch, int), epoch
    return epoch


async def take_given_up(leases: LeaseRepository, holder: str, node: str = "there") -> None:
    """As `take`, of what servers with Redis have let run out."""
    found = await leases.take(holder, node, LONG_S)
    assert isinstance(found, HeldBy) and found.for_s <= 0
    assert isinstance(await leases.take(holder, node, LONG_S, found.expires_at), int)


async def test_while_one_process_has_it_no_other_gets_it_and_is_told_whose_it_is(leases: LeaseRepository) -> None:
    await take(leases, ONE, "here")
    refusal = await leases.take(TWO, "there", LONG_S)
    assert isinstance(refusal, HeldBy) and refusal.node == "here" and LONG_S - 60 < refusal.for_s <= LONG_S
    assert await leases.renew(ONE, LONG_S)
    assert not await leases.renew(TWO, LONG_S)


async def test_of_many_that_ask_at_once_one_gets_it(leases: LeaseRepository) -> None:
    answers = await asyncio.gather(*(leases.take(new_id(), f"node {number}", LONG_S) for number in range(12)))
    assert sum(isinstance(answer, int) for answer in answers) == 1


async def test_it_runs_out_by_the_clock_of_the_database(leases: LeaseRepository, owner: Connection) -> None:
    await take(leases, ONE)
    await owner.execute(EXPIRE)
    await take(leases, TWO)
    assert not await leases.renew(ONE, LONG_S)


async def test_a_lease_that_ran_out_and_that_nobody_took_is_still_the_holders(
    leases: LeaseRepository, owner: Connection
) -> None:
    await take(leases, ONE)
    await owner.execute(EXPIRE)
    assert await leases.renew(ONE, LONG_S)
    assert isinstance(await leases.take(TWO, "there", LONG_S), HeldBy)


async def test_a_later_process_of_the_same_node_gets_it_at_once(leases: LeaseRepository) -> None:
    await take(leases, ONE, "here")
    await take(leases, TWO, "here")
    assert not await leases.renew(ONE, LONG_S)
    assert await leases.renew(TWO, LONG_S)


async def test_what_is_given_back_is_free_and_only_its_holder_can_give_it_back(leases: LeaseRepository) -> None:
    await take(leases, ONE)
    await leases.release(TWO)
    assert isinstance(await leases.take(TWO, "there", LONG_S), HeldBy)
    await leases.release(ONE)
    await take(leases, TWO)


async def test_the_epoch_is_the_time_and_grows_with_each_taking_and_past_each_live_session(
    leases: LeaseRepository, owner: Connection, scripts: ScriptRepository, store: Store
) -> None:
    first = await take(leases, ONE)
    assert abs(first - time.time() * 1000) < 60_000
    await owner.execute("update audio_store_lease set epoch = epoch + 3600000")
    assert await take(leases, ONE) == first + 3_600_001
    script_id = (await uploaded(scripts)).script_id
    ahead = first + 7_200_000
    states = [session(script_id, epoch=ahead), session(script_id, epoch=ahead + 9, ended_at_ms=1_700_000_000_123)]
    await store(states)
    assert await take(leases, ONE) == ahead + 1, "an ended session does not come back"
    await owner.execute("delete from audio_sessions where id = any($1::uuid[])", [row.session_id for row in states])


async def test_no_session_of_a_process_that_had_the_lease_is_later_than_what_is_told_of_it(
    leases: LeaseRepository, owner: Connection, database: Database, scripts: ScriptRepository
) -> None:
    """Whatever anybody's clock says: a store in memory raises its epoch when it is in doubt."""
    epoch = await take(leases, ONE, "here", lease_s=15.0)
    # a session from a store whose clock is hours ahead, and then a lease that was in doubt many times
    script_id = (await uploaded(scripts)).script_id
    ahead = session(script_id, epoch=epoch + 9_000_000)
    await JournalRepository(database, ONE).store([entry(ahead)])
    epoch = await take(leases, ONE, "here", lease_s=15.0)
    assert epoch == ahead.epoch + 1
    doubted = structs.replace(ahead, epoch=epoch + 1_000)
    await JournalRepository(database, ONE).store([entry(doubted)])
    await leases.release(ONE)
    told = await leases.share(LONG_S)
    assert told == epoch + EPOCHS_MAX > doubted.epoch
    assert await leases.share(LONG_S) == told, "and stays what it is, however often it is renewed"
    await owner.execute("delete from audio_sessions where id = $1", ahead.session_id)


async def test_all_servers_with_redis_have_it_together_and_no_process_beside_them(
    leases: LeaseRepository, owner: Connection
) -> None:
    assert await leases.share(LONG_S) == await leases.share(LONG_S)
    refusal = await leases.take(ONE, "here", LONG_S)
    assert isinstance(refusal, HeldBy) and refusal.node == SERVERS_NODE and LONG_S - 60 < refusal.for_s <= LONG_S
    await owner.execute(EXPIRE)
    assert isinstance(await leases.share(LONG_S), int), "it ran out, and nobody has taken it"
    await owner.execute(EXPIRE)
    await take_given_up(leases, ONE, "here")
    refusal = await leases.share(LONG_S)
    assert isinstance(refusal, HeldBy) and refusal.node == "here"
    assert await leases.renew(ONE, LONG_S)


async def test_what_servers_with_redis_let_run_out_is_taken_only_by_who_knows_that_they_gave_it_up(
    leases: LeaseRepository, owner: Connection
) -> None:
    """While PostgreSQL was away they could not renew it, and whoever asks first afterwards must not have it."""
    await leases.share(LONG_S)
    await owner.execute(EXPIRE)
    found = await leases.take(ONE, "here", LONG_S)
    assert isinstance(found, HeldBy) and (found.node, found.for_s <= 0) == (SERVERS_NODE, True)
    assert isinstance(await leases.share(LONG_S), int), "they are back"
    renewed = await leases.take(ONE, "here", LONG_S, found.expires_at)
    assert isinstance(renewed, HeldBy) and renewed.expires_at > found.expires_at
    assert isinstance(await leases.take(ONE, "here", LONG_S, renewed.expires_at), HeldBy), "it has not run out"
    await owner.execute(EXPIRE)
    assert isinstance(await leases.take(ONE, "here", LONG_S, renewed.expires_at), HeldBy), "it ran out later than that"
    await take_given_up(leases, ONE)


async def test_a_process_whose_lease_ran_out_stores_nothing_beside_servers_with_redis(
    leases: LeaseRepository, owner: Connection, database: Database, scripts: ScriptRepository
) -> None:
    state = session((await uploaded(scripts)).script_id)
    await take(leases, ONE)
    await owner.execute(EXPIRE)
    await leases.share(LONG_S)
    assert not await leases.renew(ONE, LONG_S)
    with pytest.raises(LeaseLost):
        await JournalRepository(database, ONE).store([entry(state)])


async def test_a_server_with_redis_that_stops_leaves_the_others_time_to_renew_it(leases: LeaseRepository) -> None:
    await leases.share(LONG_S)
    await leases.leave(0.0)
    await take_given_up(leases, ONE)
    await leases.leave(0.0)
    assert isinstance(await leases.share(LONG_S), HeldBy), "another's is left alone"
    await leases.release(ONE)
    await leases.share(1.0)
    await leases.leave(LONG_S)
    refusal = await leases.take(ONE, "here", LONG_S)
    assert isinstance(refusal, HeldBy) and refusal.for_s <= 1.0, "it is never made longer by that"


async def test_in_a_database_that_is_not_migrated_there_is_none_yet(leases: LeaseRepository, owner: Connection) -> None:
    """A server may start before that: its readiness says what to do."""
    await owner.execute("alter table audio_store_lease rename to away")
    try:
        for ask in (leases.take(ONE, "here", LONG_S), leases.renew(ONE, LONG_S), leases.share(LONG_S)):
            with pytest.raises(DatabaseUnavailable, match="playhead migrate"):
                await ask
    finally:
        await owner.execute("alter table away rename to audio_store_lease")


# commits


async def test_a_batch_is_stored_only_while_the_lease_is_its_writers(
    leases: LeaseRepository, database: Database, scripts: ScriptRepository, sessions: SessionRepository
) -> None:
    script_id = (await uploaded(scripts)).script_id
    first, second = session(script_id), session(script_id)
    with pytest.raises(LeaseLost):
        await JournalRepository(database, ONE).store([entry(first)])
    await take(leases, ONE)
    await JournalRepository(database, ONE).store([entry(first)])
    with pytest.raises(LeaseLost):
        await JournalRepository(database, TWO).store([entry(second)])
    assert await sessions.get(first.session_id) == first
    assert await sessions.get(second.session_id) is None


async def test_a_writer_that_holds_the_lease_is_told_when_somebody_else_has_stored_later_states(
    leases: LeaseRepository, database: Database, scripts: ScriptRepository, sessions: SessionRepository
) -> None:
    """Its own would be left out without a word, and have been acknowledged."""
    script_id = (await uploaded(scripts)).script_id
    later, other = session(script_id, epoch=9), session(script_id)
    await JournalRepository(database).store([entry(later)])
    await take(leases, ONE)
    ours = JournalRepository(database, ONE)
    with pytest.raises(LeaseLost, match="later"):
        await ours.store([entry(other), entry(structs.replace(later, epoch=8, revision=5))])
    assert await sessions.get(later.session_id) == later
    assert await sessions.get(other.session_id) is None
    await ours.store([entry(later), entry(other)])
    assert await sessions.get(other.session_id) == other, "what is stored already is no harm"
    await ours.store([entry(structs.replace(other, revision=2)), entry(session(new_id()))])
    assert (await sessions.get(other.session_id)) == structs.replace(other, revision=2), "nor is a script that is gone"


async def test_a_late_writer_stores_as_long_as_nobody_has_taken_over_and_then_nothing(
    leases: LeaseRepository, owner: Connection, database: Database, scripts: ScriptRepository
) -> None:
    state = session((await uploaded(scripts)).script_id)
    await take(leases, ONE)
    await owner.execute(EXPIRE)
    await JournalRepository(database, ONE).store([entry(state)])
    await take(leases, TWO)
    with pytest.raises(LeaseLost):
        await JournalRepository(database, ONE).store([entry(state)])


async def test_whoever_takes_over_waits_for_the_transaction_that_is_under_way(
    leases: LeaseRepository, owner: Connection, database: Database
) -> None:
    """So what that one has acknowledged is there when the next process reads the sessions."""
    await take(leases, ONE)
    await owner.execute(EXPIRE)
    async with database.as_service_batch() as connection:
        await require(connection, ONE)
        taking = asyncio.create_task(leases.take(TWO, "there", LONG_S))
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%store_lease%'"
        async with asyncio.timeout(10):
            while not await owner.fetchval(waiting):
                await asyncio.sleep(0.01)
        assert not taking.done()
    assert isinstance(await taking, int)


async def test_a_transaction_whose_process_is_frozen_or_gone_keeps_nobody_from_taking_over(
    leases: LeaseRepository, owner: Connection, database: Database
) -> None:
    """PostgreSQL hears nothing of a machine that is gone, for hours; a frozen process would hold the lease for ever."""
    await take(leases, ONE)
    await owner.execute(EXPIRE)
    taken: int | HeldBy | None = None
    with pytest.raises(DatabaseUnavailable):
        async with database.as_service_at_once() as connection:
            await require(connection, ONE)
            taken = await leases.take(TWO, "there", LONG_S)
            await connection.execute("select 1")
    assert isinstance(taken, int), "it waited for as long as an answer may take, at most"


async def test_sessions_without_an_end_are_read_one_after_the_other_up_to_a_limit(
    sessions: SessionRepository, scripts: ScriptRepository, store: Store
) -> None:
    script_id = (await uploaded(scripts)).script_id
    unended = [session(script_id) for _ in range(7)]
    await store([*unended, session(script_id, ended_at_ms=1_700_000_000_123)])
    found = [state async for state in sessions.unended(1_000)]
    ours = [state for state in found if state.script_id == script_id]
    assert sorted(ours, key=lambda state: state.session_id) == sorted(unended, key=lambda state: state.session_id)
    assert len([state async for state in sessions.unended(3)]) == 3

"""The list of what was revoked: in step with the endings, on Valkey, on a cluster and in memory; bounded; fail open."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec import structs

from playhead.auth.revocations import Revocation, Revocations
from playhead.db import Database, Script, ScriptRepository
from playhead.playback.commands import End
from playhead.playback.state import SessionState
from playhead.sessions import revocations
from playhead.sessions.keys import PARTITIONS, partition_of, revoked_key
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.revocations import RevocationFeed, find_session, revoke
from playhead.sessions.store import REVOKED_PER_PARTITION_MAX, Committed, StoreUnavailable
from tests.integration.db.rows import uploaded
from tests.integration.sessions.lines import Line
from tests.integration.sessions.memory_process import apply, memory_process, play
from tests.integration.sessions.test_store_contract import another, commit
from tests.support.sessions import SetClock, make_principal, new_id
from tests.support.states import NOW_MS

UNTIL_S = NOW_MS // 1000 + 100_000


async def known(line: Line) -> Revocations:
    """What a process on this store refuses, as soon as it has looked."""
    if isinstance(line.store, MemoryStore):
        return line.store.revocations
    assert isinstance(line.store, RedisStore)
    feed = RevocationFeed(line.store.calls, SetClock())
    await feed.look()
    return feed.revocations


def _of_partition(number: int) -> str:
    return next(subject for subject in iter(new_id, "") if partition_of(subject) == number)


def ended_of(copy: Revocations, states: Sequence[SessionState]) -> list[SessionState]:
    return [state for state in states if copy.has_ended(state.session_id)]


async def test_a_session_is_revoked_with_its_end_and_not_before(line: Line) -> None:
    states = [another(number, listener_id=new_id()) for number in range(20)]
    for state in states:
        assert await commit(line, (state, None)) is Committed.DONE
    assert ended_of(await known(line), states) == []
    for state in states[:15]:
        over = structs.replace(state, version=2, ended_at_ms=NOW_MS)
        assert await commit(line, (over, 2)) is Committed.LOST, "what is not done revokes nothing"
    assert ended_of(await known(line), states) == []
    for state in states[:15]:
        over = structs.replace(state, version=2, ended_at_ms=NOW_MS)
        assert await commit(line, (over, 1)) is Committed.DONE
    refused = await known(line)
    assert ended_of(refused, states) == states[:15]
    page = refused.since(0, 100)
    assert page is not None and {row.subject for row in page.rows} == {state.session_id for state in states[:15]}
    for row in page.rows:
        assert row.until_s == NOW_MS // 1000 + 3_600 + 13 * 3_600, "the script's length, 12 h, and a margin"


class TestOnValkey:
    @pytest.fixture
    def kind(self, request: pytest.FixtureRequest) -> str:
        return "redis"

    @pytest.fixture
    def store(self, line: Line) -> RedisStore:
        assert isinstance(line.store, RedisStore)
        return line.store

    async def test_a_look_takes_in_what_is_new_page_by_page(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(revocations, "READ_MAX", 3)
        feed = RevocationFeed(store.calls, SetClock())
        await feed.look()
        for first in range(0, 40, 20):
            ids = [_of_partition(7) for _ in range(20)]
            for subject in [*ids, "/t/one/", "/t/one/"]:
                await revoke(store.calls, Revocation(subject=subject, at_ms=0, until_s=UNTIL_S))
            await feed.look()
            assert all(feed.revocations.has_ended(subject) for subject in ids)
            assert len(feed.revocations) == first + 20 + 1, "each once"

    async def test_a_partition_s_list_is_bounded(self, store: RedisStore) -> None:
        rows = [Revocation(subject="same", at_ms=0, until_s=UNTIL_S + number) for number in range(2_300)]
        await asyncio.gather(*(revoke(store.calls, row) for row in rows))
        lengths = await store.calls.calls([("XLEN", revoked_key(number)) for number in range(PARTITIONS)])
        assert REVOKED_PER_PARTITION_MAX <= max(lengths) < REVOKED_PER_PARTITION_MAX + 150

    async def test_a_session_is_found_whoever_s_it_is(self, line: Line, store: RedisStore) -> None:
        state = another(listener_id=new_id())
        assert await find_session(store.calls, state.session_id) is None
        await commit(line, (state, None))
        found = await find_session(store.calls, state.session_id)
        assert found is not None and found.listener_id == state.listener_id


async def test_while_valkey_is_away_what_is_known_stays_refused_and_a_start_waits_for_nothing() -> None:
    store = RedisStore("redis://127.0.0.1:1", SetClock())
    feed = RevocationFeed(store.calls, SetClock())
    try:
        with pytest.raises(StoreUnavailable):
            await feed.look()
        feed.revocations.add([Revocation(subject="s", at_ms=NOW_MS, until_s=UNTIL_S)], NOW_MS)
        async with asyncio.timeout(10):
            await feed.start()
        assert feed.revocations.has_ended("s")
        assert feed.revocations.since(0, 10) is None, "an edge must not take this for the list"
    finally:
        await feed.stop()
        await store.stop()


@pytest.fixture
async def script(database: Database) -> Script:
    return await uploaded(ScriptRepository(database))


async def test_in_memory_mode_what_has_ended_stays_revoked_in_the_next_process(
    database: Database, script: Script
) -> None:
    clock, live, over = SetClock(), make_principal(new_id()), make_principal(new_id())
    async with memory_process(database, clock) as first:
        gone = await play(first, over, script)
        goes_on = await play(first, live, script)
        await apply(first, gone, End())
        assert first.store.revocations.has_ended(gone.session_id)
        await first.die()
        async with memory_process(database, clock) as second:
            assert second.store.revocations.has_ended(gone.session_id)
            assert not second.store.revocations.has_ended(goes_on.session_id)
            await second.die()
        clock.advance(14 * 3_600_000)
        async with memory_process(database, clock) as third:
            assert not third.store.revocations.has_ended(gone.session_id), "no token of it is valid any more"

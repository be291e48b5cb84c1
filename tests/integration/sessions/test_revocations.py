"""The list of what was revoked: in step with the endings, on Valkey, on a cluster and in memory; bounded; fail open."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from msgspec import structs

from playhead.auth.media_paths import InvalidMediaToken, MediaClaims
from playhead.auth.revocations import Revocation, Revocations
from playhead.db import Database, Script, ScriptRepository
from playhead.playback.commands import End
from playhead.playback.state import SessionState
from playhead.sessions import redis_commits, revocations
from playhead.sessions.keys import REVOKED_BY_OPERATOR, partition_of, revoked_key
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.revocations import ListFull, RevocationFeed, find_session, revoke
from playhead.sessions.store import Committed, StoreUnavailable
from tests.integration.db.rows import uploaded
from tests.integration.sessions.lines import Line
from tests.integration.sessions.memory_process import apply, memory_process, play
from tests.integration.sessions.test_store_contract import another, commit
from tests.support.sessions import SetClock, make_principal, new_id
from tests.support.states import LISTENER_ID, NOW_MS

UNTIL_S = NOW_MS // 1000 + 100_000


async def known(line: Line) -> Revocations:
    """What a process on this store refuses, as soon as it has looked."""
    if isinstance(line.store, MemoryStore):
        return line.store.revocations
    assert isinstance(line.store, RedisStore)
    return await looked(RevocationFeed(line.store.calls, SetClock()))


async def looked(feed: RevocationFeed) -> Revocations:
    await feed.look()
    return feed.revocations


def _of_partition(number: int, form: str = "{}") -> str:
    subjects = (form.format(found) for found in iter(new_id, ""))
    return next(subject for subject in subjects if partition_of(subject) == number)


async def enter_ending(store: RedisStore, subject: str) -> None:
    """As the commit of an ending does."""
    await store.calls.call("XADD", revoked_key(partition_of(subject)), "*", "subject", subject, "until_s", UNTIL_S)


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
        monkeypatch.setattr(revocations, "OPERATORS_READ_MAX", 7)
        feed = RevocationFeed(store.calls, SetClock())
        await feed.look()
        for _ in range(2):
            ids = [_of_partition(7) for _ in range(20)]
            theirs = [new_id() for _ in range(20)]
            for subject, by_operator in zip(ids, theirs, strict=True):
                await enter_ending(store, subject)
                await revoke(store.calls, Revocation(subject=by_operator, at_ms=0, until_s=UNTIL_S))
            await feed.look()
            assert all(feed.revocations.has_ended(subject) for subject in (*ids, *theirs))
            page = feed.revocations.since(0, 1_000)
            assert page is not None
            found = [row.subject for row in page.rows]
            assert [found.count(subject) for subject in ids] == [1] * 20, "each once"

    async def test_what_an_operator_has_revoked_outlasts_any_number_of_endings(
        self, line: Line, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the same partition, for who has looked all the time and for who begins now."""
        monkeypatch.setattr(redis_commits, "REVOKED_PER_PARTITION_MAX", 100)
        partition = partition_of(LISTENER_ID)
        session_id, prefix = _of_partition(partition), _of_partition(partition, "/t/{}/")
        feeds = [RevocationFeed(store.calls, SetClock()) for _ in range(2)]
        for subject in (session_id, prefix):
            await revoke(store.calls, Revocation(subject=subject, at_ms=0, until_s=UNTIL_S))
        await feeds[0].look()
        states = [another(number) for number in range(400)]
        for state in states:
            assert await commit(line, (state, None)) is Committed.DONE
            assert await commit(line, (structs.replace(state, version=2, ended_at_ms=NOW_MS), 1)) is Committed.DONE
        length = await store.calls.call("XLEN", revoked_key(partition))
        assert 100 <= length < 300, "it is bounded, though not to the entry"
        for copy in [await looked(feed) for feed in feeds]:
            assert copy.has_ended(states[-1].session_id) and copy.has_ended(session_id)
            with pytest.raises(InvalidMediaToken):
                copy.check(MediaClaims(key_id="k", prefix=prefix, expires_at_s=UNTIL_S))
        assert not feeds[1].revocations.has_ended(states[0].session_id), "who begins now hears no more of it"

    async def test_at_the_limit_of_operators_one_more_is_refused_and_what_is_over_makes_room(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(revocations, "REVOKED_BY_OPERATOR_MAX", 10)
        rows = [Revocation(subject=f"/t/{number}/", at_ms=NOW_MS, until_s=UNTIL_S) for number in range(9)]
        for row in (*rows, replace(rows[3], until_s=UNTIL_S + 1)):
            await revoke(store.calls, row)
        await revoke(store.calls, replace(rows[0], subject="again makes room"))
        with pytest.raises(ListFull, match="MEDIA_KEYS"):
            await revoke(store.calls, replace(rows[0], subject="one more"))
        feed = RevocationFeed(store.calls, SetClock())
        await feed.look()
        assert all(feed.revocations.until_s(row.subject) == UNTIL_S + (row is rows[3]) for row in rows)
        assert feed.revocations.has_ended("again makes room") and not feed.revocations.has_ended("one more")
        await revoke(store.calls, Revocation(subject="later", at_ms=UNTIL_S * 1_000, until_s=UNTIL_S + 9))
        entered = await store.calls.call("XRANGE", REVOKED_BY_OPERATOR, "-", "+")
        assert [values[1] for _, values in entered] == [b"/t/3/", b"later"]

    @pytest.mark.parametrize("kind", ["redis", "cluster"])
    async def test_beside_a_release_before_the_operators_list_both_know_what_is_revoked(
        self, store: RedisStore
    ) -> None:
        """Such a release has the streams of the partitions alone."""
        await revoke(store.calls, Revocation(subject="by us", at_ms=0, until_s=UNTIL_S))
        [(_, values)] = await store.calls.call("XRANGE", revoked_key(partition_of("by us")), "-", "+")
        assert values == [b"subject", b"by us", b"until_s", str(UNTIL_S).encode()]
        await enter_ending(store, "/t/by them/")
        feed = RevocationFeed(store.calls, SetClock())
        await feed.look()
        page = feed.revocations.since(0, 10)
        assert page is not None
        assert {row.subject: row.by_operator for row in page.rows} == {"by us": True, "/t/by them/": True}

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

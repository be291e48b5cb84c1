"""The journal's way from a real Valkey into a real PostgreSQL, whoever dies on it: nothing missing, nothing twice."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from playhead.db import Database, Logins, SessionRepository, ensure_logins, migrate, open_database
from playhead.sessions.flushing import BATCH_MAX
from playhead.sessions.journal import decode_entry
from playhead.sessions.keys import dead_key, journal_key, partition_of
from playhead.sessions.redis_journal import GROUP, RedisJournal
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import Change, Committed
from tests.integration.db.rows import session
from tests.integration.sessions.flushing import JournalBench, broken_entry, until
from tests.support.clocks import SystemClock

PROCESS_TIMEOUT_S = 30.0


@pytest.fixture
def bench(database: Database, valkey_url: str) -> JournalBench:
    return JournalBench(database, valkey_url)


async def test_what_a_store_committed_is_in_postgresql(bench: JournalBench, database: Database) -> None:
    await bench.begin(0)
    store = RedisStore(bench.valkey_url, SystemClock())
    state = session(bench.script_id)
    epoch = (await store.live(state.listener_id)).epoch
    change = Change(after=state, expected_version=None)
    assert await store.commit(state.listener_id, epoch, [change], []) is Committed.DONE
    await store.stop()
    async with bench.flushing() as registry:
        await bench.until_empty()
        assert await SessionRepository(database).get(state.session_id) == state
        assert registry.get_sample_value("playhead_flushed_entries_total") == 1
        lag_s = registry.get_sample_value("playhead_flush_lag_seconds_sum")
        assert lag_s is not None and 0 <= lag_s < 60


async def test_many_entries_of_many_sessions_in_all_partitions(bench: JournalBench) -> None:
    await bench.begin(200)
    await bench.write(15)
    async with bench.flushing():
        await bench.until_empty()
    await bench.assert_stored()


async def test_one_busy_listener_is_flushed_in_whole_batches(bench: JournalBench) -> None:
    await bench.begin(1)
    await bench.write(BATCH_MAX)
    journal = RedisJournal(bench.valkey_url)
    assert await journal.take(1) == []  # makes the groups
    taken = await journal.take(BATCH_MAX)
    await journal.stop()
    assert len(taken) == BATCH_MAX
    versions = [row.entry.state.version for row in taken if row.entry]
    assert versions == sorted(versions)


async def test_a_store_that_filled_up_before_the_first_flusher_came_is_emptied_all_the_same(
    database: Database, start_valkey: Callable[..., EmbeddedValkey]
) -> None:
    bench = JournalBench(database, start_valkey().url)
    await bench.begin(3)
    await bench.write(2)
    async with redis.asyncio.Redis.from_url(bench.valkey_url) as client:
        await client.config_set("maxmemory", "100kb")
        with pytest.raises(redis.asyncio.ResponseError):
            await client.set("key", "value")
    async with bench.flushing():
        await bench.until_empty()
    await bench.assert_stored()


async def test_two_flushers_share_the_work(bench: JournalBench) -> None:
    await bench.begin(100)
    async with bench.flushing() as one, bench.flushing() as other:
        for _ in range(10):
            await bench.write(5)
        await bench.until_empty()
        counts = [row.get_sample_value("playhead_flushed_entries_total") or 0 for row in (one, other)]
    await bench.assert_stored()
    assert min(counts) > 0
    assert sum(counts) >= 100 * 50


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("batch", [1, 3])
async def test_what_a_killed_flusher_had_in_hand_is_stored_by_another(
    bench: JournalBench, logins: Logins, tmp_path: Path, moment: str, batch: int
) -> None:
    await bench.begin(100)
    await bench.write(rounds=batch * BATCH_MAX // 100)
    command = [sys.executable, "-m", "tests.integration.sessions.flusher_process"]
    with (tmp_path / "flusher.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, logins.service_url, bench.valkey_url, moment, str(batch), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            code = await asyncio.wait_for(process.wait(), PROCESS_TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert code == -signal.SIGKILL, (tmp_path / "flusher.log").read_text()
    assert await bench.pending() > 0
    async with bench.flushing():
        await bench.write(1)
        await bench.until_empty()
    await bench.assert_stored()


async def test_what_a_living_flusher_has_in_hand_is_left_to_it_for_a_while(bench: JournalBench) -> None:
    await bench.begin(3)
    holding, asking = RedisJournal(bench.valkey_url), RedisJournal(bench.valkey_url, claim_idle_ms=60_000)
    assert await holding.take(1) == []  # makes the groups
    await bench.write(2)
    held = await holding.take(64)
    assert len(held) == 6
    assert await asking.claim(64) == []
    impatient = RedisJournal(bench.valkey_url, claim_idle_ms=0)
    assert {row.key for row in await impatient.claim(640)} == {row.key for row in held}
    for journal in (holding, asking, impatient):
        await journal.stop()


async def test_a_bad_entry_goes_to_the_dead_letters_with_its_reason_and_its_neighbours_are_stored(
    bench: JournalBench,
) -> None:
    await bench.begin(20)
    await bench.write(2)
    bad = broken_entry(bench.script_id)
    partition = partition_of(bad.state.listener_id)
    await bench.add(bad)
    async with redis.asyncio.Redis.from_url(bench.valkey_url) as client:
        await client.xadd(journal_key(partition), {"s": "torn", "x": ""})
        await bench.write(2)
        async with bench.flushing() as registry:
            await bench.until_empty()
            assert registry.get_sample_value("playhead_journal_buried_total") == 2
        found: Any = await client.xrange(dead_key(partition))
        rows: list[dict[bytes, bytes]] = [fields for _, fields in found]
    await bench.assert_stored()
    reasons = {row[b"reason"].decode(): row for row in rows}
    (refusal,) = [reason for reason in reasons if "audio_sessions_position_range" in reason]
    assert decode_entry(reasons[refusal]) == bad, "it can be put back as it was"
    assert reasons["It cannot be read."][b"s"] == b"torn"


async def test_entries_of_a_deleted_script_are_left_out(bench: JournalBench, database: Database) -> None:
    await bench.begin(3)
    await bench.write(1)
    lost = broken_entry("00000000-0000-4000-8000-000000000000")
    await bench.add(lost)
    async with bench.flushing():
        await bench.until_empty()
    await bench.assert_stored()
    assert await bench.dead() == 0
    assert await SessionRepository(database).get(lost.state.session_id) is None


async def test_postgresql_dies_and_comes_back_under_a_running_flusher(
    start_postgres: Callable[..., EmbeddedPostgres], valkey_url: str, tmp_path: Path
) -> None:
    server = start_postgres()
    await migrate(server.url())
    logins = await ensure_logins(server.url(), tmp_path)
    async with open_database(logins.app_url, logins.service_url) as database:
        bench = JournalBench(database, valkey_url)
        await bench.begin(50)
        async with bench.flushing() as registry:
            await bench.write(5)
            await bench.until_empty()
            server.kill()
            await bench.write(5)

            async def waits() -> bool:
                return bool(registry.get_sample_value("playhead_flush_batches_total", {"result": "unavailable"}))

            await until(waits)
            assert await bench.lengths() > 0
            server.start()
            await bench.write(5)
            await bench.until_empty()
        await bench.assert_stored()
        assert await bench.dead() == 0


async def test_valkey_dies_and_comes_back_under_a_running_flusher(
    start_valkey: Callable[..., EmbeddedValkey], database: Database
) -> None:
    server = start_valkey(settings={"appendfsync": "always"})
    bench = JournalBench(database, server.url)
    await bench.begin(50)
    async with bench.flushing():
        await bench.write(5)
        server.kill()
        server.start()
        await bench.write(5)
        await bench.until_empty()
    await bench.assert_stored()


async def test_a_store_that_was_emptied_is_flushed_on(bench: JournalBench) -> None:
    await bench.begin(20)
    async with bench.flushing():
        await bench.write(1)
        await bench.until_empty()
        async with redis.asyncio.Redis.from_url(bench.valkey_url) as client:
            await client.flushall()
        await bench.write(1)
        await bench.until_empty()
    await bench.assert_stored()


async def test_a_flusher_that_leaves_is_forgotten_unless_it_has_entries_in_hand(bench: JournalBench) -> None:
    await bench.begin(1)
    (state,) = bench.states.values()
    key = journal_key(partition_of(state.listener_id))
    leaving, dying = RedisJournal(bench.valkey_url), RedisJournal(bench.valkey_url)
    await leaving.take(1)  # makes the groups
    await bench.write(1)
    (entry,) = await dying.take(1)
    await leaving.take(1)
    await leaving.leave()
    await dying.leave()
    async with redis.asyncio.Redis.from_url(bench.valkey_url) as client:
        (left,) = await client.xinfo_consumers(key, GROUP)
        assert left["pending"] == 1
        await dying.done([entry])
        await dying.leave()
        assert await client.xinfo_consumers(key, GROUP) == []
    await leaving.stop()
    await dying.stop()


async def test_the_backlog_is_counted_with_what_is_in_hand(bench: JournalBench) -> None:
    await bench.begin(3)
    journal = RedisJournal(bench.valkey_url)
    before_ms = SystemClock().now_ms()
    assert (await journal.backlog()).entries == 0
    await journal.take(1)  # makes the groups
    await bench.write(2)
    await journal.take(64)
    backlog = await journal.backlog()
    await journal.stop()
    assert backlog.entries == 6
    assert backlog.oldest_at_ms is not None and before_ms <= backlog.oldest_at_ms <= SystemClock().now_ms()

"""What PostgreSQL has refused of the journal: kept up to a limit, told, put back, dropped; on a real Valkey."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from playhead.app.cli import run
from playhead.db import Database
from playhead.sessions import redis_journal
from playhead.sessions.dead_letters import PAGE_SIZE, DeadLetters, JournalFull
from playhead.sessions.journal import encode_entry
from playhead.sessions.keys import PARTITIONS, dead_key, journal_key, partition_of
from playhead.sessions.redis_journal import RedisJournal
from tests.integration.db.rows import entry, session
from tests.integration.sessions.flushing import JournalBench, broken_entry

PARTITION = 7
KEY = dead_key(PARTITION)


@pytest.fixture
async def letters(valkey_url: str) -> AsyncIterator[DeadLetters]:
    opened = DeadLetters(valkey_url)
    yield opened
    await opened.stop()


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis.from_url(valkey_url) as opened:
        yield opened


async def names(letters: DeadLetters) -> list[str]:
    return [letter.name async for letter in letters.all()]


async def bury(client: Any, count: int, partition: int = PARTITION) -> None:
    async with client.pipeline() as pipe:
        for number in range(count):
            pipe.xadd(dead_key(partition), {"s": "torn", "x": "", "reason": f"reason {number}", "entry_id": "1-1"})
        await pipe.execute()


async def test_what_was_refused_is_told_with_its_reason_and_can_be_put_back_once_the_rule_is_gone(
    database: Database, valkey_url: str, letters: DeadLetters
) -> None:
    bench = JournalBench(database, valkey_url)
    await bench.begin(1)
    bad = broken_entry(bench.script_id)
    await bench.add(bad)
    async with bench.flushing() as registry:
        await bench.until_empty()
        (letter,) = [letter async for letter in letters.all()]
        assert letter.entry == bad and "audio_sessions_position_range" in letter.reason
        assert letter.buried_at_ms > 1_700_000_000_000
        assert await letters.count() == 1
        # still bad: it comes back, under another name
        assert await letters.retry(letter.name)
        await bench.until_empty()
        (again,) = [letter async for letter in letters.all()]
        assert (again.entry, again.reason) == (bad, letter.reason) and again.name != letter.name
        assert registry.get_sample_value("playhead_journal_buried_total") == 2


async def test_what_is_put_back_is_in_the_journal_as_it_was_and_in_the_dead_letters_no_more(
    letters: DeadLetters, client: Any
) -> None:
    kept = entry(session("33333333-3333-4333-8333-333333333333"))
    fields: dict[Any, Any] = encode_entry(kept)  # type: ignore[arg-type]
    partition = partition_of(kept.state.listener_id)
    letter_id = (await client.xadd(dead_key(partition), {**fields, "reason": "a rule", "entry_id": "5-0"})).decode()
    assert await letters.retry(f"{partition}:{letter_id}")
    ((_, row),) = await client.xrange(journal_key(partition))
    assert row == fields
    assert await letters.count() == 0
    assert not await letters.retry(f"{partition}:{letter_id}"), "it is not there any more"
    assert await client.xlen(journal_key(partition)) == 1


async def test_into_a_full_journal_nothing_is_put_back(letters: DeadLetters, client: Any) -> None:
    await bury(client, 3)
    first, second, third = await names(letters)
    assert await letters.retry(first, journal_length_max=2)
    assert await letters.retry(second, journal_length_max=2)
    with pytest.raises(JournalFull, match="partition 7 is full: 2 entries wait"):
        await letters.retry(third, journal_length_max=2)
    assert await names(letters) == [third]


async def test_what_is_dropped_is_gone(letters: DeadLetters, client: Any) -> None:
    await bury(client, 2)
    first, second = await names(letters)
    assert await letters.drop(first)
    assert not await letters.drop(first)
    assert await names(letters) == [second]
    assert await client.xlen(journal_key(PARTITION)) == 0


@pytest.mark.parametrize("name", ["", "7", "7:", "7:1", "7:1-0 ", "x:1-0", "64:1-0", "7:1-0:1", "-1:1-0"])
async def test_what_is_no_name_is_refused(letters: DeadLetters, name: str) -> None:
    for ask in (letters.retry, letters.drop):
        with pytest.raises(ValueError, match="no dead letter's name"):
            await ask(name)


@pytest.mark.parametrize("count", [PAGE_SIZE, PAGE_SIZE + 1])
async def test_all_of_many_are_told_each_once_and_what_comes_meanwhile_is_left_for_the_next_time(
    letters: DeadLetters, client: Any, count: int
) -> None:
    await bury(client, count)
    await bury(client, 1, PARTITIONS - 1)
    told: list[str] = []
    async for letter in letters.all():
        if not told:
            await bury(client, 1)
        told.append(letter.name)
    assert len(told) == len(set(told)) == count + 1
    assert told[-1].startswith(f"{PARTITIONS - 1}:")
    assert await letters.count() == count + 2


async def test_at_the_limit_the_oldest_goes_and_its_going_is_told(
    database: Database, valkey_url: str, letters: DeadLetters, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_journal, "DEAD_LETTERS_MAX", 3)
    bench = JournalBench(database, valkey_url)
    await bench.begin(1)
    bad = broken_entry(bench.script_id)
    partition = partition_of(bad.state.listener_id)
    await bury(client, 2, partition)
    with capture_logs() as logs:
        async with bench.flushing() as registry:
            for number, forgotten in enumerate((0.0, 1.0, 2.0)):
                await bench.add(bad)
                await bench.until_empty()
                assert registry.get_sample_value("playhead_journal_dead_forgotten_total") == forgotten, number
    assert [letter.entry async for letter in letters.all()] == [bad] * 3
    assert [row["entries"] for row in logs if row["action"] == "dead_letter_forgotten"] == [1, 1]


async def test_one_that_is_buried_again_after_a_crash_is_there_twice(valkey_url: str, client: Any) -> None:
    journal = RedisJournal(valkey_url)
    await journal.take(1)
    await client.xadd(journal_key(PARTITION), {"s": "torn", "x": ""})
    (taken,) = await journal.take(1)
    assert [await journal.bury(taken, "torn"), await journal.bury(taken, "torn")] == [0, 0]
    assert await client.xlen(KEY) == 2
    await journal.stop()


# the command line


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> None:
    monkeypatch.setenv("PLAYHEAD_REDIS_URL", valkey_url)


def command(*arguments: str) -> int:
    return run(["dead-letters", *arguments])


@pytest.fixture
def buried(valkey_url: str) -> list[str]:
    """The names of three, one of which can be read."""
    with redis.Redis.from_url(valkey_url) as client:
        state = session("33333333-3333-4333-8333-333333333333", session_id="11111111-1111-4111-8111-111111111111")
        rows: list[Any] = [{"s": "torn", "x": ""}, encode_entry(entry(state)), {"s": "torn", "x": ""}]  # type: ignore[arg-type]
        ids: list[Any] = [client.xadd(KEY, {**row, "reason": "a rule", "entry_id": "5-0"}) for row in rows]
    return [f"{PARTITION}:{letter_id.decode()}" for letter_id in ids]


@pytest.mark.usefixtures("settings")
def test_the_command_lists_puts_back_and_drops(
    buried: list[str], valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("list") == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == buried and said.err == "3 of 3 dead letters.\n"
    assert "session=11111111-1111-4111-8111-111111111111" in lines[1] and "revision=1" in lines[1]
    assert all(line.endswith("  a rule") for line in lines)
    assert command("list", "--limit", "1") == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1 and said.err == "1 of 3 dead letters.\n"

    assert command("drop", buried[0], buried[0]) == 1
    said = capsys.readouterr()
    assert said.out == "1 dropped.\n" and said.err == f"playhead: There is no dead letter {buried[0]}.\n"
    assert command("retry", buried[1]) == 0
    assert capsys.readouterr().out == "1 put back.\n"
    assert command("retry", "--all") == 0
    assert capsys.readouterr().out == "1 put back.\n"
    assert command("drop", "--all") == 0
    assert capsys.readouterr().out == "0 dropped.\n"
    with redis.Redis.from_url(valkey_url) as client:
        assert client.xlen(journal_key(PARTITION)) == 2


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["show"],
        ["retry"],
        ["drop", "nonsense"],
        ["drop", "64:1-0"],
        ["drop", "--all", "7:1-0"],
        ["list", "--limit", "0"],
        ["list", "--limit", "1000001"],
        ["list", "7:1-0"],
    ],
)
def test_wrong_usage_changes_nothing(
    buried: list[str], arguments: list[str], valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(*arguments)
    assert ended.value.code == 2 and "usage" in capsys.readouterr().err
    with redis.Redis.from_url(valkey_url) as client:
        assert client.xlen(KEY) == len(buried)


def test_where_the_store_does_not_answer_it_says_so(
    monkeypatch: pytest.MonkeyPatch, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAYHEAD_REDIS_URL", f"redis://127.0.0.1:{free_port}")
    assert command("list") == 1
    said = capsys.readouterr().err
    assert said.startswith("playhead: ") and "Traceback" not in said
    monkeypatch.setenv("PLAYHEAD_STORE", "memory")
    assert command("list") == 1
    assert "nothing is left over" in capsys.readouterr().err

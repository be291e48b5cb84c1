"""Reads of single rows that are asked for at once: few statements, nothing that was read before the question."""

import asyncio
from collections.abc import Sequence

import pytest

from playhead.db.gathered import GATHERED_MAX, Gathered


class Table:
    """Rows by number, read when a test lets it; a number that is not there has no row."""

    def __init__(self) -> None:
        self.rows = {number: f"row {number}" for number in range(2 * GATHERED_MAX + 1)}
        self.statements: list[tuple[int, ...]] = []
        self.asked = asyncio.Semaphore(0)
        self.may_answer = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def read(self, numbers: Sequence[int]) -> dict[int, str]:
        self.statements.append(tuple(numbers))
        self.asked.release()
        await self.may_answer.acquire()
        if self.error is not None:
            raise self.error
        return {number: self.rows[number] for number in numbers if number in self.rows}


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def rows(table: Table) -> Gathered[int, str]:
    return Gathered(table.read)


async def test_all_who_ask_in_one_turn_share_a_statement(rows: Gathered[int, str], table: Table) -> None:
    table.may_answer.release()
    assert await asyncio.gather(*(rows.get(number) for number in (1, 2, 1, -1))) == ["row 1", "row 2", "row 1", None]
    assert table.statements == [(1, 2, -1)]


async def test_who_asks_while_one_is_read_is_answered_with_what_is_true_afterwards(
    rows: Gathered[int, str], table: Table
) -> None:
    first = asyncio.create_task(rows.get(1))
    await table.asked.acquire()
    later = [asyncio.create_task(rows.get(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    table.may_answer.release()
    assert await first == "row 1"
    await table.asked.acquire()
    table.rows[1] = "changed"
    table.may_answer.release()
    assert await asyncio.gather(*later) == ["changed", "row 2"]
    assert table.statements == [(1,), (1, 2)]


async def test_a_statement_has_so_many_keys_at_most(rows: Gathered[int, str], table: Table) -> None:
    for _ in range(2):
        table.may_answer.release()
    asked = range(GATHERED_MAX + 1)
    assert await asyncio.gather(*(rows.get(number) for number in asked)) == [f"row {number}" for number in asked]
    assert [len(statement) for statement in table.statements] == [GATHERED_MAX, 1]


async def test_all_hear_what_went_wrong_and_the_next_read_is_a_new_one(rows: Gathered[int, str], table: Table) -> None:
    table.error = RuntimeError("away")
    table.may_answer.release()
    answers = await asyncio.gather(rows.get(1), rows.get(2), return_exceptions=True)
    assert list(answers) == [table.error] * 2
    table.error = None
    table.may_answer.release()
    assert await rows.get(1) == "row 1"


async def test_who_waits_no_more_takes_nothing_from_the_others(rows: Gathered[int, str], table: Table) -> None:
    impatient, patient = (asyncio.create_task(rows.get(1)) for _ in range(2))
    await table.asked.acquire()
    impatient.cancel()
    table.may_answer.release()
    assert await patient == "row 1"
    assert impatient.cancelled()

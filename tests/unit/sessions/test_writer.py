"""Sessions on their way to PostgreSQL: only the newest state, in batches, and none is lost while it is away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from playhead.db import DatabaseUnavailable, InvalidValue
from playhead.playback.state import SessionState
from playhead.sessions import archive
from playhead.sessions.archive import WRITE_BATCH_MAX, SessionWriter
from tests.support.sessions import HeldRows, new_id
from tests.support.states import make_state

ARRIVAL_TIMEOUT_S = 5.0


class Recording(HeldRows):
    """Rows in memory that say when a batch has arrived, and can refuse or hold back some."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: asyncio.Queue[list[SessionState]] = asyncio.Queue()
        self.refused: set[str] = set()
        self.failures_to_come = 0
        self.failures_after_a_refusal = 0
        self.hold: asyncio.Event | None = None

    async def upsert_many(self, states: Sequence[SessionState]) -> int:
        if self.failures_to_come:
            self.failures_to_come -= 1
            raise DatabaseUnavailable("away")
        if any(state.session_id in self.refused for state in states):
            self.failures_to_come, self.failures_after_a_refusal = self.failures_after_a_refusal, 0
            raise InvalidValue("The value breaks the rule `audio_sessions_position_range`.")
        count = await super().upsert_many(states)
        await self.arrived.put(list(states))
        if self.hold is not None:
            await self.hold.wait()
        return count

    async def batch(self) -> list[SessionState]:
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            return await self.arrived.get()


@pytest.fixture
def rows() -> Recording:
    return Recording()


@pytest.fixture
async def writer(rows: Recording) -> AsyncIterator[SessionWriter]:
    writer = SessionWriter(rows)
    yield writer
    await writer.stop(grace_s=0)


def states(count: int) -> list[SessionState]:
    return [make_state(session_id=new_id()) for _ in range(count)]


async def test_many_changes_of_one_session_are_written_as_its_newest_state(
    rows: Recording, writer: SessionWriter
) -> None:
    for version in range(1, 50):
        writer.note(make_state(version=version))
    assert writer.pending == 1
    writer.start()
    assert await rows.batch() == [make_state(version=49)]
    await writer.stop(grace_s=5)
    assert (writer.pending, len(rows.batches)) == (0, 1)


@pytest.mark.parametrize(("epoch", "version"), [(7, 8), (6, 99), (7, 9)])
async def test_an_older_state_never_takes_the_place_of_a_newer_one(
    writer: SessionWriter, rows: Recording, epoch: int, version: int
) -> None:
    newest = make_state(epoch=7, version=9)
    writer.note(newest)
    writer.note(make_state(epoch=epoch, version=version, position_ms=1))
    writer.start()
    assert await rows.batch() == [newest]


async def test_a_state_of_a_later_epoch_is_newer_whatever_its_version(writer: SessionWriter, rows: Recording) -> None:
    writer.note(make_state(epoch=7, version=9))
    writer.note(make_state(epoch=8, version=1))
    writer.start()
    assert await rows.batch() == [make_state(epoch=8, version=1)]


async def test_what_changes_while_it_is_written_is_written_again(writer: SessionWriter, rows: Recording) -> None:
    rows.hold = asyncio.Event()
    writer.note(make_state(version=1))
    writer.start()
    await rows.batch()
    writer.note(make_state(version=2))
    rows.hold.set()
    assert await rows.batch() == [make_state(version=2)]


async def test_a_writer_with_nothing_to_write_wakes_up_for_the_first_change(
    writer: SessionWriter, rows: Recording
) -> None:
    writer.start()
    for version in (1, 2, 3):
        writer.note(make_state(version=version))
        assert await rows.batch() == [make_state(version=version)]


async def test_batches_are_bounded(writer: SessionWriter, rows: Recording) -> None:
    for state in states(WRITE_BATCH_MAX + 1):
        writer.note(state)
    writer.start()
    assert [len(await rows.batch()), len(await rows.batch())] == [WRITE_BATCH_MAX, 1]


async def test_while_postgresql_is_away_states_wait_and_then_the_newest_is_written(
    writer: SessionWriter, rows: Recording
) -> None:
    rows.failures_to_come = 3
    writer.note(make_state(version=1))
    writer.start()
    writer.note(make_state(version=2))
    assert await rows.batch() == [make_state(version=2)]
    assert (rows.failures_to_come, len(rows.batches)) == (0, 1)


async def test_a_state_that_cannot_be_stored_costs_the_others_nothing(writer: SessionWriter, rows: Recording) -> None:
    good, bad, after = states(3)
    rows.refused = {bad.session_id}
    writer.note(bad)
    writer.note(good)
    writer.start()
    assert await rows.batch() == [good]
    writer.note(after)
    assert await rows.batch() == [after]
    await writer.stop(grace_s=5)
    assert writer.pending == 0 and bad.session_id not in rows.rows
    assert writer.refused == 1


async def test_an_outage_in_the_middle_of_a_refused_batch_loses_nothing(writer: SessionWriter, rows: Recording) -> None:
    good, bad = states(2)
    rows.refused, rows.failures_after_a_refusal = {bad.session_id}, 1
    writer.note(good)
    writer.note(bad)
    writer.start()
    assert await rows.batch() == [good]
    assert rows.failures_to_come == 0


async def test_stopping_writes_everything_that_waits(writer: SessionWriter, rows: Recording) -> None:
    writer.start()
    waiting = states(WRITE_BATCH_MAX * 2 + 7)
    for state in waiting:
        writer.note(state)
    await writer.stop(grace_s=5)
    assert writer.pending == 0
    assert set(rows.rows) == {state.session_id for state in waiting}


async def test_stopping_while_postgresql_is_away_ends_after_the_grace(writer: SessionWriter, rows: Recording) -> None:
    rows.down = True
    writer.note(make_state())
    writer.start()
    async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
        await writer.stop(grace_s=0.05)
    assert writer.pending == 1


async def test_stopping_waits_for_postgresql_to_come_back_within_the_grace(
    writer: SessionWriter, rows: Recording
) -> None:
    rows.failures_to_come = 2
    writer.note(make_state())
    writer.start()
    await writer.stop(grace_s=5)
    assert (writer.pending, len(rows.batches)) == (0, 1)


async def test_a_writer_that_never_started_stops_at_once(rows: Recording) -> None:
    writer = SessionWriter(rows)
    writer.note(make_state())
    await writer.stop(grace_s=5)
    assert rows.batches == []


@pytest.mark.parametrize(("waiting", "full"), [(1, False), (2, True)])
def test_the_backlog_is_full_at_its_limit(monkeypatch: pytest.MonkeyPatch, waiting: int, full: bool) -> None:
    monkeypatch.setattr(archive, "PENDING_MAX", 2)
    writer = SessionWriter(HeldRows())
    for state in states(waiting):
        writer.note(state)
        writer.note(replace(state, version=state.version + 1))
    assert (writer.pending, writer.full) == (waiting, full)

"""The only server process with its sessions in memory, on a real PostgreSQL: what survives it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from msgspec import structs

from playhead.app.embedded import EmbeddedPostgres
from playhead.auth.tokens import Principal
from playhead.db import (
    Database,
    DatabaseUnavailable,
    JournalRepository,
    Script,
    ScriptRepository,
    ensure_logins,
    migrate,
    open_database,
)
from playhead.db.codecs import time_from_ms
from playhead.db.migrate import Connection
from playhead.playback.commands import Offline, Report, Seek
from playhead.playback.state import SessionState
from playhead.runtime.tasks import cancelled
from playhead.sessions.answers import Outcome
from playhead.sessions.group_keeper import Entries
from playhead.sessions.journal import Entry
from playhead.sessions.requests import OfflineStretch
from playhead.sessions.store import StoreUnavailable
from tests.integration.db.rows import uploaded
from tests.integration.sessions.memory_process import (
    DESK,
    PHONE,
    MemoryProcess,
    apply,
    live,
    memory_process,
    play,
    row,
)
from tests.support.sessions import SetClock, make_principal, new_id

TIMEOUT_S = 30.0


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def script(database: Database) -> Script:
    return await uploaded(ScriptRepository(database))


@pytest.fixture
async def process(database: Database, clock: SetClock) -> AsyncIterator[MemoryProcess]:
    async with memory_process(database, clock) as started:
        yield started


@pytest.fixture
def principal() -> Principal:
    """Somebody whom nobody has seen before."""
    return make_principal(new_id())


# what is acknowledged


async def test_what_is_acknowledged_is_in_postgresql(
    process: MemoryProcess, principal: Principal, script: Script
) -> None:
    state = await play(process, principal, script)
    assert await row(process, state) == state
    state = await apply(process, state, Seek(position_ms=90_000))
    assert await row(process, state) == state
    state = await apply(process, state, Report(position_ms=90_000, revision=state.revision, seq=1))
    assert await row(process, state) == state
    assert [move.to_ms for move in await process.rows.moves(state.session_id)] == [90_000]


async def test_commands_of_many_listeners_share_transactions(process: MemoryProcess, script: Script) -> None:
    states = await asyncio.gather(*(play(process, make_principal(new_id()), script) for _ in range(40)))
    sought = await asyncio.gather(*(apply(process, state, Seek(position_ms=7_000)) for state in states))
    assert len(process.journal.stored) >= 80
    assert process.journal.groups < 40
    for state in sought:
        assert await row(process, state) == state


async def test_commands_of_one_listener_at_once_are_all_applied(
    process: MemoryProcess, principal: Principal, script: Script
) -> None:
    state = await play(process, principal, script)
    sought = await asyncio.gather(*(apply(process, state, Seek(position_ms=1_000 * n)) for n in range(1, 7)))
    assert sorted(after.revision for after in sought) == list(range(2, 8))
    assert await row(process, state) == await live(process, state)


async def test_a_stretch_of_a_device_whose_clock_was_set_back_meanwhile_is_stored(
    process: MemoryProcess, principal: Principal, script: Script, clock: SetClock, owner: Connection
) -> None:
    began_ms = clock.time_ms - 1_000
    told = OfflineStretch(start=10.0, end=11.0, started_at=began_ms, ended_at=began_ms - 100)
    batch = Offline(intervals=((10_000, 11_000),), position_ms=11_000, base=None)
    for _ in range(2):
        stretches = [told.interval("phone", clock.time_ms)]
        answer = await process.service.offline(principal, script.script_id, batch, PHONE, stretches)
        assert isinstance(answer, Outcome)
    (stored,) = await owner.fetch(
        "select started_at, ended_at, end_ms - start_ms as ms from audio_offline_intervals where listener_id = $1",
        principal.listener_id,
    )
    assert stored["started_at"] == stored["ended_at"] == time_from_ms(began_ms) and stored["ms"] == 1_000


# PostgreSQL answers badly


class Unheard:
    """Stores, but says that PostgreSQL does not answer: so many times."""

    def __init__(self, rows: Entries, times: int = 1) -> None:
        self._rows = rows
        self._times = times

    async def store(self, entries: Sequence[Entry]) -> None:
        await self._rows.store(entries)
        if self._times:
            self._times -= 1
            raise DatabaseUnavailable("The answer to COMMIT was lost.")


async def test_a_command_whose_commit_was_not_confirmed_is_applied_once_when_it_is_sent_again(
    process: MemoryProcess, principal: Principal, script: Script
) -> None:
    state = await play(process, principal, script)
    process.journal._rows = Unheard(process.journal._rows)
    seek, named = Seek(position_ms=70_000), structs.replace(PHONE, command_id=new_id())
    with pytest.raises(StoreUnavailable):
        await apply(process, state, seek, named)

    async def again() -> SessionState | None:
        try:
            return await apply(process, state, seek, named)
        except StoreUnavailable:
            return None

    answer = await until(again)
    assert (answer.revision, answer.position_ms) == (state.revision + 1, 70_000)
    assert len(await process.rows.moves(state.session_id)) == 1
    following = await apply(process, state, Seek(position_ms=80_000))
    assert following.revision == answer.revision + 1 and following.epoch > answer.epoch
    assert await row(process, state) == following


async def until(ask: Callable[[], object]) -> SessionState:
    """Asks until there is an answer: for a moment after a failure PostgreSQL is left alone."""
    async with asyncio.timeout(TIMEOUT_S):
        while (answer := await ask()) is None:  # type: ignore[misc]
            await asyncio.sleep(0.02)
    assert isinstance(answer, SessionState)
    return answer


class Traffic:
    """Listeners who seek at random for as long as they may, with a record of every answer."""

    def __init__(self, process: MemoryProcess, states: Sequence[SessionState]) -> None:
        self.acked = {state.session_id: state for state in states}
        self.unavailable = 0
        self._acks = 0
        self._process = process
        self._stop = False
        self._tasks = [asyncio.create_task(self._seek(state)) for state in states]

    async def _seek(self, state: SessionState) -> None:
        acknowledged = False
        while not (self._stop and acknowledged):
            acknowledged = False
            try:
                after = await apply(self._process, state, Seek(position_ms=random.randrange(3_600_000)))
            except (StoreUnavailable, DatabaseUnavailable):
                self.unavailable += 1
                await asyncio.sleep(0.01)
                continue
            assert after.order > self.acked[state.session_id].order
            self.acked[state.session_id] = after
            self._acks += 1
            acknowledged = True

    async def until_acked(self, more: int) -> None:
        """So many more commands were acknowledged from now on."""
        enough = self._acks + more
        await eventually(lambda: self._acks >= enough)

    async def until_refused(self, more: int) -> None:
        enough = self.unavailable + more
        await eventually(lambda: self.unavailable >= enough)

    async def ended(self) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)


async def test_while_postgresql_is_dead_commands_are_unavailable_and_afterwards_nothing_acknowledged_is_missing(
    start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path, clock: SetClock
) -> None:
    server = start_postgres()
    await migrate(server.url())
    logins = await ensure_logins(server.url(), tmp_path)
    async with (
        open_database(logins.app_url, logins.service_url, connections_max=4) as database,
        memory_process(database, clock) as process,
    ):
        script = await uploaded(ScriptRepository(database))
        states = await asyncio.gather(*(play(process, make_principal(new_id()), script) for _ in range(8)))
        traffic = Traffic(process, states)
        for _ in range(2):
            await traffic.until_acked(40)
            server.kill()
            await traffic.until_refused(40)
            server.start()
        await traffic.until_acked(40)
        await traffic.ended()
        assert process.node.trouble is None
        await process.die()
        async with memory_process(database, clock) as second:
            for acked in traffic.acked.values():
                stored = await row(second, acked)
                assert (stored.revision, stored.position_ms) == (acked.revision, acked.position_ms)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_session_whose_script_is_deleted_keeps_nobody_else_from_being_stored(
    process: MemoryProcess, principal: Principal, script: Script, database: Database, owner: Connection
) -> None:
    state = await play(process, principal, script)
    other = await play(process, make_principal(new_id()), await uploaded(ScriptRepository(database)))
    await owner.execute("delete from audio_scripts where id = $1", script.script_id)
    gone, kept = await asyncio.gather(
        apply(process, state, Seek(position_ms=5)), apply(process, other, Seek(position_ms=6))
    )
    assert await process.rows.get(gone.session_id) is None
    assert await row(process, kept) == kept


# two processes


async def test_where_somebody_else_has_stored_a_later_state_nothing_is_acknowledged_and_the_process_ends(
    process: MemoryProcess, principal: Principal, script: Script, database: Database
) -> None:
    """As a server with Redis, started beside this one against the rules, would do through its flusher."""
    state = await play(process, principal, script)
    elsewhere = structs.replace(state, epoch=state.epoch + 3_600_000, position_ms=99_000)
    await JournalRepository(database).store([Entry(state=elsewhere)])
    with pytest.raises(StoreUnavailable):
        await apply(process, state, Seek(position_ms=5_000))
    assert process.node.lost.is_set()
    assert await row(process, state) == elsewhere
    await process.die()
    async with memory_process(database, process.clock) as second:
        after = await apply(second, state, Seek(position_ms=5_000))
        assert after.epoch > elsewhere.epoch and await row(second, after) == after


async def test_a_process_that_was_replaced_acknowledges_nothing_any_more_and_changes_nothing(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock, "old", lease_s=3.0) as old:
        state = await play(old, principal, script, position_ms=5_000)
        await old.settled()
        # frozen, as by SIGSTOP, in the middle of a commit and between two renewals of its lease
        old.journal.hold.clear()
        late = asyncio.create_task(old.service.apply(state.listener_id, state.session_id, Seek(position_ms=1), PHONE))
        await old.journal.held.wait()
        await cancelled(old.node._task)
        async with memory_process(database, clock, "new") as new:
            await new.settled()
            moved = await apply(new, state, Seek(position_ms=77_000), DESK)
            old.journal.hold.set()
            with pytest.raises(StoreUnavailable):
                await late
            assert old.node.lost.is_set()
            with pytest.raises(StoreUnavailable):
                await apply(old, state, Seek(position_ms=2))
            with pytest.raises(StoreUnavailable):
                await old.service.join_session(state.listener_id, state.session_id)
            assert await row(new, state) == moved


async def test_a_second_process_waits_for_one_that_gives_its_lease_back(
    database: Database, clock: SetClock, principal: Principal, script: Script
) -> None:
    async with memory_process(database, clock, "old") as old:
        state = await play(old, principal, script, position_ms=5_000)
    async with memory_process(database, clock, "new") as new:
        assert (await live(new, state)).playing

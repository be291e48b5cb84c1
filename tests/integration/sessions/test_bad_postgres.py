"""Sessions in memory over a PostgreSQL that is slow, refuses to write, or stops answering in the middle of a commit."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from playhead.app.embedded import EmbeddedPostgres
from playhead.db import Database, DatabaseUnavailable, ScriptRepository, ensure_logins, migrate, open_database
from playhead.db.migrate import Connection, owner_connection
from playhead.playback.commands import Pause, Seek
from playhead.playback.state import SessionState
from playhead.runtime.clock import elapsed_s
from playhead.sessions.single_node import LEASE_S, RENEW_INTERVAL_S
from playhead.sessions.store import StoreUnavailable
from tests.integration.db.rows import uploaded
from tests.integration.sessions.memory_process import PHONE, MemoryProcess, apply, memory_process, play, row
from tests.support.sessions import SetClock, make_principal, new_id

TIMEOUT_S = 30.0


@dataclass(slots=True)
class World:
    """A PostgreSQL of the test's own, as its owner sees it, and a listener who plays over the only server process."""

    server: EmbeddedPostgres
    owner: Connection
    database: Database
    process: MemoryProcess
    state: SessionState

    async def applied(self, state: SessionState, seek: Seek, command_id: str | None = None) -> SessionState:
        """As a client does it: again under the same id while it is told to try again."""
        origin = replace(PHONE, command_id=command_id or new_id())
        return await answered(lambda: apply(self.process, state, seek, origin))

    async def set(self, name: str, value: str) -> None:
        """For every connection from now on, and those that exist."""
        await self.owner.execute(f"alter system set {name} = {value}")
        await self.owner.execute("select pg_reload_conf()")

    async def waiting(self, count: int = 1) -> None:
        """Returns when so many statements wait for a lock."""
        async with asyncio.timeout(TIMEOUT_S):
            while await self.owner.fetchval("select count(*) from pg_locks where not granted") < count:
                await asyncio.sleep(0.01)


async def answered(ask: Callable[[], Awaitable[SessionState]]) -> SessionState:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def playing(server: EmbeddedPostgres, folder: Path, lease_s: float = 15.0) -> AsyncIterator[World]:
    await migrate(server.url())
    logins = await ensure_logins(server.url(), folder)
    async with (
        owner_connection(server.url()) as owner,
        open_database(logins.app_url, logins.service_url, connections_max=4) as database,
        memory_process(database, SetClock(), lease_s=lease_s) as process,
    ):
        script = await uploaded(ScriptRepository(database))
        state = await play(process, make_principal(new_id()), script)
        yield World(server, owner, database, process, state)


@pytest.fixture
async def world(start_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path) -> AsyncIterator[World]:
    async with playing(start_postgres(), tmp_path) as world:
        yield world


async def test_a_postgresql_that_takes_no_writes_makes_commands_unavailable_until_it_does(world: World) -> None:
    """As one that was failed over from, or whose disk is full."""
    await world.set("default_transaction_read_only", "on")
    state = world.state
    with pytest.raises(StoreUnavailable):
        # until PostgreSQL's processes have heard of it
        while True:
            state = await apply(world.process, state, Seek(position_ms=4_000))
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await apply(world.process, state, Seek(position_ms=5_000))
    assert not world.process.node.lost.is_set()
    await world.set("default_transaction_read_only", "off")
    assert await row_when_it_is_back(world, state) == state
    after = await world.applied(state, Seek(position_ms=5_000))
    assert (after.revision, after.position_ms) == (state.revision + 1, 5_000)
    assert await row(world.process, world.state) == after


async def row_when_it_is_back(world: World, state: SessionState) -> SessionState | None:
    """PostgreSQL's processes take a moment to hear of a setting."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await row(world.process, state)
            except DatabaseUnavailable:
                await asyncio.sleep(0.02)


async def test_while_a_table_is_locked_commands_are_given_up_in_time_and_applied_once_afterwards(
    world: World,
) -> None:
    world.process.keeper._keep_timeout_s = 0.2
    command_id = new_id()
    async with world.owner.transaction():
        await world.owner.execute("lock table audio_sessions in exclusive mode")
        with pytest.raises(StoreUnavailable):
            await apply(world.process, world.state, Seek(position_ms=5_000), replace(PHONE, command_id=command_id))
        with pytest.raises(StoreUnavailable):
            await apply(world.process, world.state, Pause())
    after = await world.applied(world.state, Seek(position_ms=5_000), command_id)
    assert (after.revision, after.playing) == (world.state.revision + 1, True)
    assert len(await world.process.rows.moves(world.state.session_id)) == 1
    assert await row(world.process, world.state) == after


async def test_a_commit_that_arrives_long_after_it_was_given_up_for_lost_undoes_nothing_that_followed(
    world: World,
) -> None:
    """Written, and held in PostgreSQL just before its end: nobody knows of it, and then it is there."""
    world.process.keeper._keep_timeout_s = 0.3
    await world.owner.execute(
        "create function public.hold() returns trigger language plpgsql as "
        "$$ begin perform pg_advisory_xact_lock(7); return null; end $$"
    )
    await world.owner.execute(
        "create constraint trigger held after update on public.audio_sessions deferrable initially deferred "
        "for each row when (new.position_ms = 11000) execute function public.hold()"
    )
    await world.owner.execute("select pg_advisory_lock(7)")
    with pytest.raises(StoreUnavailable):
        await apply(world.process, world.state, Seek(position_ms=11_000))
    await world.waiting()
    # it holds its row: other listeners go on, and this one waits
    script = await uploaded(ScriptRepository(world.database))
    world.process.keeper._keep_timeout_s = 5.0
    other = await answered(lambda: play(world.process, make_principal(new_id()), script))
    assert await row(world.process, other) == other
    following = asyncio.create_task(world.applied(world.state, Seek(position_ms=22_000)))
    await world.waiting(2)
    await world.owner.execute("select pg_advisory_unlock(7)")
    after = await following
    assert after.position_ms == 22_000 and after.epoch > world.state.epoch
    assert await row(world.process, after) == after
    again = await world.applied(after, Seek(position_ms=33_000))
    assert again.revision == after.revision + 1 and await row(world.process, again) == again


async def test_a_commit_that_hangs_keeps_the_lease_from_nobody(world: World) -> None:
    """It holds the lease's row as well: a renewal must not have to wait until the lease has run out."""
    node, keeper = world.process.node, world.process.keeper
    keeper._keep_timeout_s = 0.2
    async with world.owner.transaction():
        await world.owner.execute("lock table audio_sessions in exclusive mode")
        with pytest.raises(StoreUnavailable):
            await apply(world.process, world.state, Seek(position_ms=5_000))
        began_s = elapsed_s()
        while True:
            with suppress(DatabaseUnavailable):
                assert await node._leases.renew(node._holder, LEASE_S)
                break
        assert elapsed_s() - began_s < LEASE_S - RENEW_INTERVAL_S, "it was renewed that long ago at most"

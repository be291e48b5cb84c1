"""What the system's stores hold, as whoever owns them sees it, and the checks of all sessions against that."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import redis.asyncio as redis

from loadtests.chaos.checks import against_rows, against_store, orders, shows
from loadtests.chaos.device import Device
from loadtests.chaos.record import Payload, Record, SessionRecord
from loadtests.chaos.system import POLL_S, System
from loadtests.chaos.traffic import Traffic
from playhead.db import Database, SessionRepository, open_database, stored_logins
from playhead.playback.state import SessionState
from playhead.sessions.keys import PARTITIONS, ListenerKeys, dead_key, epoch_key, journal_key, partition_of
from playhead.sessions.states import decode_state

CONVERGE_TIMEOUT_S = 5.0
FLUSH_TIMEOUT_S = 30.0
"""A batch that a dead flusher had in hand is claimed after 10 s."""
HISTORY = """
select session_id::text, cause, epoch, revision, from_ms, to_ms from audio_position_history
where session_id = any($1::uuid[])
"""


class Inspector:
    """Looks into the stores of `system`. The checks answer what is wrong, one sentence each."""

    def __init__(self, system: System, traffic: Traffic, record: Record) -> None:
        self._system = system
        self._traffic = traffic
        self._record = record

    async def stored(self, sessions: Sequence[SessionRecord]) -> dict[str, SessionState | None]:
        """The sessions as the state store has them."""
        async with self._system.store() as store, store.pipeline(transaction=False) as pipe:
            for session in sessions:
                pipe.hget(ListenerKeys(session.listener_id).session(session.session_id), "state")
            raws = await pipe.execute()
        return {
            session.session_id: None if raw is None else decode_state(raw)
            for session, raw in zip(sessions, raws, strict=True)
        }

    async def epochs(self) -> dict[int, int]:
        """The epochs of the partitions that listeners are in."""
        used = sorted({partition_of(listener.listener_id) for listener in self._traffic.listeners})
        async with self._system.store() as store:
            return {partition: int(await _epoch(store, partition) or 0) for partition in used}

    async def journal_length(self) -> int:
        """Entries that PostgreSQL has not."""
        async with self._system.store() as store, store.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.xlen(journal_key(partition))
            return sum(await pipe.execute())

    async def dead_letters(self) -> int:
        """Entries that PostgreSQL has refused."""
        async with self._system.store() as store, store.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.xlen(dead_key(partition))
            return sum(await pipe.execute())

    async def flushed(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Whether the journal came to be empty within that time."""
        # looked at the clock rather than cancelled: a cancelled client of the store leaves connections behind
        until_s = time.monotonic() + timeout_s
        while await self.journal_length():
            if time.monotonic() > until_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def check_store(self) -> list[str]:
        """Every session against the state store, and every device of it. All must be quiet."""
        sessions = list(self._record.sessions.values())
        stored = await self.stored(sessions)
        wrong = list(self._record.contradictions)
        wrong += [f"not answered: {asked}" for asked in self._record.under_way]
        for session in sessions:
            wrong += against_store(session, stored[session.session_id], self._record)
        return wrong + await self._check_devices(stored)

    async def _check_devices(self, stored: dict[str, SessionState | None]) -> list[str]:
        """Both devices of each listener show what the store has, as soon as the last events have come."""
        wrong = []
        for listener in self._traffic.listeners:
            session_id, state = listener.session_id, stored.get(listener.session_id)
            if state is None:
                continue
            try:
                async with asyncio.timeout(CONVERGE_TIMEOUT_S):
                    for device in listener.devices:
                        await device.expect(partial(_shows, session_id, state))
            except TimeoutError:
                shown = orders([device.shown(session_id) for device in listener.devices])
                wrong.append(f"{session_id}: its devices show {shown}, but stored is {state.order}")
        return wrong

    async def check_rows(self) -> list[str]:
        """Every session against PostgreSQL. All must be quiet, and the journal empty."""
        sessions = list(self._record.sessions.values())
        stored = await self.stored(sessions)
        rows, history = await self._rows(sessions), await self._histories(sessions)
        wrong = []
        for session in sessions:
            state = stored[session.session_id]
            if state is not None:
                entries = history.get(session.session_id, [])
                wrong += against_rows(session, state, rows[session.session_id], entries, self._record)
        if not wrong:
            self._forget_ended(sessions)
        return wrong

    def _forget_ended(self, sessions: Sequence[SessionRecord]) -> None:
        """What is over and found right needs no further look."""
        used = {listener.session_id for listener in self._traffic.listeners}
        for session in sessions:
            if session.newest["ended"] and session.session_id not in used:
                del self._record.sessions[session.session_id]

    async def _rows(self, sessions: Sequence[SessionRecord]) -> dict[str, SessionState | None]:
        async with self._database() as database:
            repository = SessionRepository(database)
            return {session.session_id: await repository.get(session.session_id) for session in sessions}

    async def _histories(self, sessions: Sequence[SessionRecord]) -> dict[str, list[Payload]]:
        histories: dict[str, list[Payload]] = {}
        async with self._system.owner() as owner:
            for row in await owner.fetch(HISTORY, [session.session_id for session in sessions]):
                histories.setdefault(row["session_id"], []).append(dict(row))
        return histories

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[Database]:
        logins = stored_logins(self._system.postgres.url(), self._system.folder)
        async with open_database(logins.app_url, logins.service_url, connections_max=1) as opened:
            yield opened


def _shows(session_id: str, state: SessionState, device: Device) -> bool:
    return shows(device.shown(session_id), state)


async def _epoch(store: "redis.Redis", partition: int) -> str | bytes | None:
    return await store.hget(epoch_key(partition), "epoch")

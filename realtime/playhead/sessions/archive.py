"""What outlives the state store: sessions in PostgreSQL, written behind every accepted change.

`SessionWriter` keeps the newest state of each changed session and upserts them in batches. The upsert is fenced by
(epoch, revision, version) in SQL, so an older state never overwrites a newer one, in whatever order batches arrive.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from playhead.db import DatabaseUnavailable
from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

WRITE_INTERVAL_S = 0.1
WRITE_BATCH_MAX = 500
RETRY_WAIT_MAX_S = 5.0
PENDING_MAX = 10_000
"""Changed sessions that may wait for PostgreSQL; at the limit commands are answered `overloaded`."""


class Archive(Protocol):
    """Stored sessions. Every method may raise DatabaseUnavailable."""

    async def get(self, session_id: str) -> SessionState | None: ...

    async def latest(self, listener_id: str, script_id: str) -> SessionState | None:
        """The listener's last session of the script."""
        ...

    async def moves(self, session_id: str) -> tuple[Move, ...]:
        """The session's stored moves and conflicts, newest first; as many as are kept."""
        ...

    async def upsert_many(self, states: Sequence[SessionState]) -> int:
        """Stores those that are later than what is stored; answers how many were."""
        ...


class SessionWriter:
    """Writes changed sessions in the background. Run it with `start`; `stop` writes what is pending, for so long."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._pending: dict[str, SessionState] = {}
        self.refused = 0
        """States that PostgreSQL refused since the start: each is a bug."""
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """Sessions whose newest state is not in PostgreSQL yet."""
        return len(self._pending)

    @property
    def full(self) -> bool:
        return len(self._pending) >= PENDING_MAX

    def note(self, state: SessionState) -> None:
        """Remembers `state`, unless a newer one of the same session is waiting already."""
        waiting = self._pending.get(state.session_id)
        if waiting is None or (waiting.epoch, waiting.version) < (state.epoch, state.version):
            self._pending[state.session_id] = state
            self._changed.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="session-writer")

    async def stop(self, grace_s: float) -> None:
        """Ends the writer after at most `grace_s` seconds, during which it writes what is pending."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._pending:
                    await asyncio.sleep(WRITE_INTERVAL_S / 2)
        await cancelled(self._task)
        if self._pending:
            log.error("Sessions were not written to PostgreSQL.", action="sessions_unwritten", count=len(self._pending))

    async def _run(self) -> None:
        wait_s = WRITE_INTERVAL_S
        while True:
            await self._changed.wait()
            await asyncio.sleep(wait_s)
            try:
                await self._write_batch()
                wait_s = WRITE_INTERVAL_S
            except DatabaseUnavailable as error:
                wait_s = min(RETRY_WAIT_MAX_S, wait_s * 2)
                log.warning("PostgreSQL is away; sessions wait.", action="sessions_wait", error=str(error))

    async def _write_batch(self) -> None:
        batch = list(self._pending.values())[:WRITE_BATCH_MAX]
        try:
            await self._archive.upsert_many(batch)
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("A batch of sessions was refused; each is written alone.", action="batch_refused")
            await self._write_each(batch)
        self._forget(batch)
        if not self._pending:
            self._changed.clear()

    async def _write_each(self, batch: Sequence[SessionState]) -> None:
        """One bad row must not keep the others from being stored: it is logged and left out."""
        for state in batch:
            try:
                await self._archive.upsert_many([state])
            except DatabaseUnavailable:
                raise
            except Exception:
                self.refused += 1
                log.exception("A session cannot be stored.", action="session_refused", session_id=state.session_id)

    def _forget(self, written: Sequence[SessionState]) -> None:
        """What has changed again in the meantime stays pending."""
        for state in written:
            if self._pending.get(state.session_id) is state:
                del self._pending[state.session_id]

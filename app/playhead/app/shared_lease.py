"""The lease of all servers with Redis together: while they have it, no process may keep the sessions in its memory.

    whose is the lease? → a process's with PLAYHEAD_STORE=memory: wait until it has run out, or refuse
                        → ours: Redis' epochs put past those of the time in memory → serve, and renew it

Redis knows sessions that were in memory only as they were before: what it acknowledged on top of that would be lost to
the rows. While PostgreSQL is away nobody knows; a server serves all the same, and its readiness says what is missing.
"""

import asyncio
from contextlib import suppress

import structlog

from playhead.db import DatabaseUnavailable, HeldBy, LeaseRepository
from playhead.http.health import NotReady
from playhead.runtime.clock import elapsed_s
from playhead.runtime.tasks import cancelled
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.single_node import (
    LEASE_S,
    RELEASE_TIMEOUT_S,
    RENEW_INTERVAL_S,
    TAKE_MARGIN_S,
    LeaseRefused,
)
from playhead.sessions.store import StoreUnavailable

log = structlog.get_logger(__name__)

RETRY_INTERVAL_S = 1.0
PATIENCE_S = 5.0
"""How long a start waits for PostgreSQL and Redis to tell."""
LEASE_PATIENCE_S = LEASE_S + TAKE_MARGIN_S
"""How long it waits for a lease that nobody renews to run out."""
LEFT_S = 2 * RENEW_INTERVAL_S
"""What a server that stops leaves of the lease: time for the others to renew it."""


class SharedLease:
    """Run it with `start`, end it with `stop`. `lost`: set when another process turns out to have the sessions."""

    def __init__(self, leases: LeaseRepository, store: RedisStore, lost: asyncio.Event) -> None:
        self._leases = leases
        self._store = store
        self._lost = lost
        self._held = False
        """By a process that keeps the sessions in its memory, as far as is known."""
        self._held_s = 0.0
        """When that was seen last, or the start: once it is over, Redis is given its time as well."""
        self._open = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when sessions may be served from Redis, as far as can be told now. Raises LeaseRefused."""
        self._task = asyncio.create_task(self._hold(), name="shared-lease")
        opening = asyncio.create_task(self._open.wait())
        self._held_s = elapsed_s()
        while not self._open.is_set() and not self._task.done():
            patience_s = PATIENCE_S if self._held else self._held_s + PATIENCE_S - elapsed_s()
            if patience_s <= 0:
                break
            await asyncio.wait((self._task, opening), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        await cancelled(opening)
        if self._task.done():
            self._task.result()
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        await cancelled(self._task)
        if self._open.is_set() and not self._lost.is_set():
            with suppress(DatabaseUnavailable, TimeoutError):
                async with asyncio.timeout(RELEASE_TIMEOUT_S):
                    await self._leases.leave(LEFT_S)

    async def check(self) -> None:
        """Raises NotReady while sessions may be in another process's memory."""
        if self._held:
            raise NotReady("another server keeps the sessions in its memory (PLAYHEAD_STORE=memory); stop it")
        if not self._open.is_set():
            raise NotReady("it is not known yet whether sessions were in a server's memory before; wait a moment")

    async def _hold(self) -> None:
        """Ends with LeaseRefused alone."""
        since_s = elapsed_s()
        while True:
            pause_s = RETRY_INTERVAL_S
            try:
                shared = await self._leases.share(LEASE_S)
                self._held = isinstance(shared, HeldBy)
                if isinstance(shared, HeldBy):
                    self._held_s = elapsed_s()
                    self._wait_for(shared, since_s)
                elif self._open.is_set():
                    pause_s = RENEW_INTERVAL_S
                else:
                    await self._store.outgrow(shared)
                    self._open.set()
                    pause_s = RENEW_INTERVAL_S
            except (DatabaseUnavailable, StoreUnavailable):
                # nothing is known of the lease meanwhile
                since_s = elapsed_s()
            except LeaseRefused:
                raise
            except Exception:
                # sessions in Redis do not depend on PostgreSQL, whatever it says
                log.exception("The lease was not renewed.", action="lease_failed")
                since_s = elapsed_s()
            await asyncio.sleep(pause_s)

    def _wait_for(self, held_by: HeldBy, since_s: float) -> None:
        if self._open.is_set() or elapsed_s() + min(held_by.for_s, LEASE_S) > since_s + LEASE_PATIENCE_S:
            raise LeaseRefused(_refusal(held_by.node))
        log.info("Waiting for the sessions to be left.", action="memory_awaited", node=held_by.node)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        log.error("Sessions may not be served from Redis.", action="memory_found", exc_info=task.exception())
        self._lost.set()


def _refusal(node: str) -> str:
    return (
        f"Another process keeps the sessions of this database in its memory ({node}, PLAYHEAD_STORE=memory). Stop it "
        "before servers with Redis are started."
    )

"""What a server with Redis does first where sessions may have been in one process's memory: PLAYHEAD_STORE=memory.

    whose is the lease? → still somebody's: wait until it has run out, or refuse → Redis' epochs put past theirs → serve

Redis knows such sessions only as they were before: what it acknowledged on top of that would be lost to the rows. While
PostgreSQL is away nobody knows; a server that starts then serves all the same, and its readiness says what is missing.
"""

import asyncio

import structlog

from playhead.db import DatabaseUnavailable, LeaseRepository
from playhead.http.health import NotReady
from playhead.runtime.clock import elapsed_s
from playhead.runtime.tasks import cancelled
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.single_node import LEASE_S, TAKE_MARGIN_S, LeaseRefused
from playhead.sessions.store import StoreUnavailable

log = structlog.get_logger(__name__)

RETRY_INTERVAL_S = 1.0
PATIENCE_S = 5.0
"""How long a start waits for PostgreSQL and Redis to tell."""
LEASE_PATIENCE_S = LEASE_S + TAKE_MARGIN_S
"""How long it waits for a lease that nobody renews to run out."""


class Outgrowing:
    """Run it with `start`, end it with `stop`. `lost`: set when it turns out later that the sessions are another's."""

    def __init__(self, leases: LeaseRepository, store: RedisStore, lost: asyncio.Event) -> None:
        self._leases = leases
        self._store = store
        self._lost = lost
        self._held = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when sessions may be served from Redis, as far as can be told now. Raises LeaseRefused."""
        self._task = asyncio.create_task(self._outgrow(), name="outgrowing")
        held = True
        while held and not self._task.done():
            # once the lease has run out Redis is given its time as well
            held = self._held
            await asyncio.wait((self._task,), timeout=PATIENCE_S)
            held = held or self._held
        if self._task.done():
            self._task.result()
        else:
            self._task.add_done_callback(self._ended_late)

    async def stop(self) -> None:
        await cancelled(self._task)

    async def check(self) -> None:
        """Raises NotReady while sessions may be in another process's memory."""
        last = await self._leases.latest()
        if last is not None and last.for_s > 0:
            raise NotReady("another server keeps the sessions in its memory (PLAYHEAD_STORE=memory); stop it")
        if self._task is None or not self._task.done():
            raise NotReady("it is not known yet whether sessions were in a server's memory before; wait a moment")

    async def _outgrow(self) -> None:
        began_s = elapsed_s()
        while True:
            try:
                last = await self._leases.latest()
                self._held = last is not None and last.for_s > 0
                if last is None:
                    return
                if not self._held:
                    return await self._store.outgrow(last.epoch)
                if elapsed_s() + min(last.for_s, LEASE_S) > began_s + LEASE_PATIENCE_S:
                    raise LeaseRefused(_refusal(last.node))
                log.info("Waiting for the sessions to be left.", action="memory_awaited", node=last.node)
            except (DatabaseUnavailable, StoreUnavailable):
                # nothing is known of the lease meanwhile
                began_s = elapsed_s()
            await asyncio.sleep(RETRY_INTERVAL_S)

    def _ended_late(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("Sessions may not be served from Redis.", action="memory_found", exc_info=error)
            self._lost.set()


def _refusal(node: str) -> str:
    return (
        f"Another process keeps the sessions of this database in its memory ({node}, PLAYHEAD_STORE=memory). Stop it "
        "before servers with Redis are started."
    )

"""The one process that keeps the sessions in its memory: it holds the lease, or it may answer for nothing.

    start → take the lease (wait for one that runs out) → read what the process before has left → open
    open  → renewed every RENEW_INTERVAL_S; while PostgreSQL is away for longer than the lease: closed, then open again
    found run out, and the servers with Redis had it → taken when they have not renewed it for another lease's time,
            PostgreSQL answering: after an outage of it they are given the time to
    lost  → another process has taken it: closed for ever, `lost` is set, and the process is to end

Its commits do not depend on any clock: they look at the lease in their own transaction. What is timed here is how long
this process may tell what it remembers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import structlog

from playhead.db import SERVERS_NODE, DatabaseUnavailable, HeldBy
from playhead.runtime.clock import elapsed_s
from playhead.runtime.tasks import cancelled
from playhead.sessions.store import StoreUnavailable

log = structlog.get_logger(__name__)

LEASE_S = 15.0
RENEW_INTERVAL_S = 5.0
RETRY_INTERVAL_S = 0.5
"""Until the lease is taken, and after PostgreSQL did not answer."""
RELEASE_TIMEOUT_S = 1.0
"""A lease that cannot be given back in time runs out by itself."""
TAKE_MARGIN_S = 2.0
"""What a start waits beyond the time that the lease of a dead process still runs."""

REFUSED = "another process answers for the sessions"
NOT_OPEN = "PostgreSQL does not answer, so the sessions that it holds cannot be taken over yet"
EXPIRED = "PostgreSQL has not confirmed for too long that this is the only process with the sessions"
LOST = "another process has taken the sessions over; this one ends"


class Leases(Protocol):
    """Where the lease is. Every method may raise DatabaseUnavailable."""

    async def take(self, holder: str, node: str, lease_s: float, given_up: datetime | None) -> int | HeldBy: ...

    async def renew(self, holder: str, lease_s: float) -> bool: ...

    async def release(self, holder: str) -> None: ...


class LeaseRefused(Exception):
    """Others answer for the sessions of this database: a process from its memory, or servers with Redis. Stop them."""


class SingleNode:
    """Run it with `start`, end it with `stop`. `holder`: this process, by an id of its own; `node`: where it runs."""

    def __init__(
        self,
        leases: Leases,
        holder: str,
        node: str,
        *,
        lease_s: float = LEASE_S,
        renew_interval_s: float = RENEW_INTERVAL_S,
    ) -> None:
        self._leases = leases
        self._holder = holder
        self._node = node
        self._lease_s = lease_s
        self._renew_interval_s = renew_interval_s
        self._epoch: int | None = None
        self._held_until_s = 0.0
        self._open = False
        self._away = False
        self._refused_since_s: float | None = None
        self._run_out: tuple[datetime, float] | None = None
        """When a lease of others ran out, and since when nobody is seen to have renewed it."""
        self._task: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    @property
    def trouble(self) -> str | None:
        """Why this process may not answer for the sessions now; None when it may."""
        if self.lost.is_set():
            return LOST
        if not self._open:
            return NOT_OPEN if self._refused_since_s is None else REFUSED
        return EXPIRED if elapsed_s() >= self._held_until_s else None

    def guard(self) -> None:
        """Raises StoreUnavailable while this process may not answer."""
        trouble = self.trouble
        if trouble is not None:
            raise StoreUnavailable(trouble)

    async def start(self, take_over: Callable[[int], Awaitable[None]]) -> None:
        """Takes the lease and opens, or goes on trying by itself while PostgreSQL is away.

        `take_over` is told the epoch, and reads what the process before has left. Raises LeaseRefused.
        """
        deadline_s = elapsed_s() + self._lease_s + TAKE_MARGIN_S
        try:
            while (held_by := await self._take()) is not None:
                if held_by.for_s > 0 and elapsed_s() + min(held_by.for_s, self._lease_s) > deadline_s:
                    raise LeaseRefused(_refusal(held_by))
                log.info("Waiting for another process's lease to run out.", action="lease_awaited", node=held_by.node)
                await asyncio.sleep(RETRY_INTERVAL_S)
            await take_over(self._taken_epoch)
            self._opened()
        except DatabaseUnavailable as error:
            self._note_away(error)
        self._task = asyncio.create_task(self._hold(take_over), name="single-node")

    async def stop(self) -> None:
        """Closes, and lets another process take the lease at once."""
        await cancelled(self._task)
        self._open = False
        if self._epoch is None or self.lost.is_set():
            return
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self._leases.release(self._holder)
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("The lease was not given back; it runs out by itself.", action="lease_kept", error=str(error))

    def lose(self) -> None:
        """Another process holds the lease: nothing that is remembered here is true any more."""
        if not self.lost.is_set():
            self.lost.set()
            log.error("Another process has taken the sessions over. This one ends.", action="lease_lost")

    @property
    def _taken_epoch(self) -> int:
        assert self._epoch is not None
        return self._epoch

    async def _take(self) -> HeldBy | None:
        asked_s = elapsed_s()
        taken = await self._leases.take(self._holder, self._node, self._lease_s, self._given_up())
        if isinstance(taken, HeldBy):
            self._watch(taken)
            return taken
        self._epoch, self._held_until_s = taken, asked_s + self._lease_s
        return None

    def _watch(self, held_by: HeldBy) -> None:
        if held_by.for_s > 0:
            self._run_out = None
        elif self._run_out is None or self._run_out[0] != held_by.expires_at:
            self._run_out = (held_by.expires_at, elapsed_s())

    def _given_up(self) -> datetime | None:
        """Servers with Redis that live renew their lease within seconds of PostgreSQL's answering."""
        if self._run_out is None or elapsed_s() - self._run_out[1] < self._lease_s:
            return None
        return self._run_out[0]

    def _opened(self) -> None:
        self._open = True
        log.info("This process keeps the sessions.", action="lease_taken", epoch=self._epoch)

    async def _hold(self, take_over: Callable[[int], Awaitable[None]]) -> None:
        while not self.lost.is_set():
            in_order = self.trouble is None and not self._away
            await asyncio.sleep(self._renew_interval_s if in_order else RETRY_INTERVAL_S)
            try:
                await self._hold_on(take_over)
            except DatabaseUnavailable as error:
                self._note_away(error)
            except Exception:
                log.exception("The lease was not renewed.", action="lease_failed")

    async def _hold_on(self, take_over: Callable[[int], Awaitable[None]]) -> None:
        """One step towards being open, or staying so."""
        asked_s = elapsed_s()
        if self._epoch is None:
            held_by = await self._take()
            if held_by is not None:
                self._refused(held_by)
                return
        elif not await self._leases.renew(self._holder, self._lease_s):
            self.lose()
            return
        else:
            self._held_until_s = asked_s + self._lease_s
        if not self._open:
            await take_over(self._taken_epoch)
            self._opened()
        if self._away:
            self._away = False
            log.info("PostgreSQL confirms the lease again.", action="lease_confirmed")

    def _refused(self, held_by: HeldBy) -> None:
        """PostgreSQL came back, and the lease is not free: it is waited for as at the start, and then given up."""
        if self._refused_since_s is None:
            self._refused_since_s = elapsed_s()
            log.warning("Another process answers for the sessions.", action="lease_refused", node=held_by.node)
        elif held_by.for_s > 0 and elapsed_s() - self._refused_since_s > self._lease_s + TAKE_MARGIN_S:
            self.lose()

    def _note_away(self, error: DatabaseUnavailable) -> None:
        # nobody else could renew a lease meanwhile, either
        self._run_out = None
        if not self._away:
            self._away = True
            log.warning("PostgreSQL does not confirm the lease.", action="lease_unconfirmed", error=str(error))


def _refusal(held_by: HeldBy) -> str:
    if held_by.node == SERVERS_NODE:
        return "Servers with Redis answer for the sessions here. Stop them before you use PLAYHEAD_STORE=memory."
    return (
        f"Another process keeps the sessions of this database in its memory ({held_by.node}), and with "
        "PLAYHEAD_STORE=memory there may be only one. Stop it first; for several processes use Redis."
    )

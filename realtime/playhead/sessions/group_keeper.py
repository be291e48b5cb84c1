"""Keeps what commits write in PostgreSQL, many commits in one transaction: each waits for its group's end.

    keep → waiting → one group at a time, of all that waits by then → one transaction → every caller of the group

The longer a transaction takes, the larger the next group, so a slow disk costs time and not throughput. A group that
PostgreSQL refuses is tried again commit by commit, so that one bad commit fails alone. When it does not answer, all
that wait are told at once: of a server that hangs each would wait for a timeout of its own.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from playhead.db import DatabaseUnavailable, LeaseLost
from playhead.playback.state import SessionState
from playhead.runtime.tasks import cancelled
from playhead.sessions.journal import Entry
from playhead.sessions.memory_store import NotKept
from playhead.sessions.store import JOURNAL_LENGTH_MAX, StoreUnavailable

log = structlog.get_logger(__name__)

GROUP_ENTRIES_MAX = 500
KEEP_TIMEOUT_S = 5.0
"""A transaction that takes longer is given up; whether it was committed is then found out."""
ASK_TIMEOUT_S = 2.0
AWAY_S = 0.5
"""How long PostgreSQL is left alone after it did not answer: nobody waits for a server that is known to be away."""


class Entries(Protocol):
    """Where entries become rows."""

    async def store(self, entries: Sequence[Entry]) -> None:
        """All in one transaction, or none. Raises DatabaseUnavailable, and LeaseLost where another process has it."""
        ...


class Rows(Protocol):
    """Sessions as they are stored. Raises DatabaseUnavailable."""

    async def get(self, session_id: str) -> SessionState | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    entries: Sequence[Entry]
    kept: asyncio.Future[None]


class GroupKeeper:
    """Keeper on PostgreSQL. Run it with `start`, end it with `stop`. `on_lost`: another process holds the lease."""

    def __init__(
        self,
        entries: Entries,
        rows: Rows,
        on_lost: Callable[[], None],
        waiting_max: int = JOURNAL_LENGTH_MAX,
        keep_timeout_s: float = KEEP_TIMEOUT_S,
    ) -> None:
        self._entries = entries
        self._rows = rows
        self._on_lost = on_lost
        self._waiting_max = waiting_max
        self._keep_timeout_s = keep_timeout_s
        self._waiting: deque[_Waiting] = deque()
        self._entries_waiting = 0
        self._arrived = asyncio.Event()
        self._ask_again_s = 0.0
        self._away = False
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_for_ever(), name="group-keeper")

    async def stop(self) -> None:
        """What is not under way in PostgreSQL is not kept, and its callers are told so."""
        self._stopped = True
        await cancelled(self._task)
        self._turn_away(NotKept("The server is stopping."))

    def has_room(self, reserve: int) -> bool:
        return self._entries_waiting < self._waiting_max + reserve

    async def keep(self, entries: Sequence[Entry]) -> None:
        if self._stopped:
            raise NotKept("The server is stopping.")
        if time.monotonic() < self._ask_again_s:
            raise NotKept("PostgreSQL does not answer.")
        waiting = _Waiting(entries=entries, kept=asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._entries_waiting += len(entries)
        self._arrived.set()
        await waiting.kept

    async def has_kept(self, state: SessionState) -> bool:
        if time.monotonic() < self._ask_again_s:
            raise StoreUnavailable("PostgreSQL does not answer.")
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                row = await self._rows.get(state.session_id)
        except (DatabaseUnavailable, TimeoutError) as error:
            self._note_away(error)
            raise StoreUnavailable(str(error)) from error
        return row is not None and (row.order, row.version) == (state.order, state.version)

    async def _keep_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            group = self._next_group()
            try:
                await self._keep_group(group)
            except BaseException:
                _tell(group, StoreUnavailable("The server stopped before PostgreSQL answered."))
                raise

    def _next_group(self) -> list[_Waiting]:
        """At least one commit, and then no more entries than belong into one transaction."""
        group, count = [self._waiting.popleft()], 0
        count = len(group[0].entries)
        while self._waiting and count + len(self._waiting[0].entries) <= GROUP_ENTRIES_MAX:
            group.append(self._waiting.popleft())
            count += len(group[-1].entries)
        self._entries_waiting -= count
        if not self._waiting:
            self._arrived.clear()
        return group

    async def _keep_group(self, group: Sequence[_Waiting]) -> None:
        error = await self._stored(group)
        if error is None or isinstance(error, StoreUnavailable) or len(group) == 1:
            _tell(group, error)
        else:
            error = await self._keep_one_by_one(group)
        if isinstance(error, StoreUnavailable):
            self._turn_away(NotKept(str(error)))

    async def _keep_one_by_one(self, group: Sequence[_Waiting]) -> Exception | None:
        """Of a group that was refused; answers what the last one was told."""
        error: Exception | None = None
        for number, waiting in enumerate(group, start=1):
            error = await self._stored([waiting])
            _tell([waiting], error)
            if isinstance(error, StoreUnavailable):
                # what was tried of the others was rolled back
                _tell(group[number:], NotKept(str(error)))
                break
        return error

    def _turn_away(self, error: NotKept) -> None:
        """Nothing that waits is tried any more."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._entries_waiting = 0
        self._arrived.clear()
        _tell(waiting, error)

    async def _stored(self, group: Sequence[_Waiting]) -> Exception | None:
        """One transaction; answers what its callers are to be told."""
        try:
            async with asyncio.timeout(self._keep_timeout_s):
                await self._entries.store([entry for waiting in group for entry in waiting.entries])
        except LeaseLost as error:
            self._on_lost()
            return NotKept(str(error))
        except (DatabaseUnavailable, TimeoutError) as error:
            self._note_away(error)
            return StoreUnavailable(str(error) or "PostgreSQL did not answer in time.")
        except Exception as error:
            log.exception("PostgreSQL refuses what was to be kept.", action="group_refused", commits=len(group))
            return error
        if self._away:
            self._away = False
            log.info("PostgreSQL keeps commits again.", action="group_kept_again")
        return None

    def _note_away(self, error: Exception) -> None:
        self._ask_again_s = time.monotonic() + AWAY_S
        if not self._away:
            self._away = True
            log.warning("PostgreSQL does not keep commits.", action="group_away", error=str(error))


def _tell(group: Sequence[_Waiting], error: Exception | None) -> None:
    for waiting in group:
        if waiting.kept.done():
            continue
        if error is None:
            waiting.kept.set_result(None)
        else:
            waiting.kept.set_exception(error)

"""The list of what was revoked, in Valkey: a stream of each partition, which every server process reads once a second.

    commit of an ending (functions.lua) ──► audio:revoked:{p} ──► RevocationFeed of each process ──► its Revocations
    playhead revoke ─────────────────────►

An ending and its entry are one step, so what was acknowledged is in the list. Each stream is bounded; while Valkey is
away nothing is forgotten and nobody is refused for it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from playhead.auth.revocations import LATE_MS_MAX, Revocation, Revocations
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.runtime.redis_clients import Calls
from playhead.runtime.tasks import cancelled
from playhead.sessions.failures import FAILURES
from playhead.sessions.keys import PARTITIONS, partition_of, revoked_key, session_keys
from playhead.sessions.states import decode_state
from playhead.sessions.store import REVOKED_PER_PARTITION_MAX, StoreUnavailable

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0
FIRST_LOOK_TIMEOUT_S = 2.0
"""What a start waits for the list: with Valkey away it goes on without."""
READ_MAX = 500
"""Entries that one command reads of a partition."""


class RevocationFeed:
    """Keeps `revocations` in step. Run it with `start`; `look` is one look."""

    def __init__(self, calls: Calls, clock: Clock, interval_s: float = LOOK_INTERVAL_S) -> None:
        self.revocations = Revocations(self._known_to_ms)
        self._calls = calls
        self._clock = clock
        self._interval_s = interval_s
        self._read_to_ms: dict[int, int] = {}
        """Of each partition: when it was last read to its end."""
        self._last_ms = dict.fromkeys(range(PARTITIONS), 0)
        """Of each partition: the time of its latest entry."""
        self._away = False
        self._task: asyncio.Task[None] | None = None

    def _known_to_ms(self) -> int | None:
        return min(self._read_to_ms.values()) if len(self._read_to_ms) == PARTITIONS else None

    async def start(self) -> None:
        """Returns when the list is known, or cannot be now."""
        try:
            async with asyncio.timeout(FIRST_LOOK_TIMEOUT_S):
                await self.look()
        except (StoreUnavailable, TimeoutError) as error:
            self._note_away(error)
        self._task = asyncio.create_task(self._look_for_ever(), name="revocations")

    async def stop(self) -> None:
        await cancelled(self._task)

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
                self._away = False
            except StoreUnavailable as error:
                self._note_away(error)
            except Exception:
                log.exception("What was revoked could not be read.", action="revocations_failed")

    def _note_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            log.warning("What was revoked is not known now.", action="revocations_unknown", error=str(error))

    async def look(self) -> None:
        """Takes in what is new. Raises StoreUnavailable."""
        asked_ms = self._clock.now_ms()
        # a new primary's clock may be behind, and its entries before those that are known
        starts = {partition: str(max(0, last_ms - LATE_MS_MAX)) for partition, last_ms in self._last_ms.items()}
        while starts:
            starts = await self._read(starts, asked_ms)

    async def _read(self, starts: Mapping[int, str], asked_ms: int) -> dict[int, str]:
        """One command of each partition; answers where to go on with those that have more."""
        commands = [("XRANGE", revoked_key(number), start, "+", "COUNT", READ_MAX) for number, start in starts.items()]
        try:
            answers = await self._calls.answers(commands)
        except FAILURES as error:
            raise StoreUnavailable(str(error)) from error
        rows: list[Revocation] = []
        more: dict[int, str] = {}
        errors = []
        for partition, entries in zip(starts, answers, strict=True):
            if isinstance(entries, Exception):
                errors.append(entries)
                continue
            rows += [_row(entry) for entry in entries]
            if entries:
                self._last_ms[partition] = max(self._last_ms[partition], rows[-1].at_ms)
            if len(entries) == READ_MAX:
                more[partition] = f"({entries[-1][0].decode()}"
            else:
                self._read_to_ms[partition] = asked_ms
        dropped = self.revocations.add(rows, asked_ms)
        if dropped:
            log.warning("More was revoked than is kept.", action="revocations_dropped", dropped=dropped)
        if errors:
            raise StoreUnavailable(str(errors[0]))
        return more


def _row(entry: Any) -> Revocation:
    """Of `[id, [field, value, …]]`, the id being the time in ms and a number."""
    entry_id, values = entry
    fields = dict(zip(values[::2], values[1::2], strict=True))
    return Revocation(
        subject=fields[b"subject"].decode(), at_ms=int(entry_id.partition(b"-")[0]), until_s=int(fields[b"until_s"])
    )


async def revoke(calls: Calls, row: Revocation) -> None:
    """Enters something into the list by itself. Its time is the store's. Raises StoreUnavailable."""
    key = revoked_key(partition_of(row.subject))
    bound = ("MAXLEN", "~", REVOKED_PER_PARTITION_MAX)
    try:
        await calls.call("XADD", key, *bound, "*", "subject", row.subject, "until_s", row.until_s)
    except FAILURES as error:
        raise StoreUnavailable(str(error)) from error


async def find_session(calls: Calls, session_id: str) -> SessionState | None:
    """The session of that id, whoever's it is, while the store has it. Raises StoreUnavailable."""
    try:
        rows = await calls.answers([("HGET", key, "state") for key in session_keys(session_id)])
    except FAILURES as error:
        raise StoreUnavailable(str(error)) from error
    errors = [row for row in rows if isinstance(row, Exception)]
    states = [row for row in rows if isinstance(row, bytes)]
    if errors and not states:
        raise StoreUnavailable(str(errors[0]))
    return decode_state(states[0]) if states else None

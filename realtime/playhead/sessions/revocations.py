"""The list of what was revoked, in Valkey: streams, which every server process reads once a second.

    commit of an ending (functions.lua) ──► audio:revoked:{p} ──────► RevocationFeed of each process ──► its Revocations
    playhead revoke ──────────────────────► audio:revoked:operator ─►

An ending and its entry are one step, so what was acknowledged is in the list. The streams of endings forget the first
of too many. What an operator enters stands apart from them, and goes when its time is over. While Valkey is away
nothing is forgotten and nobody is refused for it.
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
from playhead.sessions.keys import PARTITIONS, REVOKED_BY_OPERATOR, partition_of, revoked_key, session_keys
from playhead.sessions.states import decode_state
from playhead.sessions.store import REVOKED_BY_OPERATOR_MAX, REVOKED_PER_PARTITION_MAX, StoreUnavailable

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0
FIRST_LOOK_TIMEOUT_S = 2.0
"""What a start waits for the list: with Valkey away it goes on without."""
READ_MAX = 500
"""Entries of a stream of endings that one command reads."""
OPERATORS_READ_MAX = 10 * READ_MAX
"""Of what operators have entered: at a start that is known before all endings are."""
STREAMS = (REVOKED_BY_OPERATOR, *(revoked_key(partition) for partition in range(PARTITIONS)))


FULL = (
    f"{REVOKED_BY_OPERATOR_MAX:,} sessions and scripts are revoked, and no more are kept at once. Nothing was entered. "
    "To void every address there is, put other keys into PLAYHEAD_MEDIA_KEYS."
)


class ListFull(Exception):
    """Operators have revoked as much as is kept at once, and none of it is over yet."""


class RevocationFeed:
    """Keeps `revocations` in step. Run it with `start`; `look` is one look."""

    def __init__(self, calls: Calls, clock: Clock, interval_s: float = LOOK_INTERVAL_S) -> None:
        self.revocations = Revocations(self._known_to_ms)
        self._calls = calls
        self._clock = clock
        self._interval_s = interval_s
        self._read_to_ms: dict[str, int] = {}
        """Of each stream: when it was last read to its end."""
        self._last_ms = dict.fromkeys(STREAMS, 0)
        """Of each stream: the time of its latest entry."""
        self._away = False
        self._task: asyncio.Task[None] | None = None

    def _known_to_ms(self) -> int | None:
        return min(self._read_to_ms.values()) if len(self._read_to_ms) == len(STREAMS) else None

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
        starts = {stream: str(max(0, last_ms - LATE_MS_MAX)) for stream, last_ms in self._last_ms.items()}
        while starts:
            starts = await self._read(starts, asked_ms)

    async def _read(self, starts: Mapping[str, str], asked_ms: int) -> dict[str, str]:
        """One command of each stream; answers where to go on with those that have more."""
        commands = [("XRANGE", stream, start, "+", "COUNT", _read_max(stream)) for stream, start in starts.items()]
        try:
            answers = await self._calls.answers(commands)
        except FAILURES as error:
            raise StoreUnavailable(str(error)) from error
        rows: list[Revocation] = []
        more: dict[str, str] = {}
        errors = []
        for stream, entries in zip(starts, answers, strict=True):
            if isinstance(entries, Exception):
                errors.append(entries)
                continue
            rows += [_row(entry, of_operator=stream == REVOKED_BY_OPERATOR) for entry in entries]
            if entries:
                self._last_ms[stream] = max(self._last_ms[stream], rows[-1].at_ms)
            if len(entries) == _read_max(stream):
                more[stream] = f"({entries[-1][0].decode()}"
            else:
                self._read_to_ms[stream] = asked_ms
        dropped = self.revocations.add(rows, asked_ms)
        if dropped:
            log.warning("More was revoked than is kept.", action="revocations_dropped", dropped=dropped)
        if errors:
            raise StoreUnavailable(str(errors[0]))
        return more


def _read_max(stream: str) -> int:
    return OPERATORS_READ_MAX if stream == REVOKED_BY_OPERATOR else READ_MAX


def _row(entry: Any, of_operator: bool = True) -> Revocation:
    """Of `[id, [field, value, …]]`, the id being the time in ms and a number."""
    entry_id, values = entry
    fields = dict(zip(values[::2], values[1::2], strict=True))
    subject = fields[b"subject"].decode()
    return Revocation(
        subject=subject,
        at_ms=int(entry_id.partition(b"-")[0]),
        until_s=int(fields[b"until_s"]),
        # a script among the endings is an operator's all the same, by a release before the list of his own
        by_operator=of_operator or subject.startswith("/"),
    )


async def revoke(calls: Calls, row: Revocation) -> None:
    """Enters something for an operator, to be kept until its time; the time of the entry is the store's.

    Raises ListFull and StoreUnavailable.
    """
    try:
        if await calls.call("XLEN", REVOKED_BY_OPERATOR) >= REVOKED_BY_OPERATOR_MAX:
            await _make_room(calls, row.at_ms)
        entry = ("*", "subject", row.subject, "until_s", row.until_s)
        await calls.call("XADD", REVOKED_BY_OPERATOR, *entry)
        # servers of a release before that list read this one alone. TODO when none is supported beside: leave it out
        bound = ("MAXLEN", "~", REVOKED_PER_PARTITION_MAX)
        await calls.call("XADD", revoked_key(partition_of(row.subject)), *bound, *entry)
    except FAILURES as error:
        raise StoreUnavailable(str(error)) from error


async def _make_room(calls: Calls, now_ms: int) -> None:
    """Of what operators have entered, what is over goes, and what was entered again for longer. Raises ListFull."""
    rows = [(entry[0], _row(entry)) for entry in await calls.call("XRANGE", REVOKED_BY_OPERATOR, "-", "+")]
    last = {row.subject: entry_id for entry_id, row in sorted(rows, key=lambda each: each[1].until_s)}
    kept = {last[row.subject] for _, row in rows if row.until_s * 1000 > now_ms}
    gone = [entry_id for entry_id, _ in rows if entry_id not in kept]
    if gone:
        await calls.call("XDEL", REVOKED_BY_OPERATOR, *gone)
    if len(kept) >= REVOKED_BY_OPERATOR_MAX:
        raise ListFull(FULL)


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

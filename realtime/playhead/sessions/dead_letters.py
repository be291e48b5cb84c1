"""Entries of the journal that PostgreSQL has refused, for whoever looks into them: told, put back, or dropped.

Each partition has a stream of its own for them, beside its journal. What is put back is an entry like any other, which
comes late: an older state replaces no later one.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from playhead.runtime.redis_clients import client_of
from playhead.sessions.failures import unavailable_when_down
from playhead.sessions.journal import Entry
from playhead.sessions.keys import PARTITIONS, dead_key, dead_letter_id, dead_letter_name, journal_key
from playhead.sessions.redis_journal import ENTRY_ID_FIELD, REASON_FIELD, committed_at_ms, decoded
from playhead.sessions.store import JOURNAL_LENGTH_MAX

PAGE_SIZE = 500

# (dead key, journal key; letter id, journal_max, names of the letter's own fields...) -> 1 done, 0 not there, -1 full
RETRY = """
local rows = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #rows == 0 then
  return 0
end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[2]) then
  return -1
end
local row, fields = rows[1][2], {}
for i = 1, #row, 2 do
  if row[i] ~= ARGV[3] and row[i] ~= ARGV[4] then
    fields[#fields + 1] = row[i]
    fields[#fields + 1] = row[i + 1]
  end
end
redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('XDEL', KEYS[1], ARGV[1])
return 1
"""


class JournalFull(Exception):
    """The journal of the letter's partition is full. Start a flusher, and try again when it has caught up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """`name`: what it is asked for by. `entry` None: it cannot be read, which is then its reason."""

    name: str
    buried_at_ms: int
    reason: str
    entry: Entry | None


class DeadLetters:
    """Those of the Valkey or Redis at `url`. Methods may raise StoreUnavailable, and ValueError for a wrong name."""

    def __init__(self, url: str) -> None:
        self._client: Redis = client_of(url)

    async def stop(self) -> None:
        await self._client.aclose()

    async def all(self) -> AsyncIterator[DeadLetter]:
        """Those that are there now, partition by partition, each the oldest first."""
        for partition in range(PARTITIONS):
            key = dead_key(partition)
            async with unavailable_when_down(self._client):
                newest: Any = await self._client.xrevrange(key, count=1)
            first = "-"
            # what comes meanwhile, put back and refused again, is not taken: it would have no end
            while newest:
                async with unavailable_when_down(self._client):
                    rows: Any = await self._client.xrange(key, min=first, max=newest[0][0], count=PAGE_SIZE)
                for letter_id, fields in rows:
                    yield _letter(partition, letter_id.decode(), fields)
                if len(rows) < PAGE_SIZE:
                    break
                first = f"({rows[-1][0].decode()}"

    async def count(self) -> int:
        async with unavailable_when_down(self._client), self._client.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.xlen(dead_key(partition))
            return sum(await pipe.execute())

    async def retry(self, name: str, journal_length_max: int = JOURNAL_LENGTH_MAX) -> bool:
        """Puts it back into the journal, for a flusher to try again; False when it is not there. Raises JournalFull."""
        partition, letter_id = dead_letter_id(name)
        keys = (dead_key(partition), journal_key(partition))
        async with unavailable_when_down(self._client):
            answer: Any = await self._client.eval(
                RETRY, len(keys), *keys, letter_id, journal_length_max, REASON_FIELD, ENTRY_ID_FIELD
            )
        if answer < 0:
            raise JournalFull(
                f"The journal of partition {partition} is full: {journal_length_max} entries wait in it. "
                "Start a flusher, and try again when it has caught up."
            )
        return bool(answer)

    async def drop(self, name: str) -> bool:
        """Deletes it; False when it is not there."""
        partition, letter_id = dead_letter_id(name)
        async with unavailable_when_down(self._client):
            return await self._client.xdel(dead_key(partition), letter_id) == 1


def _letter(partition: int, letter_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        name=dead_letter_name(partition, letter_id),
        buried_at_ms=committed_at_ms(letter_id.encode()),
        reason=fields.get(REASON_FIELD.encode(), b"").decode(errors="replace"),
        entry=decoded(fields),
    )

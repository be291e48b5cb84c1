"""The journal on Valkey or Redis: one stream of each partition, read by one consumer group.

A failover may lose the latest entries, and a new primary whose clock is behind gives their ids once more. So what is
taken is marked with the life of the store, and taken off in that one alone; elsewhere it stays, to be claimed later.
An entry that was taken stays in its stream, and on the group's list of pending ones, until it is done. Streams are read
each by a command of its own, many commands in one pipeline: on a cluster they lie on different servers. There a primary
that is away keeps nothing from the others' partitions; its entries wait, and those in hand are claimed later.
"""

import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from redis.typing import EncodableT, FieldT

from playhead.runtime.redis_clients import client_of
from playhead.sessions.failures import unavailable_when_down
from playhead.sessions.flushing import CLAIM_IDLE_MS, DEAD_LETTERS_MAX, Backlog, Taken
from playhead.sessions.journal import Entry, decode_entry
from playhead.sessions.keys import PARTITIONS, dead_key, epoch_key, journal_key

log = structlog.get_logger(__name__)

GROUP = "flush"
FIRST = "0-0"
REASON_FIELD = "reason"
ENTRY_ID_FIELD = "entry_id"
CONSUMER_FORGOTTEN_MS = 60 * 60 * 1000
"""A flusher that has not been heard of for so long, and has nothing in hand, is forgotten."""

DONE_IDS_MAX = 1_000
"""Ids in one call: they all lie on Lua's stack, which has room for some thousands."""
LIFE_FIELDS = ("run_id", "epoch")

# (journal key, epoch key; group, life, entry id...) -> 1 done, 0 in another life
DONE = """
local life = redis.call('HMGET', KEYS[2], 'run_id', 'epoch')
if (life[1] or '') .. ' ' .. (life[2] or '') ~= ARGV[2] then
  return 0
end
redis.call('XDEL', KEYS[1], unpack(ARGV, 3))
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3))
return 1
"""

# (journal key; group, first id): makes the group, also in a store that is full: to empty it takes one.
MAKE_GROUP = """#!lua flags=allow-oom
return redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
"""

# (journal key; group, own name, forgotten_ms): forgets this consumer and dead ones, but none that has entries in hand:
# those would be nobody's, neither new nor pending.
FORGET_CONSUMERS = """
local rows = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if rows.err then
  return 0
end
for _, row in ipairs(rows) do
  local consumer = {}
  for i = 1, #row, 2 do
    consumer[row[i]] = row[i + 1]
  end
  if consumer.pending == 0 and (consumer.name == ARGV[2] or consumer.idle > tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end
return 1
"""


class RedisJournal:
    """Journal of one flusher, which is one consumer of the group."""

    def __init__(self, url: str, *, claim_idle_ms: int = CLAIM_IDLE_MS) -> None:
        self._client: Redis = client_of(url)
        self._claim_idle_ms = claim_idle_ms
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._claim_from = dict.fromkeys(range(PARTITIONS), FIRST)
        self._behind = False
        """Whether more waits than was taken the last time."""
        self._next = secrets.randbelow(PARTITIONS)
        self._silent = False
        """Whether some partitions do not answer, while others do."""

    async def stop(self) -> None:
        await self._client.aclose()

    async def take(self, limit: int) -> Sequence[Taken]:
        taken = await (self._take_in_turn(limit) if self._behind else self._take_of_all(limit))
        self._behind = len(taken) >= limit
        return taken

    async def _take_of_all(self, limit: int) -> list[Taken]:
        """A share of each partition; whose share was not enough gets what the others have left."""
        taken, asked = await self._read(range(PARTITIONS), max(1, limit // PARTITIONS))
        while asked and len(taken) < limit:
            more, asked = await self._read(asked, max(1, (limit - len(taken)) // len(asked)))
            taken += more
        return taken

    async def _take_in_turn(self, limit: int) -> list[Taken]:
        """All that is asked for of one partition, and of the next ones where it has less.

        Entries of one session lie in one partition, so that more of them become one row. Each flusher begins elsewhere,
        so that two of them seldom write the same rows.
        """
        taken: list[Taken] = []
        for _ in range(PARTITIONS):
            partition, self._next = self._next, (self._next + 1) % PARTITIONS
            taken += (await self._read([partition], limit - len(taken)))[0]
            if len(taken) >= limit:
                break
        return taken

    async def _read(self, partitions: Iterable[int], count: int) -> tuple[list[Taken], list[int]]:
        """At most `count` entries of each; and the partitions that may have more."""
        asked = list(partitions)
        async with unavailable_when_down(self._client), self._client.pipeline(transaction=False) as pipe:
            for partition in asked:
                pipe.hmget(epoch_key(partition), LIFE_FIELDS)
                pipe.xreadgroup(GROUP, self._consumer, {journal_key(partition): ">"}, count=count)
            answered = self._in_turn(asked, await pipe.execute(raise_on_error=False))
            await self._make_groups(answered)
        taken: list[Taken] = []
        more = []
        for partition, life, answer in answered:
            rows = answer[0][1] if answer and not isinstance(answer, Exception) else []
            taken += [_taken(partition, life, row) for row in rows]
            if len(rows) == count:
                more.append(partition)
        return taken, more

    async def _make_groups(self, answered: Sequence[tuple[int, str, Any]]) -> None:
        """Makes the group where there is none: at the first start, or in an emptied store. Raises RedisError."""
        errors = {partition: row for partition, _, row in answered if isinstance(row, Exception)}
        for partition, error in errors.items():
            if not (isinstance(error, ResponseError) and str(error).startswith("NOGROUP")):
                raise error
            try:
                await self._client.eval(MAKE_GROUP, 1, journal_key(partition), GROUP, FIRST)
            except ResponseError as refusal:
                if not str(refusal).startswith("BUSYGROUP"):
                    raise

    async def claim(self, limit: int) -> Sequence[Taken]:
        count = max(1, limit // PARTITIONS)
        async with unavailable_when_down(self._client), self._client.pipeline(transaction=False) as pipe:
            for partition, first in self._claim_from.items():
                pipe.hmget(epoch_key(partition), LIFE_FIELDS)
                pipe.xautoclaim(
                    journal_key(partition), GROUP, self._consumer, self._claim_idle_ms, start_id=first, count=count
                )
            answered = self._in_turn(list(self._claim_from), await pipe.execute(raise_on_error=False))
            await self._make_groups(answered)
        taken: list[Taken] = []
        for partition, life, answer in answered:
            if isinstance(answer, Exception):
                self._claim_from[partition] = FIRST
                continue
            following, rows = answer[0], answer[1]
            self._claim_from[partition] = following.decode()
            taken += [_taken(partition, life, row) for row in rows if row[1] is not None]
        return taken

    async def done(self, taken: Sequence[Taken]) -> None:
        ids: dict[tuple[int, str], list[str]] = {}
        for row in taken:
            ids.setdefault((row.partition, row.life), []).append(row.entry_id)
        async with unavailable_when_down(self._client), self._client.pipeline(transaction=False) as pipe:
            for (partition, life), entry_ids in ids.items():
                keys = (journal_key(partition), epoch_key(partition))
                for first in range(0, len(entry_ids), DONE_IDS_MAX):
                    pipe.eval(DONE, len(keys), *keys, GROUP, life, *entry_ids[first : first + DONE_IDS_MAX])
            answers = self._any_answered(await pipe.execute(raise_on_error=False))
        if not all(answers):
            log.info("Entries were stored, but taken in another life of the store.", action="journal_life_ended")

    async def bury(self, taken: Taken, reason: str) -> int:
        fields: dict[FieldT, EncodableT] = {name: value for name, value in taken.fields.items()}
        fields |= {ENTRY_ID_FIELD: taken.entry_id, REASON_FIELD: reason}
        key = dead_key(taken.partition)
        async with unavailable_when_down(self._client), self._client.pipeline() as pipe:
            pipe.xlen(key)
            pipe.xadd(key, fields, maxlen=DEAD_LETTERS_MAX, approximate=False)
            pipe.xlen(key)
            before, _, after = await pipe.execute()
        await self.done([taken])
        return int(before + 1 - after)

    async def backlog(self) -> Backlog:
        async with unavailable_when_down(self._client), self._client.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.xlen(journal_key(partition))
                pipe.xrange(journal_key(partition), count=1)
                pipe.xlen(dead_key(partition))
            answers = self._any_answered(await pipe.execute(raise_on_error=False))
        known = [answers[first : first + 3] for first in range(0, len(answers), 3)]
        known = [row for row in known if not any(isinstance(answer, Exception) for answer in row)]
        oldest = [committed_at_ms(rows[0][0]) for _, rows, _ in known if rows]
        return Backlog(
            entries=sum(row[0] for row in known),
            oldest_at_ms=min(oldest, default=None),
            dead=sum(row[2] for row in known),
        )

    def _in_turn(self, partitions: Sequence[int], answers: Sequence[Any]) -> list[tuple[int, str, Any]]:
        """Of each partition that answers: its life, which was asked for first, and the answer after it. Raises
        RedisError where none does."""
        self._any_answered(answers[::2])
        return [
            (partition, " ".join((field or b"").decode() for field in life), answer)
            for partition, life, answer in zip(partitions, answers[::2], answers[1::2], strict=True)
            if not isinstance(life, Exception)
        ]

    def _any_answered(self, answers: Sequence[Any]) -> Sequence[Any]:
        """All, with the errors of servers that are away. Raises the first of them where there is nothing else."""
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors and len(errors) == len(answers):
            raise errors[0]
        if errors and not self._silent:
            log.warning("Some partitions do not answer.", action="partitions_silent", error=str(errors[0]))
        self._silent = bool(errors)
        return answers

    async def leave(self) -> None:
        async with unavailable_when_down(self._client), self._client.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.eval(FORGET_CONSUMERS, 1, journal_key(partition), GROUP, self._consumer, CONSUMER_FORGOTTEN_MS)
            await pipe.execute()


def committed_at_ms(entry_id: bytes) -> int:
    """A stream's ids begin with the server's time."""
    return int(entry_id.partition(b"-")[0])


def _taken(partition: int, life: str, row: tuple[bytes, Mapping[bytes, bytes]]) -> Taken:
    entry_id, fields = row
    return Taken(
        partition=partition,
        life=life,
        entry_id=entry_id.decode(),
        committed_at_ms=committed_at_ms(entry_id),
        fields=fields,
        entry=decoded(fields),
    )


def decoded(fields: Mapping[bytes, bytes]) -> Entry | None:
    """None for what is no entry."""
    try:
        return decode_entry(fields)
    except (ValueError, KeyError, TypeError):
        return None

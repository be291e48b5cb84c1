"""The lease of whoever answers for the sessions: the one process that keeps them in its memory, or all servers with
Redis together. Taken in one statement, timed by PostgreSQL's clock.

A process that dies leaves it behind; another one may take it once it has expired, or at once when it runs on the same
node, which only one process at a time can. Whoever has lost it finds no row of its own any more: `require` fails the
transaction in which it is asked.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from playhead.db.errors import DatabaseUnavailable
from playhead.db.limits import EPOCHS_MAX
from playhead.db.pool import NOT_MIGRATED, Connection, ServiceDatabase

# A session that may come back to life has a lower epoch afterwards, whatever store and clock it had it from.
TAKE = """
insert into audio_store_lease as held (holder, node, epoch, taken_at, expires_at)
select $1, $2, greatest((extract(epoch from clock_timestamp()) * 1000)::bigint, live.epoch + 1),
    clock_timestamp(), clock_timestamp() + make_interval(secs => $3)
from (select coalesce(max(epoch), 0) as epoch from audio_sessions where ended_at is null) as live
on conflict (only_row) do update set
    holder = excluded.holder, node = excluded.node, epoch = greatest(held.epoch + 1, excluded.epoch),
    taken_at = excluded.taken_at, expires_at = excluded.expires_at
    where held.holder = excluded.holder or held.node = excluded.node
        or held.expires_at <= clock_timestamp() and (held.holder <> $4 or held.expires_at = $5)
returning epoch
"""
RENEW = """
update audio_store_lease set expires_at = clock_timestamp() + make_interval(secs => $2) where holder = $1
"""
RELEASE = "update audio_store_lease set expires_at = clock_timestamp() where holder = $1"
# The epoch stays that of the last process that had the sessions in its memory.
SHARE = """
insert into audio_store_lease as held (holder, node, epoch, taken_at, expires_at)
values ($1, $2, 1, clock_timestamp(), clock_timestamp() + make_interval(secs => $3))
on conflict (only_row) do update set
    holder = excluded.holder, node = excluded.node, taken_at = excluded.taken_at, expires_at = excluded.expires_at
    where held.expires_at <= clock_timestamp() or held.holder = excluded.holder
returning epoch
"""
LEAVE = """
update audio_store_lease set expires_at = least(expires_at, clock_timestamp() + make_interval(secs => $2))
where holder = $1
"""
HELD_BY = """
select node, extract(epoch from expires_at - clock_timestamp())::float8 as for_s, expires_at from audio_store_lease
"""
# Whoever wants to take it waits until this transaction has ended.
REQUIRE = "select true from audio_store_lease where holder = $1 for share"


SERVERS = "00000000-0000-0000-0000-000000000000"
SERVERS_NODE = "servers with Redis"


class LeaseLost(Exception):
    """Another process answers for the sessions now. This one must not go on: stop it, or the other one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """Whose the lease is. `for_s`: how long it is still theirs, if they do not renew it; not above 0: it has run out.

    `expires_at`: when, by PostgreSQL's clock; every renewal changes it.
    """

    node: str
    for_s: float
    expires_at: datetime


class LeaseRepository:
    """The row of `audio_store_lease`. Every method may raise DatabaseUnavailable."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Connection]:
        try:
            async with self._database.as_service() as connection:
                yield connection
        except NOT_MIGRATED as error:
            raise DatabaseUnavailable("The database lacks the lease. Run `playhead migrate`.") from error

    async def take(self, holder: str, node: str, lease_s: float, given_up: datetime | None = None) -> int | HeldBy:
        """The epoch of the holder's store; or whose the lease still is, and then nothing has changed.

        `node`: the machine and folder that `holder` runs on. The caller knows that no other process runs there.
        `given_up`: when the lease of the servers with Redis ran out, where the caller knows that they would have
        renewed it by now. It is not taken without that: while PostgreSQL was away they could not.
        """
        async with self._asking() as connection:
            epoch: int | None = await connection.fetchval(TAKE, holder, node, lease_s, SERVERS, given_up)
            return await _held_by(connection) if epoch is None else epoch

    async def renew(self, holder: str, lease_s: float) -> bool:
        """Whether the lease was still the holder's, expired or not; then it is theirs for `lease_s` from now on."""
        async with self._asking() as connection:
            return await connection.execute(RENEW, holder, lease_s) == "UPDATE 1"

    async def share(self, lease_s: float) -> int | HeldBy:
        """Takes or renews it for all servers with Redis; or whose it still is, and then nothing has changed.

        Answers an epoch that nothing is past that was ever stored from a process's memory. Such a process raises its
        own where it is in doubt, which the row does not tell: commits that hang, and make the doubt, hold it.
        """
        async with self._asking() as connection:
            epoch: int | None = await connection.fetchval(SHARE, SERVERS, SERVERS_NODE, lease_s)
            return await _held_by(connection) if epoch is None else epoch + EPOCHS_MAX

    async def leave(self, left_s: float) -> None:
        """One of the servers with Redis stops: without the others it runs out in so many seconds."""
        async with self._asking() as connection:
            await connection.execute(LEAVE, SERVERS, left_s)

    async def release(self, holder: str) -> None:
        """Lets others take it at once."""
        async with self._asking() as connection:
            await connection.execute(RELEASE, holder)


async def _held_by(connection: Connection) -> HeldBy:
    row = await connection.fetchrow(HELD_BY)
    assert row is not None, "a row that stood in the way is never deleted"
    return HeldBy(node=row["node"], for_s=row["for_s"], expires_at=row["expires_at"])


async def require(connection: Connection, holder: str) -> None:
    """Keeps the lease for this transaction. Raises LeaseLost, which rolls it back."""
    if await connection.fetchval(REQUIRE, holder) is None:
        raise LeaseLost("Another process keeps the sessions in its memory now.")

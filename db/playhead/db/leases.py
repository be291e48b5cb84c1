"""The lease of the one process that keeps sessions in its memory: taken in one statement, timed by PostgreSQL's clock.

A process that dies leaves it behind; another one may take it once it has expired, or at once when it runs on the same
node, which only one process at a time can. Whoever has lost it finds no row of its own any more: `require` fails the
transaction in which it is asked.
"""

from dataclasses import dataclass

from playhead.db.limits import EPOCHS_MAX
from playhead.db.pool import Connection, ServiceDatabase

# A session that may come back to life has a lower epoch afterwards, whatever store and clock it had it from.
TAKE = """
insert into audio_store_lease as held (holder, node, epoch, taken_at, expires_at)
select $1, $2, greatest((extract(epoch from clock_timestamp()) * 1000)::bigint, live.epoch + 1),
    clock_timestamp(), clock_timestamp() + make_interval(secs => $3)
from (select coalesce(max(epoch), 0) as epoch from audio_sessions where ended_at is null) as live
on conflict (only_row) do update set
    holder = excluded.holder, node = excluded.node, epoch = greatest(held.epoch + 1, excluded.epoch),
    taken_at = excluded.taken_at, expires_at = excluded.expires_at
    where held.expires_at <= clock_timestamp() or held.holder = excluded.holder or held.node = excluded.node
returning epoch
"""
RENEW = """
update audio_store_lease set expires_at = clock_timestamp() + make_interval(secs => $2) where holder = $1
"""
RELEASE = "update audio_store_lease set expires_at = clock_timestamp() where holder = $1"
# What is stored under it may be of later epochs. They are not noted as they come: commits that hang, for which the
# epoch grows, hold the row.
LATEST = """
select node, extract(epoch from expires_at - clock_timestamp())::float8 as for_s, epoch + $1 as epoch
from audio_store_lease
"""
HELD_BY = "select node, extract(epoch from expires_at - clock_timestamp())::float8 as for_s from audio_store_lease"
# Whoever wants to take it waits until this transaction has ended.
REQUIRE = "select true from audio_store_lease where holder = $1 for share"


class LeaseLost(Exception):
    """Another process answers for the sessions now. This one must not go on: stop it, or the other one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """Whose the lease is. `for_s`: how long it is still theirs, if they do not renew it."""

    node: str
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLease:
    """The last process that kept sessions in its memory. `epoch`: nothing that it has stored has a later one."""

    node: str
    for_s: float
    """How long it may still go on; negative: since when it may not."""
    epoch: int


class LeaseRepository:
    """The row of `audio_store_lease`. Every method may raise DatabaseUnavailable."""

    def __init__(self, database: ServiceDatabase) -> None:
        self._database = database

    async def take(self, holder: str, node: str, lease_s: float) -> int | HeldBy:
        """The epoch of the holder's store; or whose the lease still is, and then nothing has changed.

        `node`: the machine and folder that `holder` runs on. The caller knows that no other process runs there.
        """
        async with self._database.as_service() as connection:
            epoch: int | None = await connection.fetchval(TAKE, holder, node, lease_s)
            if epoch is not None:
                return epoch
            row = await connection.fetchrow(HELD_BY)
        assert row is not None, "a row that stood in the way is never deleted"
        return HeldBy(node=row["node"], for_s=row["for_s"])

    async def renew(self, holder: str, lease_s: float) -> bool:
        """Whether the lease was still the holder's, expired or not; then it is theirs for `lease_s` from now on."""
        async with self._database.as_service() as connection:
            return await connection.execute(RENEW, holder, lease_s) == "UPDATE 1"

    async def latest(self) -> LastLease | None:
        """None where sessions have never been in a process's memory."""
        async with self._database.as_service() as connection:
            row = await connection.fetchrow(LATEST, EPOCHS_MAX)
        return None if row is None else LastLease(node=row["node"], for_s=row["for_s"], epoch=row["epoch"])

    async def release(self, holder: str) -> None:
        """Lets others take it at once."""
        async with self._database.as_service() as connection:
            await connection.execute(RELEASE, holder)


async def require(connection: Connection, holder: str) -> None:
    """Keeps the lease for this transaction. Raises LeaseLost, which rolls it back."""
    if await connection.fetchval(REQUIRE, holder) is None:
        raise LeaseLost("Another process keeps the sessions in its memory now.")

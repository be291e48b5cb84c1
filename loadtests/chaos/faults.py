"""The kills: each ends one process with SIGKILL under traffic, starts it again, and returns when all goes on.

| kind                | what                                                                                         |
| ------------------- | -------------------------------------------------------------------------------------------- |
| server              | one of the two; its devices find the other one                                               |
| valkey              | started again on its append-only file                                                        |
| valkey_tail         | the same, and the file has lost its end: what a crash of the machine leaves with `everysec`  |
| valkey_tail_quiet   | the same, and nobody presses anything for a while                                            |
| postgres            | its server process; started again on its data                                                |
| flusher_in_batch    | its statement waits for a lock: the entries are taken, nothing of them is committed          |
| flusher_after_commit | PostgreSQL has committed the batch, and the journal still holds it                          |
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from loadtests.chaos.checks import is_back
from loadtests.chaos.device import Device
from loadtests.chaos.inspection import Inspector
from loadtests.chaos.record import Loss, Order, Record, SessionRecord
from loadtests.chaos.system import POLL_S, System
from loadtests.chaos.traffic import Traffic
from playhead.sessions.keys import partition_of

RECOVERY_TIMEOUT_S = 60.0
ANSWERS_BEFORE = 20
"""Answers between two kills at least, so that each of them meets traffic."""
LOSS_S_MAX = 2.0
"""What a store with `appendfsync everysec` may lose of what it has acked: the last 2 s."""
LOSS_MARGIN_S = 0.3
CUT_BYTES = 500
"""The cut lies up to so far behind the end of a command: most likely in the middle of the next one."""
PAUSE_MS = 2_000
BLOCKED = "select pid from pg_stat_activity where usename = 'playhead_service' and wait_event_type = 'Lock'"
STORING = "select pid from pg_stat_activity where pid = any($1::int[]) and state <> 'idle'"
"""Connections whose transaction is not over."""
FLUSHED = "select coalesce(max(changed_at) > to_timestamp($1), false) from audio_sessions"
BLOCK = "lock table audio_sessions in share mode"
"""Readers go on; whoever writes waits."""


class Stuck(Exception):
    """The system, or the traffic, does not go on after a kill. The text says who waits for what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill. `back_s`: how long each device that it cut off was away; `recovered_s`: until all went on."""

    kind: str
    at_s: float
    recovered_s: float
    back_s: tuple[float, ...] = ()


@dataclass(slots=True)
class Faults:
    """Kills processes of `system`. `chance` chooses the moments."""

    system: System
    traffic: Traffic
    inspector: Inspector
    record: Record
    chance: Random
    done: list[Kill] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, Callable[[], Awaitable[Kill]]]:
        return {
            "server": self.server,
            "valkey": self.valkey,
            "valkey_tail": self.valkey_tail,
            "valkey_tail_quiet": self.valkey_tail_quiet,
            "postgres": self.postgres,
            "flusher_in_batch": self.flusher_in_batch,
            "flusher_after_commit": self.flusher_after_commit,
        }

    async def kill(self, kind: str) -> Kill:
        """One kill of that kind, in the middle of traffic. Raises Stuck when it does not come to go on."""
        try:
            async with asyncio.timeout(RECOVERY_TIMEOUT_S):
                await self.traffic.answers(ANSWERS_BEFORE + self.chance.randrange(ANSWERS_BEFORE))
                killed = await self.kinds[kind]()
        except TimeoutError as error:
            raise Stuck(f"After a kill of {kind}: {self._state_of_things()}") from error
        self.done.append(killed)
        return killed

    def _state_of_things(self) -> str:
        devices = [
            f"{row.listener_id} {row.device_id} at {row.url}, joined: {row.joined}" for row in self.traffic.devices
        ]
        return "\n".join([*devices, *(f"not answered: {asked}" for asked in self.record.under_way)])

    async def server(self) -> Kill:
        """A server that holds devices; the other one must be there."""
        victim = self._busiest()
        await self.system.ready(1 - victim)
        cut = [device for device in self.traffic.devices if device.url == self.system.urls[victim]]
        last = {device: self._last(device) for device in cut}
        process = self.system.servers[victim]
        process.kill()
        at_s = time.time()
        process.start()
        back_s = await asyncio.gather(*(self._back(device, at_s, *last[device]) for device in cut))
        return Kill(kind="server", at_s=at_s, recovered_s=time.time() - at_s, back_s=tuple(back_s))

    def _busiest(self) -> int:
        held = [sum(device.url == url for device in self.traffic.devices) for url in self.system.urls]
        return held.index(max(held))

    def _last(self, device: Device) -> tuple[SessionRecord, Order]:
        """The listener's latest session, and the newest state of it that anybody was told."""
        session = max(self.record.of_listener(device.listener_id), key=lambda row: row.began_at_s)
        return session, max(session.states)

    async def _back(self, device: Device, at_s: float, session: SessionRecord, newest: Order) -> float:
        """Seconds from the kill until the device had a snapshot again, as late as what its listener had seen before."""
        await device.expect(lambda row: row.joined_at_s > at_s and is_back(row.live, session, newest))
        return time.time() - at_s

    async def valkey(self) -> Kill:
        at_s = await self._restart_valkey(lambda _at_s: None)
        await self._all_answered()
        return Kill(kind="valkey", at_s=at_s, recovered_s=time.time() - at_s)

    async def valkey_tail(self) -> Kill:
        at_s = await self._valkey_without_tail()
        await self._all_answered()
        return Kill(kind="valkey_tail", at_s=at_s, recovered_s=time.time() - at_s)

    async def valkey_tail_quiet(self) -> Kill:
        """Nobody presses anything after it: what devices show must follow all the same."""
        at_s = await self._valkey_without_tail(hush=True)
        epochs = await self.inspector.epochs()
        stored = await self.inspector.stored([self.record.sessions[row.session_id] for row in self.traffic.listeners])
        for listener in self.traffic.listeners:
            # one that had begun less than 2 s before may be gone as a whole
            if stored[listener.session_id] is not None:
                epoch = epochs[partition_of(listener.listener_id)]
                for device in listener.devices:
                    await device.expect(partial(_shows_epoch, listener.session_id, epoch))
        return Kill(kind="valkey_tail_quiet", at_s=at_s, recovered_s=time.time() - at_s)

    async def _valkey_without_tail(self, *, hush: bool = False) -> float:
        """What it has written since a moment less than 2 s ago is cut off, in the middle of a command."""
        file, since_s = self._aof(), time.time()
        await self._written()
        kept_bytes = file.stat().st_size
        await self.traffic.answers(ANSWERS_BEFORE)
        if hush:
            await self.traffic.quiet()
        if self._aof() != file or time.time() - since_s > LOSS_S_MAX - LOSS_MARGIN_S:
            # it was rewritten meanwhile, or traffic is too slow to lose less than 2 s of it: another moment
            self.traffic.resume()
            return await self._valkey_without_tail(hush=hush)

        lost = False

        def cut(at_s: float) -> None:
            nonlocal lost
            if at_s - since_s >= LOSS_S_MAX:
                return
            lost = True
            size = file.stat().st_size
            with file.open("r+b") as opened:
                opened.truncate(min(size, kept_bytes + self.chance.randrange(CUT_BYTES)))

        at_s = await self._restart_valkey(cut)
        if not lost:
            # killed so late, on a busy machine, that it may have lost nothing of this: once more
            self.traffic.resume()
            return await self._valkey_without_tail(hush=hush)
        return at_s

    async def _written(self) -> None:
        """All that has been answered is in the file: with `everysec` it may wait in memory while the disk is busy."""
        async with self.system.store() as store:
            while (await store.info("persistence"))["aof_buffer_length"]:
                await asyncio.sleep(POLL_S)

    def _aof(self) -> Path:
        return max(self.system.aof_folder.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)

    async def _restart_valkey(self, meanwhile: Callable[[float], None]) -> float:
        """Kills it and starts it again; returns when the servers have opened its new life, with the time of death.

        `meanwhile` is called with that time while it is dead.
        """
        before = await self.inspector.epochs()

        def restart() -> float:
            self.system.valkey.kill()
            at_s = time.time()
            meanwhile(at_s)
            self.system.valkey.start()
            return at_s

        at_s = await self.system.on_keeper(restart)
        while not _all_later(epochs := await self.inspector.epochs(), before):
            await asyncio.sleep(POLL_S)
        if self.system.append_sync != "always":
            loss = Loss(since_s=at_s - LOSS_S_MAX, died_at_s=at_s, until_s=time.time(), epochs=epochs)
            self.record.losses.append(loss)
        return at_s

    async def _all_answered(self) -> None:
        """Every device has had an answer to something that it asked from now on."""
        since_s = time.time()
        names = [(device.listener_id, device.device_id) for device in self.traffic.devices]
        await self.traffic.until(lambda: all(self.record.last.get(name, 0.0) > since_s for name in names))

    async def postgres(self) -> Kill:
        at_s = time.time()

        def restart() -> None:
            self.system.postgres.kill()
            self.system.postgres.start()

        await self.system.on_keeper(restart)
        await self.flushes_again(at_s)
        await asyncio.gather(*(self.system.ready(number) for number in range(len(self.system.servers))))
        return Kill(kind="postgres", at_s=at_s, recovered_s=time.time() - at_s)

    async def flusher_in_batch(self) -> Kill:
        async with self._blocked():
            at_s = self._restart_flusher()
        await self.flushes_again(at_s)
        return Kill(kind="flusher_in_batch", at_s=at_s, recovered_s=time.time() - at_s)

    async def flusher_after_commit(self) -> Kill:
        async with self.system.owner() as watcher, self.system.store() as store:
            try:
                async with self._blocked() as pids:
                    # what is committed cannot be taken off the journal; commands wait as well, for a moment
                    await store.client_pause(PAUSE_MS, all=False)
                while await watcher.fetch(STORING, pids):
                    await asyncio.sleep(POLL_S)
                at_s = self._restart_flusher()
            finally:
                await store.client_unpause()
        await self.flushes_again(at_s)
        return Kill(kind="flusher_after_commit", at_s=at_s, recovered_s=time.time() - at_s)

    @asynccontextmanager
    async def _blocked(self) -> AsyncIterator[list[int]]:
        """The flusher has a batch in hand, and its statement waits until the block ends. Its connections' ids."""
        # two connections: what others do is shown as it was when a transaction first asked
        async with self.system.owner() as owner, self.system.owner() as watcher, owner.transaction():
            await owner.execute(BLOCK)
            while not (rows := await watcher.fetch(BLOCKED)):
                await asyncio.sleep(POLL_S)
            yield [row["pid"] for row in rows]

    async def flushes_again(self, at_s: float) -> None:
        """Returns when PostgreSQL has something that was committed after that."""
        async with self.system.owner() as watcher:
            while not await watcher.fetchval(FLUSHED, at_s):
                await asyncio.sleep(POLL_S)

    def _restart_flusher(self) -> float:
        assert self.system.flusher is not None
        self.system.flusher.kill()
        at_s = time.time()
        self.system.flusher.start()
        return at_s


def _shows_epoch(session_id: str, epoch: int, device: Device) -> bool:
    state = device.shown(session_id)
    return state is not None and bool(state["epoch"] >= epoch)


def _all_later(epochs: Mapping[int, int], before: Mapping[int, int]) -> bool:
    return all(epoch > before[partition] for partition, epoch in epochs.items())

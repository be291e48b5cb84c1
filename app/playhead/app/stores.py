"""Where sessions live, as PLAYHEAD_STORE says: in Valkey or Redis, or in the memory of this process alone.

Owns: what stands behind the state store, its bus, server time and the cache, with the checks of each.
Must not know: who uses them.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playhead.app.node import exclusive_node
from playhead.cache import Backend, RedisBackend
from playhead.db import Database, DatabaseUnavailable, JournalRepository, LeaseRepository, SessionRepository
from playhead.http.health import Check, NotReady, clock_check, valkey_check
from playhead.runtime.clock import Clock, SystemClock
from playhead.runtime.metrics import Metrics, Reading
from playhead.runtime.settings import Settings
from playhead.runtime.store_clock import RedisTime, StoreClock
from playhead.runtime.tasks import cancelled
from playhead.sessions.group_keeper import GroupKeeper
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.redis_bus import RedisBus
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.service import SessionService
from playhead.sessions.single_node import SingleNode
from playhead.sessions.store import Bus, OnGap, OnPacket, SessionStore, StoreUnavailable
from playhead.sessions.sweeping import Sweeper
from playhead.sessions.taking_over import TakingOver

OUTGROW_RETRY_S = 1.0
OUTGROW_PATIENCE_S = 5.0
Open = Callable[[SessionService, Sweeper], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What a server process keeps sessions in. `shared_cache` None: this process caches for itself.

    `open` is called once, when there is a service that can look after the sessions. `lost` is set when this process
    may never answer for them again, and has to end.
    """

    store: SessionStore
    bus: Bus
    open: Open
    readings: tuple[Reading, ...]
    checks: Mapping[str, Check]
    shared_cache: Backend | None
    lost: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def server_clock(settings: Settings) -> AsyncIterator[Clock]:
    """Server time, for all that this process does. Entered first: a clock that is ahead can go back only now.

    Waits for the store's answers, but not for long: a process may start while the store is away. Without a store that
    others share, it is this process's own.
    """
    if settings.store == "memory":
        yield SystemClock()
        return
    assert settings.redis_url is not None
    clock = StoreClock(RedisTime(settings.redis_url.get_secret_value()))
    try:
        await clock.start()
        yield clock
    finally:
        await clock.stop()


@asynccontextmanager
async def open_stores(
    settings: Settings, opened: Database, clock: Clock, metrics: Metrics, on_packet: OnPacket, on_gap: OnGap
) -> AsyncIterator[Stores]:
    """The stores that the settings ask for; ended at the end."""
    if settings.store == "memory":
        made = _in_memory(settings, opened, clock, metrics, on_packet)
    else:
        made = _in_redis(settings, opened, clock, metrics, on_packet, on_gap)
    async with made as stores:
        yield stores


@asynccontextmanager
async def _in_redis(
    settings: Settings, opened: Database, clock: Clock, metrics: Metrics, on_packet: OnPacket, on_gap: OnGap
) -> AsyncIterator[Stores]:
    """Asks no server yet: a process may start while the store is away, and says so in its readiness."""
    assert settings.redis_url is not None
    assert isinstance(clock, StoreClock)
    store = RedisStore(settings.redis_url.get_secret_value(), clock)
    bus = RedisBus(store.client, on_packet, on_gap)
    store.on_moved = bus.reopen
    leases = LeaseRepository(opened)
    outgrowing: asyncio.Task[None] | None = None

    async def open_now(_service: SessionService, _sweeper: Sweeper) -> None:
        nonlocal outgrowing
        bus.start()
        outgrowing = asyncio.create_task(outgrow_memory(leases, store), name="outgrowing")
        # before the first command, which would go on from what Redis knew then; not for ever, as a store may be away
        await asyncio.wait((outgrowing,), timeout=OUTGROW_PATIENCE_S)

    try:
        yield Stores(
            store=store,
            bus=bus,
            open=open_now,
            readings=(
                (metrics.store_up, lambda: bus.connected),
                (metrics.server_time_uncertainty_seconds, lambda: clock.uncertainty_ms / 1000),
                (metrics.wall_clock_offset_seconds, lambda: clock.wall_offset_ms / 1000),
            ),
            checks={
                "valkey": valkey_check(store.client),
                "clock": clock_check(clock),
                "lease": _nobody_elses(leases, lambda: outgrowing is not None and outgrowing.done()),
            },
            shared_cache=RedisBackend(store.client),
        )
    finally:
        await cancelled(outgrowing)
        await bus.stop()
        await store.stop()


async def outgrow_memory(leases: LeaseRepository, store: RedisStore) -> None:
    """Where sessions were in a process's memory before, Redis knows them only as they were before that."""
    while True:
        try:
            last = await leases.latest()
            if last is not None:
                await store.outgrow(last.epoch)
            return
        except (DatabaseUnavailable, StoreUnavailable):
            await asyncio.sleep(OUTGROW_RETRY_S)


def _nobody_elses(leases: LeaseRepository, outgrown: Callable[[], bool]) -> Check:
    async def check() -> None:
        last = await leases.latest()
        if last is not None and last.for_s > 0:
            raise NotReady("another server keeps the sessions in its memory (PLAYHEAD_STORE=memory); stop it")
        if not outgrown():
            raise NotReady("it is not known yet whether sessions were in a server's memory before; wait a moment")

    return check


@asynccontextmanager
async def _in_memory(
    settings: Settings, opened: Database, clock: Clock, metrics: Metrics, on_packet: OnPacket
) -> AsyncIterator[Stores]:
    """Raises CommandFailed where another process runs on the same data folder, and LeaseRefused when it is opened."""
    holder, sessions = str(uuid.uuid4()), SessionRepository(opened)
    with exclusive_node(settings.data_dir) as name:
        node = SingleNode(LeaseRepository(opened), holder, name)
        keeper = GroupKeeper(JournalRepository(opened, holder), sessions, node.lose)
        store = MemoryStore(clock, on_packet, keeper=keeper, guard=node.guard)
        graces: asyncio.Task[None] | None = None

        async def open_now(service: SessionService, sweeper: Sweeper) -> None:
            nonlocal graces
            taking_over = TakingOver(store, sessions, service, clock)
            keeper.start()
            await node.start(taking_over.read)
            sweeper.excuse()
            graces = asyncio.create_task(taking_over.give_time(), name="graces")

        try:
            yield Stores(
                store=store,
                bus=store,
                open=open_now,
                readings=((metrics.store_up, lambda: node.trouble is None),),
                checks={"lease": _lease_check(node)},
                shared_cache=None,
                lost=node.lost,
            )
        finally:
            await cancelled(graces)
            await keeper.stop()
            await node.stop()


def _lease_check(node: SingleNode) -> Check:
    async def check() -> None:
        if node.trouble is not None:
            raise NotReady(node.trouble)

    return check

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
from playhead.app.shared_lease import SharedLease
from playhead.auth.revocations import Revocations
from playhead.cache import Backend, Claims, OwnClaims, RedisBackend, RedisClaims
from playhead.db import Database, JournalRepository, LeaseRepository, SessionRepository
from playhead.http.health import Check, NotReady, clock_check, valkey_check
from playhead.runtime.clock import Clock
from playhead.runtime.metrics import Metrics, Reading
from playhead.runtime.settings import Settings
from playhead.runtime.store_clock import RedisTime, StoreClock, WallTime
from playhead.runtime.tasks import cancelled
from playhead.sessions.group_keeper import GroupKeeper
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.redis_bus import RedisBus
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.revocations import RevocationFeed
from playhead.sessions.script_news import RedisNews, ScriptNews, UntoldNews
from playhead.sessions.service import SessionService
from playhead.sessions.single_node import SingleNode
from playhead.sessions.store import Bus, OnGap, OnPacket, SessionStore
from playhead.sessions.sweeping import Sweeper
from playhead.sessions.taking_over import TakingOver

Open = Callable[[SessionService, Sweeper], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What a server process keeps sessions in. `shared_cache` None: this process caches for itself.

    `open` is called once, when there is a service that can look after the sessions. `lost` is set when this process
    may never answer for them again, and has to end.
    """

    store: SessionStore
    bus: Bus
    script_news: ScriptNews
    revocations: Revocations
    open: Open
    readings: tuple[Reading, ...]
    checks: Mapping[str, Check]
    shared_cache: Backend | None
    claims: Claims
    lost: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def server_clock(settings: Settings) -> AsyncIterator[Clock]:
    """Server time, for all that this process does. Entered first: a clock that is ahead can go back only now.

    Waits for the store's answers, but not for long: a process may start while the store is away. Without a store that
    others share it is this machine's, followed in the same way: a step back must not make time stand still.
    """
    if settings.store == "memory":
        clock = StoreClock(WallTime())
    else:
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
    """Asks no server yet: a process may start while the store is away, and says so in its readiness.

    Raises LeaseRefused when it is opened beside a process that keeps the sessions in its memory.
    """
    assert settings.redis_url is not None
    assert isinstance(clock, StoreClock)
    store = RedisStore(settings.redis_url.get_secret_value(), clock)
    bus = RedisBus(store.client, on_packet, on_gap)
    script_news = RedisNews(store.client)
    revoked = RevocationFeed(store.calls, clock)

    def reopen() -> None:
        bus.reopen()
        script_news.reopen()

    store.on_moved = reopen
    lost = asyncio.Event()
    lease = SharedLease(LeaseRepository(opened), store, lost)

    async def open_now(_service: SessionService, _sweeper: Sweeper) -> None:
        bus.start()
        await lease.start()
        await revoked.start()

    try:
        yield Stores(
            store=store,
            bus=bus,
            script_news=script_news,
            revocations=revoked.revocations,
            open=open_now,
            readings=(
                (metrics.store_up, lambda: bus.connected),
                (metrics.links.connected.labels("calls"), lambda: store.calls.connected),
                (metrics.links.connected.labels("bus"), lambda: bus.connected),
                (metrics.links.silent_seconds, lambda: bus.silent_s),
                (metrics.links.ping_seconds, lambda: bus.ping_s),
                (metrics.server_time_uncertainty_seconds, lambda: clock.uncertainty_ms / 1000),
                (metrics.wall_clock_offset_seconds, lambda: clock.wall_offset_ms / 1000),
            ),
            checks={
                "valkey": valkey_check(store.client),
                "clock": clock_check(clock),
                "lease": lease.check,
            },
            shared_cache=RedisBackend(store.client),
            claims=RedisClaims(store.client),
            lost=lost,
        )
    finally:
        await revoked.stop()
        await lease.stop()
        await script_news.stop()
        await bus.stop()
        await store.stop()


@asynccontextmanager
async def _in_memory(
    settings: Settings, opened: Database, clock: Clock, metrics: Metrics, on_packet: OnPacket
) -> AsyncIterator[Stores]:
    """Raises CommandFailed where another process runs on the same data folder, and LeaseRefused when it is opened."""
    holder, sessions = str(uuid.uuid4()), SessionRepository(opened)
    assert isinstance(clock, StoreClock)
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
                script_news=UntoldNews(),
                revocations=store.revocations,
                open=open_now,
                readings=(
                    (metrics.store_up, lambda: node.trouble is None),
                    (metrics.wall_clock_offset_seconds, lambda: clock.wall_offset_ms / 1000),
                ),
                checks={"lease": _lease_check(node)},
                shared_cache=None,
                claims=OwnClaims(),
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

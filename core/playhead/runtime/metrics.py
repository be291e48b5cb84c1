"""Every metric of every process, in one table; labels are bounded sets, never ids.

prometheus-client runs in multiprocess mode from the start: each process writes files into one folder, and whoever
serves `/metrics` adds them up. The folder must be set before the library is imported: see `playhead.app.__main__`.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess, start_http_server
from prometheus_client.samples import Sample

from playhead.runtime.metric_files import FOLDED_KINDS, LockedCollector, claim_folder
from playhead.runtime.metric_values import keep_room
from playhead.runtime.tallies import Tallies
from playhead.runtime.tasks import cancelled

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
VITALS_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Links:
    """How this process and Redis hear each other."""

    connected: Gauge
    silent_seconds: Gauge
    ping_seconds: Gauge


@dataclass(frozen=True, slots=True)
class Room:
    """What processes have room for, and how fast."""

    half_open: Gauge
    sockets_max: Gauge
    pace: Gauge


@dataclass(frozen=True, slots=True)
class SoundTold:
    """How well it sounds, as devices tell it with their reports."""

    first_audio_seconds: Histogram
    stalled_seconds: Histogram


@dataclass(frozen=True, slots=True)
class GarbageTold:
    """What was removed from the storage."""

    objects: Counter
    bytes: Counter
    refused: Counter


@dataclass(frozen=True, slots=True)
class DemandTold:
    """How segments that were not there came to be."""

    answers: Counter
    runs: Counter
    seconds: Histogram
    gave_way_seconds: Counter


@dataclass(frozen=True, slots=True)
class Metrics:
    """The instruments. Names end in their unit; `_total` counts. `tallies`: of what every command counts."""

    sockets: Gauge
    room: Room
    sockets_admitted: Counter
    sockets_refused: Counter
    sockets_ended: Counter
    draining: Gauge
    commands: Counter
    events_limited: Counter
    ack_seconds: Histogram
    deliveries: Counter
    delivery_seconds: Histogram
    announcements: Counter
    states_caught_up: Counter
    devices_caught_up: Counter
    resyncs: Counter
    sound: SoundTold
    loop_lag_seconds: Histogram
    requests: Counter
    requests_limited: Counter
    request_seconds: Histogram
    store_up: Gauge
    links: Links
    server_time_uncertainty_seconds: Gauge
    wall_clock_offset_seconds: Gauge
    cache_away: Gauge
    flush_batches: Counter
    flushed_entries: Counter
    flush_lag_seconds: Histogram
    journal_entries: Gauge
    journal_oldest_seconds: Gauge
    journal_buried: Counter
    journal_dead_forgotten: Counter
    journal_dead_entries: Gauge
    jobs: Counter
    segments: Counter
    demand: DemandTold
    garbage: GarbageTold
    tallies: Tallies = field(default_factory=Tallies)


_AddedUp = Literal["livesum", "livemin", "livemax", "livemostrecent"]
"""What `/metrics` shows of a gauge that several processes have."""


class _SetGauge(Gauge):
    """Exported from the first time on that this process sets it. The library would export 0 for every process that has
    registered it: of the journal by servers, which never look at it, and of the store by flushers."""

    def _metric_init(self) -> None:
        """Not yet."""

    @cached_property
    def _value(self) -> Any:
        super()._metric_init()
        return self.__dict__["_value"]

    def _child_samples(self) -> Iterable[Sample]:
        return super()._child_samples() if "_value" in self.__dict__ else ()


class _Maker:
    """Registers instruments, all named `playhead_…` and with the same buckets of latency."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"playhead_{name}_total", text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"playhead_{name}", text, labels, registry=self._registry, buckets=LATENCY_BUCKETS_S)

    def gauge(self, name: str, text: str, added_up: _AddedUp, *labels: str) -> Gauge:
        return _SetGauge(f"playhead_{name}", text, labels, registry=self._registry, multiprocess_mode=added_up)


def _links(make: _Maker) -> Links:
    return Links(
        connected=make.gauge(
            "redis_connected",
            "1 while the connection to Redis is open: `calls` of the store, `bus` for packets.",
            "livemin",
            "connection",
        ),
        silent_seconds=make.gauge(
            "bus_silent_seconds",
            "Since the bus last heard from Redis; each process tells itself something every 10 s.",
            "livemax",
        ),
        ping_seconds=make.gauge(
            "bus_ping_seconds", "How long a process's last message to itself took, by way of Redis.", "livemax"
        ),
    )


def links_of_rooms(registry: CollectorRegistry) -> Links:
    """Gauges for a `ShardedManager`, which sets them. No process of playhead has one, so the table is without them."""
    make = _Maker(registry)
    return Links(
        connected=make.gauge("rooms_connected", "1 while events of other nodes' rooms can arrive.", "livemin"),
        silent_seconds=make.gauge(
            "rooms_silent_seconds",
            "Since the manager last heard from Redis; each tells itself something every 10 s.",
            "livemax",
        ),
        ping_seconds=make.gauge(
            "rooms_ping_seconds", "How long a manager's last message to itself took, by way of Redis.", "livemax"
        ),
    )


def _room(make: _Maker) -> Room:
    return Room(
        half_open=make.gauge("sockets_half_open", "Connections that have not shown who they are.", "livesum"),
        sockets_max=make.gauge("sockets_max", "Sockets that all processes together may have open.", "livesum"),
        pace=make.gauge(
            "sockets_pace",
            "New sockets a second that all processes together let in now: fewer than set while they are busy.",
            "livesum",
        ),
    )


def _sound(make: _Maker) -> SoundTold:
    return SoundTold(
        first_audio_seconds=make.histogram(
            "first_audio_seconds", "From a press or a jump to the sound of it, as devices tell it."
        ),
        stalled_seconds=make.histogram(
            "stalled_seconds", "How long the sound stood still for want of media, by reports of devices."
        ),
    )


def _garbage(make: _Maker) -> GarbageTold:
    return GarbageTold(
        objects=make.counter("garbage_objects", "Objects removed that no script needed.", "kind"),
        bytes=make.counter("garbage_bytes", "Bytes of those objects.", "kind"),
        refused=make.counter("garbage_refused", "Rounds that left objects, as most scripts have no row."),
    )


def _demand(make: _Maker) -> DemandTold:
    return DemandTold(
        answers=make.counter("demand_answers", "Answers to who asked for a segment that was not there.", "result"),
        runs=make.counter("demand_runs", "Encoder runs for what was asked for, by how they ended.", "ended"),
        seconds=make.histogram("demand_seconds", "From the question for such a segment to its bytes."),
        gave_way_seconds=make.counter(
            "demand_gave_way_seconds", "How long workers' encoders stood still for such runs."
        ),
    )


def create_metrics(registry: CollectorRegistry | None = None) -> Metrics:
    """The instruments of this process, registered once in `registry` (tests pass their own)."""
    make = _Maker(registry or CollectorRegistry())
    return Metrics(
        sockets=make.gauge("sockets", "Open sockets.", "livesum"),
        room=_room(make),
        sockets_admitted=make.counter("sockets_admitted", "Sockets that were let in."),
        sockets_refused=make.counter("sockets_refused", "Sockets that were not let in, by reason.", "reason"),
        sockets_ended=make.counter("sockets_ended", "Sockets that the server ended, by reason.", "reason"),
        draining=make.gauge("draining", "Processes that go away, and serve their sockets until then.", "livesum"),
        commands=make.counter("commands", "Commands by surface, kind and result.", "surface", "command", "result"),
        events_limited=make.counter("events_limited", "Events of sockets that were refused as too fast."),
        ack_seconds=make.histogram("ack_seconds", "From a command's arrival to its answer.", "surface"),
        deliveries=make.counter("deliveries", "Events written to sockets.", "event"),
        delivery_seconds=make.histogram("delivery_seconds", "From a commit to its event's arrival at this node."),
        announcements=make.counter(
            "announcements", "Changes outside of sessions that devices were to be told of, by event.", "event", "result"
        ),
        states_caught_up=make.counter("states_caught_up", "States sent again, by what had kept them away.", "cause"),
        devices_caught_up=make.counter("devices_caught_up", "Lists of devices sent again, since an event was lost."),
        resyncs=make.counter("resyncs", "Times that a listener's devices were told to ask anew, by reason.", "reason"),
        sound=_sound(make),
        loop_lag_seconds=make.histogram("loop_lag_seconds", "How late the event loop wakes up."),
        requests=make.counter("http_requests", "REST and media requests.", "method", "route", "status"),
        requests_limited=make.counter("http_requests_limited", "REST requests that were refused as too fast."),
        request_seconds=make.histogram("http_request_seconds", "From a request until its answer is made.", "route"),
        store_up=make.gauge(
            "store_up", "1 while sessions can be served: Redis is subscribed to, or memory has its lease.", "livemin"
        ),
        links=_links(make),
        server_time_uncertainty_seconds=make.gauge(
            "server_time_uncertainty_seconds",
            "How wrong server time may be here; above 0.05 it is not ready.",
            "livemax",
        ),
        wall_clock_offset_seconds=make.gauge(
            "wall_clock_offset_seconds",
            "The machine's wall clock less server time; followed only where there is no Redis.",
            "livemostrecent",
        ),
        cache_away=make.gauge("cache_away", "1 while the cache is in memory, as Redis does not answer.", "livemax"),
        flush_batches=make.counter("flush_batches", "Batches of the journal by what became of them.", "result"),
        flushed_entries=make.counter("flushed_entries", "Entries of the journal that PostgreSQL has."),
        flush_lag_seconds=make.histogram(
            "flush_lag_seconds", "From a command's commit to PostgreSQL's, for the oldest entry of each batch."
        ),
        journal_entries=make.gauge("journal_entries", "Entries of the journal that PostgreSQL has not.", "livemax"),
        journal_oldest_seconds=make.gauge(
            "journal_oldest_seconds", "Age of the oldest entry that PostgreSQL has not.", "livemax"
        ),
        journal_buried=make.counter("journal_buried", "Entries that PostgreSQL refused; each is a bug."),
        journal_dead_forgotten=make.counter("journal_dead_forgotten", "Dead letters that made room for others."),
        journal_dead_entries=make.gauge("journal_dead_entries", "Entries in the dead letters.", "livemax"),
        jobs=make.counter("jobs", "Transcode jobs by result.", "result"),
        segments=make.counter("segments", "Segments encoded.", "rung"),
        demand=_demand(make),
        garbage=_garbage(make),
    )


def process_metrics() -> Metrics:
    """The instruments of this process, in files of its own in the metrics folder, which it holds to its end.

    Raises OSError when the folder cannot be used, or has no room.
    """
    folder, pid = metrics_folder(), os.getpid()
    claim_folder(folder, pid)
    keep_room(folder, pid, (*FOLDED_KINDS, *(f"gauge_{added_up}" for added_up in get_args(_AddedUp))))
    return create_metrics()


class MetricsServer:
    """Serves `/metrics` on a port of its own: all processes that share the metrics folder, added up."""

    def __init__(self, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(LockedCollector(metrics_folder()))
        self._server, self._thread = start_http_server(port, host, registry)

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        # what only a living process has (its open sockets, say) is not added up any more; what it counted stays
        multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def metrics_folder() -> Path:
    """Where the processes keep their metrics."""
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


Reading = tuple[Gauge, Callable[[], float]]
"""A gauge and what it shows; in multiprocess mode a gauge cannot ask by itself."""


class Vitals:
    """Twice a second: gauges, tallies, and how late the loop wakes a sleeper, the first sign of a busy process."""

    def __init__(self, metrics: Metrics, readings: Sequence[Reading] = ()) -> None:
        self._metrics = metrics
        self._readings = readings
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._measure(), name="vitals")

    async def stop(self) -> None:
        if self._task is not None:
            await cancelled(self._task)
        self._metrics.tallies.flush()

    async def _measure(self) -> None:
        while True:
            for gauge, read in self._readings:
                gauge.set(read())
            self._metrics.tallies.flush()
            asleep_at_s = time.perf_counter()
            await asyncio.sleep(VITALS_INTERVAL_S)
            self._metrics.loop_lag_seconds.observe(max(0.0, time.perf_counter() - asleep_at_s - VITALS_INTERVAL_S))

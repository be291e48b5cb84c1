"""What a run of `bench hold` comes to: figures, goals and rows. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from loadtests.holding.loads import Loads
from loadtests.holding.rest import CACHED_STREAM, UPLOAD, Sampler
from loadtests.keeping import Latency, percentile
from loadtests.machine import Goal

COMMANDS = "seek"
"""A seek on one device until its state is on the other."""
NAMES = {
    "seek": "seek → state on the other device",
    "seek_ack": "seek → its ack",
    "progress": "report → its ack",
    "connect": "a socket, until it is joined",
}
SEEK_P95_GOAL_MS = 50.0
REST_P95_GOAL_MS = 300.0
STREAM_P95_GOAL_MS = 50.0
SOCKET_BYTES_GOAL = 12 * 1024
REACHED_MIN = 0.95
"""Of the reports and seeks a second that were asked for."""
SOCKETS_A_LISTENER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a run was to hold: so many sockets for so long, and what they do. One device of each listener reports."""

    sockets: int
    minutes: float
    commands_per_s: float
    report_every_s: float

    @property
    def reports_per_s(self) -> float:
        return self.sockets / SOCKETS_A_LISTENER / self.report_every_s


@dataclass(slots=True, kw_only=True)
class Held:
    """One run. Times are of the monotonic clock; memory is in bytes of all server processes together."""

    asked: Asked
    loads: Loads
    sampler: Sampler
    began_s: float
    ended_s: float
    looks: Sequence[tuple[float, dict[str, float]]]
    """CPU seconds so far by what the processes do, at times."""
    server_rss: Sequence[tuple[float, int]]
    """Memory of all server processes, what they share counted in each, at the same times."""
    joins_per_s: float
    join_cpu_us: dict[str, float]
    fresh: dict[str, int]
    at_first: dict[str, int]
    first_joined: int
    at_last: dict[str, int]
    valkey_bytes: int
    network_bytes: int
    """Between clients and servers, both ways, with all headers."""
    rows_written: int
    """By PostgreSQL: inserted, changed and deleted."""
    servers: int

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


def figures_of(held: Held, groups: Iterable[str]) -> dict[str, float]:
    whole = held.loads.between(held.began_s, held.ended_s)
    counts = whole.counts
    refused = sum(value for name, value in counts.items() if name.startswith("reports_refused"))
    found = {
        "sockets": float(held.loads.joined),
        "server_processes": float(held.servers),
        "minutes": round(held.seconds / 60, 2),
        "minutes_held": minutes_held(held),
        "sockets_lost": float(counts["lost"]),
        "clients_that_gave_up": float(counts["gave_up"]),
        "joins_per_s": round(held.joins_per_s, 1),
        "reports": float(counts["reports"]),
        "reports_per_s": round(counts["reports"] / held.seconds, 1),
        "reports_taken_per_s": round((len(whole.times_ms["progress"]) - refused) / held.seconds, 1),
        "reports_refused": float(refused),
        "reports_crossed": float(counts["reports_crossed"]),
        "commands_per_s": round(counts["seeks"] / held.seconds, 1),
        "commands_arrived_per_s": round(len(whole.times_ms[COMMANDS]) / held.seconds, 1),
        "commands_failed": float(counts["seeks_failed"] + counts["not_arrived"]),
        "paused": float(counts["paused"]),
        "postgresql_rows_per_s": round(held.rows_written / held.seconds, 1),
    }
    for name, prefix in ((COMMANDS, "seek"), ("progress", "report")):
        for percent in (50, 95, 99):
            found[f"{prefix}_p{percent}_ms"] = _percentile(whole.times_ms[name], percent)
    found |= _memory(held) | _cpu(held, groups) | _rest(held)
    return found | {"load_late_ms": whole.late_ms}


def minutes_held(held: Held) -> float:
    """For how long as many sockets as asked for were joined: what was seen in a second holds until the next one."""
    seen = [at_s for at_s in sorted(held.loads.seconds) if int(held.began_s) <= at_s < held.ended_s]
    return round(
        sum(
            to_s - max(from_s, held.began_s)
            for from_s, to_s in pairwise([*seen, held.ended_s])
            if held.loads.seconds[int(from_s)].joined >= held.asked.sockets
        )
        / 60,
        2,
    )


def _percentile(times_ms: Sequence[float], percent: int) -> float:
    return round(percentile(sorted(times_ms), percent), 2) if times_ms else 0.0


def _memory(held: Held) -> dict[str, float]:
    joined = max(1, held.loads.joined)
    return {
        "measured_at_sockets": float(held.first_joined),
        "rss_bytes_per_socket": _per_socket(held.fresh["rss"], held.at_first["rss"], held.first_joined),
        "pss_bytes_per_socket": _per_socket(held.fresh["pss"], held.at_first["pss"], held.first_joined),
        "end_rss_bytes_per_socket": _per_socket(held.fresh["rss"], held.at_last["rss"], joined),
        "begin_server_rss_mb": _megabytes(held.server_rss[0][1]),
        "end_server_rss_mb": _megabytes(held.server_rss[-1][1]),
        "network_bytes_per_socket_s": round(held.network_bytes / joined / held.seconds, 1),
        "valkey_bytes_per_socket": round(held.valkey_bytes / max(1, held.first_joined)),
    }


def _per_socket(before: int, after: int, sockets: int) -> float:
    return float(round((after - before) / max(1, sockets)))


def _megabytes(size: int) -> float:
    return round(size / 1e6, 1)


def _cpu(held: Held, groups: Iterable[str]) -> dict[str, float]:
    """Cores that were busy, what a socket cost a second of that, and what joining cost once."""
    (first_s, first), (last_s, last) = held.looks[0], held.looks[-1]
    found = {}
    for group in groups:
        used = last.get(group, 0.0) - first.get(group, 0.0)
        found[f"{group}_cores"] = round(used / (last_s - first_s), 3)
        found[f"{group}_cpu_us_per_socket_s"] = round(used / (last_s - first_s) / max(1, held.loads.joined) * 1e6, 2)
        found[f"{group}_cpu_us_per_join"] = round(held.join_cpu_us.get(group, 0.0))
    return found


def _rest(held: Held) -> dict[str, float]:
    times_ms = {name: found for name, found in held.sampler.times_ms.items() if name != UPLOAD}
    worst = max((_percentile(found, 95) for found in times_ms.values()), default=0.0)
    return {
        "rest_requests": float(sum(map(len, held.sampler.times_ms.values()))),
        "rest_failed": float(sum(held.sampler.failed.values())),
        "rest_p95_ms": worst,
        "upload_p95_ms": _percentile(held.sampler.times_ms.get(UPLOAD, ()), 95),
        "cached_stream_p95_ms": _percentile(held.sampler.times_ms.get(CACHED_STREAM, ()), 95),
    }


def goals_of(figures: Mapping[str, float], asked: Asked) -> dict[str, Goal]:
    """All that was asked for, and what it may cost."""

    def most(name: str, limit: float, strict: bool = True) -> Goal:
        value = figures[name]
        return Goal(f"{'<' if strict else '<='} {limit:g}", value, value < limit or (not strict and value == limit))

    def none(name: str) -> Goal:
        return Goal("= 0", figures[name], figures[name] == 0)

    def least(name: str, limit: float) -> Goal:
        return Goal(f">= {limit:g}", figures[name], figures[name] >= limit)

    return {
        "sockets": Goal(f"= {asked.sockets}", figures["sockets"], figures["sockets"] == asked.sockets),
        "minutes_held": least("minutes_held", asked.minutes),
        "reports_taken_per_s": least("reports_taken_per_s", REACHED_MIN * asked.reports_per_s),
        "commands_arrived_per_s": least("commands_arrived_per_s", REACHED_MIN * asked.commands_per_s),
        **{
            name: none(name) for name in ("sockets_lost", "reports_refused", "commands_failed", "rest_failed", "paused")
        },
        "rss_bytes_per_socket": most("rss_bytes_per_socket", SOCKET_BYTES_GOAL, strict=False),
        "seek_p95_ms": most("seek_p95_ms", SEEK_P95_GOAL_MS),
        "rest_p95_ms": most("rest_p95_ms", REST_P95_GOAL_MS),
        "cached_stream_p95_ms": most("cached_stream_p95_ms", STREAM_P95_GOAL_MS),
    }


def rows_of(held: Held) -> list[Latency]:
    """What came over sockets, then every route."""
    whole = held.loads.between(held.began_s, held.ended_s)
    ever = held.loads.between(0.0, held.ended_s)
    times_ms = {**whole.times_ms, "connect": ever.times_ms["connect"]}
    failed = {
        "seek": int(whole.counts["not_arrived"]),
        "seek_ack": int(whole.counts["seeks_failed"]),
        "progress": sum(value for name, value in whole.counts.items() if name.startswith("reports_refused")),
    }
    found = [
        row(title, times_ms.get(name, ()), failed.get(name, 0), held.seconds)
        for name, title in NAMES.items()
        if times_ms.get(name)
    ]
    routes = sorted(held.sampler.times_ms.items())
    return found + [row(name, times, held.sampler.failed[name], held.seconds) for name, times in routes]


def row(name: str, times_ms: Sequence[float], failed: int, seconds: float) -> Latency:
    ordered = sorted(times_ms)
    p50_ms, p95_ms, p99_ms = (round(percentile(ordered, percent), 2) for percent in (50, 95, 99))
    return Latency(
        name=name,
        count=len(ordered),
        failed=failed,
        per_s=round(len(ordered) / seconds, 2),
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
    )


def table(rows: Iterable[Latency]) -> str:
    """Rows for somebody who reads."""
    lines = [f"{'':<45} {'count':>8} {'failed':>6} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9}"]
    lines += [
        f"{row.name:<45} {row.count:>8} {row.failed:>6} {row.p50_ms:>9g} {row.p95_ms:>9g} {row.p99_ms:>9g}"
        for row in rows
    ]
    return "\n".join(lines)

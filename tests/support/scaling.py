"""The tables of docs/scaling.md: what was held, what storms took, and what larger audiences need, from kept results.

The needs follow from the largest run with the usual load that was kept: everything in it grows with the sockets, so it
is multiplied.
"""

import json
import math
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "loadtests" / "results"
LISTENERS = (50_000, 1_000_000, 10_000_000)
SOCKETS_A_LISTENER = 2
REPORT_EVERY_S = 10.0
"""Of a device that sounds, as the clients do."""
SERVER_BUSY = 0.6
"""What a core of a server may be used; the rest is for a storm, and for neighbours that are gone."""
VALKEY_BUSY = 0.5
SOCKETS_A_PROCESS_MAX = 25_000
NOT_YET = "No run has been kept yet: `python3 dev.py bench hold --keep`."
Kept = dict[str, Any]


def kept(name: str) -> list[Kept]:
    """The results of a benchmark at every size that was kept, the smallest first."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob(f"{name}*.json")]
    return sorted(found, key=lambda each: float(each["figures"]["sockets"]))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seen(runs: list[Kept]) -> str:
    where = {(run["machine"], run["date"], run["commit"]) for run in runs}
    return (
        "Seen on " + "; ".join(f"{machine}, {date}, commit {commit}" for machine, date, commit in sorted(where)) + ":"
    )


def held() -> str:
    """What was held, a column a run."""
    runs = kept("hold")
    if not runs:
        return NOT_YET
    names = {
        "sockets joined": "sockets",
        "for how many minutes": "minutes",
        "of these with all sockets that were asked for": "minutes_held",
        "server processes": "server_processes",
        "sockets lost": "sockets_lost",
        "reports a second": "reports_per_s",
        "of these answered and not refused": "reports_taken_per_s",
        "reports refused": "reports_refused",
        "seeks a second": "commands_per_s",
        "of these seen on the other device": "commands_arrived_per_s",
        "seeks that failed": "commands_failed",
        "listeners paused": "paused",
        "seek → state on the other device, p50 (ms)": "seek_p50_ms",
        "p95 (ms)": "seek_p95_ms",
        "p99 (ms)": "seek_p99_ms",
        "slowest REST call, p95 (ms)": "rest_p95_ms",
        "cached stream, p95 (ms)": "cached_stream_p95_ms",
        "server memory per socket, at the first 10,000 (bytes)": "rss_bytes_per_socket",
        "the same at the end (bytes)": "end_rss_bytes_per_socket",
        "memory of all servers when measuring began (MB)": "begin_server_rss_mb",
        "when it ended (MB)": "end_server_rss_mb",
        "Valkey per socket (bytes)": "valkey_bytes_per_socket",
        "server CPU per socket and second (µs)": "server_cpu_us_per_socket_s",
        "Valkey (µs)": "valkey_cpu_us_per_socket_s",
        "PostgreSQL (µs)": "postgresql_cpu_us_per_socket_s",
        "flusher (µs)": "flusher_cpu_us_per_socket_s",
        "rows that PostgreSQL writes a second": "postgresql_rows_per_s",
        "server CPU of a join (µs)": "server_cpu_us_per_join",
        "bytes on the wire per socket and second": "network_bytes_per_socket_s",
        "the load's own CPU (cores)": "load_cores",
    }
    rows = [[title, *(told(run["figures"].get(name)) for run in runs)] for title, name in names.items()]
    head = ["sockets asked for", *(f"{run['arguments']['sockets']:,}" for run in runs)]
    every = ["a device that sounds reports every (s)", *(f"{_report_every_s(run):g}" for run in runs)]
    return f"{seen(runs)}\n\n{markdown(head, [every, *rows])}"


def told(figure: float | None) -> str:
    """A run that was kept before there was such a figure has a dash."""
    return "-" if figure is None else f"{figure:,.12g}"


def _report_every_s(run: Kept) -> float:
    return float(run["arguments"].get("report_every_s", REPORT_EVERY_S))


def usual() -> list[Kept]:
    """The runs with the usual load, the smallest first."""
    return [run for run in kept("hold") if _report_every_s(run) == REPORT_EVERY_S]


def storms() -> str:
    """How long until all were back, a row a restart."""
    runs = kept("storm")
    if not runs:
        return NOT_YET.replace("hold", "storm")
    rows = [
        [
            f"{run['figures']['sockets']:,.0f}",
            f"{run['arguments']['report_every_s']:g}",
            {"kill": "all killed at once", "rolling": "one process after the other"}[kind],
            *(
                f"{run['figures'][f'{kind}_{name}']:,.12g}"
                for name in ("all_back_s", "away_p50_s", "away_p95_s", "acked_lost", "paused", "gave_up")
            ),
        ]
        for run in runs
        for kind in ("kill", "rolling")
        if f"{kind}_all_back_s" in run["figures"]
    ]
    head = ["sockets", "a report every (s)", "restart", "all back (s)", "a client away, p50 (s)", "p95 (s)"]
    return f"{seen(runs)}\n\n{markdown([*head, 'acked and lost', 'paused', 'gave up'], rows)}"


def needs() -> str:
    """What so many listeners need, by the largest run with the usual load that was kept."""
    runs = usual()
    if not runs:
        return NOT_YET
    figures = runs[-1]["figures"]
    rows = [[f"{listeners:,}", *_needs(figures, listeners * SOCKETS_A_LISTENER)] for listeners in LISTENERS]
    head = ["listeners", "sockets", "server cores", "server processes", "server memory", "Valkey shards"]
    head += [
        "Valkey memory",
        "journal entries a second",
        "PostgreSQL rows a second",
        "flusher cores",
        "PostgreSQL cores",
        "network",
    ]
    return f"By the run with {figures['sockets']:,.0f} sockets:\n\n{markdown(head, rows)}"


def _needs(figures: Kept, sockets: int) -> list[str]:
    def cores(group: str) -> float:
        return sockets * float(figures[f"{group}_cpu_us_per_socket_s"]) / 1e6

    server_cores = math.ceil(cores("server") / SERVER_BUSY)
    processes = max(server_cores, math.ceil(sockets / SOCKETS_A_PROCESS_MAX))
    entries = (figures["reports_per_s"] + figures["commands_per_s"]) / figures["sockets"] * sockets
    return [
        f"{sockets:,}",
        f"{server_cores:,}",
        f"{processes:,}",
        _gigabytes(sockets * figures["end_rss_bytes_per_socket"]),
        f"{math.ceil(cores('valkey') / VALKEY_BUSY):,}",
        _gigabytes(sockets * figures["valkey_bytes_per_socket"]),
        f"{entries:,.0f}",
        f"{sockets * figures['postgresql_rows_per_s'] / figures['sockets']:,.0f}",
        f"{math.ceil(cores('flusher')):,}",
        f"{math.ceil(cores('postgresql')):,}",
        f"{sockets * figures['network_bytes_per_socket_s'] / 1e6:,.0f} MB/s",
    ]


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"


TABLES = {"held": held, "storms": storms, "needs": needs}

"""The tables of the README: what a command costs beside the peers, and what one machine has held, from kept results.

Each says below which of its goals are missed, in words.
"""

import json
import re
from typing import Any

from loadtests.bench_sockets import figure_name, microseconds
from loadtests.sockets.servers import FLUSHER, POSTGRES, SERVER, VALKEY
from tests.support import scaling
from tests.support.figures import ROOT, filled

PAGE = ROOT / "README.md"
Kept = dict[str, Any]
NOT_YET = "No run is kept yet: `python3 dev.py bench sockets --keep` on a machine that does nothing else."
SERVERS = {
    "node": "Socket.IO 4.8 on Node.js",
    "bare_uvloop": "aiohttp's websockets alone, on uvloop",
    "stock_asyncio": "python-socketio, on asyncio",
    "stock_uvloop": "python-socketio, on uvloop",
    "engine_asyncio": "playhead's engine under the same handlers",
    "playhead_memory": "**playhead** with its sessions in memory",
    "playhead_durable": "**playhead** as it is run",
}
OURS = {
    "engine_asyncio": "playhead's engine",
    "engine_uvloop": "playhead's engine on uvloop",
    "playhead_memory": "playhead in memory",
    "playhead_durable": "playhead as it is run",
}
THEIRS = {
    "node": "Node.js', which checks and keeps nothing",
    "stock": "that of python-socketio on its faster loop",
    "stock_asyncio": "that of python-socketio on asyncio",
}
HELD = {
    "sockets joined": "sockets",
    "minutes with all of them": "minutes_held",
    "reports a second": "reports_per_s",
    "of these answered and not refused": "reports_taken_per_s",
    "seeks a second": "commands_per_s",
    "of these seen on the other device": "commands_arrived_per_s",
    "sockets lost": "sockets_lost",
    "reports refused": "reports_refused",
    "seeks that failed": "commands_failed",
    "requests that failed": "rest_failed",
    "listeners paused": "paused",
    "a seek until the other device has it, p50 (ms)": "seek_p50_ms",
    "p95 (ms)": "seek_p95_ms",
    "slowest REST call, p95 (ms)": "rest_p95_ms",
    "cached stream, p95 (ms)": "cached_stream_p95_ms",
    "server memory of a socket (bytes)": "rss_bytes_per_socket",
    "server cores busy": "server_cores",
}


def costs() -> str:
    """What each server uses for a command, for a delivery and for a socket."""
    path = scaling.RESULTS / "sockets.json"
    if not path.exists():
        return NOT_YET
    run: Kept = json.loads(path.read_text())
    head = ["server", "a command", "behind it: Valkey, PostgreSQL, flusher", "a delivery", "an open socket"]
    rows = [[title, *_costs(run["figures"], name)] for name, title in SERVERS.items()]
    return f"{scaling.seen([run])}\n\n{scaling.markdown(head, rows)}\n\n{missed(run)}"


def _costs(figures: Kept, name: str) -> list[str]:
    behind = [figures.get(figure_name(name, what, "command")) for what in (VALKEY, POSTGRES, FLUSHER)]
    weight = figures.get(f"{name}_bytes_per_socket")
    return [
        microseconds([figures.get(figure_name(name, SERVER, "command"))]),
        microseconds(behind),
        microseconds([figures.get(figure_name(name, SERVER, "delivery"))]),
        "-" if weight is None else f"{weight / 1000:.1f} KB",
    ]


def missed(run: Kept) -> str:
    """The goals that this run of `bench sockets` has missed, in words."""
    goals = run["goals"].items()
    found = [f"- {_said(name, goal['value'])} (goal: {goal['goal']})" for name, goal in goals if not goal["met"]]
    return "\n".join(["Goals that are missed:", "", *found]) if found else "All goals are met."


def _said(name: str, value: float) -> str:
    if found := re.fullmatch(r"(\w+?)_vs_(\w+)_cpu_us_per_(\w+)", name):
        ours, theirs, what = found.groups()
        return f"a {what} costs {OURS.get(ours, ours)} {value:.3g} x {THEIRS.get(theirs, theirs)}"
    if found := re.fullmatch(r"(\w+)_growth", name):
        grown = f"{value:.3g} x as much with the most sockets in a process as with the fewest"
        return f"a command costs {OURS.get(found[1], found[1])} {grown}"
    if found := re.fullmatch(r"(\w+)_bytes_per_socket", name):
        return f"a socket takes {OURS.get(found[1], found[1])} {value:,g} bytes"
    return f"{name} is {value:g}"


def held() -> str:
    """What was held with the usual load, a column a run; what misses its goal says so."""
    runs = scaling.usual()
    if not runs:
        return scaling.NOT_YET
    rows = [[title, *(_held(run, name) for run in runs)] for title, name in HELD.items()]
    head = ["sockets asked for", *(f"{run['arguments']['sockets']:,}" for run in runs)]
    return f"{scaling.seen(runs)}\n\n{scaling.markdown(head, rows)}\n\n{_missed_of(runs)}"


def _held(run: Kept, name: str) -> str:
    goal = run["goals"].get(name)
    told = scaling.told(run["figures"].get(name))
    return told if goal is None or goal["met"] else f"{told}, missed: {goal['goal']}"


def _missed_of(runs: list[Kept]) -> str:
    counts = [
        f"{sum(not goal['met'] for goal in run['goals'].values())} of {len(run['goals'])} goals with "
        f"{run['arguments']['sockets']:,}"
        for run in runs
    ]
    return f"Missed: {', '.join(counts)}."


TABLES = {"sockets": costs, "held": held}


def renew() -> None:
    """Writes them into the README."""
    text = PAGE.read_text()
    for name, make in TABLES.items():
        text = filled(text, name, make())
    PAGE.write_text(text)

"""The tables of docs/media.md: how soon sound comes, and how fast it is encoded, from the run that was kept."""

import json
from pathlib import Path
from typing import Any

from loadtests.media.figures import CLIENTS, FEW, MANY, WHATS
from loadtests.media.sources import KINDS
from tests.support.scaling import Kept, markdown

RESULTS = Path(__file__).parents[2] / "loadtests" / "results"
NOT_YET = "No run has been kept yet: `python3 dev.py bench media --keep`."
STREAM_NOT_YET = "No run has been kept yet: `python3 dev.py bench media --only cached --keep`."
STREAM_TITLES = {
    "cached_bare_per_s": "one bare aiohttp handler, requests a second",
    "cached_bare_cpu_us": "CPU of its process for one (µs)",
    "cached_shared_per_s": "one server process, a script for everybody: cached `GET /stream` a second",
    "cached_ratio": "as a share of the bare handler's",
    "cached_shared_cpu_us": "CPU of the server's process for one (µs)",
    "cached_shared_databases_cpu_us": "of PostgreSQL and Valkey (µs)",
    "cached_own_per_s": "each client a script of its own: a second",
    "cached_own_ratio": "as a share of the bare handler's",
    "cached_own_cpu_us": "CPU of the server's process for one (µs)",
    "cached_own_databases_cpu_us": "of PostgreSQL and Valkey (µs)",
}


def kept(name: str) -> Kept | None:
    """The result of a benchmark, if one was kept."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _seen(run: Kept) -> str:
    return f"Seen on {run['machine']}, {run['date']}, commit {run['commit']}:"


def _notes(run: Kept) -> str:
    return "".join(f"\n\n{note}" for note in run.get("notes", []))


def _goal(run: Kept, name: str) -> str:
    goal = run["goals"].get(name)
    return "" if goal is None else f"{goal['goal']}{'' if goal['met'] else ' (missed)'}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.12g}"


def sounds() -> str:
    """First sounds and seeks, a row each and client."""
    run = kept("media")
    if run is None:
        return NOT_YET
    figures: dict[str, float] = run["figures"]
    rows = []
    for what, title in WHATS.items():
        for client, client_title in CLIENTS.items():
            name = f"{what}_{client}"
            if f"{name}_count" not in figures:
                continue
            seen = [figures.get(f"{name}_{part}") for part in ("p50_ms", "p95_ms", "count", "failed")]
            rows.append([f"{title}, {client_title}", *map(_number, seen), _goal(run, f"{name}_p95_ms")])
    head = ["", "p50 (ms)", "p95 (ms)", "samples", "without sound", "goal for the p95"]
    return f"{_seen(run)}\n\n{markdown(head, rows)}{_notes(run)}"


def formats() -> str:
    """What is cold by the kind of source, over HTTP: p50 and the slowest of a few."""
    run = kept("media")
    if run is None:
        return NOT_YET
    seen: dict[str, dict[str, Any]] = {row["name"]: row for row in run["rows"]}
    rows = []
    for kind in KINDS:
        cells = []
        for what in ("first_cold", "seek_cold"):
            for client_title in CLIENTS.values():
                row = seen.get(f"{WHATS[what]}, {client_title}: {kind}")
                cells.append("-" if row is None else f"{row['p50_ms']:,.0f} / {row['p95_ms']:,.0f}")
        rows.append([kind, *cells])
    titles = [f"{WHATS[what]}, {title}" for what in ("first_cold", "seek_cold") for title in CLIENTS.values()]
    return markdown(["an hour of", *titles], rows)


def encoding() -> str:
    """The ladder, what is encoded on demand, crowds, memory; and what the edge takes off, from its own benchmark."""
    run = kept("media")
    if run is None:
        return NOT_YET
    rows = [
        [title, _number(run["figures"].get(name)), _goal(run, name)]
        for name, title in _titles(run["figures"]).items()
        if name in run["figures"]
    ]
    edge = kept("edge")
    if edge is not None:
        hits = edge["figures"]["hit_percent"]
        rows.append(
            [f"[edge](edge.md): from its cache, % (commit {edge['commit']})", _number(hits), _goal(edge, "hit_percent")]
        )
    return markdown(["", "seen", "goal"], rows)


def stream() -> str:
    """The cached `GET /stream` beside a bare handler, from a result of its own."""
    run = kept("stream")
    if run is None:
        return STREAM_NOT_YET
    rows = [
        [title, _number(run["figures"][name]), _goal(run, name)]
        for name, title in STREAM_TITLES.items()
        if name in run["figures"]
    ]
    return f"{_seen(run)}\n\n{markdown(['', 'seen', 'goal'], rows)}{_notes(run)}"


def _titles(figures: dict[str, float]) -> dict[str, str]:
    """What the figures are called, in the order of the table."""
    titles = {
        "ladder_playhead_x": "whole ladder, the worker: seconds of sound a second",
        "ladder_bare_x": "one bare ffmpeg with its own HLS muxer",
        "ladder_ratio": "the worker's speed as a share of the bare ffmpeg's",
        "ladder_playhead_cpu_s_per_hour": "CPU for an hour of sound, worker and server (s)",
        "ladder_bare_cpu_s_per_hour": "the bare ffmpeg (s)",
    }
    for name in figures:
        if name.startswith("demand_") and name.endswith("_segments_per_s"):
            clients = name.removeprefix("demand_").removesuffix("_segments_per_s")
            titles[name] = f"segments on demand a second, random places, {clients} clients"
            titles[f"demand_{clients}_segment_p95_ms"] = "p95 of one (ms)"
            titles[f"demand_{clients}_refused"] = "answers 503"
    for size in (FEW, MANY):
        titles |= {
            f"crowd_{size}_segment_p95_ms": f"{size} listeners within 10 s: a segment, p95 (ms)",
            f"crowd_{size}_first_sound_p95_ms": "first sound, p95 (ms)",
            f"crowd_{size}_first_sound_max_ms": "all of them play after (ms)",
            f"crowd_{size}_answer_max_ms": "the latest answer (ms)",
            f"crowd_{size}_refused": "answers 503",
            f"crowd_{size}_refused_without_retry_after": "of them without `Retry-After`",
            f"crowd_{size}_gave_up": "gave up",
            f"crowd_{size}_stalled": "stood still meanwhile",
            f"crowd_{size}_ffmpeg_processes_max": "ffmpeg processes at most",
            f"crowd_{size}_server_mb_max": "the server's memory at most (MiB)",
        }
    return titles | {"ffmpeg_mb_max": "memory of one ffmpeg at most (MiB)"}


TABLES = {"sounds": sounds, "formats": formats, "encoding": encoding, "stream": stream}

"""What a run of `bench media` comes to: figures, goals and rows. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadtests.holding.figures import row
from loadtests.keeping import Latency, percentile
from loadtests.machine import Goal
from loadtests.media.cached import CachedRound, Pace
from loadtests.media.crowd import Crowd
from loadtests.media.demand import Loop
from loadtests.media.firsts import (
    CHROMIUM,
    FIRST_BUSY,
    FIRST_COLD,
    FIRST_WARM,
    HTTP,
    SEEK_BUSY,
    SEEK_COLD,
    SEEK_WARM,
    SOCKET,
    Samples,
)
from loadtests.media.ladder import Round
from loadtests.media.watching import Peak

WHATS = {
    FIRST_COLD: "first sound, cold",
    FIRST_BUSY: "first sound, cold, the worker busy elsewhere",
    SEEK_COLD: "seek, cold",
    SEEK_BUSY: "seek, cold, the worker busy elsewhere",
    FIRST_WARM: "first sound, warm",
    SEEK_WARM: "seek, warm",
}
CLIENTS = {HTTP: "over HTTP", SOCKET: "by socket", CHROMIUM: "in Chromium"}
P95_GOALS_MS = {FIRST_COLD: 600, FIRST_BUSY: 600, SEEK_COLD: 400, SEEK_BUSY: 400, FIRST_WARM: 150, SEEK_WARM: 150}
LADDER_GOAL = 0.95
CACHED_GOAL = 0.6
SEGMENT_P95_GOAL_MS = 1_500
ANSWER_GOAL_MS = 5_000
PLAYING_GOAL_MS = 20_000
FFMPEG_GOAL_MB = 64
FEW, MANY = 40, 100
"""Listeners in crowds that have goals."""


@dataclass(slots=True)
class Measured:
    """A run. `notes`: what could not be measured, and why."""

    samples: Samples = field(default_factory=Samples)
    rounds: list[Round] = field(default_factory=list)
    cached: list[CachedRound] = field(default_factory=list)
    cached_others_cores: float = 0.0
    """What others used while these were measured."""
    loops: list[Loop] = field(default_factory=list)
    crowds: list[Crowd] = field(default_factory=list)
    peaks: dict[str, Peak] = field(default_factory=dict)
    """By what went on meanwhile."""
    others_cores: float = 0.0
    """What others used of the machine meanwhile."""
    notes: list[str] = field(default_factory=list)


def figures_of(measured: Measured) -> dict[str, float]:
    found = {"others_cores": round(measured.others_cores, 2)}
    for what in WHATS:
        for client in CLIENTS:
            found |= _samples(measured.samples, what, client)
    if measured.rounds:
        found |= _ladder(measured.rounds)
    for loop in measured.loops:
        name = f"demand_{loop.clients}"
        found |= _percentiles(f"{name}_segment", loop.times_ms)
        found |= {f"{name}_segments_per_s": round(loop.per_s, 2), f"{name}_refused": float(loop.answers.refused)}
        found[f"{name}_failed"] = float(loop.failed)
    for crowd in measured.crowds:
        found |= _crowd(crowd)
    return found | _peaks(measured.peaks)


def stream_figures(measured: Measured) -> dict[str, float]:
    """Of the cached `GET /stream`, which is kept by itself. Medians of the rounds."""
    found = {
        "others_cores": round(measured.cached_others_cores, 2),
        "cached_rounds": float(len(measured.cached)),
        "cached_ratio": _median((each.ratio for each in measured.cached), 3),
        "cached_own_ratio": _median((each.own_ratio for each in measured.cached), 3),
    }
    for what in ("shared", "own", "bare"):
        paces: list[Pace] = [getattr(each, what) for each in measured.cached]
        found[f"cached_{what}_per_s"] = _median((pace.per_s for pace in paces), 0)
        found[f"cached_{what}_cpu_us"] = _median((pace.cpu_us for pace in paces), 0)
        found[f"cached_{what}_databases_cpu_us"] = _median((pace.databases_cpu_us for pace in paces), 0)
    return found


def _samples(samples: Samples, what: str, client: str) -> dict[str, float]:
    times_ms, failed = samples.of(what, client), samples.failed[what, client]
    if not times_ms and not failed:
        return {}
    name = f"{what}_{client}"
    counts = {f"{name}_count": float(len(times_ms)), f"{name}_failed": float(failed)}
    return _percentiles(name, times_ms) | counts


def _percentiles(name: str, times_ms: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times_ms)
    return {f"{name}_p{percent}_ms": round(percentile(ordered, percent), 1) for percent in (50, 95) if ordered}


def _ladder(rounds: Sequence[Round]) -> dict[str, float]:
    """`_x`: seconds of sound a second. Medians of the rounds."""
    return {
        "ladder_rounds": float(len(rounds)),
        "ladder_playhead_x": _median(each.sound_s / each.playhead.seconds for each in rounds),
        "ladder_bare_x": _median(each.sound_s / each.bare.seconds for each in rounds),
        "ladder_ratio": _median((each.ratio for each in rounds), 3),
        "ladder_playhead_cpu_s_per_hour": _median(each.playhead.cpu_s / each.sound_s * 3_600 for each in rounds),
        "ladder_bare_cpu_s_per_hour": _median(each.bare.cpu_s / each.sound_s * 3_600 for each in rounds),
    }


def _median(values: Iterable[float], digits: int = 1) -> float:
    return round(statistics.median(values), digits)


def _crowd(crowd: Crowd) -> dict[str, float]:
    name = f"crowd_{crowd.listeners}"
    stalled = [stalled_ms for stalled_ms in crowd.stalled_ms if stalled_ms > 0]
    found = _percentiles(f"{name}_first_sound", crowd.first_ms) | _percentiles(f"{name}_segment", crowd.segment_ms)
    return found | {
        f"{name}_playing": float(len(crowd.first_ms)),
        f"{name}_first_sound_max_ms": round(max(crowd.first_ms, default=0.0), 1),
        f"{name}_answer_max_ms": round(max(crowd.answers.times_ms, default=0.0), 1),
        f"{name}_segments": float(len(crowd.segment_ms)),
        f"{name}_refused": float(crowd.answers.refused),
        f"{name}_refused_without_retry_after": float(crowd.answers.without_retry_after),
        f"{name}_gave_up": float(len(crowd.failed)),
        f"{name}_stalled": float(len(stalled)),
        f"{name}_stalled_s": round(sum(stalled) / 1_000, 1),
    }


def _peaks(peaks: dict[str, Peak]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, peak in peaks.items():
        if peak.processes:
            found[f"{name}_ffmpeg_processes_max"] = float(peak.processes)
            found[f"{name}_ffmpeg_mb_max"] = _mb(peak.ffmpeg_bytes)
            found[f"{name}_server_mb_max"] = _mb(peak.server_bytes)
    if found:
        found["ffmpeg_mb_max"] = _mb(max(peak.ffmpeg_bytes for peak in peaks.values()))
    return found


def _mb(size: int) -> float:
    return round(size / 2**20, 1)


def goals_of(figures: dict[str, float]) -> dict[str, Goal]:
    """Of what was measured."""
    found: dict[str, Goal] = {}

    def below(name: str, limit: float) -> None:
        if (value := figures.get(name)) is not None:
            found[name] = Goal(f"< {limit:g}", value, value < limit)

    def none(name: str) -> None:
        if (value := figures.get(name)) is not None:
            found[name] = Goal("= 0", value, value == 0)

    for what, limit_ms in P95_GOALS_MS.items():
        for client in CLIENTS:
            below(f"{what}_{client}_p95_ms", limit_ms)
            none(f"{what}_{client}_failed")
    if (ratio := figures.get("ladder_ratio")) is not None:
        found["ladder_ratio"] = Goal(f">= {LADDER_GOAL}", ratio, ratio >= LADDER_GOAL)
    for name in ("cached_ratio", "cached_own_ratio"):
        if (ratio := figures.get(name)) is not None:
            found[name] = Goal(f">= {CACHED_GOAL}", ratio, ratio >= CACHED_GOAL)
    below(f"crowd_{FEW}_segment_p95_ms", SEGMENT_P95_GOAL_MS)
    below(f"crowd_{MANY}_answer_max_ms", ANSWER_GOAL_MS)
    below(f"crowd_{MANY}_first_sound_max_ms", PLAYING_GOAL_MS)
    for listeners in (FEW, MANY):
        none(f"crowd_{listeners}_refused_without_retry_after")
        none(f"crowd_{listeners}_gave_up")
    if (size := figures.get("ffmpeg_mb_max")) is not None:
        found["ffmpeg_mb_max"] = Goal(f"<= {FFMPEG_GOAL_MB}", size, size <= FFMPEG_GOAL_MB)
    return found


def rows_of(measured: Measured) -> list[Latency]:
    """First sounds and seeks by client, those that are cold by the kind of source too; then what few and many got."""
    samples = measured.samples
    found = [
        _row(f"{title}, {client_title}", times_ms, samples.failed[what, client])
        for what, title in WHATS.items()
        for client, client_title in CLIENTS.items()
        if (times_ms := samples.of(what, client))
    ]
    found += [
        _row(f"{WHATS[what]}, {CLIENTS[client]}: {kind}", times_ms, 0)
        for (what, client, kind), times_ms in sorted(samples.times_ms.items())
        if what in (FIRST_COLD, SEEK_COLD)
    ]
    found += [
        row(f"a place nobody has encoded, {loop.clients} at once", loop.times_ms, loop.failed, loop.seconds)
        for loop in measured.loops
        if loop.times_ms
    ]
    for crowd in measured.crowds:
        if crowd.first_ms:
            found.append(_row(f"{crowd.listeners} come: first sound", crowd.first_ms, len(crowd.failed)))
            found.append(_row(f"{crowd.listeners} come: a segment", crowd.segment_ms, crowd.answers.refused))
    return found


def _row(name: str, times_ms: Sequence[float], failed: int) -> Latency:
    """One after the other: so many a second as the times themselves make."""
    return row(name, times_ms, failed, sum(times_ms) / 1_000)

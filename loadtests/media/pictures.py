"""A picture of a run: how soon sound came, by client and by the kind of source, and how a crowd was served."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.keeping import percentile
from loadtests.media.figures import CLIENTS, P95_GOALS_MS, WHATS, Measured
from loadtests.media.firsts import FIRST_COLD, SEEK_COLD

COLORS = {"http": "tab:blue", "socket": "tab:green", "chromium": "tab:orange"}
SHIFTS = {"http": 0.2, "socket": 0.0, "chromium": -0.2}
STYLES = {FIRST_COLD: "-", SEEK_COLD: "--"}


def draw_media(measured: Measured, title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "playhead"  # so that the same figures are the same file
    figure, axes = pyplot.subplots(3, 1, figsize=(9.0, 10.0), layout="constrained", height_ratios=(3, 3, 2))
    _draw_samples(measured, axes[0])
    _draw_kinds(measured, axes[1])
    _draw_crowds(measured, axes[2])
    for each in axes:
        each.grid(alpha=0.3)
        if each.get_legend_handles_labels()[0]:
            each.legend(fontsize=7)
    axes[0].set_title(title, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw_samples(measured: Measured, axes: Any) -> None:
    """Every sample a dot, its p95 a line, and a cross where it should be below."""
    shown = [what for what in WHATS if any(measured.samples.of(what, client) for client in CLIENTS)][::-1]
    for client, label in CLIENTS.items():
        shift = SHIFTS[client]
        for level, what in enumerate(shown):
            times_ms = sorted(measured.samples.of(what, client))
            if times_ms:
                color, at = COLORS[client], level + shift
                axes.plot(times_ms, [at] * len(times_ms), ".", color=color, alpha=0.4)
                axes.plot([percentile(times_ms, 95)], [at], "|", color=color, markersize=16, markeredgewidth=2)
        axes.plot([], [], "|", color=COLORS[client], label=f"{label}: each, and their p95")
    goals = [P95_GOALS_MS[what] for what in shown]
    axes.plot(goals, range(len(shown)), "x", color="black", label="goal for the p95")
    axes.set_yticks(range(len(shown)), [WHATS[what] for what in shown], fontsize=8)
    axes.set_xlim(left=0)
    axes.set_xlabel("ms until it sounds")


def _draw_kinds(measured: Measured, axes: Any) -> None:
    """What is cold, by the kind of source."""
    kinds = sorted({kind for _, _, kind in measured.samples.times_ms})
    names = [(what, client) for what in STYLES for client in CLIENTS if measured.samples.of(what, client)]
    width = 0.8 / max(1, len(names))
    for place, (what, client) in enumerate(names):
        found = [_p95(measured.samples.times_ms.get((what, client, kind), ())) for kind in kinds]
        left = [number - 0.4 + width * (place + 0.5) for number in range(len(kinds))]
        bars = axes.bar(left, found, width=width * 0.9, label=f"{WHATS[what]}, {CLIENTS[client]}")
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=6)
    axes.set_xticks(range(len(kinds)), kinds, fontsize=8)
    axes.set_ylabel("slowest of all, ms")


def _p95(times_ms: Sequence[float]) -> float:
    """With a handful of samples that is the slowest."""
    return percentile(sorted(times_ms), 95) if times_ms else 0.0


def _draw_crowds(measured: Measured, axes: Any) -> None:
    """How many of a crowd's segments were there after so long."""
    for crowd in measured.crowds:
        for label, times_ms in (("a segment", crowd.segment_ms), ("the first sound", crowd.first_ms)):
            ordered = sorted(times_ms)
            share = [100 * (number + 1) / len(ordered) for number in range(len(ordered))]
            axes.plot(ordered, share, label=f"{crowd.listeners} within 10 s: {label}")
    axes.set_xlabel("ms")
    axes.set_xlim(left=0)
    axes.set_ylabel("% there")

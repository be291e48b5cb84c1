"""Pictures by time: what a run looked like while it went on."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from loadtests.holding.figures import COMMANDS, Held
from loadtests.holding.loads import Loads
from loadtests.keeping import percentile

BIN_S = 10
PERCENTS = (50, 95, 99)


def draw_hold(held: Held, title: str, path: Path) -> None:
    """Seeks, cores, the servers' memory and sockets by time."""
    starts, times = percentiles_by_time(held.loads, COMMANDS, held.began_s, held.ended_s)
    with_axes(title, path, 4, lambda axes: _draw_hold(held, starts, times, axes))


def _draw_hold(held: Held, starts: Sequence[float], times: Sequence[Sequence[float]], axes: Sequence[Any]) -> None:
    for percent, found in zip(PERCENTS, times, strict=True):
        axes[0].plot(starts, found, label=f"p{percent}")
    axes[0].set_ylabel("seek → state elsewhere, ms")
    for group in held.looks[-1][1]:
        middle, cores = [], []
        for (from_s, before), (to_s, after) in pairwise(held.looks):
            middle.append((from_s + to_s) / 2 - held.began_s)
            cores.append((after.get(group, 0.0) - before.get(group, 0.0)) / (to_s - from_s))
        axes[1].plot(middle, cores, label=group)
    axes[1].set_ylabel("cores busy")
    draw_memory(held, axes[2])
    draw_joined(held.loads, held.began_s, axes[3], held.began_s)
    axes[3].set_xlabel("s")


def draw_memory(held: Held, axes: Any) -> None:
    """Memory of all server processes together, by time."""
    at_s = [at_s - held.began_s for at_s, _ in held.server_rss]
    axes.plot(at_s, [rss / 1e6 for _, rss in held.server_rss], label=f"RSS of {held.servers} server processes")
    axes.set_ylim(0, 1.1 * max(rss for _, rss in held.server_rss) / 1e6)
    axes.set_ylabel("MB")


def draw_storm(loads: Loads, began_s: Mapping[str, float], title: str, path: Path) -> None:
    """Sockets and seeks by time; `began_s`: when which restart began."""
    first_s = min(began_s.values()) - BIN_S
    starts, times = percentiles_by_time(loads, COMMANDS, first_s, max(loads.seconds))

    def draw(axes: Sequence[Any]) -> None:
        draw_joined(loads, first_s, axes[0], first_s)
        for percent, found in zip(PERCENTS, times, strict=True):
            axes[1].plot(starts, found, label=f"p{percent}")
        axes[1].set_ylabel("seek → state elsewhere, ms")
        axes[1].set_xlabel("s")
        for name, at_s in began_s.items():
            axes[0].axvline(at_s - first_s, color="black", linewidth=0.8, linestyle=":", label=name)

    with_axes(title, path, 2, draw)


def draw_joined(loads: Loads, zero_s: float, axes: Any, from_s: float) -> None:
    """Sockets that were joined, by time."""
    shown = sorted(at_s for at_s in loads.seconds if at_s >= from_s)
    axes.plot([at_s - zero_s for at_s in shown], [loads.seconds[at_s].joined for at_s in shown], label="joined")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("sockets")


def percentiles_by_time(loads: Loads, name: str, from_s: float, to_s: float) -> tuple[list[float], list[list[float]]]:
    """Starts of bins of BIN_S, in seconds after `from_s`, and each of PERCENTS of what fell into them."""
    starts: list[float] = []
    found: list[list[float]] = [[] for _ in PERCENTS]
    start_s = from_s
    while start_s < to_s:
        times_ms = sorted(loads.between(start_s, start_s + BIN_S).times_ms[name])
        if times_ms:
            starts.append(start_s - from_s)
            for percent, row in zip(PERCENTS, found, strict=True):
                row.append(percentile(times_ms, percent))
        start_s += BIN_S
    return starts, found


def with_axes(title: str, path: Path, rows: int, draw: Callable[[Sequence[Any]], None]) -> None:
    """One column of plots that share their time."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "playhead"  # so that the same figures are the same file
    figure, axes = pyplot.subplots(rows, 1, figsize=(9.0, 2.4 * rows), layout="constrained", sharex=True, squeeze=False)
    column = [row[0] for row in axes]
    draw(column)
    for each in column:
        each.legend(fontsize=7)
        each.grid(alpha=0.3)
    column[0].set_title(title, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)

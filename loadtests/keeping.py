"""Results that README and docs quote: one JSON file and one plot a benchmark, with the commit that was measured.

A benchmark writes both itself, so that no figure is copied by hand.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.machine import Result, machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "loadtests" / "results"
GIT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One row of a benchmark: what was measured, how often, and how long it took."""

    name: str
    count: int
    failed: int
    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def keep(
    result: Result,
    arguments: dict[str, Any],
    rows: Sequence[Latency],
    folder: Path = RESULTS,
    *,
    draw: Callable[[str, Path], None] | None = None,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Writes `NAME.json`, and `NAME.svg` of what has rows, over those of the last run. Answers where they are.

    `draw` makes another picture than that of the rows, with a title, at a path. `notes`: what was not measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **json.loads(result.line()),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "arguments": arguments,
        "rows": [asdict(row) for row in rows],
        **({"notes": list(notes)} if notes else {}),
    }
    kept, picture = folder / f"{result.bench}.json", folder / f"{result.bench}.svg"
    kept.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not rows:
        return [kept]
    title = f"{result.bench}: {machine()}, commit {content['commit']}"
    if draw is None:
        plot(rows, title, picture)
    else:
        draw(title, picture)
    return [kept, picture]


def commit(root: Path = ROOT) -> str:
    """The commit of the code that runs; with `+` after it where files differ from it, `unknown` outside of git."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!loadtests/results")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{head}+" if changed else head


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=GIT_TIMEOUT_S).stdout.strip()


def plot(rows: Sequence[Latency], title: str, path: Path) -> None:
    """A bar a row and percentile, the slowest at the top."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "playhead"  # so that the same figures are the same file
    shown = sorted((row for row in rows if row.count), key=lambda row: row.p95_ms)
    figure, axes = pyplot.subplots(figsize=(9.0, 1.2 + 0.45 * len(shown)), layout="constrained")
    for offset, name in ((0.27, "p50"), (0.0, "p95"), (-0.27, "p99")):
        bars = axes.barh(
            [number + offset for number in range(len(shown))],
            [getattr(row, f"{name}_ms") for row in shown],
            height=0.25,
            label=name,
        )
        axes.bar_label(bars, fmt="%g", padding=2, fontsize=7)
    axes.set_yticks(range(len(shown)), [row.name for row in shown])
    axes.set_xlabel("ms")
    axes.legend()
    axes.set_title(title, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)

"""A picture of where the CPU of a process goes, from what py-spy has seen of its stacks.

    py-spy record --pid PID --duration 60 --rate 200 --format raw --output stacks.txt
    python -m loadtests.flames stacks.txt "a server's commands" loadtests/results/flame.svg

Each row is a function, called by the one below it; as wide as it was on the stack. Threads that wait are left out.
py-spy draws flames by itself, with a script of its own in the picture; this one holds nothing but shapes and words.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SHARE_MIN = 0.004
"""Of all samples: what is narrower cannot be seen."""
NAMED_MIN = 0.018
ALL_MIN = 0.95
CHARS_PER_SHARE = 190
"""How many letters fit into the whole width."""
WAITING = ("_worker (concurrent/futures/thread.py", "serve_forever (socketserver.py")
"""Threads that are seen while they wait for work, and for scrapes."""
_LINE = re.compile(r":\d+\)$")
COLOURS = {"playhead": "#d9894f", "libraries": "#7f9fbf", "python": "#b8b8b0"}
OURS = re.compile(r"\((?:app|auth|cache|db|engine|http|media|playback|realtime|runtime|sessions|storage|transcode)/")
LIBRARIES = ("aiohttp", "asyncpg", "engineio", "msgspec", "orjson", "picows", "pydantic", "redis", "socketio")


@dataclass(slots=True)
class Frame:
    """A function, with how many samples saw it there, and what it called."""

    name: str
    samples: int = 0
    called: dict[str, "Frame"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bar:
    """`start` and `width` as shares of all samples."""

    name: str
    depth: int
    start: float
    width: float


def read(lines: Iterable[str]) -> Frame:
    """The tree of stacks as `frame;frame;… count`, the outermost first. Raises ValueError."""
    root = Frame("")
    for line in lines:
        stack, _, count = line.rstrip("\n").rpartition(" ")
        if any(name in stack for name in WAITING):
            continue
        samples = int(count)
        frame = root
        frame.samples += samples
        for name in stack.split(";"):
            name = _LINE.sub(")", name)
            frame = frame.called.setdefault(name, Frame(name))
            frame.samples += samples
    return root


def busiest(root: Frame) -> Frame:
    """The last one that nearly all samples have: what is below it says nothing."""
    while root.called:
        widest = max(root.called.values(), key=lambda each: each.samples)
        if widest.samples < ALL_MIN * root.samples:
            break
        root = widest
    return root


def bars(frame: Frame) -> Iterator[Bar]:
    """Those that are wide enough, by their names beside each other."""
    return _bars(frame, frame.samples, 0, 0.0)


def _bars(frame: Frame, of: int, depth: int, start: float) -> Iterator[Bar]:
    yield Bar(frame.name, depth, start, frame.samples / of)
    for called in sorted(frame.called.values(), key=lambda each: each.name):
        if called.samples / of >= SHARE_MIN:
            yield from _bars(called, of, depth + 1, start)
        start += called.samples / of


def kind(name: str) -> str:
    """Whose function it is."""
    if OURS.search(name):
        return "playhead"
    return "libraries" if any(f"({library}/" in name for library in LIBRARIES) else "python"


def draw(found: Sequence[Bar], title: str, target: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "playhead"  # so that the same figures are the same file
    deepest = max(bar.depth for bar in found)
    figure, axes = pyplot.subplots(figsize=(14, 1.2 + 0.2 * deepest))
    for bar in found:
        axes.barh(
            bar.depth, bar.width, 0.94, bar.start, color=COLOURS[kind(bar.name)], edgecolor="white", linewidth=0.4
        )
        if bar.width >= NAMED_MIN:
            shown = bar.name.partition(" (")[0][: int(bar.width * CHARS_PER_SHARE)]
            axes.text(bar.start + 0.001, bar.depth, shown, va="center", fontsize=6)
    for whose, colour in COLOURS.items():
        axes.barh(0, 0, color=colour, label=whose)
    axes.legend(loc="upper right", fontsize=7, frameon=False)
    axes.set(title=title, xlim=(0, 1), ylim=(-0.6, deepest + 0.6), yticks=[], xticks=[])
    axes.set_frame_on(False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    stacks, title, target = sys.argv[1:]
    with Path(stacks).open() as lines:
        root = read(lines)
    if not root.samples:
        raise SystemExit(f"{stacks} has no stack.")
    draw(list(bars(busiest(root))), title, Path(target))
    print(f"Written: {target}")


if __name__ == "__main__":
    main()

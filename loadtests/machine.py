"""What machine a figure was seen on, and the one line of JSON in which every benchmark ends.

{"bench": NAME, "machine": "…", "figures": {…}, "goals": {NAME: {"goal": "<= 1.0", "value": 0.93, "met": true}}}
"""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach; one that is not met is a fact to work on."""

    goal: str
    value: float
    met: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark has measured."""

    bench: str
    figures: dict[str, float]
    goals: dict[str, Goal] = field(default_factory=dict)

    def line(self) -> str:
        return json.dumps({"bench": self.bench, "machine": machine(), **asdict(self)})


def machine() -> str:
    """Cores, processor, memory and Python of this machine."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} x {_processor()}, {memory_gib:.0f} GiB, Python {platform.python_version()}"


def _processor() -> str:
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), platform.machine())

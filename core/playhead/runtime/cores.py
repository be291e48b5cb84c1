"""How many processes can really run at once here: cores that this one may use, and what a container is allowed."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of control groups, version 2: microseconds of CPU in a period, or `max`; and the period."""


def usable_cores(quota_file: Path = QUOTA) -> int:
    """At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        allowed = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return cores
    return max(1, min(cores, allowed))

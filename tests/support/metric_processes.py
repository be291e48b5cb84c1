"""Processes that keep metrics in one folder, as those of one machine do: each sets, counts, and waits to be ended."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playhead.runtime.metric_files import LockedCollector

PROGRAM = """
import sys
exec(sys.argv[2])
from playhead.runtime.metrics import process_metrics
metrics = process_metrics()
exec(sys.argv[1])
print("set", flush=True)
sys.stdin.read()
"""


@contextmanager
def keeping(folder: Path, does: str, first: str = "") -> Iterator["subprocess.Popen[str]"]:
    """A process that did `first`, and then `does` with its `metrics`; it lives until its input ends, or somebody
    kills it.
    """
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PROGRAM, does, first]
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert "set\n" in process.stdout, "it has ended"  # reads on until then
        yield process


def exported(folder: Path) -> dict[str, float]:
    """What `/metrics` of that folder shows of metrics without labels."""
    samples = [sample for family in LockedCollector(folder).collect() for sample in family.samples]
    return {sample.name: sample.value for sample in samples if not sample.labels}


def labelled(folder: Path, name: str) -> dict[str, float]:
    """By its label, what `/metrics` of that folder shows of a metric with one."""
    samples = [sample for family in LockedCollector(folder).collect() for sample in family.samples]
    return {next(iter(sample.labels.values())): sample.value for sample in samples if sample.name == name}

"""The `playhead` command. Sets the metrics folder before anything imports prometheus-client, which reads it once."""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
GC_ALLOCATIONS = 50_000
"""What is loaded at the start stays, as do sockets and sessions, hundreds of thousands of objects, and what a command
makes is in no cycle. To look for cycles after each 700 objects, as Python does by itself, was a sixth of the CPU of
loading a server's modules, and a tenth of a profile with 10,000 sockets, where it holds everybody up."""


def main() -> None:
    """Runs the command line and exits with its code."""
    gc.set_threshold(GC_ALLOCATIONS)
    shared = os.environ.get("PLAYHEAD_METRICS_DIR") or os.environ.get(METRICS_DIR_VARIABLE)
    try:
        folder = Path(shared) if shared else Path(tempfile.mkdtemp(prefix="playhead-metrics-"))
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"playhead: The metrics folder cannot be made: {error}. Set PLAYHEAD_METRICS_DIR.")
    os.environ[METRICS_DIR_VARIABLE] = str(folder)
    try:
        from playhead.app.cli import run

        code = run(sys.argv[1:])
    finally:
        if not shared:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


if __name__ == "__main__":
    main()

"""The flags of `playhead run`."""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from playhead.app.development.children import Backoff
from playhead.runtime.settings import StoreKind

SERVERS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentOptions:
    """None leaves a setting as the environment has it."""

    port: int | None = None
    metrics_port: int | None = None
    data_dir: Path | None = None
    store: StoreKind | None = None
    processes: int | None = None
    """Of each server."""
    servers: int = 1
    """Server processes on consecutive ports; between two of them, devices are in sync through Valkey alone."""
    sample: bool = True
    program: tuple[str, ...] = (sys.executable, "-m", "playhead.app")
    """What is run as `… serve`, `… flush`, `… worker` and `… ingest`."""
    backoff: Backoff = field(default_factory=Backoff)

    def given_settings(self) -> dict[str, Any]:
        flags = {
            "port": self.port,
            "metrics_port": self.metrics_port,
            "data_dir": self.data_dir,
            "store": self.store,
            "processes": self.processes,
        }
        return {name: value for name, value in flags.items() if value is not None}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="port of the first server (default: PLAYHEAD_PORT, or 8080)")
    parser.add_argument("--metrics-port", type=int, help="default: PLAYHEAD_METRICS_PORT, or 9464")
    parser.add_argument("--data-dir", type=Path, help="where everything is kept (default: PLAYHEAD_DATA_DIR)")
    parser.add_argument(
        "--store", choices=get_args(StoreKind),
        help="where sessions live: redis, or memory of the only server (default: PLAYHEAD_STORE, or redis)",
    )  # fmt: skip
    parser.add_argument(
        "--processes", type=int, metavar="N",
        help="processes of each server, on its one port; 0: one a core (default: PLAYHEAD_PROCESSES, or 1)",
    )  # fmt: skip
    parser.add_argument(
        "--servers", type=int, default=1, choices=range(1, SERVERS_MAX + 1), metavar="N",
        help="servers, on consecutive ports (default 1)",
    )  # fmt: skip
    parser.add_argument("--no-sample", dest="sample", action="store_false", help="do not make the sample script")


def options_of(arguments: argparse.Namespace) -> DevelopmentOptions:
    return DevelopmentOptions(
        port=arguments.port,
        metrics_port=arguments.metrics_port,
        data_dir=arguments.data_dir,
        store=arguments.store,
        processes=arguments.processes,
        servers=arguments.servers,
        sample=arguments.sample,
    )

"""Listeners with two devices each against a whole system on this machine, for a minute: `dev.py bench locust`.

    python3 dev.py bench locust [--listeners 50] [--seconds 60] [--results FOLDER]

Starts `playhead run` on free ports with a data folder of its own, runs locust beside it (on the same cores, so times
are an upper bound), and ends in a table and one line of JSON. Both, and a plot, are kept in `loadtests/results`, or in
`--results FOLDER`. CPU is read from the server's process.
"""

import argparse
import csv
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.keeping import RESULTS, Latency, keep
from loadtests.machine import Goal, Result
from playhead.app.development.keys import development_keys
from playhead.app.development.sample import SCRIPT_ID
from playhead.auth.tokens import issue

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
LOCUST_MARGIN_S = 60.0
SEEK_P95_GOAL_MS = 300.0
REST_P95_GOAL_MS = 300.0
OTHER_DEVICE = "state on the other device"
"""A row that counts no requests: it is how long a command took to arrive elsewhere."""
AGGREGATED = "Aggregated"
REST_METHODS = ("GET ", "POST ", "DELETE ")


@dataclass(frozen=True, slots=True)
class System:
    """A running `playhead run`."""

    process: psutil.Popen
    url: str
    jwt_key: str

    def server_cpu_s(self) -> float:
        """CPU time of the server process so far."""
        times = self._server().cpu_times()
        return float(times.user + times.system)

    def _server(self) -> psutil.Process:
        found = [child for child in self.process.children(recursive=True) if "serve" in child.cmdline()]
        return found[0]


def _free_ports(count: int) -> list[int]:
    """Consecutive free ports: two servers' worth of neighbours are asked for by the supervisor."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        if first + count < 65_536:
            return list(range(first, first + count))
    raise SystemExit("no free ports")


@contextmanager
def system() -> Iterator[System]:
    """`playhead run` with a data folder of its own, ready, with its sample; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="playhead-bench-") as folder:
        port, metrics_port = _free_ports(1)[0], _free_ports(3)[0]
        arguments = ["run", "--port", str(port), "--metrics-port", str(metrics_port), "--data-dir", folder]
        process = psutil.Popen([sys.executable, "-m", "playhead.app", *arguments], stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for_sample(process, url, Path(folder))
            yield System(process=process, url=url, jwt_key=development_keys(Path(folder)).jwt_key)
        finally:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
            process.wait(STOP_TIMEOUT_S)


def _wait_for_sample(process: psutil.Popen, url: str, folder: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise SystemExit("playhead run ended; see above.")
        if _sample_ready(url, folder):
            return
        time.sleep(0.25)
    raise SystemExit(f"The system was not ready within {START_TIMEOUT_S:.0f} s.")


def _sample_ready(url: str, folder: Path) -> bool:
    if not (folder / "keys.json").exists():
        return False
    token = issue(
        development_keys(folder).jwt_key,
        listener_id="00000000-0000-4000-8000-000000000000",
        audience="authenticated",
        expires_at_s=int(time.time()) + 60,
    )
    request = urllib.request.Request(
        f"{url}/api/v1/audio/scripts/{SCRIPT_ID}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=2) as response:
            return bool(json.load(response)["status"] == "ready")
    except (urllib.error.URLError, OSError):
        return False


def _run_locust(running: System, listeners: int, seconds: int, folder: Path) -> list[dict[str, str]]:
    """The rows of locust's own statistics."""
    prefix = folder / "locust"
    command = [
        *(sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locust_listeners.py"))),
        *("--headless", "--host", running.url, "-u", str(listeners), "-r", str(max(1, listeners // 5))),
        *(
            "-t",
            f"{seconds}s",
            "--csv",
            str(prefix),
            "--only-summary",
            "--stop-timeout",
            "10",
            "--exit-code-on-error",
            "0",
        ),
    ]
    environment = {**os.environ, "PLAYHEAD_LOAD_JWT_KEY": running.jwt_key, "PLAYHEAD_LOAD_SCRIPT": SCRIPT_ID}
    subprocess.run(command, env=environment, check=True, timeout=seconds + LOCUST_MARGIN_S, stdout=sys.stderr)
    with prefix.with_name("locust_stats.csv").open() as table:
        return list(csv.DictReader(table))


def latencies(rows: list[dict[str, str]]) -> list[Latency]:
    """Locust's rows but its sum, which would count what is no request as one."""
    return [
        Latency(
            name=f"{row['Name']}".strip(),
            count=int(row["Request Count"]),
            failed=int(row["Failure Count"]),
            per_s=round(float(row["Requests/s"]), 2),
            p50_ms=float(row["50%"]),
            p95_ms=float(row["95%"]),
            p99_ms=float(row["99%"]),
        )
        for row in rows
        if row["Name"] != AGGREGATED
    ]


def measured_s(rows: list[dict[str, str]]) -> float:
    """How long locust measured, from the first user's start to the last answer: that is what its rates go by."""
    total = next(row for row in rows if row["Name"] == AGGREGATED)
    return float(total["Request Count"]) / float(total["Requests/s"])


def result_of(rows: list[dict[str, str]], cpu_s: float) -> Result:
    """The figures. A request is what was sent and answered; a state that arrived is what another one caused."""
    found = latencies(rows)
    other = next(row for row in found if row.name == OTHER_DEVICE)
    requests = sum(row.count for row in found if row is not other)
    rest_p95_ms = max(row.p95_ms for row in found if row.name.startswith(REST_METHODS))
    figures = {
        "requests": float(requests),
        "failures": float(sum(row.failed for row in found)),
        "measured_s": round(measured_s(rows), 1),
        "requests_per_s": round(requests / measured_s(rows), 1),
        "server_cpu_us_per_request": round(1e6 * cpu_s / max(1, requests), 1),
        "other_device_p50_ms": other.p50_ms,
        "other_device_p95_ms": other.p95_ms,
        "rest_p95_ms": rest_p95_ms,
    }
    goals = {
        "other_device_p95_ms": Goal(f"< {SEEK_P95_GOAL_MS:.0f}", other.p95_ms, other.p95_ms < SEEK_P95_GOAL_MS),
        "rest_p95_ms": Goal(f"< {REST_P95_GOAL_MS:.0f}", rest_p95_ms, rest_p95_ms < REST_P95_GOAL_MS),
        "failures": Goal("= 0", figures["failures"], figures["failures"] == 0),
    }
    return Result("locust", figures, goals)


def _table(rows: list[Latency]) -> str:
    lines = [f"{'what':<32} {'count':>8} {'failed':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8}"]
    for row in rows:
        lines.append(
            f"{row.name:<32} {row.count:>8} {row.failed:>7} {row.p50_ms:>8g} {row.p95_ms:>8g} {row.p99_ms:>8g}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=50, help="locust users, with two sockets each")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    options = parser.parse_args()
    with system() as running, tempfile.TemporaryDirectory() as folder:
        before_s = running.server_cpu_s()
        rows = _run_locust(running, options.listeners, options.seconds, Path(folder))
        cpu_s = running.server_cpu_s() - before_s
    result, found = result_of(rows, cpu_s), latencies(rows)
    kept = keep(result, {"listeners": options.listeners, "seconds": options.seconds}, found, options.results)
    print(_table(found))
    print(f"Kept in {' and '.join(str(path) for path in kept)}", file=sys.stderr)
    print(result.line())


if __name__ == "__main__":
    main()

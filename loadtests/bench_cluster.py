"""A command between two nodes, to its end: `dev.py bench cluster`.

    python3 dev.py bench cluster [--seconds 6] [--pairs 200] [--keep]

Listeners with two devices, each on another node, beside the same rooms on two Node.js servers with Socket.IO's adapter
on sharded pub/sub, which keeps nothing; each system with a Valkey of its own, one system after the other.

| figure                   | how                                                                                    |
| ------------------------ | -------------------------------------------------------------------------------------- |
| cpu_us_per_command       | both nodes' CPU for a command that the other node's device hears of, 50 under way      |
| window_W_arrived         | each sender has W under way: of the commands answered, how many events have arrived    |
|                          | a second after the last answer                                                         |
| window_W_delivery_p95_ms | from sending to the event on the other device                                          |
| foreign_messages         | what a node got from the bus while only listeners of the other one sent                |

What Valkey, PostgreSQL and the flusher use for a command is told beside. The load shares the machine with both systems.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from loadtests import ending
from loadtests.bench_sockets import UNDER_WAY, WARM_S, figure_name, latency_row, not_measured, pairs, used_per
from loadtests.keeping import Latency, keep, percentile
from loadtests.machine import Goal, Result
from loadtests.sockets.clients import Load, Record
from loadtests.sockets.peers import NoPeer
from loadtests.sockets.servers import Started, durable, node_pair
from loadtests.sockets.spoken import Seat
from tests.support.system import RunningSystem

WINDOWS = (1, 8)
"""Commands of each pair under way."""
SYSTEMS: Mapping[str, Callable[[], AbstractAsyncContextManager[Started]]] = {
    "node": node_pair,
    "playhead": lambda: durable(servers=2),
}
NODE_SHARE_MAX = 0.70
DELIVERY_P95_MS_MAX = 100.0
FOREIGN_LISTENERS = 20
FOREIGN_COMMANDS = 500
RECEIVED = "playhead_delivery_seconds_count"
"""The metric of a node that counts what comes from the bus."""
COUNTED_AFTER_S = 1.0
"""A node writes its counts twice a second."""


@dataclass(slots=True)
class Measured:
    """What a run has shown. `missing`: systems that could not be measured here, and why."""

    figures: dict[str, float] = field(default_factory=dict)
    rows: list[Latency] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


async def measure(seconds: float, count: int) -> Measured:
    measured = Measured()
    for name, system in SYSTEMS.items():
        try:
            async with system() as servers:
                await _commands(name, servers, seconds, count, measured)
                if servers.system is not None:
                    measured.figures["foreign_messages"] = await _foreign(servers)
        except NoPeer as error:
            measured.missing[name] = str(error)
        shown = {key: value for key, value in measured.figures.items() if key.startswith(name)}
        print(f"{name}: {json.dumps(shown)}", file=sys.stderr)
    return measured


async def _commands(name: str, servers: Started, seconds: float, count: int, measured: Measured) -> None:
    async with servers.load() as load:
        await load.connect(pairs(2 * count))
        await load.run(WARM_S, UNDER_WAY)
        before = servers.cpu_s()
        record = await _run(load, seconds, UNDER_WAY)
        used = used_per(servers, before, record.answered)
        measured.figures.update({figure_name(name, what, "command"): us for what, us in used.items()})
        measured.figures[f"{name}_refused"] = record.refused
        for window in WINDOWS:
            record = await _run(load, seconds, window * count)
            measured.figures.update(saturation(f"{name}_window_{window}", record, seconds))
            measured.rows.append(latency_row(f"ack, window {window}, {name}", record, record.answer_ms, seconds))
            measured.rows.append(latency_row(f"delivery, window {window}, {name}", record, record.delivery_ms, seconds))


async def _run(load: Load, seconds: float, under_way: int) -> Record:
    record = await load.run(seconds, under_way, numbered=True)
    await load.arrivals()
    return record


def saturation(name: str, record: Record, seconds: float) -> dict[str, float]:
    """Of a run in which as much is under way as was asked for all the time."""
    accepted = record.answered - record.refused
    deliveries_ms = sorted(record.delivery_ms)
    return {
        f"{name}_commands_per_s": round(record.answered / seconds),
        f"{name}_arrived": round(record.arrived / accepted, 4),
        f"{name}_delivery_p95_ms": round(percentile(deliveries_ms, 95), 1),
        f"{name}_refused": record.refused,
    }


async def _foreign(servers: Started) -> float:
    """Messages that the second node receives while listeners who are on the first alone send commands."""
    first = Started(servers.ports[:1], servers.spoken, servers.processes, servers.system)
    assert servers.system is not None
    processes = servers.system.processes
    async with first.load() as load:
        await load.connect(
            [Seat(room, place) for room in range(10_000, 10_000 + FOREIGN_LISTENERS) for place in (0, 1)]
        )
        before = await _received(processes)
        record = Record()
        while record.answered < FOREIGN_COMMANDS:
            record = await _run(load, 1.0, FOREIGN_LISTENERS)
        assert record.arrived == record.answered
        own, other = (after - at_first for after, at_first in zip(await _received(processes), before, strict=True))
        assert own >= record.answered, "what a node does receive is counted"
        return other


async def _received(processes: RunningSystem) -> list[float]:
    """By each node, so far."""
    await asyncio.sleep(COUNTED_AFTER_S)
    return [await asyncio.to_thread(processes.metric, RECEIVED, node) for node in range(2)]


def goals(figures: Mapping[str, float]) -> dict[str, Goal]:
    """Of what was measured."""
    found = {}
    node, own = figures.get("node_cpu_us_per_command"), figures.get("playhead_cpu_us_per_command")
    if node and own:
        share = round(own / node, 3)
        found["vs_node_per_command"] = Goal(f"<= {NODE_SHARE_MAX}", share, share <= NODE_SHARE_MAX)
    for window in WINDOWS:
        name = f"playhead_window_{window}"
        if (arrived := figures.get(f"{name}_arrived")) is not None:
            found[f"window_{window}_arrived"] = Goal("= 1", arrived, arrived == 1)
            p95_ms = figures[f"{name}_delivery_p95_ms"]
            goal = Goal(f"< {DELIVERY_P95_MS_MAX:g}", p95_ms, p95_ms < DELIVERY_P95_MS_MAX)
            found[f"window_{window}_delivery_p95_ms"] = goal
    if (foreign := figures.get("foreign_messages")) is not None:
        found["foreign_messages"] = Goal("= 0", foreign, foreign == 0)
    return found


def table(figures: Mapping[str, float]) -> str:
    """µs of CPU a command, and what became of commands at saturation."""
    head = "| system | both nodes | Valkey | PostgreSQL | flusher |"
    lines = [f"{head} arrived, window 1 / 8 | delivery p95, window 1 / 8 |", "| --- |" + " ---: |" * 6]
    for name in SYSTEMS:
        used = [figures.get(figure_name(name, what, "command")) for what in ("server", "valkey", "postgres", "flusher")]
        if used[0] is None:
            continue
        cells = ["-" if us is None else f"{us:.3g} µs" for us in used]
        arrived = " / ".join(f"{figures[f'{name}_window_{window}_arrived']:.2%}" for window in WINDOWS)
        late = " / ".join(f"{figures[f'{name}_window_{window}_delivery_p95_ms']:.3g} ms" for window in WINDOWS)
        lines.append(f"| {name} | {' | '.join(cells)} | {arrived} | {late} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--pairs", type=int, default=200, help="listeners with two devices")
    parser.add_argument("--keep", action="store_true", help="write the results that the documentation quotes")
    options = parser.parse_args()
    measured = ending.run(measure(options.seconds, options.pairs))
    result = Result("cluster", measured.figures, goals(measured.figures))
    print(table(measured.figures), file=sys.stderr)
    notes = not_measured(measured.missing)
    for note in notes:
        print(note, file=sys.stderr)
    if options.keep:
        for path in keep(result, vars(options), measured.rows, notes=notes):
            print(f"Written: {path}", file=sys.stderr)
    print(result.line())


if __name__ == "__main__":
    main()

"""What a command and a delivery cost a socket server, and what a socket: `dev.py bench sockets`.

    python3 dev.py bench sockets [--seconds 4] [--sockets 10000] [--kinds node,bare/uvloop,…] [--keep]

| figure       | how                                                                                                 |
| ------------ | --------------------------------------------------------------------------------------------------- |
| per_command  | 50 rooms of two, a command of each under way: one sends, waits for its ack; the other gets the event |
| per_play     | the same with `play` instead of `seek`, of playhead alone                                           |
| per_delivery | a room of 1,000: one sends, the others get it                                                       |
| at_N         | per_command with N sockets in rooms of two, all of which send in turn: does it grow?                |
| per_socket   | memory of a fresh server with `--sockets` connections, each in a room of its own                    |

All servers are measured in turn in one run; which there are is told in `loadtests/sockets/servers.py`. The peers check
and keep nothing, and their events are a quarter as long. What playhead may use of what python-socketio does is held
against the faster of its two loops. CPU is the server process's own, all threads; what playhead's
stores and the flusher use is told beside. Times are those of the client, which shares the machine.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtests import ending
from loadtests.keeping import Latency, keep, percentile
from loadtests.machine import Goal, Result
from loadtests.sockets.clients import LoadFailed, Record
from loadtests.sockets.peers import NoPeer
from loadtests.sockets.servers import FLUSHER, POSTGRES, SERVER, VALKEY, Started, started
from loadtests.sockets.spoken import PlayheadSpoken, Seat

KINDS = "node,bare/uvloop,stock/asyncio,stock/uvloop,engine/asyncio,engine/uvloop,playhead/memory,playhead/durable"
UNDER_WAY = 50
ROOM = 1_000
CROWDS = (100, 1_000, 10_000)
"""Sockets with which a command is measured again, of `GROWING` kinds."""
NOT_MEASURED = (
    "A command with 50,000 sockets in one process: not measured, as a process may have 20,000 file descriptors here. "
    "`dev.py bench hold` has them in several processes."
)
GROWING = ("node", "playhead/memory", "playhead/durable")
WEIGHED = tuple(kind for kind in KINDS.split(",") if kind != "playhead/durable")
"""Kinds whose memory is measured."""
WARM_S = 1.0
GROWTH_MAX = 1.2

GOALS = {
    ("playhead_memory", "node", "cpu_us_per_command"): 0.60,
    ("playhead_memory", "stock", "cpu_us_per_command"): 0.25,
    ("playhead_memory", "node", "cpu_us_per_delivery"): 0.65,
    ("playhead_memory", "stock", "cpu_us_per_delivery"): 0.15,
    ("engine_asyncio", "stock_asyncio", "cpu_us_per_command"): 0.4,
    ("engine_asyncio", "stock_asyncio", "cpu_us_per_delivery"): 0.4,
}
"""The most that the first may use of what the second does."""
FASTER_OF = {"stock": ("stock_asyncio", "stock_uvloop")}
"""Who stands for the second, where it is several: whichever uses less."""
SOCKET_BYTES = {"engine_asyncio": 10_240, "engine_uvloop": 10_240, "playhead_memory": 12_288}


@dataclass(slots=True)
class Measured:
    """What a run has shown. `missing`: kinds that could not be measured here, and why."""

    figures: dict[str, float] = field(default_factory=dict)
    rows: list[Latency] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def pairs(sockets: int, first: int = 0) -> list[Seat]:
    return [Seat(room=number // 2, place=number % 2) for number in range(first, sockets)]


async def commands(kind: str, seconds: float, measured: Measured) -> None:
    """CPU of a command with one delivery, as more and more sockets take part; and of a play."""
    name = _name(kind)
    async with started(kind) as servers, servers.load() as load:
        connected = 0
        for sockets in CROWDS if kind in GROWING else CROWDS[:1]:
            await load.connect(pairs(sockets, connected))
            connected = sockets
            await load.run(WARM_S, UNDER_WAY)
            before = servers.cpu_s()
            record = await load.run(seconds, UNDER_WAY)
            used = used_per(servers, before, record.answered)
            _require_all(kind, record)
            if kind in GROWING:
                measured.figures[f"{name}_cpu_us_per_command_at_{sockets}"] = used[SERVER]
            if sockets == CROWDS[0]:
                measured.figures.update({figure_name(name, what, "command"): us for what, us in used.items()})
                measured.rows.append(latency_row(f"command on {kind}", record, record.answer_ms, seconds))
        if isinstance(servers.spoken, PlayheadSpoken):
            load.spoken = servers.spoken.playing()
            before = servers.cpu_s()
            record = await load.run(seconds, UNDER_WAY)
            _require_all(kind, record)
            measured.figures[f"{name}_cpu_us_per_play"] = used_per(servers, before, record.answered)[SERVER]
            measured.rows.append(latency_row(f"play on {kind}", record, record.answer_ms, seconds))


async def deliveries(kind: str, seconds: float, measured: Measured) -> None:
    """CPU of a delivery in a large room."""
    async with started(kind) as servers, servers.load() as load:
        await load.connect([Seat(room=0, place=place) for place in range(ROOM)])
        await load.run(WARM_S, 1)
        before = servers.cpu_s()
        record = await load.run(seconds, 1)
        _require_all(kind, record)
        used = used_per(servers, before, record.delivered)
        measured.figures[figure_name(_name(kind), SERVER, "delivery")] = used[SERVER]


async def memory(kind: str, sockets: int, measured: Measured) -> None:
    async with started(kind) as servers, servers.load() as load:
        await load.connect([Seat(room=0, place=0)])
        before = servers.rss_bytes()
        await load.connect([Seat(room=room, place=1) for room in range(1, sockets + 1)])
        measured.figures[f"{_name(kind)}_bytes_per_socket"] = round((servers.rss_bytes() - before) / sockets)


def _name(kind: str) -> str:
    return kind.replace("/", "_")


def figure_name(name: str, what: str, unit: str) -> str:
    """The server's own CPU has no word of its own in the figure's name."""
    return f"{name}_cpu_us_per_{unit}" if what == SERVER else f"{name}_{what}_cpu_us_per_{unit}"


def used_per(servers: Started, before: Mapping[str, float], count: int) -> dict[str, float]:
    return {what: round((now_s - before[what]) / count * 1e6, 2) for what, now_s in servers.cpu_s().items()}


def _require_all(kind: str, record: Record) -> None:
    """What is refused or lost costs something else than what is measured."""
    if record.refused or record.lost or not record.answered:
        raise LoadFailed(f"{kind}: {record.answered} answers, {record.refused} refused, {record.lost} sockets lost.")


def latency_row(name: str, record: Record, times_ms: Sequence[float], seconds: float) -> Latency:
    ordered = sorted(times_ms)
    p50_ms, p95_ms, p99_ms = (round(percentile(ordered, percent), 3) for percent in (50, 95, 99))
    return Latency(
        name=name,
        count=len(ordered),
        failed=record.refused,
        per_s=round(len(ordered) / seconds, 1),
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
    )


async def measure(kinds: list[str], seconds: float, sockets: int) -> Measured:
    measured = Measured()
    for kind in kinds:
        try:
            await commands(kind, seconds, measured)
            await deliveries(kind, seconds, measured)
            if kind in WEIGHED:
                await memory(kind, sockets, measured)
        except NoPeer as error:
            measured.missing[kind] = str(error)
        name = _name(kind)
        print(f"{kind}: { ({k: v for k, v in measured.figures.items() if k.startswith(name)}) }", file=sys.stderr)
    return measured


def goals(figures: Mapping[str, float]) -> dict[str, Goal]:
    """Of what was measured."""
    found = {}
    for (ours, peer, name), most in GOALS.items():
        own, theirs = figures.get(f"{ours}_{name}"), _peers(figures, peer, name)
        if own and theirs:
            share = round(own / min(theirs.values()), 3)
            told = ", ".join(f"{each} {us:g}" for each, us in theirs.items())
            goal = f"<= {most} of the faster: {told}" if peer in FASTER_OF else f"<= {most}"
            found[f"{ours}_vs_{peer}_{name}"] = Goal(goal, share, share <= most)
    for ours, most in SOCKET_BYTES.items():
        if (used := figures.get(f"{ours}_bytes_per_socket")) is not None:
            found[f"{ours}_bytes_per_socket"] = Goal(f"<= {most}", used, used <= most)
    for kind in GROWING:
        crowds = [figures.get(f"{_name(kind)}_cpu_us_per_command_at_{sockets}") for sockets in CROWDS]
        if kind != "node" and (known := [used for used in crowds if used]) and len(known) == len(CROWDS):
            growth = round(max(known) / min(known), 3)
            found[f"{_name(kind)}_growth"] = Goal(f"<= {GROWTH_MAX}", growth, growth <= GROWTH_MAX)
    return found


def _peers(figures: Mapping[str, float], peer: str, name: str) -> dict[str, float]:
    """What each that stands for this peer has used, as far as it was measured."""
    found = {each: figures.get(f"{each}_{name}") for each in FASTER_OF.get(peer, (peer,))}
    return {each: used for each, used in found.items() if used}


def not_measured(missing: Mapping[str, str]) -> list[str]:
    """A note for each that was missing, and why, a line each."""
    return [f"{name} could not be measured: {' '.join(why.split())}" for name, why in missing.items()]


def table(figures: Mapping[str, float], kinds: Sequence[str]) -> str:
    """What each server used, in µs of CPU, and beside a command what the processes behind it did."""
    lines = [
        "| server | a command | behind it: Valkey, PostgreSQL, flusher | a play | a delivery "
        "| a command with 100, 1,000, 10,000 sockets | memory of a socket |",
        "| --- |" + " ---: |" * 6,
    ]
    for kind in kinds:
        name = _name(kind)
        behind = [figures.get(figure_name(name, what, "command")) for what in (VALKEY, POSTGRES, FLUSHER)]
        crowds = [figures.get(f"{name}_cpu_us_per_command_at_{sockets}") for sockets in CROWDS]
        weight = figures.get(f"{name}_bytes_per_socket")
        cells = [
            microseconds([figures.get(figure_name(name, SERVER, "command"))]),
            microseconds(behind),
            microseconds([figures.get(figure_name(name, SERVER, "play"))]),
            microseconds([figures.get(figure_name(name, SERVER, "delivery"))]),
            microseconds(crowds),
            "-" if weight is None else f"{weight / 1000:.1f} KB",
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def microseconds(times_us: Sequence[float | None]) -> str:
    """As a table's cell has them."""
    known = [f"{us:.3g}" for us in times_us if us is not None]
    return f"{', '.join(known)} µs" if known else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--sockets", type=int, default=10_000, help="whose memory is measured")
    parser.add_argument("--kinds", default=KINDS)
    parser.add_argument("--keep", action="store_true", help="write the results that the documentation quotes")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    measured = ending.run(measure(kinds, arguments.seconds, arguments.sockets))
    result = Result("sockets", measured.figures, goals(measured.figures))
    print(table(measured.figures, kinds), file=sys.stderr)
    notes = [*not_measured(measured.missing), NOT_MEASURED]
    print("\n".join(notes), file=sys.stderr)
    if arguments.keep:
        for path in keep(result, vars(arguments), measured.rows, notes=notes):
            print(f"Written: {path}", file=sys.stderr)
    print(result.line())


if __name__ == "__main__":
    main()

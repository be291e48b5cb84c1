"""How many sockets one machine holds, and what they cost: `dev.py bench hold`.

    python3 dev.py bench hold [--sockets 50000] [--minutes 10] [--commands-per-s 500] [--report-every-s 10] [--keep]

A whole system on this machine: several server processes on one port, Valkey, PostgreSQL, a flusher. Every listener has
two devices, authenticated and joined; one of them sounds and reports every 10 s by default; seeks go from one to the
other; and requests are made over every route. The load runs on the same cores, so times are an upper bound.
Where the machine has too little memory or too few descriptors for so many sockets, it takes fewer and says so.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from loadtests import ending
from loadtests.holding.crowd import REPORT_EVERY_S
from loadtests.holding.figures import COMMANDS, Asked, Held, figures_of, goals_of, rows_of, table
from loadtests.holding.files import RESERVED, raise_file_limit
from loadtests.holding.fleet import FLUSHER, POSTGRES, SERVER, VALKEY, Fleet, running
from loadtests.holding.loads import Loads, loading
from loadtests.holding.pictures import draw_hold
from loadtests.holding.rest import NOT_SAMPLED, Sampler, sampling
from loadtests.holding.usage import Usage, memory_bytes, rss_bytes
from loadtests.keeping import keep
from loadtests.machine import Result

SOCKETS_A_SERVER = 14_000
"""So that one that is down for a moment does not fill the others."""
MEASURED_AT = 10_000
"""Sockets, for the memory of one of them."""
BYTES_A_SOCKET = 120 * 1024
"""Of the whole machine, load and kernel included: generous."""
OPEN_PER_S = 500.0
SETTLE_S = 12.0
"""After opening, until every device has reported once."""
LOOK_S = 5.0
WARM_REQUESTS = 50
REST_PER_S = 20.0
LOAD = "load"


@dataclass(slots=True)
class Watched:
    """What the processes have used, looked at every LOOK_S."""

    fleet: Fleet
    loads: Loads
    usage: Usage = field(default_factory=Usage)
    looks: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    server_rss: list[tuple[float, int]] = field(default_factory=list)

    async def look_for_ever(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> dict[str, float]:
        groups = {**self.fleet.groups(), LOAD: self.loads.processes(), "bench": [psutil.Process()]}
        used, now_s = self.usage.now(groups), time.monotonic()
        self.looks.append((now_s, used))
        self.server_rss.append((now_s, rss_bytes(groups[SERVER])))
        return used


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def affordable(sockets: int, notes: list[str]) -> int:
    """As many sockets as there is memory for; `notes` say what was left out."""
    most = int(psutil.virtual_memory().available / BYTES_A_SOCKET)
    if sockets > most:
        notes.append(f"{sockets:,} sockets were asked for; memory is there for {most:,}.")
    return min(sockets, most) // 2 * 2


def server_processes(sockets: int, descriptors: int) -> int:
    return max(2, -(-sockets // min(SOCKETS_A_SERVER, descriptors - RESERVED)))


def loopback_bytes() -> int:
    """What clients and servers have sent each other; the databases are reached by files, not by the network."""
    counters = psutil.net_io_counters(pernic=True).get("lo")
    return 0 if counters is None else int(counters.bytes_sent)


async def warm(url: str) -> None:
    """So that a fresh server has loaded what it needs, whoever asks: each request over a connection of its own."""
    for _ in range(WARM_REQUESTS):
        async with aiohttp.ClientSession() as http, http.get(f"{url}/readyz") as answer:
            await answer.read()


async def opened(loads: Loads, sockets: int, per_s: float, notes: list[str]) -> float:
    """Opens up to `sockets`; answers how many came a second."""
    before, began_s = loads.joined, time.monotonic()
    if not await loads.open(sockets, per_s, timeout_s=60.0 + 8 * sockets / per_s):
        notes.append(f"Of {sockets:,} sockets {loads.joined:,} were joined in time; measured with these.")
    elapsed_s = time.monotonic() - began_s
    say(f"{loads.joined:,} sockets joined, {(sockets - before) / elapsed_s:.0f} a second")
    return (sockets - before) / elapsed_s


async def held(asked: Asked, per_s: float, notes: list[str]) -> Held:
    descriptors = raise_file_limit()
    sockets = affordable(asked.sockets, notes)
    with tempfile.TemporaryDirectory(prefix="ph-hold-") as name:
        async with (
            running(Path(name), server_processes(sockets, descriptors)) as fleet,
            loading(sockets, descriptors, fleet.port, fleet.script_id, fleet.jwt_key, asked.report_every_s) as loads,
        ):
            return await _hold(fleet, loads, asked, per_s, notes)


async def _hold(fleet: Fleet, loads: Loads, asked: Asked, per_s: float, notes: list[str]) -> Held:
    await warm(fleet.url)
    fresh, watched = memory_bytes(fleet.servers()), Watched(fleet, loads)
    first = min(MEASURED_AT, loads.sockets)
    before = watched.look()
    joins_per_s = await opened(loads, first, per_s, notes)
    joining = _difference(before, watched.look())
    await asyncio.sleep(SETTLE_S)
    at_first, first_joined, valkey_bytes = memory_bytes(fleet.servers()), loads.joined, await fleet.valkey_bytes()
    if loads.sockets > first:
        joins_per_s = await opened(loads, loads.sockets, per_s, notes)
        await asyncio.sleep(SETTLE_S)
    looking = asyncio.create_task(watched.look_for_ever())
    await loads.seek(asked.commands_per_s)
    began_s, network_bytes, rows = time.monotonic(), loopback_bytes(), await fleet.rows_written()
    async with sampling(fleet.url, fleet.jwt_key, fleet.script_id, REST_PER_S) as sampler:
        await _progress(loads, sampler, asked.minutes)
    ended_s, rows = time.monotonic(), await fleet.rows_written() - rows
    await loads.seek(0)
    looking.cancel()
    watched.look()
    at_last = memory_bytes(fleet.servers())
    return Held(
        asked=asked,
        loads=loads,
        sampler=sampler,
        began_s=began_s,
        ended_s=ended_s,
        looks=[(at_s, used) for at_s, used in watched.looks if began_s - LOOK_S <= at_s],
        server_rss=[(at_s, rss) for at_s, rss in watched.server_rss if began_s - LOOK_S <= at_s],
        joins_per_s=joins_per_s,
        join_cpu_us={name: used / first_joined * 1e6 for name, used in joining.items()},
        fresh=fresh,
        at_first=at_first,
        first_joined=first_joined,
        at_last=at_last,
        valkey_bytes=valkey_bytes,
        network_bytes=loopback_bytes() - network_bytes,
        rows_written=rows,
        servers=fleet.processes,
    )


def _difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: used - before.get(name, 0.0) for name, used in after.items()}


async def _progress(loads: Loads, sampler: Sampler, minutes: float) -> None:
    """Waits so long, and says now and then how it goes."""
    began_s = time.monotonic()
    while (left_s := began_s + minutes * 60 - time.monotonic()) > 0:
        await asyncio.sleep(min(30.0, left_s))
        whole = loads.between(time.monotonic() - 30.0, time.monotonic())
        seeks = sorted(whole.times_ms[COMMANDS]) or [0.0]
        say(
            f"{loads.joined:,} joined, {whole.counts['lost']} lost, seeks p95 {seeks[len(seeks) * 95 // 100]:.0f} ms, "
            f"load late {whole.late_ms:.0f} ms, {sum(sampler.failed.values())} requests failed, {dict(whole.counts)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench hold")
    parser.add_argument("--sockets", type=int, default=50_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--commands-per-s", type=float, default=500.0)
    parser.add_argument("--report-every-s", type=float, default=REPORT_EVERY_S, help="of a device that sounds")
    parser.add_argument("--open-per-s", type=float, default=OPEN_PER_S, help="sockets that come a second at most")
    parser.add_argument("--keep", action="store_true", help="write the results that the documentation quotes")
    options = parser.parse_args()
    notes = [f"Not sampled: {row}" for row in NOT_SAMPLED]
    asked = Asked(
        sockets=options.sockets,
        minutes=options.minutes,
        commands_per_s=options.commands_per_s,
        report_every_s=options.report_every_s,
    )
    found = ending.run(held(asked, options.open_per_s, notes))
    name = "hold" if options.sockets == 50_000 else f"hold_{options.sockets}"
    if options.report_every_s != REPORT_EVERY_S:
        name += f"_every_{options.report_every_s:g}s"
    figures = figures_of(found, (SERVER, VALKEY, POSTGRES, FLUSHER, LOAD))
    result = Result(name, figures, goals_of(figures, asked))
    rows = rows_of(found)
    say(table(rows))
    for note in notes:
        say(note)
    if options.keep:
        kept = keep(result, vars(options), rows, draw=lambda title, path: draw_hold(found, title, path), notes=notes)
        say(f"Written: {', '.join(map(str, kept))}")
    print(result.line())


if __name__ == "__main__":
    main()

"""Every server process restarted at once, and what its clients see of it: `dev.py bench storm`.

    python3 dev.py bench storm [--sockets 50000] [--commands-per-s 100] [--report-every-s 10] [--keep]

The same system as in `dev.py bench hold`. First all server processes are killed (SIGKILL) in the same moment, later
they are replaced one after the other (SIGHUP). Clients come back as docs/protocol.md says, and send again what was not
answered. Looked at: how long it takes until all are joined, whether a command that was answered is lost, whether
anybody's playback pauses until the leases of before have run out, whether a client gives up. `--order kill,rolling`
says what is done, in which order.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests import ending
from loadtests.bench_hold import OPEN_PER_S, SETTLE_S, affordable, opened, say, server_processes, warm
from loadtests.holding.crowd import REPORT_EVERY_S
from loadtests.holding.figures import row, table
from loadtests.holding.files import raise_file_limit
from loadtests.holding.fleet import Fleet, running
from loadtests.holding.loads import Loads, loading
from loadtests.holding.pictures import draw_storm
from loadtests.keeping import Latency, keep, percentile
from loadtests.machine import Goal, Result
from playhead.sessions.store import PRESENCE_LEASE_MS

KILL, ROLLING = "kill", "rolling"
BACK_TIMEOUT_S = 420.0
AFTER_S = 25.0
"""Longer than the 10 s after which a session pauses whose device stays away: then it would have shown."""
LEASE_S = PRESENCE_LEASE_MS / 1000
"""After a kill the lease of a connection may have so long to run: before it ends, no session pauses for that."""
NOTICED_S = 10.0
"""From then on until the pause has reached the load."""
NOT_RUN = {KILL: "The kill of all servers at once was not run.", ROLLING: "The rolling restart was not run."}
REPLACED_TIMEOUT_S = 900.0
BACK_GOAL_S = 60.0


@dataclass(slots=True, kw_only=True)
class Storm:
    """One restart. `back_s`: until all were joined again; None: not in time."""

    name: str
    began_s: float
    ended_s: float
    back_s: float | None
    missing: int
    counts: Counter[str]
    back_ms: Sequence[float]


async def storms(
    sockets: int, commands_per_s: float, per_s: float, report_every_s: float, order: Sequence[str], notes: list[str]
) -> tuple[list[Storm], Loads]:
    descriptors = raise_file_limit()
    sockets = affordable(sockets, notes)
    with tempfile.TemporaryDirectory(prefix="ph-storm-") as name:
        async with (
            running(Path(name), server_processes(sockets, descriptors)) as fleet,
            loading(sockets, descriptors, fleet.port, fleet.script_id, fleet.jwt_key, report_every_s) as loads,
        ):
            await warm(fleet.url)
            await opened(loads, sockets, per_s, notes)
            await loads.seek(commands_per_s)
            await asyncio.sleep(SETTLE_S)
            return [await storm(fleet, loads, kind, notes) for kind in order], loads


async def storm(fleet: Fleet, loads: Loads, kind: str, notes: list[str]) -> Storm:
    """Restarts the servers in this way, and waits until that is over."""
    began_s = time.monotonic()
    if kind == KILL:
        fleet.kill_servers()
    elif not await fleet.replaced(fleet.restart_servers(), REPLACED_TIMEOUT_S):
        notes.append(f"The rolling restart was not over in {REPLACED_TIMEOUT_S:.0f} s.")
    # the load tells once a second what it sees: what it saw before does not count
    full_s = await loads.full(began_s, BACK_TIMEOUT_S)
    await asyncio.sleep(looked_until_s(kind, began_s, time.monotonic()) - time.monotonic())
    ended_s = time.monotonic()
    whole = loads.between(began_s, ended_s)
    done = Storm(
        name=kind,
        began_s=began_s,
        ended_s=ended_s,
        back_s=None if full_s is None else full_s - began_s,
        missing=loads.sockets - loads.joined,
        counts=whole.counts,
        back_ms=whole.times_ms["back"],
    )
    say(f"{kind}: all back after {done.back_s or float('nan'):.1f} s, {done.missing} missing, {dict(done.counts)}")
    return done


def looked_until_s(kind: str, began_s: float, back_s: float) -> float:
    """When every pause that a restart may cause has been seen. `back_s`: when all were back, or were not waited for."""
    until_s = back_s + AFTER_S
    return max(until_s, began_s + LEASE_S + NOTICED_S) if kind == KILL else until_s


def not_run(order: Sequence[str]) -> list[str]:
    return [note for kind, note in NOT_RUN.items() if kind not in order]


def figures_of(found: Sequence[Storm], sockets: int) -> dict[str, float]:
    figures = {"sockets": float(sockets)}
    for each in found:
        ordered = sorted(each.back_ms) or [0.0]
        figures |= {
            f"{each.name}_all_back_s": round(BACK_TIMEOUT_S if each.back_s is None else each.back_s, 2),
            f"{each.name}_missing": float(each.missing),
            f"{each.name}_lost_connections": float(each.counts["lost"]),
            f"{each.name}_away_p50_s": round(percentile(ordered, 50) / 1000, 2),
            f"{each.name}_away_p95_s": round(percentile(ordered, 95) / 1000, 2),
            f"{each.name}_away_max_s": round(ordered[-1] / 1000, 2),
            f"{each.name}_attempts_failed": float(each.counts["attempts_failed"]),
            f"{each.name}_commands": float(each.counts["seeks"]),
            f"{each.name}_commands_repeated": float(each.counts["seeks_repeated"]),
            f"{each.name}_commands_failed": float(each.counts["seeks_failed"]),
            f"{each.name}_acked_lost": float(each.counts["acked_lost"]),
            f"{each.name}_paused": float(each.counts["paused"]),
            f"{each.name}_gave_up": float(each.counts["gave_up"]),
        }
    return figures


def goals_of(figures: dict[str, float]) -> dict[str, Goal]:
    goals = {}
    for name, value in figures.items():
        if name == f"{KILL}_all_back_s":
            goals[name] = Goal(f"< {BACK_GOAL_S:g}", value, value < BACK_GOAL_S)
        elif name.endswith(("_missing", "_commands_failed", "_acked_lost", "_paused", "_gave_up")):
            goals[name] = Goal("= 0", value, value == 0)
    return goals


def rows_of(found: Sequence[Storm]) -> list[Latency]:
    return [
        row(f"{each.name}: a connection's loss → joined again", each.back_ms, each.missing, each.ended_s - each.began_s)
        for each in found
        if each.back_ms
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench storm")
    parser.add_argument("--sockets", type=int, default=50_000)
    parser.add_argument("--commands-per-s", type=float, default=100.0)
    parser.add_argument("--open-per-s", type=float, default=OPEN_PER_S, help="sockets that come a second at first")
    parser.add_argument("--report-every-s", type=float, default=REPORT_EVERY_S, help="of a device that sounds")
    parser.add_argument("--order", default=f"{KILL},{ROLLING}")
    parser.add_argument("--keep", action="store_true", help="write the results that the documentation quotes")
    options = parser.parse_args()
    order = options.order.split(",")
    if not set(order) <= {KILL, ROLLING}:
        parser.error(f"--order takes {KILL} and {ROLLING}")
    notes = not_run(order)
    pace = (options.commands_per_s, options.open_per_s, options.report_every_s)
    found, loads = ending.run(storms(options.sockets, *pace, order, notes))
    name = "storm" if options.sockets == 50_000 else f"storm_{options.sockets}"
    if options.report_every_s != REPORT_EVERY_S:
        name += f"_every_{options.report_every_s:g}s"
    figures, rows = figures_of(found, loads.sockets), rows_of(found)
    say(table(rows))
    for note in notes:
        say(note)
    result = Result(name, figures, goals_of(figures))
    if options.keep:
        began_s = {each.name: each.began_s for each in found}
        kept = keep(
            result,
            vars(options),
            rows,
            draw=lambda title, path: draw_storm(loads, began_s, title, path),
            notes=notes,
        )
        say(f"Written: {', '.join(map(str, kept))}")
    print(result.line())


if __name__ == "__main__":
    main()

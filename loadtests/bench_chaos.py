"""Kills under traffic, one after the other, each followed by the checks of everything: `dev.py bench chaos`.

    python3 dev.py bench chaos [--minutes 15] [--kills 500] [--outage 60] [--listeners 8] [--seed 1]

A whole system on this machine (two servers, a flusher, PostgreSQL, Valkey) and the reference client on two devices of
each listener. What is killed, and what is checked after each kill, is in `loadtests/chaos/`.

    always    Valkey with `appendfsync always`: nothing may be lost; two thirds of the kills
    everysec  with `everysec`, and its file cut as by a crash of the machine: the last 2 s at most
    outage    PostgreSQL is killed and stays away for `--outage` seconds, while everybody goes on

`--kills` counts instead of the minutes, for as long as it takes. Everything that is wrong is printed, with what was
killed before; the seed is in the line of JSON.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from loadtests import ending
from loadtests.chaos.drill import Drill, drilling
from loadtests.chaos.faults import LOSS_S_MAX, Kill
from loadtests.chaos.system import System, running
from loadtests.chaos.traffic import Plan
from loadtests.keeping import RESULTS, Latency, keep, percentile
from loadtests.machine import Goal, Result
from playhead.app.embedded.valkey import AppendSync

ALWAYS = {"server": 6, "valkey": 3, "postgres": 3, "flusher_in_batch": 2, "flusher_after_commit": 2}
EVERYSEC = {"server": 2, "valkey": 2, "valkey_tail": 4, "valkey_tail_quiet": 2, "postgres": 1, "flusher_in_batch": 1}
"""How often each is killed, by its weight."""
ALWAYS_SHARE = 2 / 3
KILLS_A_ROUND = 25
"""After so many the journal is awaited, all is checked to the end, and listeners begin anew."""
BACK_GOAL_S = 2.0
OUTAGE_PLAN = Plan(listeners=20, device_pace_s=1.5, rest_pace_s=5.0, rotates=False)
"""So slow that a session stays below the 100 moves that PostgreSQL keeps of it; a new one needs PostgreSQL."""
FAILURES = ("unavailable", "internal", "overloaded")
WRONG_SHOWN = 20


@dataclass(slots=True)
class Seen:
    """What the kills have shown. `begun`: kills, also those of a round that is not over."""

    begun: int = 0
    rounds: int = 0
    kills: list[Kill] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answers: int = 0
    resent: int = 0
    seeks_lost: int = 0
    oldest_lost_s: float = 0.0
    outage: dict[str, float] = field(default_factory=dict)

    def take(self, drill: Drill, wrong: list[str]) -> None:
        """One round's end."""
        self.kills += drill.faults.done
        self.wrong += wrong
        self.answers += drill.record.answered
        self.resent += drill.record.resent
        self.seeks_lost += len(drill.record.lost)
        self.oldest_lost_s = max(self.oldest_lost_s, *drill.record.lost.values(), 0.0)

    def back_s(self, kind: str) -> list[float]:
        """How long it took: of each device that a server's death cut off, else of the whole."""
        rows = [row for row in self.kills if row.kind == kind]
        return sorted(s for row in rows for s in (row.back_s or (row.recovered_s,)))


def _chosen(weights: Mapping[str, int], chance: Random) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]


async def _rounds(
    system: System, seen: Seen, plan: Plan, weights: Mapping[str, int], goes_on: Callable[[], bool]
) -> None:
    """Kills while `goes_on`, with fresh listeners every round."""
    chance = Random(plan.seed)
    while goes_on():
        seen.rounds += 1
        async with drilling(system, plan.of_round(seen.rounds)) as drill:
            wrong: list[str] = []
            while not wrong and goes_on() and len(drill.faults.done) < KILLS_A_ROUND:
                wrong = await drill.kill(_chosen(weights, chance))
                seen.begun += 1
            wrong = wrong or await drill.end()
            seen.take(drill, wrong)
        told = f"{len(seen.kills)} kills, {seen.answers} answers, {seen.resent} after a repeat"
        notes = [*wrong[:WRONG_SHOWN], *slow(drill.faults.done)]
        print("\n  ".join([f"{told}, {len(seen.wrong)} wrong", *notes]), file=sys.stderr, flush=True)
        if wrong:
            print(drill.record.stories(wrong), file=sys.stderr, flush=True)


def slow(kills: Sequence[Kill]) -> list[str]:
    """The deaths of servers after which a device was away for longer than it may be."""
    late = [kill for kill in kills if kill.kind == "server" and max(kill.back_s, default=0.0) >= BACK_GOAL_S]
    return [f"back only after {max(kill.back_s):.2f} s, when a server was killed at {kill.at_s:.3f}" for kill in late]


async def _outage(system: System, seen: Seen, seconds: float) -> None:
    """PostgreSQL is away for so long; then everything must be in it."""
    seen.rounds += 1
    async with drilling(system, OUTAGE_PLAN.of_round(seen.rounds)) as drill:
        before, failed_before = drill.record.answered, _failed(drill)
        await system.on_keeper(system.postgres.kill)
        until_s = time.monotonic() + seconds
        await drill.traffic.until(lambda: time.monotonic() >= until_s)
        answered, failed = drill.record.answered - before, _failed(drill) - failed_before
        backlog = await drill.inspector.journal_length()
        await system.on_keeper(system.postgres.start)
        began_s = time.monotonic()
        await drill.faults.flushes_again(time.time())
        wrong = await drill.end()
        seen.outage = {
            "s": seconds,
            "answers": answered,
            "failed": failed,
            "backlog_entries": backlog,
            "caught_up_s": round(time.monotonic() - began_s, 2),
        }
        seen.take(drill, [f"after the outage: {text}" for text in wrong])


def _failed(drill: Drill) -> int:
    return sum(drill.record.refusals.get(code, 0) for code in FAILURES)


async def measure(options: argparse.Namespace) -> Seen:
    seen, plan = Seen(), Plan(seed=options.seed, listeners=options.listeners)
    syncs: list[tuple[AppendSync, Mapping[str, int], float]] = [
        ("always", ALWAYS, ALWAYS_SHARE),
        ("everysec", EVERYSEC, 1 - ALWAYS_SHARE),
    ]
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with running(Path(folder), "always") as system:
            for sync, weights, share in syncs:
                await system.sync_valkey(sync)
                await _rounds(system, seen, plan, weights, _limit(options, seen, share))
            await _outage(system, seen, options.outage)
            if seen.wrong:
                print(system.logs(), file=sys.stderr)
    return seen


def _limit(options: argparse.Namespace, seen: Seen, share: float) -> Callable[[], bool]:
    """Whether this part's share of the kills, or of the time, is not used up."""
    if options.kills:
        kills = seen.begun + round(options.kills * share)
        return lambda: seen.begun < kills
    until_s = time.monotonic() + options.minutes * 60 * share
    return lambda: time.monotonic() < until_s


def figures(seen: Seen) -> dict[str, float]:
    kinds = sorted({row.kind for row in seen.kills})
    back_s = seen.back_s("server")
    return {
        "kills": len(seen.kills),
        **{f"kills_{kind}": sum(row.kind == kind for row in seen.kills) for kind in kinds},
        "answers": seen.answers,
        "answers_after_a_repeat": seen.resent,
        "wrong": len(seen.wrong),
        "server_back_p50_s": round(percentile(back_s, 50), 3),
        "server_back_p95_s": round(percentile(back_s, 95), 3),
        "server_back_max_s": round(back_s[-1], 3),
        "everysec_lost_seeks": seen.seeks_lost,
        "everysec_lost_oldest_s": round(seen.oldest_lost_s, 3),
        **{f"outage_{name}": value for name, value in seen.outage.items()},
    }


def goals(seen: Mapping[str, float]) -> dict[str, Goal]:
    back_s, oldest_s = seen["server_back_max_s"], seen["everysec_lost_oldest_s"]
    return {
        "wrong": Goal("= 0", seen["wrong"], seen["wrong"] == 0),
        "server_back_max_s": Goal(f"< {BACK_GOAL_S:g}", back_s, back_s < BACK_GOAL_S),
        "everysec_lost_oldest_s": Goal(f"< {LOSS_S_MAX:g}", oldest_s, oldest_s < LOSS_S_MAX),
        "outage_failed": Goal("= 0", seen["outage_failed"], seen["outage_failed"] == 0),
    }


def rows(seen: Seen) -> list[Latency]:
    """How long each kind of kill was felt, for the plot."""
    found = []
    for kind in sorted({row.kind for row in seen.kills}):
        ms = [round(s * 1000, 1) for s in seen.back_s(kind)]
        found.append(
            Latency(
                name=kind,
                count=len(ms),
                failed=0,
                per_s=0.0,
                p50_ms=percentile(ms, 50),
                p95_ms=percentile(ms, 95),
                p99_ms=percentile(ms, 99),
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0, help="how long to kill")
    parser.add_argument("--kills", type=int, default=0, help="how often to kill, however long it takes")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds for which PostgreSQL is away")
    parser.add_argument("--listeners", type=int, default=8, help="with two devices and an app over REST each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    options = parser.parse_args()
    seen = ending.run(measure(options))
    told = figures(seen)
    result = Result("chaos", told, goals(told))
    arguments = {name: value for name, value in vars(options).items() if name != "results"}
    kept = keep(result, arguments, rows(seen), options.results)
    print(f"Kept in {' and '.join(str(path) for path in kept)}", file=sys.stderr)
    print(result.line())


if __name__ == "__main__":
    main()

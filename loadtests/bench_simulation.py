"""Schedules of the simulation that no run has seen before, for twenty minutes: `dev.py bench simulation`.

    python3 dev.py bench simulation [--minutes 20] [--from SEED]

One process a core. Goes on where the last run's seeds ended, which it keeps in `.playhead/simulation.json`; the seeds
of the tests lie below all of them. A schedule that breaks a rule is shown with its trace, and the run goes on: replay
it with `dev.py test tests/simulation --seed N`, mend the code, and add the seed to `SEEDS_THAT_FAILED`.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from loadtests.keeping import RESULTS, keep
from loadtests.machine import Goal, Result
from tests.simulation.workers import Answer, ask

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".playhead" / "simulation.json"
FIRST_SEED = 6_000_000
SCHEDULES_PER_MINUTE_GOAL = 7_500
"""150,000 in twenty minutes, on two cores."""


def next_seed(kept: Path = KEPT) -> int:
    """The first seed that no run has seen."""
    try:
        return max(FIRST_SEED, int(json.loads(kept.read_text())["next_seed"]))
    except (OSError, ValueError, KeyError, TypeError):
        return FIRST_SEED


def keep_next_seed(seed: int, kept: Path = KEPT) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"next_seed": seed}) + "\n")


def run(first: int, seconds: int, processes: int) -> list[Answer]:
    """Each process takes every so many-th seed."""
    return ask(*[("for", seconds, first + number, processes) for number in range(processes)])


def result_of(answers: list[Answer], minutes: float) -> Result:
    schedules = sum(answer.result["schedules"] for answer in answers)
    failed = sum(len(answer.result["failed"]) for answer in answers)
    figures = {
        "schedules": float(schedules),
        "schedules_per_minute": round(schedules / minutes, 1),
        "commits": float(sum(answer.result["commits"] for answer in answers)),
        "failed": float(failed),
    }
    wanted = SCHEDULES_PER_MINUTE_GOAL * minutes
    goals = {
        "schedules": Goal(f">= {wanted:.0f}", float(schedules), schedules >= wanted),
        "failed": Goal("= 0", float(failed), failed == 0),
    }
    return Result("simulation", figures, goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--from", dest="first", type=int, default=None, help="the first seed; default: the next unseen")
    parser.add_argument("--keep-in", type=Path, default=RESULTS, help="where the figures are kept")
    options = parser.parse_args()
    first, processes = options.first or next_seed(), os.cpu_count() or 1
    answers = run(first, round(options.minutes * 60), processes)
    if options.first is None:
        keep_next_seed(first + processes * max(answer.result["schedules"] for answer in answers))
    for answer in answers:
        print(answer.text, file=sys.stderr)
    seeds = sorted(seed for answer in answers for seed in answer.result["failed"])
    print(f"Seeds from {first}; broken rules: {seeds or 'none'}", file=sys.stderr)
    result = result_of(answers, options.minutes)
    keep(result, {"minutes": options.minutes, "first_seed": first}, [], options.keep_in)
    print(result.line())


if __name__ == "__main__":
    main()

"""Runs schedules by their seeds, in a process of its own: `python -m tests.simulation.run WHAT …`.

    seeds FIRST COUNT            all of them; the first that breaks a rule is printed, with its trace
    for SECONDS FIRST STEP       as many as fit, every STEP-th, also after one has failed
    listed SEED …                these; each that breaks a rule is printed, with its trace
    one SEED                     one, with its whole trace
    digests FIRST COUNT SHIFT    names of what was traced and stored, clocks of devices wrong by SHIFT ms
    mutated COUNT NAME …         until a rule is broken: the code is, on purpose (see mutations.py); all by default

A process of its own, because it puts simulated sockets where the code has real ones. The last line is JSON.
"""

import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from itertools import count
from typing import Any, NoReturn

import structlog

from tests.simulation.device import ask_the_time_less_often
from tests.simulation.mutations import MUTATIONS
from tests.simulation.node import stand_in_for_the_network
from tests.simulation.record import watch_reducer
from tests.simulation.schedule import make_plan
from tests.simulation.world import Failed, World

COLLECT_EVERY = 400
"""Schedules: each leaves cycles behind, and to look for them all the time costs a tenth."""

_running: list[World] = []
_runs = count(1)


def _hear_the_log(_logger: Any, method: str, event: MutableMapping[str, Any]) -> NoReturn:
    """What the code logs is part of the trace; an exception that it logs is a failure."""
    if _running:
        world = _running[-1]
        world.note("log", "%s %s", method, event.get("event"))
        if method in ("error", "exception"):
            world.fail("no exception is ours", f"{event.get('event')}\n{event.get('exception')}")
    raise structlog.DropEvent


def prepare() -> None:
    """Once per process."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, _hear_the_log], cache_logger_on_first_use=True
    )
    watch_reducer()
    stand_in_for_the_network()
    ask_the_time_less_often()
    gc.collect()
    gc.freeze()
    gc.disable()


def run_seed(seed: int, **changes: Any) -> World:
    """One schedule, with `changes` of its plan. Raises Failed."""
    plan, chance = make_plan(seed)
    world = World(replace(plan, **changes), chance)
    _running.append(world)
    try:
        world.run()
    finally:
        _running.pop()
        if next(_runs) % COLLECT_EVERY == 0:
            gc.collect()
    return world


def _commits(seed: int) -> int:
    world = run_seed(seed)
    commits = len(world.record.commits)
    world.take_apart()
    return commits


def _seeds(first: int, count: int) -> dict[str, Any]:
    commits = 0
    for seed in range(first, first + count):
        try:
            commits += _commits(seed)
        except Failed as failure:
            print(failure)
            return {"failed": [seed], "schedules": seed - first + 1, "commits": commits}
    return {"failed": [], "schedules": count, "commits": commits}


def _for(seconds: float, first: int, step: int = 1) -> dict[str, Any]:
    until_s, seed, commits = time.monotonic() + seconds, first, 0
    failed = []
    while time.monotonic() < until_s:
        try:
            commits += _commits(seed)
        except Failed as failure:
            print(failure, flush=True)
            failed.append(seed)
        seed += step
    return {"failed": failed, "schedules": (seed - first) // step, "commits": commits}


def _listed(*seeds: int) -> dict[str, Any]:
    failed = []
    for seed in seeds:
        try:
            _commits(seed)
        except Failed as failure:
            print(failure, flush=True)
            failed.append(seed)
    return {"failed": failed}


def _one(seed: int) -> dict[str, Any]:
    plan, chance = make_plan(seed)
    print(plan)
    world = World(plan, chance)
    _running.append(world)
    failure = None
    try:
        world.run()
    except Failed:
        failure = world.failure
    print("\n".join(world.trace.lines()))
    return {"failed": [] if failure is None else [seed], "failure": failure}


def _digests(first: int, count: int, shift_ms: int) -> dict[str, Any]:
    traced, stored = hashlib.sha256(), hashlib.sha256()
    for seed in range(first, first + count):
        world = run_seed(seed, clock_shift_ms=shift_ms)
        traced.update(world.trace.digest().encode())
        for commit in world.record.commits:
            stored.update(repr((commit.at_us, commit.after, commit.entry)).encode())
    return {"traced": traced.hexdigest(), "stored": stored.hexdigest()}


def _mutated(count: int, *names: str) -> dict[str, Any]:
    """What breaks first under each mutation."""
    return {name: _broken_by(name, count) for name in names or MUTATIONS}


def _broken_by(name: str, count: int) -> dict[str, Any]:
    """The first schedule that breaks the mutation's rule; of one that breaks others alone, the last of these."""
    found: dict[str, Any] = {"seed": None, "rule": None, "failure": None}
    first = MUTATIONS[name].from_seed
    with MUTATIONS[name].applied():
        for seed in range(first, first + count):
            try:
                run_seed(seed, **MUTATIONS[name].plan)
            except Failed as failure:
                what = str(failure).partition("\n")[0].partition(": ")[2]
                found = {"seed": seed, "rule": what.partition(":")[0], "failure": what}
                if found["rule"] == MUTATIONS[name].rule:
                    break
    return found


def main(arguments: list[str]) -> int:
    what, rest = arguments[0], arguments[1:]
    prepare()
    runs: dict[str, Callable[..., dict[str, Any]]] = {
        "seeds": _seeds,
        "for": _for,
        "listed": _listed,
        "one": _one,
        "digests": _digests,
        "mutated": _mutated,
    }
    result = runs[what](*(int(word) if word.lstrip("-").isdigit() else word for word in rest))
    print(json.dumps(result))
    return 1 if result.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Processes that run schedules beside each other; each is asked once and says what it found."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process has printed, and the JSON in which it ended."""

    text: str
    result: dict[str, Any]


def ask(*questions: Sequence[object], hash_seed: str | None = None) -> list[Answer]:
    """One process a question: the arguments of `tests.simulation.run`. Returns when all have answered."""
    environment = {**os.environ, **({} if hash_seed is None else {"PYTHONHASHSEED": hash_seed})}
    program = [sys.executable, "-m", "tests.simulation.run"]
    commands = [[*program, *(str(word) for word in question)] for question in questions]
    return [_answer(printed) for printed in printed_by(commands, environment)]


def printed_by(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> list[str]:
    """Runs all at once. Each is read all the time: one that prints a long trace would wait for its reader otherwise."""
    with ExitStack() as held:
        readers = held.enter_context(ThreadPoolExecutor(len(commands)))
        running = [
            held.enter_context(
                subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
            for command in commands
        ]
        for process in running:
            held.callback(process.kill)
        return list(readers.map(lambda process: process.communicate()[0], running))


def _answer(printed: str) -> Answer:
    text, _, last = printed.rstrip().rpartition("\n")
    try:
        return Answer(text, json.loads(last))
    except ValueError:
        raise AssertionError(f"A simulation ended without its result:\n{printed}") from None


def shares(first: int, count: int, processes: int = PROCESSES) -> list[tuple[str, int, int]]:
    """Questions that run the seeds from `first` on, as many as `count`, in so many processes."""
    size, rest = divmod(count, processes)
    found = []
    for number in range(processes):
        mine = size + (number < rest)
        found.append(("seeds", first, mine))
        first += mine
    return found

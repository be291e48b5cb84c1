"""What a call of the state store costs this process: `dev.py bench store`.

    python3 dev.py bench store [--calls 20000] [--rounds 3]

A Valkey (append-only file, everysec) in a process of its own, and here so many tasks that each wait for their answer
before they ask again, on two clients in turn: redis-py's pool, which the store used to have, and the multiplexed one.

    call     FCALL of the function that tells a listener's live sessions, straight on the client
    commit   a report through `RedisStore.commit`: arguments made, committed, journalled and published

Each figure is the median of the rounds. CPU is this process's own, that of the tasks and of the loop included.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from msgspec.structs import replace

from loadtests import ending
from loadtests.journal_traffic import Traffic, sessions_of
from loadtests.keeping import RESULTS, Latency, keep, percentile
from loadtests.machine import Goal, Result
from playhead.app.embedded import EmbeddedValkey
from playhead.runtime.clock import Clock
from playhead.sessions.keys import ListenerKeys
from playhead.sessions.library import LIBRARY
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import Change, Committed
from tests.support.clocks import SystemClock

TASKS = (1, 50, 200)
GOAL_TASKS = 50
GOAL_US = 10.0
ROUND_TIMEOUT_S = 120.0
PACKET = b"2" + b"x" * 400

Ask = Callable[[int], Awaitable[None]]
"""One call of a task, which waits for its answer."""


class PooledStore(RedisStore):
    """The store on redis-py's pool: the peer of the comparison.

    With a connection for every task: of more tasks than connections some wait so long for one that they give up, as who
    has just given one back is the first to take it again.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url, clock)
        self.client.connection_pool.max_connections = max(TASKS)

    async def _function(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        return await self.client.fcall(LIBRARY.function(name), len(keys), *keys, *args)


@dataclass(frozen=True, slots=True)
class Measured:
    """One round: CPU of this process and of Valkey a call, and what the tasks saw."""

    cpu_us: float
    valkey_us: float
    per_s: float
    latencies_ms: list[float]


def multiplexed_call(store: RedisStore, keys: ListenerKeys) -> Awaitable[Any]:
    return store.calls.call("FCALL", LIBRARY.function("live"), 2, keys.epoch, keys.live, *_session_names(keys))


def pooled_call(store: RedisStore, keys: ListenerKeys) -> Awaitable[Any]:
    client: Any = store.client
    answer: Awaitable[Any] = client.fcall(LIBRARY.function("live"), 2, keys.epoch, keys.live, *_session_names(keys))
    return answer


def _session_names(keys: ListenerKeys) -> list[str]:
    return keys.session("|").split("|")


async def measure_round(ask: Ask, tasks: int, calls: int, valkey: psutil.Process) -> Measured:
    each = calls // tasks
    latencies: list[float] = []

    async def work(number: int) -> None:
        for _ in range(each):
            began_s = time.perf_counter()
            await ask(number)
            latencies.append((time.perf_counter() - began_s) * 1000)

    began_s, cpu_s, valkey_s = time.perf_counter(), time.process_time(), sum(valkey.cpu_times()[:2])
    async with asyncio.timeout(ROUND_TIMEOUT_S):
        await asyncio.gather(*(work(number) for number in range(tasks)))
    done = each * tasks
    return Measured(
        cpu_us=(time.process_time() - cpu_s) / done * 1e6,
        valkey_us=(sum(valkey.cpu_times()[:2]) - valkey_s) / done * 1e6,
        per_s=done / (time.perf_counter() - began_s),
        latencies_ms=sorted(latencies),
    )


class Commits:
    """Sessions of one store, each committed to by one task."""

    def __init__(self, store: RedisStore, traffic: Traffic) -> None:
        self._store = store
        self._traffic = traffic

    async def create(self) -> None:
        for number, state in enumerate(self._traffic.states):
            epoch = (await self._store.live(state.listener_id)).epoch
            self._traffic.states[number] = created = replace(state, epoch=epoch)
            change = Change(after=created, expected_version=None)
            answer = await self._store.commit(state.listener_id, epoch, [change], [])
            assert answer is Committed.DONE, answer

    async def commit(self, number: int) -> None:
        before = self._traffic.states[number]
        after = self._traffic.next(number).state
        change = Change(after=after, expected_version=before.version)
        answer = await self._store.commit(after.listener_id, after.epoch, [change], [PACKET])
        assert answer is Committed.DONE, answer


async def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[Latency]]:
    found: dict[str, list[Measured]] = defaultdict(list)
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="playhead-bench-") as name, EmbeddedValkey(Path(name) / "valkey") as server:
        valkey = next(child for child in psutil.Process().children(recursive=True) if "valkey" in child.name())
        stores = {"pool": PooledStore(server.url, clock), "multiplexed": RedisStore(server.url, clock)}
        straight = {"pool": pooled_call, "multiplexed": multiplexed_call}
        keys = [ListenerKeys(str(uuid.uuid4())) for _ in range(max(TASKS))]
        commits = {}
        for client, store in stores.items():
            traffic = sessions_of(str(uuid.uuid4()), max(TASKS), seeks=0.0, now_ms=clock.now_ms())
            commits[client] = Commits(store, traffic)
            await commits[client].create()
        for _ in range(options.rounds):
            for tasks in TASKS:
                for client, store in stores.items():

                    async def ask(number: int, client: str = client, store: RedisStore = store) -> None:
                        await straight[client](store, keys[number])

                    calls = options.calls if tasks > 1 else options.calls // 4
                    found[f"{client}_call_{tasks}"].append(await measure_round(ask, tasks, calls, valkey))
                    commit = commits[client].commit
                    found[f"{client}_commit_{tasks}"].append(await measure_round(commit, tasks, calls, valkey))
        for store in stores.values():
            await store.stop()
    return figures_of(found), rows_of(found)


def figures_of(found: dict[str, list[Measured]]) -> dict[str, float]:
    figures = {}
    for name, rounds in found.items():
        figures[f"{name}_cpu_us"] = round(statistics.median(each.cpu_us for each in rounds), 1)
        figures[f"{name}_valkey_cpu_us"] = round(statistics.median(each.valkey_us for each in rounds), 1)
        figures[f"{name}_per_s"] = round(statistics.median(each.per_s for each in rounds))
    return figures


def rows_of(found: dict[str, list[Measured]]) -> list[Latency]:
    rows = []
    for name, rounds in found.items():
        ordered = sorted(latency for each in rounds for latency in each.latencies_ms)
        per_s = round(statistics.median(each.per_s for each in rounds), 1)
        p50, p95, p99 = (round(percentile(ordered, percent), 3) for percent in (50, 95, 99))
        rows.append(Latency(name=name, count=len(ordered), failed=0, per_s=per_s, p50_ms=p50, p95_ms=p95, p99_ms=p99))
    return rows


def print_table(figures: dict[str, float]) -> None:
    print(f"{'us of CPU a call':24}" + "".join(f"{tasks:>8} tasks" for tasks in TASKS), file=sys.stderr)
    for kind in ("call", "commit"):
        for client in ("pool", "multiplexed"):
            cells = "".join(f"{figures[f'{client}_{kind}_{tasks}_cpu_us']:>14}" for tasks in TASKS)
            print(f"{f'{kind}, {client}':24}{cells}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of one round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    options = parser.parse_args()
    figures, rows = ending.run(measure(options))
    value = figures[f"multiplexed_call_{GOAL_TASKS}_cpu_us"]
    goals = {f"cpu_us_per_call_{GOAL_TASKS}_tasks": Goal(f"<= {GOAL_US:g}", value, value <= GOAL_US)}
    result = Result("store", figures, goals)
    arguments = {name: given for name, given in vars(options).items() if name != "results"}
    kept = keep(result, arguments, rows, options.results)
    print_table(figures)
    print(f"Kept in {' and '.join(str(path) for path in kept)}", file=sys.stderr)
    print(result.line())


if __name__ == "__main__":
    main()

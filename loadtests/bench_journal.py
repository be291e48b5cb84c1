"""How fast and how late the journal comes to PostgreSQL, and what an idle session costs: `dev.py bench journal`.

    python3 dev.py bench journal [--seconds 30] [--entries 1000000] [--sessions 10000] [--seeks 0.1]

A PostgreSQL (fsync and synchronous_commit on), a Valkey (append-only file, everysec) and flushers in processes of their
own, all on this machine.

    memory   used_memory of Valkey per live session whose last command is over ten minutes ago
    lag      `--seconds` of 1,000 commits a second through the store's own function; how late each entry was
    drain    `--entries` written while no flusher runs, round robin over the sessions, so that the entries of a session
             lie far apart; of them `--seeks` are seeks with an entry in the history, the others are reports
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio
from msgspec.structs import replace

from loadtests import ending
from loadtests.journal_traffic import Machine, Traffic, machine_under_test, sessions_of
from loadtests.keeping import RESULTS, Latency, keep, percentile
from loadtests.machine import Goal, Result
from playhead.sessions.journal import Entry, encode_entry
from playhead.sessions.keys import PARTITIONS, ListenerKeys, journal_key, partition_of
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import PRESENCE_LEASE_MS, Answer, Change, Committed, Connection
from tests.support.clocks import SystemClock

COMMANDS_PER_S = 1_000
TICK_S = 0.05
PIPELINE = 2_000
BIRTHS = 50
DRAIN_TIMEOUT_S = 600.0
LAG_GOAL_MS = 1_000
DRAIN_GOAL = 20_000
MEMORY_GOAL = 2_048
MEMORY_SESSIONS = 5_000
ANSWER = b'{"ok":true,"mark":"0123456789abcdef0123456789abcdef","outcome":{}}'


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a flusher's process tells at its end."""

    lags_ms: list[int]
    cpu_s: float


class FlusherProcess:
    """Runs until `stop`, which answers what it has seen."""

    def __init__(self, machine: Machine) -> None:
        self._file = machine.folder / f"flusher-{uuid.uuid4()}.json"
        command = [sys.executable, "-m", "loadtests.journal_flusher", machine.logins.service_url, machine.valkey_url]
        self._process = subprocess.Popen([*command, str(self._file)])

    def stop(self) -> Flushed:
        self._process.terminate()
        self._process.wait(60)
        return Flushed(**json.loads(self._file.read_text()))


def _traffic(machine: Machine, sessions: int, seeks: float) -> Traffic:
    return sessions_of(machine.script_id, sessions, seeks=seeks, now_ms=SystemClock().now_ms())


async def measure_memory(machine: Machine) -> dict[str, float]:
    """Sessions with a connected device, as commits leave them; the kept answers have run out."""
    store = RedisStore(machine.valkey_url, SystemClock())
    rows = _traffic(machine, MEMORY_SESSIONS, 0.0)
    await store.live(rows.states[0].listener_id)
    before = await _used_memory(store.client)
    for number, state in enumerate(rows.states):
        await _commit(store, rows, number, created=True)
        now_ms = SystemClock().now_ms()
        device = Connection(
            connection_id="Jn1rP0aYQmXhG9v4AAAB",
            device_id="phone-8f3a5d",
            name="Phone",
            kind="phone",
            connected_at_ms=now_ms,
            expires_at_ms=now_ms + PRESENCE_LEASE_MS,
            rtt_ms=20,
        )
        await store.hold_connections(state.listener_id, [device])
        keys = ListenerKeys(state.listener_id)
        await store.client.delete(keys.answer(state.session_id), keys.answers(state.session_id))
    await store.client.delete(*(journal_key(partition) for partition in range(PARTITIONS)))
    used = await _used_memory(store.client) - before
    state_bytes = len(encode_entry(Entry(state=rows.states[0]))[b"s"])
    await store.client.flushall()
    await store.stop()
    return {"session_bytes": round(used / MEMORY_SESSIONS), "state_json_bytes": state_bytes}


async def _used_memory(client: redis.asyncio.Redis) -> int:
    return int((await client.info("memory"))["used_memory"])


async def _commit(store: RedisStore, rows: Traffic, number: int, *, created: bool = False) -> None:
    before = rows.states[number]
    epoch = (await store.load(before.listener_id, before.session_id)).epoch
    if created:
        rows.states[number] = before = replace(before, epoch=epoch, moved=(epoch, 7))
        entry = Entry(state=before)
    else:
        entry = rows.next(number)
    change = Change(
        after=entry.state,
        expected_version=None if created else before.version,
        entry=entry.moves[0] if entry.moves else None,
    )
    answer = Answer(session_id=before.session_id, command_id=before.session_id, content=ANSWER)
    committed = await store.commit(before.listener_id, epoch, [change], [], answer)
    if committed is not Committed.DONE:
        raise SystemExit(f"a commit was answered {committed}")


async def measure_lag(machine: Machine, sessions: int, seconds: int, seeks: float) -> dict[str, float]:
    """Commits at an even rate; each tick's share at once, as clients would."""
    store = RedisStore(machine.valkey_url, SystemClock())
    rows = _traffic(machine, sessions, seeks)
    for number in range(0, sessions, BIRTHS):
        births = range(number, min(number + BIRTHS, sessions))
        await asyncio.gather(*(_commit(store, rows, n, created=True) for n in births))
    first = FlusherProcess(machine)
    await _until_drained(store.client, sessions)
    first.stop()  # that the sessions are born is not measured
    flusher = FlusherProcess(machine)
    began_cpu = machine.cpu_s()
    began_s = time.monotonic()
    share = round(COMMANDS_PER_S * TICK_S)
    sent = 0
    for tick in range(round(seconds / TICK_S)):
        await asyncio.sleep(max(0.0, began_s + tick * TICK_S - time.monotonic()))
        await asyncio.gather(*(_commit(store, rows, (sent + n) % sessions) for n in range(share)))
        sent += share
    took_s = time.monotonic() - began_s
    await _until_drained(store.client, sent)
    cpu = machine.cpu_s()
    flushed = flusher.stop()
    await store.client.flushall()
    await store.stop()
    lags = flushed.lags_ms
    if len(lags) < sent:
        raise SystemExit(f"{sent} commands, and {len(lags)} entries came through")
    return {
        "commands_per_s": round(sent / took_s),
        "p50_ms": percentile(lags, 50),
        "p95_ms": percentile(lags, 95),
        "p99_ms": percentile(lags, 99),
        "max_ms": lags[-1],
        "flusher_cpu_us_per_command": round(1e6 * flushed.cpu_s / sent),
        "postgres_cpu_us_per_command": round(1e6 * (cpu[0] - began_cpu[0]) / sent),
        "valkey_cpu_us_per_command": round(1e6 * (cpu[1] - began_cpu[1]) / sent),
    }


async def _until_drained(client: redis.asyncio.Redis, entries: int) -> float:
    """Returns the seconds until the journal is empty. Raises SystemExit after DRAIN_TIMEOUT_S."""
    began_s = time.monotonic()
    while await _waiting(client):
        if time.monotonic() - began_s > DRAIN_TIMEOUT_S:
            raise SystemExit(f"of {entries} entries {await _waiting(client)} still wait after {DRAIN_TIMEOUT_S:.0f} s")
        await asyncio.sleep(0.05)
    return time.monotonic() - began_s


async def _waiting(client: redis.asyncio.Redis) -> int:
    async with client.pipeline(transaction=False) as pipe:
        for partition in range(PARTITIONS):
            pipe.xlen(journal_key(partition))
        return sum(await pipe.execute())


async def measure_drain(machine: Machine, entries: int, sessions: int, seeks: float, flushers: int) -> dict[str, float]:
    rows = _traffic(machine, sessions, seeks)
    client = redis.asyncio.Redis.from_url(machine.valkey_url)
    for first in range(0, entries, PIPELINE):
        async with client.pipeline(transaction=False) as pipe:
            for number in range(first, min(first + PIPELINE, entries)):
                entry = rows.next(number % sessions)
                key = journal_key(partition_of(entry.state.listener_id))
                pipe.xadd(key, encode_entry(entry))  # type: ignore[arg-type]
            await pipe.execute()
    backlog_bytes = await _used_memory(client)
    began_cpu = machine.cpu_s()
    began_s = time.monotonic()
    running = [FlusherProcess(machine) for _ in range(flushers)]
    await _until_drained(client, entries)
    took_s = time.monotonic() - began_s
    cpu = machine.cpu_s()
    flushed = [flusher.stop() for flusher in running]
    await client.flushall()
    await client.aclose()
    return {
        "entries": entries,
        "sessions": sessions,
        "seconds": round(took_s, 1),
        "entries_per_s": round(entries / took_s),
        "backlog_bytes_per_entry": round(backlog_bytes / entries),
        "flusher_cpu_us_per_entry": round(1e6 * sum(row.cpu_s for row in flushed) / entries, 1),
        "postgres_cpu_us_per_entry": round(1e6 * (cpu[0] - began_cpu[0]) / entries, 1),
        "valkey_cpu_us_per_entry": round(1e6 * (cpu[1] - began_cpu[1]) / entries, 1),
    }


def _named(part: str, figures: dict[str, float]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        print(f"{part:<7} {name:<30} {value:>12,}")
        yield f"{part}_{name}", value


async def measure(options: argparse.Namespace) -> Result:
    figures: dict[str, float] = {}
    async with machine_under_test() as machine:
        figures |= _named("memory", await measure_memory(machine))
        figures |= _named("lag", await measure_lag(machine, options.sessions, options.seconds, options.seeks))
        drained = await measure_drain(machine, options.entries, options.sessions, options.seeks, options.flushers)
        figures |= _named("drain", drained)
    return Result("journal", figures, goals(figures))


def goals(figures: Mapping[str, float]) -> dict[str, Goal]:
    session, lag_ms, rate = (figures[name] for name in ("memory_session_bytes", "lag_p95_ms", "drain_entries_per_s"))
    return {
        "memory_session_bytes": Goal(f"<= {MEMORY_GOAL}", session, session <= MEMORY_GOAL),
        "lag_p95_ms": Goal(f"< {LAG_GOAL_MS}", lag_ms, lag_ms < LAG_GOAL_MS),
        "drain_entries_per_s": Goal(f">= {DRAIN_GOAL}", rate, rate >= DRAIN_GOAL),
    }


def lag_row(figures: Mapping[str, float], seconds: int) -> Latency:
    """The lag as a row of the plot."""
    return Latency(
        name="commit to PostgreSQL",
        count=round(figures["lag_commands_per_s"] * seconds),
        failed=0,
        per_s=figures["lag_commands_per_s"],
        p50_ms=figures["lag_p50_ms"],
        p95_ms=figures["lag_p95_ms"],
        p99_ms=figures["lag_p99_ms"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="length of the measurement of the lag")
    parser.add_argument("--entries", type=int, default=1_000_000, help="length of the backlog")
    parser.add_argument("--sessions", type=int, default=10_000, help="sessions that the entries are of")
    parser.add_argument("--seeks", type=float, default=0.1, help="share of seeks among the entries")
    parser.add_argument("--flushers", type=int, default=1, help="processes that drain the backlog")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    options = parser.parse_args()
    result = ending.run(measure(options))
    arguments = {name: value for name, value in vars(options).items() if name != "results"}
    kept = keep(result, arguments, [lag_row(result.figures, options.seconds)], options.results)
    print(f"Kept in {' and '.join(str(path) for path in kept)}", file=sys.stderr)
    print(result.line())


if __name__ == "__main__":
    main()

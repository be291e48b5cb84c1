"""How much of what listeners ask for the edge answers without the origin: `dev.py bench edge`.

    python3 dev.py bench edge [--rounds 6] [--run 6] [--keep]

500 scripts of an hour whose popularity is Zipf's with exponent 1, 2,000 listeners with a token each, one data centre.
In each round every listener hears one script from its beginning to its end, drawn anew; the first round finds a cold
cache.

A listener begins with the playlists, the init segment and FIRST_SEGMENTS segments, one after the other, as a player
does that fills its buffer; then comes a run of segments, one a step, that stands for the rest of the hour. Time is
virtual: a round has steps, in each of which all listeners ask who have something to ask for, each one begins in a step
drawn at random, and the next step begins when the last answer has come. So a segment is asked for a step after the one
before it, in the bench some 100 ms, where a player takes six seconds.

The Worker is the real one, in Cloudflare's runtime (miniflare), with the cache of one data centre. The origin is a
STUB, which answers at once: paths, facts and init segments are playhead's own, but a segment is SEGMENT_BYTES of
nothing, and no token is looked at.

    hit               from the cache: nobody waited for the origin
    waited            the rest: for an own request to the origin, or for one that was under way (`joined`)
    not from origin   as many as the origin was asked for less than the listeners asked for, ahead or not
    ceiling           what a cache reaches that keeps everything, never asks twice and fetches nothing ahead. Such a
                      one takes as much off the origin as any can: what nobody has asked for before is asked for once
    ahead unused      of the segments that the origin was asked for, those that no listener came to. Here all leave
                      behind the same segment, while the script goes on; who hears the last one leaves nothing behind
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from loadtests import ending
from loadtests.keeping import RESULTS, Latency, keep, percentile
from loadtests.machine import Goal, Result
from playhead.app.player_build import find_node, install, source_folder
from playhead.auth.media_paths import MediaSigner, media_prefix
from playhead.http.media_facts import media_facts
from playhead.http.origin_paths import parse_media_path
from playhead.http.revoked import REVOKED_PATH
from playhead.media import FIRST_RUNG, Grid, init_segment

SCRIPTS = 500
LISTENERS = 2_000
AT_ONCE = 48
SEGMENT_BYTES = 4_096
VERSION = "0123456789abcdef"
KEYS = {"bench": "a media key for a benchmark, long enough"}
HOUR = Grid(source_rate=48_000, source_samples=48_000 * 3_600)
FIRST_SEGMENTS = 5
"""What a player asks for at once, half a minute."""
STEPS = 20
"""In which the listeners of a round begin."""
SETTLE_S = 0.5
"""After a round, so that what is fetched ahead is counted with it."""
SEED = 1
GOAL_PERCENT = 98.0
CONTRACT_PERCENT = 80.0
NOTE = "The origin is a stub that answers bytes of no sound; the Worker and its runtime are real, the network is not."
START_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 30.0
SECONDS_MAX = 270.0
"""No round is begun that would probably end later."""


@dataclass(slots=True)
class Round:
    """What one round has seen: objects by their weight, and how long each answer took."""

    requests: float = 0.0
    hits: float = 0.0
    joined: float = 0.0
    """Waited for a request to the origin that was under way."""
    new: float = 0.0
    """Objects that nobody has asked for before: what even the best cache must fetch."""
    from_origin: float = 0.0
    """What the origin was asked for, by listeners or ahead of them."""
    starts: float = 0.0
    """Requests of those who begin, up to the last of the first segments."""
    start_hits: float = 0.0
    failed: int = 0
    latencies_ms: dict[str, list[float]] = field(default_factory=lambda: {"hit": [], "own": [], "joined": []})


@dataclass(frozen=True, slots=True)
class Hearing:
    """One listener and a script. `prefix`: of its media; `signed`: their address; `begins`: in which step."""

    prefix: str
    signed: str
    begins: int


def percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


class StubOrigin:
    """Answers media paths; counts them, by kind and one by one."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()

    async def serve(self, request: web.Request) -> web.Response:
        if request.path.endswith(REVOKED_PATH):
            return web.json_response({"revoked": [], "next": 0, "more": False})
        asked = parse_media_path(request.rel_url.raw_path)
        if asked is None or (asked.segment or 0) >= HOUR.segments:
            return web.Response(status=404)
        self.asked[asked.kind] += 1
        self.paths[asked.path] += 1
        if asked.kind == "facts":
            return self._kept(media_facts(HOUR, VERSION).model_dump_json().encode(), "application/json", 300)
        body = init_segment(FIRST_RUNG) if asked.kind == "init" else bytes(SEGMENT_BYTES)
        return self._kept(body, "audio/mp4", 31_536_000)

    def _kept(self, body: bytes, content_type: str, seconds: int) -> web.Response:
        headers = {"Cache-Control": f"public, max-age={seconds}", "ETag": '"x"'}
        return web.Response(body=body, content_type=content_type, headers=headers)


@asynccontextmanager
async def stub_origin() -> AsyncIterator[tuple[StubOrigin, str]]:
    stub, app = StubOrigin(), web.Application()
    app.router.add_get("/p/{tail:.*}", stub.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield stub, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def edge(origin_url: str) -> AsyncIterator[str]:
    """The Worker before `origin_url`: its address."""
    folder, node = source_folder("edge"), find_node()
    assert folder is not None
    await asyncio.to_thread(install, folder, node)
    environment = {**os.environ, "MEDIA_KEYS": json.dumps(KEYS)}
    program = str(node.folder / "node")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, "serve.mjs", origin_url, cwd=folder, env=environment, stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        yield line.decode().strip().rstrip("/")
    finally:
        process.stdin.close()
        await process.wait()


class Trace:
    """Who hears what, and what that asks for. `run`: segments that stand for what comes behind the first ones."""

    def __init__(self, url: str, run: int) -> None:
        self._random, self._begins = random.Random(SEED), random.Random(f"begins {SEED}")
        self._url = url
        self._run = run
        self._scripts = [str(uuid.UUID(int=self._random.getrandbits(128), version=4)) for _ in range(SCRIPTS)]
        self._weights = [1 / rank for rank in range(1, SCRIPTS + 1)]
        self._signer = MediaSigner(KEYS)
        self.seen: set[str] = set()

    @property
    def steps(self) -> int:
        """Of a round."""
        return STEPS + self._run

    def draw(self) -> list[Hearing]:
        """A script for every listener, and when each begins."""
        expires_at_s = int(time.time()) + 3_600
        scripts = self._random.choices(self._scripts, self._weights, k=LISTENERS)
        begins = self._begins.choices(range(STEPS), k=LISTENERS)
        hearings = []
        for listener, (script, begin) in enumerate(zip(scripts, begins, strict=True)):
            prefix = media_prefix(script, VERSION)
            signed = self._signer.sign(prefix, expires_at_s, session_id=str(listener))
            hearings.append(Hearing(prefix, signed, begin))
        return hearings

    def objects(self, age: int) -> list[tuple[str, float]]:
        """What a listener asks for so many steps after the first, below the prefix, and how many each stands for."""
        rung, playlists = FIRST_RUNG.name, ("master.m3u8", f"{FIRST_RUNG.name}/index.m3u8")
        if age == 0:
            segments = (f"{rung}/{segment}.m4s" for segment in range(FIRST_SEGMENTS))
            return [(tail, 1.0) for tail in (*playlists, f"{rung}/init.mp4", *segments)]
        if not 0 < age <= self._run:
            return []
        segment = FIRST_SEGMENTS + age - 1
        return [(f"{rung}/{segment}.m4s", self._stands_for(segment))]

    def weight(self, path: str) -> float:
        """How many objects one that the origin was asked for stands for: one, unless it is of the run."""
        asked = parse_media_path(f"/p/x{path}")
        assert asked is not None
        return 1.0 if asked.segment is None else self._stands_for(asked.segment)

    def _stands_for(self, segment: int) -> float:
        of_run = FIRST_SEGMENTS <= segment < FIRST_SEGMENTS + self._run
        return (HOUR.segments - FIRST_SEGMENTS) / self._run if of_run else 1.0

    async def hear(self, session: aiohttp.ClientSession, hearing: Hearing, step: int, found: Round) -> None:
        age = step - hearing.begins
        for tail, weight in self.objects(age):
            found.requests += weight
            found.starts += age == 0
            if hearing.prefix + tail not in self.seen:
                self.seen.add(hearing.prefix + tail)
                found.new += weight
            began_s = time.perf_counter()
            async with session.get(self._url + hearing.signed + tail) as answer:
                await answer.read()
            status = answer.headers.get("Cache-Status", "")
            outcome = "hit" if "; hit" in status else "joined" if "; collapsed" in status else "own"
            found.hits += weight if outcome == "hit" else 0
            found.joined += weight if outcome == "joined" else 0
            found.start_hits += age == 0 and outcome == "hit"
            found.failed += answer.status != 200
            found.latencies_ms[outcome].append((time.perf_counter() - began_s) * 1_000)


async def play_round(trace: Trace, session: aiohttp.ClientSession, stub: StubOrigin) -> Round:
    found, hearings, before = Round(), trace.draw(), stub.paths.copy()

    async def some(due: Iterator[Hearing], step: int) -> None:
        for hearing in due:
            await trace.hear(session, hearing, step, found)

    for step in range(trace.steps):
        due = iter([hearing for hearing in hearings if trace.objects(step - hearing.begins)])
        await asyncio.gather(*(some(due, step) for _ in range(AT_ONCE)))
    await asyncio.sleep(SETTLE_S)
    found.from_origin = sum(trace.weight(path) * count for path, count in (stub.paths - before).items())
    return found


async def measure(options: argparse.Namespace) -> tuple[list[Round], list[float], dict[str, float]]:
    """The rounds, how long each took, and what was counted over all of them."""
    rounds: list[Round] = []
    seconds: list[float] = []
    began_s = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with (
        stub_origin() as (stub, origin_url),
        edge(origin_url) as url,
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session,
    ):
        trace = Trace(url, options.run)
        while len(rounds) < options.rounds:
            if seconds and time.monotonic() - began_s + max(seconds) > SECONDS_MAX:
                break
            round_s = time.monotonic()
            rounds.append(await play_round(trace, session, stub))
            seconds.append(time.monotonic() - round_s)
        return rounds, seconds, counts_of(trace.seen, stub)


def counts_of(seen: Collection[str], stub: StubOrigin) -> dict[str, float]:
    """How often the origin was asked, beside how many segments there are that somebody asked for."""
    asked = {path for path in seen if path.endswith(".m4s")}
    fetched = {path for path in stub.paths if path.endswith(".m4s")}
    return {
        **{f"origin_{kind}_requests": count for kind, count in sorted(stub.asked.items())},
        "segments_asked_for": len(asked),
        "segments_fetched_twice": stub.asked["segment"] - len(fetched),
        "ahead_unused_percent": percent(len(fetched - asked), stub.asked["segment"]),
    }


def figures_of(rounds: list[Round], seconds: list[float], counts: dict[str, float]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for number, found in enumerate(rounds, 1):
        figures[f"hit_percent_round_{number}"] = percent(found.hits, found.requests)
        figures[f"not_from_origin_percent_round_{number}"] = percent(found.requests - found.from_origin, found.requests)
        figures[f"ceiling_percent_round_{number}"] = percent(found.requests - found.new, found.requests)
    requests, hits = sum(found.requests for found in rounds), sum(found.hits for found in rounds)
    joined = sum(found.joined for found in rounds)
    figures["hit_percent_last_round"] = figures[f"hit_percent_round_{len(rounds)}"]
    figures["hit_percent"] = percent(hits, requests)
    figures["waited_percent"] = percent(requests - hits, requests)
    figures["waited_joined_percent"] = percent(joined, requests)
    figures["waited_own_percent"] = percent(requests - hits - joined, requests)
    starts, start_hits = sum(found.starts for found in rounds), sum(found.start_hits for found in rounds)
    figures["start_hit_percent"] = percent(start_hits, starts)
    figures["start_hit_percent_round_1"] = percent(rounds[0].start_hits, rounds[0].starts)
    figures["not_from_origin_percent"] = percent(requests - sum(found.from_origin for found in rounds), requests)
    figures["ceiling_percent"] = percent(requests - sum(found.new for found in rounds), requests)
    figures["failed"] = sum(found.failed for found in rounds)
    sent = sum(len(values) for found in rounds for values in found.latencies_ms.values())
    figures["requests_sent"] = sent
    figures["requests_per_s"] = round(sent / sum(seconds), 1)
    return {**figures, **counts}


def rows_of(rounds: list[Round], seconds: list[float]) -> list[Latency]:
    rows = []
    for number, (found, took_s) in enumerate(zip(rounds, seconds, strict=True), 1):
        for name, values in found.latencies_ms.items():
            if values:
                p50, p95, p99 = (round(percentile(sorted(values), part), 2) for part in (50, 95, 99))
                per_s = round(len(values) / took_s, 1)
                row = Latency(
                    name=f"{name}, round {number}",
                    count=len(values),
                    failed=found.failed if name == "own" else 0,
                    per_s=per_s,
                    p50_ms=p50,
                    p95_ms=p95,
                    p99_ms=p99,
                )
                rows.append(row)
    return rows


def draw(figures: dict[str, float], title: str, path: Path) -> None:
    """By round: what came from the cache, what the origin was spared, and what the best cache would spare it."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "playhead"  # so that the same figures are the same file
    numbers = range(1, 1 + sum(name.startswith("hit_percent_round") for name in figures))
    figure, axes = pyplot.subplots(figsize=(7.0, 3.6), layout="constrained")
    bars_of = (
        (-0.27, "hit", "from the cache"),
        (0.0, "not_from_origin", "not from the origin"),
        (0.27, "ceiling", "a cache that keeps everything and fetches nothing ahead"),
    )
    for offset, name, label in bars_of:
        values = [figures[f"{name}_percent_round_{number}"] for number in numbers]
        bars = axes.bar([number + offset for number in numbers], values, width=0.26, label=label)
        axes.bar_label(bars, fmt="%g", padding=2, fontsize=5)
    axes.axhline(GOAL_PERCENT, linestyle="--", linewidth=0.8, color="black", label=f"goal: {GOAL_PERCENT:g} %")
    axes.set_xticks(list(numbers), [f"round {number}" for number in numbers])
    axes.set_ylabel("% of what listeners ask for")
    axes.set_ylim(0, 112)
    axes.legend(loc="lower right", fontsize=7)
    axes.set_title(title, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py bench edge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6, help="scripts that each listener hears")
    parser.add_argument("--run", type=int, default=6, help="segments that stand for the rest of an hour")
    parser.add_argument("--keep", action="store_true", help="write the results that the documentation quotes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    options = parser.parse_args(arguments)
    if not 0 < options.run < HOUR.segments - FIRST_SEGMENTS:
        parser.error(f"--run must be 1 to {HOUR.segments - FIRST_SEGMENTS - 1}")
    return options


def bench(options: argparse.Namespace) -> None:
    """One run: kept in `options.results` where it is to be, and its line."""
    rounds, seconds, counts = ending.run(measure(options))
    figures = figures_of(rounds, seconds, counts)
    value = figures["hit_percent"]
    goals = {
        "hit_percent": Goal(f">= {GOAL_PERCENT:g}", value, value >= GOAL_PERCENT),
        "hit_percent_contract": Goal(f">= {CONTRACT_PERCENT:g}", value, value >= CONTRACT_PERCENT),
    }
    result = Result("edge", figures, goals)
    if options.keep:
        arguments = {"rounds": options.rounds, "run": options.run}
        plot = partial(draw, figures)
        kept = keep(result, arguments, rows_of(rounds, seconds), options.results, draw=plot, notes=[NOTE])
        print(f"Kept in {' and '.join(str(path) for path in kept)}", file=sys.stderr)
    print(result.line())


def main() -> None:
    bench(options_of(sys.argv[1:]))


if __name__ == "__main__":
    main()

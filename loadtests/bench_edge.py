"""How much of what listeners ask for the edge answers without the origin: `dev.py bench edge`.

    python3 dev.py bench edge [--rounds 6] [--every 120]

500 scripts of an hour whose popularity is Zipf's with exponent 1, 2,000 listeners with a token each, one data centre.
In each round every listener hears one script from its beginning to its end, drawn anew; the first round finds a cold
cache.

The Worker is the real one, in Cloudflare's runtime (miniflare), with the cache of one data centre. The origin is a
STUB: paths, facts and init segments are playhead's own, but a segment is SEGMENT_BYTES of nothing, and no token is
looked at. Of the segments of an hour every 120th is asked for and stands for the others: whoever hears one hears all,
so their fate is the same.

`ceiling`: what a cache would reach that keeps everything for ever and never asks twice. A trace that begins cold cannot
do better: its first round asks for most of the scripts once.
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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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
SEED = 1
GOAL_PERCENT = 98.0
CONTRACT_PERCENT = 80.0
START_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 30.0
SECONDS_MAX = 270.0
"""No round is begun that would probably end later."""


@dataclass(slots=True)
class Round:
    """What one round has seen: objects by their weight, and how long each answer took."""

    requests: float = 0.0
    hits: float = 0.0
    new: float = 0.0
    """Objects that nobody has asked for before: what even the best cache must fetch."""
    from_origin: float = 0.0
    failed: int = 0
    latencies_ms: dict[str, list[float]] = field(default_factory=lambda: {"hit": [], "miss": []})


def percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2)


class StubOrigin:
    """Answers media paths; counts them by kind."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def serve(self, request: web.Request) -> web.Response:
        if request.path.endswith(REVOKED_PATH):
            return web.json_response({"revoked": [], "next": 0, "more": False})
        asked = parse_media_path(request.rel_url.raw_path)
        if asked is None:
            return web.Response(status=404)
        self.asked[asked.kind] += 1
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
    """Who hears what, and what that asks for."""

    def __init__(self, url: str, every: int) -> None:
        self._random = random.Random(SEED)
        self._url = url
        self._every = every
        self._scripts = [str(uuid.UUID(int=self._random.getrandbits(128), version=4)) for _ in range(SCRIPTS)]
        self._weights = [1 / rank for rank in range(1, SCRIPTS + 1)]
        self._signer = MediaSigner(KEYS)
        self._seen: set[str] = set()

    def draw(self) -> list[str]:
        """A script for every listener."""
        return self._random.choices(self._scripts, self._weights, k=LISTENERS)

    def objects(self) -> list[tuple[str, float]]:
        """What hearing a script to its end asks for, below its prefix, and how many each stands for."""
        rung, asked = FIRST_RUNG.name, range(0, HOUR.segments, self._every)
        first = [("master.m3u8", 1.0), (f"{rung}/index.m3u8", 1.0), (f"{rung}/init.mp4", 1.0)]
        return [*first, *((f"{rung}/{segment}.m4s", HOUR.segments / len(asked)) for segment in asked)]

    async def hear(self, session: aiohttp.ClientSession, script: str, listener: int, found: Round) -> None:
        prefix = media_prefix(script, VERSION)
        signed = self._signer.sign(prefix, int(time.time()) + 3_600, session_id=str(listener))
        for tail, weight in self.objects():
            found.requests += weight
            if prefix + tail not in self._seen:
                self._seen.add(prefix + tail)
                found.new += weight
            began_s = time.perf_counter()
            async with session.get(self._url + signed + tail) as answer:
                await answer.read()
            status = answer.headers.get("Cache-Status", "")
            hit = status.startswith("playhead-edge; hit")
            found.hits += weight if hit else 0
            found.from_origin += 0 if hit or "collapsed" in status else weight
            found.failed += answer.status != 200
            found.latencies_ms["hit" if hit else "miss"].append((time.perf_counter() - began_s) * 1_000)


async def play_round(trace: Trace, session: aiohttp.ClientSession) -> Round:
    found, listeners = Round(), iter(enumerate(trace.draw()))

    async def some() -> None:
        for listener, script in listeners:
            await trace.hear(session, script, listener, found)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return found


async def measure(options: argparse.Namespace) -> tuple[list[Round], list[float], Counter[str]]:
    rounds: list[Round] = []
    seconds: list[float] = []
    began_s = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with (
        stub_origin() as (stub, origin_url),
        edge(origin_url) as url,
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session,
    ):
        trace = Trace(url, options.every)
        while len(rounds) < options.rounds:
            if seconds and time.monotonic() - began_s + max(seconds) > SECONDS_MAX:
                break
            round_s = time.monotonic()
            rounds.append(await play_round(trace, session))
            seconds.append(time.monotonic() - round_s)
        return rounds, seconds, stub.asked


def figures_of(rounds: list[Round], seconds: list[float], asked: Counter[str]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for number, found in enumerate(rounds, 1):
        figures[f"hit_percent_round_{number}"] = percent(found.hits, found.requests)
        figures[f"ceiling_percent_round_{number}"] = percent(found.requests - found.new, found.requests)
    requests = sum(found.requests for found in rounds)
    figures["hit_percent_last_round"] = figures[f"hit_percent_round_{len(rounds)}"]
    figures["hit_percent"] = percent(sum(found.hits for found in rounds), requests)
    figures["ceiling_percent"] = percent(requests - sum(found.new for found in rounds), requests)
    figures["not_from_origin_percent"] = percent(requests - sum(found.from_origin for found in rounds), requests)
    figures["failed"] = sum(found.failed for found in rounds)
    sent = sum(len(values) for found in rounds for values in found.latencies_ms.values())
    figures["requests_sent"] = sent
    figures["requests_per_s"] = round(sent / sum(seconds), 1)
    figures.update({f"origin_{kind}_requests": count for kind, count in sorted(asked.items())})
    return figures


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
                    failed=found.failed if name == "miss" else 0,
                    per_s=per_s,
                    p50_ms=p50,
                    p95_ms=p95,
                    p99_ms=p99,
                )
                rows.append(row)
    return rows


def draw(figures: dict[str, float], title: str, path: Path) -> None:
    """Hit ratio by round, beside what the best cache would reach."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "playhead"  # so that the same figures are the same file
    numbers = range(1, 1 + sum(name.startswith("hit_percent_round") for name in figures))
    figure, axes = pyplot.subplots(figsize=(7.0, 3.6), layout="constrained")
    for offset, name, label in ((-0.2, "hit", "seen"), (0.2, "ceiling", "a cache that keeps everything")):
        values = [figures[f"{name}_percent_round_{number}"] for number in numbers]
        bars = axes.bar([number + offset for number in numbers], values, width=0.38, label=label)
        axes.bar_label(bars, fmt="%g", padding=2, fontsize=7)
    axes.axhline(GOAL_PERCENT, linestyle="--", linewidth=0.8, color="black", label=f"goal: {GOAL_PERCENT:g} %")
    axes.set_xticks(list(numbers), [f"round {number}" for number in numbers])
    axes.set_ylabel("% from the edge's cache")
    axes.set_ylim(0, 112)
    axes.legend(loc="lower right", fontsize=7)
    axes.set_title(title, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="scripts that each listener hears")
    parser.add_argument("--every", type=int, default=120, help="of an hour's segments every so-many-th is asked for")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    options = parser.parse_args()
    rounds, seconds, asked = ending.run(measure(options))
    figures = figures_of(rounds, seconds, asked)
    value = figures["hit_percent"]
    goals = {
        "hit_percent": Goal(f">= {GOAL_PERCENT:g}", value, value >= GOAL_PERCENT),
        "hit_percent_contract": Goal(f">= {CONTRACT_PERCENT:g}", value, value >= CONTRACT_PERCENT),
    }
    result = Result("edge", figures, goals)
    arguments = {name: given for name, given in vars(options).items() if name != "results"}
    notes = [
        "The origin is a stub that answers bytes of no sound; the Worker and its runtime are real, the network is not."
    ]
    kept = keep(
        result,
        arguments,
        rows_of(rounds, seconds),
        options.results,
        draw=lambda title, path: draw(figures, title, path),
        notes=notes,
    )
    print(f"Kept in {' and '.join(str(path) for path in kept)}", file=sys.stderr)
    print(result.line())


if __name__ == "__main__":
    main()

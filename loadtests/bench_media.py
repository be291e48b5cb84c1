"""How soon sound comes, also of what nobody has encoded, and how fast it is encoded: `dev.py bench media`.

    python3 dev.py bench media [--rounds 7] [--crowds 40,100] [--only cached] [--quick] [--keep]

A whole system on this machine: PostgreSQL, Valkey, one server, a flusher, and a worker where it is named. Sources
are of an hour, in five formats. Measured in this order:

| what | how |
| ---- | --- |
| cached | a `GET /stream` that is cached, and one bare aiohttp handler, in turn; kept apart as `stream` |
| ladder | ten minutes of mp3 prepared by the worker, and by one bare ffmpeg with its own HLS muxer, in turn |
| first sound, seek; the worker busy elsewhere | over HTTP, while the worker prepares the five hours |
| first sound, seek; cold and warm, no worker | over HTTP: until the last byte; in Chromium: until the sound moves |
| | by socket: `play` or `seek` to its ack, and then the same as over HTTP |
| demand | 2, 4, 8 clients who ask for random places that nobody has encoded, one after the other |
| crowd | 40 and 100 listeners who come within 10 s, each to a random place of a script of its own, and listen on |
| edge | how much of what listeners ask for an edge has: all of `dev.py bench edge`; kept apart as `edge` |

Cold: nobody has encoded that segment before, each sample has a script of its own. The load shares the machine.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from loadtests import bench_edge
from loadtests.ending import run
from loadtests.keeping import RESULTS, keep
from loadtests.machine import Result
from loadtests.media import cached
from loadtests.media.browser import NoBrowser, chromium
from loadtests.media.crowd import ARRIVE_S, LISTEN_S, crowd
from loadtests.media.demand import loop
from loadtests.media.figures import FEW, MANY, Measured, figures_of, goals_of, rows_of, stream_figures
from loadtests.media.firsts import CHROMIUM, HTTP, SOCKET, OpenPlayer, Sampler, http_player
from loadtests.media.ladder import compare
from loadtests.media.pictures import draw_media
from loadtests.media.place import Place, running
from loadtests.media.socket_player import socket_player
from loadtests.media.sources import KINDS, Maker, SourceFile
from loadtests.media.watching import Others, Watch, watching
from playhead.transcode import find_programs

SEED = 1
LADDER_MINUTES, LADDER_SECONDS_MAX = 10, 120.0
HTTP_SECONDS_MAX, BUSY_SECONDS_MAX, BROWSER_SECONDS_MAX = 180.0, 180.0, 540.0
"""How long samples are taken: seven of each format, unless the machine is very slow."""
SECONDS_MAX = 1_290.0
"""Nothing is begun that would end later, so that a slow machine is done within 22 minutes as well."""
SETTING_UP_S = 10.0
"""What a crowd needs beside the time for which it listens: its scripts, and its last requests."""
CACHED_MINUTES = 1
OTHERS_CORES_MAX = 0.1
BEGAN_S = time.monotonic()
CLIENTS = (2, 4, 8)
QUICK = {"minutes": 5, "rounds": 1, "ladder_rounds": 1, "seconds": 2.0, "crowds": "5,10", "cached_seconds": 1.0}


class Bench:
    """One run on a system that is ready."""

    def __init__(self, place: Place, watch: Watch, options: argparse.Namespace) -> None:
        self.measured = Measured(peaks=watch.peaks)
        self._place = place
        self._watch = watch
        self._options = options
        self._chance = random.Random(SEED)
        self._until_s = time.monotonic() + SECONDS_MAX

    def note_others(self, others: Others) -> None:
        """How far the figures are those of an idle machine."""
        self.measured.others_cores = others.cores()
        self._note(not_idle(self.measured.others_cores))

    async def cached(self, maker: Maker) -> None:
        """Before anything is encoded, as no encoder may run beside it."""
        await self._place.know(KINDS[0], await maker.mp3(CACHED_MINUTES))
        others = Others()
        rounds = await cached.compare(self._place, KINDS[0], cached.ROUNDS, self._options.cached_seconds)
        self.measured.cached, self.measured.cached_others_cores = rounds, others.cores()
        say(f"cached GET /stream: {', '.join(f'{each.ratio:.3f}' for each in rounds)} of the bare handler's requests/s")

    async def ladder(self, maker: Maker) -> None:
        file = await maker.mp3(min(LADDER_MINUTES, self._options.minutes))
        with self._watch.during("ladder"):
            rounds, left_out = await compare(
                self._place, maker.programs, file, self._options.ladder_rounds, LADDER_SECONDS_MAX
            )
        self.measured.rounds = rounds
        self._note(left_out)
        say(f"ladder: {', '.join(f'{each.ratio:.3f}' for each in rounds) or 'none'} of the bare ffmpeg's speed")

    async def busy(self, sources: dict[str, SourceFile]) -> None:
        """Uploads the sources, which gives the worker enough to do."""
        async with self._place.worker():
            for kind, file in sources.items():
                await self._place.know(kind, file)
            say("uploaded")
            await self._samples(HTTP, partial(http_player, self._place), BUSY_SECONDS_MAX, busy=True)

    async def firsts(self) -> None:
        await self._samples(HTTP, partial(http_player, self._place), HTTP_SECONDS_MAX)
        await self._samples(SOCKET, partial(socket_player, self._place), HTTP_SECONDS_MAX)
        try:
            async with chromium(self._place) as browser:
                await self._samples(CHROMIUM, browser.player, BROWSER_SECONDS_MAX)
        except NoBrowser as error:
            self._note(f"Not measured in Chromium: {error}")

    async def _samples(self, client: str, player: OpenPlayer, seconds_max: float, *, busy: bool = False) -> None:
        sampler = Sampler(
            place=self._place,
            client=client,
            open_player=player,
            samples=self.measured.samples,
            chance=self._chance,
            seconds_max=min(seconds_max, self._until_s - time.monotonic()),
            busy=busy,
        )
        await sampler.warm_up(KINDS[0])
        with self._watch.during("firsts_busy" if busy else f"firsts_{client}"):
            self._note(await sampler.take(KINDS, self._options.rounds))
        say(f"first sounds and seeks: {client}{', the worker busy' if busy else ''}")

    async def demand(self) -> None:
        for clients in CLIENTS:
            if not self._time_for(self._options.seconds, f"{clients} clients"):
                return
            with self._watch.during(f"demand_{clients}"):
                done = await loop(self._place, KINDS, clients, self._options.seconds, self._chance)
            self.measured.loops.append(done)
            say(f"{clients} clients: {done.per_s:.1f} segments/s, {done.answers.refused} refused, {done.failed} failed")

    async def crowds(self, sizes: Sequence[int]) -> None:
        for listeners in sizes:
            if not self._time_for(ARRIVE_S + self._options.listen_s, f"{listeners} listeners"):
                return
            with self._watch.during(f"crowd_{listeners}"):
                seen = await crowd(self._place, KINDS, listeners, self._chance, self._options.listen_s)
            self.measured.crowds.append(seen)
            say(
                f"{listeners} listeners: {len(seen.first_ms)} play, {len(seen.segment_ms)} segments, "
                f"{seen.answers.refused} refused, gave up: {seen.failed[:3] or 'none'}"
            )

    def _time_for(self, seconds: float, what: str) -> bool:
        """Whether `what` may begin; else it is noted as left out."""
        enough = time.monotonic() + seconds + SETTING_UP_S < self._until_s
        self._note(None if enough else f"{what}: not measured, as the time was over.")
        return enough

    def _note(self, what: str | None) -> None:
        if what is not None:
            self.measured.notes.append(what)


def not_idle(others_cores: float) -> str | None:
    if others_cores <= OTHERS_CORES_MAX:
        return None
    return f"The machine was not idle: others used {others_cores:.1f} of its cores meanwhile."


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN_S:5.0f} s  {text}", file=sys.stderr, flush=True)


@asynccontextmanager
async def started(options: argparse.Namespace) -> AsyncIterator[tuple[Bench, Maker]]:
    programs = find_programs(os.environ)
    with tempfile.TemporaryDirectory(prefix="ph-media-") as name:
        files = Path(name) / "files"
        files.mkdir()
        async with running(Path(name)) as place, watching(place.encoding) as watch:
            yield Bench(place, watch, options), Maker(programs, files)


async def measure(options: argparse.Namespace) -> Measured:
    others = Others()
    async with started(options) as (bench, maker):
        say("ready")
        await bench.cached(maker)
        if options.only == "cached":
            return bench.measured
        await bench.ladder(maker)
        began_s = time.monotonic()
        sources = await maker.sources(options.minutes)
        say(f"sources made in {time.monotonic() - began_s:.0f} s")
        await bench.busy(sources)
        await bench.firsts()
        await bench.demand()
        await bench.crowds([int(size) for size in options.crowds.split(",")])
        bench.note_others(others)
        return bench.measured


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py bench media", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="samples of each format and client")
    parser.add_argument("--ladder-rounds", type=int, default=3)
    parser.add_argument("--minutes", type=int, default=60, help="of sound in a source")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each number of clients who ask all the time")
    parser.add_argument("--crowds", default=f"{FEW},{MANY}", help="listeners that come within 10 s")
    parser.add_argument("--listen-s", type=float, default=LISTEN_S, help="how long each of a crowd listens")
    parser.add_argument("--cached-seconds", type=float, default=cached.SECONDS, help="of each server and round")
    parser.add_argument("--only", choices=["cached"], help="this part alone; other results stay as they were kept")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see whether it works")
    parser.add_argument("--keep", action="store_true", help="write the results that the documentation quotes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    if options.minutes < 5:
        parser.error("--minutes must be 5 or more: a cold place lies beyond what a player buffers")
    return options


def main() -> None:
    options = options_of(sys.argv[1:])
    measured = run(measure(options))
    arguments = {name: given for name, given in vars(options).items() if name != "results"}
    say_stream(measured, arguments, options.results if options.keep else None)
    if options.only is None:
        line = kept_media(measured, arguments, options.results if options.keep else None)
        bench_edge.bench(edge_options(options))
        print(line)


def edge_options(options: argparse.Namespace) -> argparse.Namespace:
    arguments = ["--results", str(options.results), *(["--keep"] if options.keep else [])]
    return bench_edge.options_of([*arguments, *(["--rounds", "1"] if options.quick else [])])


def say_stream(measured: Measured, arguments: dict[str, Any], folder: Path | None) -> None:
    """The cached `GET /stream`: kept in `folder`, and its line."""
    figures, note = stream_figures(measured), not_idle(measured.cached_others_cores)
    result = Result("stream", figures, goals_of(figures))
    if folder is not None:
        wanted = {"cached_seconds": arguments["cached_seconds"]}
        say_kept(keep(result, wanted, [], folder, notes=[note] if note else []))
    print(result.line())


def kept_media(measured: Measured, arguments: dict[str, Any], folder: Path | None) -> str:
    """All the rest: its rows, kept in `folder`; answers its line."""
    figures, rows = figures_of(measured), rows_of(measured)
    result = Result("media", figures, goals_of(figures))
    for row in rows:
        print(
            f"{row.name:<60} {row.count:>5} {row.failed:>4} {row.p50_ms:>9g} {row.p95_ms:>9g} {row.p99_ms:>9g} ms",
            file=sys.stderr,
        )
    for what in measured.notes:
        say(what)
    if folder is not None:
        draw = partial(draw_media, measured)
        say_kept(keep(result, arguments, rows, folder, draw=draw, notes=measured.notes))
    return result.line()


def say_kept(paths: Sequence[Path]) -> None:
    say(f"Written: {', '.join(map(str, paths))}")


if __name__ == "__main__":
    main()

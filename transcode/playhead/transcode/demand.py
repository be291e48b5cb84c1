"""Segments that are not there are encoded when they are asked for, whoever asks, by whichever process is asked.

    asked ─► under way here? wait with the others
             else a run from it to the end of its block ─► a slot ─► claimed by another process? wait for what it stores
                                                                     else encode, store, answer, one after the other

A run goes on behind the segment that was asked for, to the end of its block: a player asks for those next, and an
encoder that runs has already found its place in the source. It gives way as soon as nobody waits for any of it and
somebody else has nothing to listen to. Who cannot have a segment soon is told so, and not kept waiting.
An encoding that two processes make at once is stored once; the copies are interchangeable.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import structlog

from playhead.cache import BoundedMap, CacheUnavailable, Claims
from playhead.db import Script
from playhead.media import Grid, Rung
from playhead.runtime.metrics import Metrics
from playhead.storage import ObjectMissing, Storage, StorageFailed
from playhead.transcode.demand_run import DemandRun, Wanted
from playhead.transcode.demand_slots import DemandSlots, Need
from playhead.transcode.encoder import EncodeFailed, Encoder, EncoderSource

BLOCK_SEGMENTS = 5
"""What a player keeps in its buffer, 29 s. Longer runs keep others waiting; shorter ones cost quality, and search the
source more often."""
DEMAND_WAIT_S = 4.0
"""How long an asker is kept waiting."""
DEMAND_TIMEOUT_S = 20.0
"""For one run of the encoder, which takes half a second on an idle core."""
RUNS_PER_SLOT = 10
"""Runs under way for each need, those that wait included: what can be begun within DEMAND_WAIT_S, and a little more. Of
one script half as many in all, so that nobody's jumping about leaves no room for others."""
CLAIM_S = 6.0
"""Longer than most runs, so that they are claimed once; not much longer, as nobody makes what a killed process had."""
POLL_S = 0.1
"""How often it is looked for what another process makes."""
BUSY_RETRY_S = (1, 3)
"""When to ask again, at random: not all at once."""
FAILED_RETRY_S = 10
"""For so long a place that could not be encoded is not tried again."""
SOURCE_GONE = "The script's source is gone."
LATELY_S = 4.0
"""Who asks for a segment so soon after the one before was made fills a buffer; who asks later may have played it."""
LISTENING_NICENESS = 5
"""Of what is made for somebody who has heard something already: a third of the weight."""
KNOWN_MAX = 10_000

log = structlog.get_logger(__name__)

_Segment = tuple[str, str, str, int]
"""Script, media version, rung, number."""


class SegmentNotNow(Exception):
    """The segment cannot be had now. The text is for people; ask again after `retry_after_s`."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def _wanted() -> bool:
    return True


class Demand:
    """Encodes what is asked for: `slots` runs for newcomers at once and as many others. Ended by `stop`."""

    def __init__(
        self,
        encoder: Encoder,
        storage: Storage,
        claims: Claims,
        metrics: Metrics,
        slots: int,
        *,
        wait_s: float = DEMAND_WAIT_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encoder = encoder
        self._storage = storage
        self._claims = claims
        self._metrics = metrics.demand
        self._encoded = metrics.segments
        self._slots = DemandSlots(slots)
        self._runs_max = RUNS_PER_SLOT * slots
        self._script_runs_max = self._runs_max // 2
        self._wait_s = wait_s
        self._now_s = now_s
        self._runs: dict[_Segment, DemandRun] = {}
        """By the segments that they will make."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._under_way: Counter[Need] = Counter()
        self._failed: BoundedMap[_Segment, tuple[float, str]] = BoundedMap(KNOWN_MAX, 0, lambda _entry: 0)
        """Until when a segment is not tried again, and why."""
        self._lately: BoundedMap[_Segment, float] = BoundedMap(KNOWN_MAX, 0, lambda _entry: 0)
        """When a segment was made here: who asks for the one behind it has something to listen to."""

    async def stop(self) -> None:
        """Ends all runs; who waits is told to ask again, and so is who asks from now on."""
        self._stopped = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def segment(self, script: Script, rung: Rung, segment: int, wanted: Wanted = _wanted) -> bytes:
        """A segment of the script's grid that is not in the storage; not begun any more when it is not `wanted` then.

        Raises SegmentNotNow, StorageFailed.
        """
        began_s = self._now_s()
        try:
            body = await self._awaited(script, rung, segment, wanted)
        except SegmentNotNow:
            self._metrics.answers.labels("not_now").inc()
            raise
        self._metrics.answers.labels("made").inc()
        self._metrics.seconds.observe(self._now_s() - began_s)
        return body

    def warm(self, script: Script, rung: Rung, segment: int) -> None:
        """Makes the segment if there is nothing better to do, as somebody will soon ask for it."""
        name = _name(script, rung, segment)
        idle = self._slots.idle and not self._tasks  # some may still fetch their source
        if idle and not self._stopped and name not in self._runs and self._failure(name) is None:
            self._start(script, rung, segment, need=Need.FILLING, read_ahead=True)

    async def _awaited(self, script: Script, rung: Rung, segment: int, wanted: Wanted) -> bytes:
        name = _name(script, rung, segment)
        if (reason := self._failure(name)) is not None:
            raise SegmentNotNow(reason, FAILED_RETRY_S)
        run = self._under_way_or_begun(script, rung, segment)
        try:
            body = await run.wait(segment, wanted, self._wait_s)
        except TimeoutError:
            raise _busy() from None
        except EncodeFailed as error:
            raise SegmentNotNow(str(error), FAILED_RETRY_S) from None
        except ObjectMissing:
            raise SegmentNotNow(SOURCE_GONE, FAILED_RETRY_S) from None
        self._make_room()
        return body

    def _make_room(self) -> None:
        """While a newcomer waits, nothing is made for one who has heard the first of it, or who may come.

        Whoever listens keeps what was begun for them: runs of one segment would keep up with nobody.
        """
        if not self._slots.newcomers_waiting:
            return
        for run in {*self._runs.values()}:
            may_end = run.read_ahead or run.ticket.need is Need.NEWCOMER
            if may_end and run.encoding is not None and run.idle and run.unmade:
                run.give_way()
                self._forget(run)  # who asks from now on gets a run that is not about to end

    def _under_way_or_begun(self, script: Script, rung: Rung, segment: int) -> DemandRun:
        need = self._need(script, rung, segment)
        run = self._runs.get(_name(script, rung, segment))
        if run is not None:
            self._slots.promote(run.ticket, need)
            return run
        if self._stopped or self._under_way[need] >= self._runs_max or self._is_hogging(script):
            raise _busy()
        return self._start(script, rung, segment, need=need, read_ahead=False)

    def _need(self, script: Script, rung: Rung, segment: int) -> Need:
        before_s = self._lately.get(_name(script, rung, segment - 1))
        if before_s is None:
            return Need.NEWCOMER
        return Need.FILLING if self._now_s() - before_s < LATELY_S else Need.STARVED

    def _is_hogging(self, script: Script) -> bool:
        """Whether so much of this script is under way that others would have no room."""
        return sum(run.script.script_id == script.script_id for run in {*self._runs.values()}) >= self._script_runs_max

    def _start(self, script: Script, rung: Rung, segment: int, *, need: Need, read_ahead: bool) -> DemandRun:
        run = DemandRun(script, rung, self._block_from(script, rung, segment), need=need, read_ahead=read_ahead)
        for each in run.segments:
            self._runs[_name(script, rung, each)] = run
        self._under_way[run.counted_as] += 1
        task = asyncio.create_task(self._carry_out(run), name="demand-run")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    def _block_from(self, script: Script, rung: Rung, segment: int) -> range:
        """From `segment` to the end of its block, or to where another run begins."""
        end = min(segment - segment % BLOCK_SEGMENTS + BLOCK_SEGMENTS, _grid(script).segments)
        taken = (each for each in range(segment + 1, end) if _name(script, rung, each) in self._runs)
        return range(segment, next(taken, end))

    def _failure(self, name: _Segment) -> str | None:
        """Why the segment could not be encoded a moment ago."""
        kept = self._failed.get(name)
        return kept[1] if kept is not None and self._now_s() < kept[0] else None

    async def _carry_out(self, run: DemandRun) -> None:
        """The run's whole life."""
        ended, key = "cancelled", run.key(run.segments.start)
        try:
            ended = await self._made(run)
        except EncodeFailed as error:
            ended = "failed"
            log.warning("A place could not be encoded.", action="demand_failed", key=key, detail=error.detail)
            self._give_up_on(run, str(error), error)
        except ObjectMissing as error:
            ended = "failed"
            log.error("A source is gone.", action="demand_source_gone", error=str(error))
            self._give_up_on(run, SOURCE_GONE, error)
        except StorageFailed as error:
            ended = "failed"
            log.error("A source cannot be read.", action="demand_source_unread", error=str(error))
            run.failed(error)
        except Exception:
            ended = "failed"
            log.exception("A run failed.", action="demand_run_failed")
        finally:
            run.failed(_busy())  # whatever is left of it
            self._forget(run)
            self._under_way[run.counted_as] -= 1
            self._metrics.runs.labels(ended).inc()

    async def _made(self, run: DemandRun) -> str:
        """Makes the segments, or waits until another process has; how it ended."""
        assert run.script.source_key is not None
        key = _claim_key(run)
        async with self._storage.local_file(run.script.source_key) as source:  # which may have to be fetched first
            while True:
                asyncio.get_running_loop().call_soon(self._make_room)  # as soon as it waits
                async with self._slots.turn(run.ticket):
                    if not run.wanted or await self._there_already(run):
                        return "unneeded"
                    claimed_s = self._now_s()
                    ours, theirs = await self._claim(key, run.segments)
                    if ours or run.segments.start not in theirs:
                        try:
                            return await self._encoded_unless_it_gave_way(run, source)
                        finally:
                            await self._give_up(key, ours and self._now_s() - claimed_s < CLAIM_S)
                if await self._followed(run, key):
                    return "followed"

    async def _there_already(self, run: DemandRun) -> bool:
        """Whether somebody has made in the meantime what is waited for, or what it begins with."""
        await self._take_stored(run)
        there = await self._storage.exists(run.key(run.segments.start))
        return there and not run.awaited  # somebody may have come meanwhile

    async def _take_stored(self, run: DemandRun) -> None:
        for segment in run.awaited:
            body = await self._storage.get(run.key(segment))
            if body is not None:
                run.made(segment, body)

    async def _claim(self, key: str, segments: range) -> tuple[bool, range]:
        """Whether we have it now, and if not, which segments its holder makes."""
        value = f"{segments.start} {segments.stop}".encode()
        try:
            if await self._claims.take(key, value, CLAIM_S):
                return True, segments
            return False, _range(await self._claims.value(key))
        except CacheUnavailable:
            return False, range(0)

    async def _give_up(self, key: str, ours: bool) -> None:
        """So that nobody waits for what will not come."""
        if not ours:
            return
        try:
            await self._claims.give_up(key)
        except CacheUnavailable as error:
            log.warning("A claim stays until it runs out.", action="claim_kept", error=str(error))

    async def _followed(self, run: DemandRun, key: str) -> bool:
        """Waits for what another process stores. False: it has given up, and not all is there."""
        while run.awaited:
            try:
                held = await self._claims.value(key) is not None
            except CacheUnavailable:
                held = False
            await self._take_stored(run)
            if not held:
                return not run.awaited
            await asyncio.sleep(POLL_S)
        return True

    async def _encoded_unless_it_gave_way(self, run: DemandRun, source: Path) -> str:
        run.encoding = asyncio.create_task(self._encode(run, source), name="demand-encoding")
        try:
            await run.encoding
        except asyncio.CancelledError:
            if not run.gave_way:
                raise
            return "gave_way"
        return "encoded"

    async def _encode(self, run: DemandRun, source: Path) -> None:
        async def take(_rung: Rung, segment: int, body: bytes) -> None:
            run.made(segment, await self._stored(run.key(segment), body))
            self._lately.put(_name(run.script, run.rung, segment), self._now_s())
            self._encoded.labels(run.rung.name).inc()

        what = EncoderSource(path=source, grid=_grid(run.script), start_s=run.script.source_start_s)
        niceness = 0 if run.read_ahead or run.ticket.need is Need.NEWCOMER else LISTENING_NICENESS
        await self._encoder.encode(what, run.segments.start, run.segments.stop, [run.rung], take, niceness=niceness)

    async def _stored(self, key: str, body: bytes) -> bytes:
        """The segment as everybody gets it. One that cannot be stored is heard all the same."""
        try:
            if not await self._storage.put(key, body):
                return await self._storage.get(key) or body
        except StorageFailed as error:
            log.error("A segment could not be stored.", action="demand_unstored", error=str(error))
        return body

    def _give_up_on(self, run: DemandRun, reason: str, error: Exception) -> None:
        """What cannot be encoded is not tried again at once."""
        for segment in run.unmade:
            self._failed.put(_name(run.script, run.rung, segment), (self._now_s() + FAILED_RETRY_S, reason))
        run.failed(error)

    def _forget(self, run: DemandRun) -> None:
        for segment in run.segments:
            name = _name(run.script, run.rung, segment)
            if self._runs.get(name) is run:
                del self._runs[name]


def _name(script: Script, rung: Rung, segment: int) -> _Segment:
    return script.script_id, script.media_version, rung.name, segment


def _grid(script: Script) -> Grid:
    return Grid(source_rate=script.source_rate, source_samples=script.source_samples)


def _claim_key(run: DemandRun) -> str:
    block = run.segments.start // BLOCK_SEGMENTS
    return f"audio:making:{run.script.script_id}:{run.script.media_version}-{run.rung.name}-{block}"


def _range(value: bytes | None) -> range:
    """What a claim is for."""
    return range(0) if value is None else range(*map(int, value.split()))


def _busy() -> SegmentNotNow:
    return SegmentNotNow("The server is encoding for others. Ask again in a moment.", random.randint(*BUSY_RETRY_S))

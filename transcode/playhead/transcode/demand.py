"""Segments that are not there are encoded when they are asked for, whoever asks, by whichever process is asked.

    asked ─► does a run make it soon? wait with the others
             else begin one from it on, where there is room for it

A run goes on behind the segment that was asked for, as far as a player's buffer reaches: a player asks for those next,
and an encoder that runs has found its place in the source. Who cannot have a segment soon is told so, and not kept
waiting, but keeps the place in the queue. An encoding that two processes make at once is stored once; the copies are
interchangeable. `demand_making` carries runs out, `demand_turns` says whose turn it is.
"""

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from playhead.cache import BoundedMap, Claims
from playhead.db import Script
from playhead.media import Rung
from playhead.runtime.metrics import Metrics
from playhead.storage import ObjectMissing, Storage, StorageFailed
from playhead.transcode.demand_making import Making
from playhead.transcode.demand_run import RUN_SEGMENTS, DemandRun, Wanted
from playhead.transcode.demand_turns import Need, Ticket
from playhead.transcode.encoder import EncodeFailed, Encoder, EncoderKilled
from playhead.transcode.precedence import Precedence

DEMAND_WAIT_S = 4.0
"""How long an asker is kept waiting."""
DEMAND_TIMEOUT_S = 20.0
"""For one segment, which takes half a second on an idle core."""
UNREAD_BYTES_MAX = 8 * 1024
"""How far an encoder goes that has no turn: a tenth of a segment."""
RUNS_PER_SLOT = 50
"""Runs that somebody waits for: what can be begun in 20 s. Of one script half as many in all, so that nobody's jumping
about leaves no room for others."""
RUNS_PER_WANTED = 3
"""All runs, to those that may be waited for: as many encoders are kept, and as many askers may have left meanwhile."""
LISTENER_RUNS_MAX = 4
"""Runs that one listener may wait for: a player, and what it has left a moment ago."""
BUSY_RETRY_S = (1, 2)
"""When to ask again, at random: not all at once."""
RETURNING_S = 2.0
"""So much later than they were told, askers are expected back; their turn is used for them until then."""
FAILED_RETRY_S = 10
"""For so long a place that could not be encoded is not tried again."""
BUSY = "The server is encoding for others. Ask again in a moment."
KILLED = "Something on the server ended the encoder. Ask again in a moment."
SOURCE_GONE = "The script's source is gone."
UNEXPECTED = "The server could not encode this place."
FAILED_MAX = 10_000

log = structlog.get_logger(__name__)

_Track = tuple[str, str, str]
"""Script, media version, rung."""


class SegmentNotNow(Exception):
    """The segment cannot be had now. The text is for people; ask again after `retry_after_s`."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def _wanted() -> bool:
    return True


class Demand:
    """Encodes what is asked for, `slots` segments at once. Ended by `stop`.

    The encoder should stand still while what it has made is not taken.
    """

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
        precedence: Precedence | None = None,
    ) -> None:
        self._making = Making(encoder, storage, claims, metrics, slots, now_s, precedence)
        self._metrics = metrics.demand
        self._runs_max = RUNS_PER_SLOT * slots
        self._script_runs_max = self._runs_max // 2
        self._wait_s = wait_s
        self._now_s = now_s
        self._runs: dict[_Track, list[DemandRun]] = {}
        self._tasks: dict[DemandRun, asyncio.Task[None]] = {}
        self._stopped = False
        self._failed: BoundedMap[tuple[_Track, int], tuple[float, str]] = BoundedMap(FAILED_MAX, 0, lambda _entry: 0)
        """Until when a segment is not tried again, and why."""

    async def stop(self) -> None:
        """Ends all runs; who waits is told to ask again, and so is who asks from now on."""
        self._stopped = True
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run in tuple(self._tasks):  # cancelled before its first step, so that nothing of it was carried out
            self._forget(run)
            run.failed(_busy())

    async def segment(
        self, script: Script, rung: Rung, segment: int, wanted: Wanted = _wanted, listener: str | None = None
    ) -> bytes:
        """A segment of the script's grid that is not in the storage; not begun any more when it is not `wanted` then.

        `listener`: whose runs are counted together. Raises SegmentNotNow, StorageFailed.
        """
        began_s = self._now_s()
        try:
            body = await self._awaited(script, rung, segment, wanted, listener)
        except SegmentNotNow:
            self._metrics.answers.labels("not_now").inc()
            raise
        self._metrics.answers.labels("made").inc()
        self._metrics.seconds.observe(self._now_s() - began_s)
        return body

    def warm(self, script: Script, rung: Rung, segment: int) -> None:
        """Makes the segment if there is nothing better to do, as somebody will soon ask for it."""
        track = _track(script, rung)
        idle = self._making.slots.idle and not self._stopped
        if idle and self._run_of(track, segment) is None and self._failure(track, segment) is None:
            self._start(script, rung, segment, listener=None, warming=True)

    async def _awaited(self, script: Script, rung: Rung, segment: int, wanted: Wanted, listener: str | None) -> bytes:
        track = _track(script, rung)
        if (reason := self._failure(track, segment)) is not None:
            raise SegmentNotNow(reason, FAILED_RETRY_S)
        run = self._run_of(track, segment) or self._begun(script, rung, segment, listener)
        try:
            with run.asking(segment, wanted) as made:
                self._making.appraise(run)
                async with asyncio.timeout(self._wait_s):
                    return await asyncio.shield(made)
        except TimeoutError:
            raise self._told_to_return(run, wanted) from None
        except EncodeFailed as error:
            raise SegmentNotNow(str(error), FAILED_RETRY_S) from None
        except ObjectMissing:
            raise SegmentNotNow(SOURCE_GONE, FAILED_RETRY_S) from None

    def _told_to_return(self, run: DemandRun, wanted: Wanted) -> SegmentNotNow:
        """Who waits in vain keeps the place in the queue. A run whose askers have all left ends, if nothing is made."""
        refusal = _busy()
        if wanted():
            run.expect(self._now_s() + refusal.retry_after_s + RETURNING_S)
        elif not run.wanted(self._now_s()) and run.encoding is None and run in self._tasks:
            self._tasks[run].cancel()
        return refusal

    def _run_of(self, track: _Track, segment: int) -> DemandRun | None:
        """The one that will make it soon."""
        return next((run for run in self._runs.get(track, ()) if run.covers(segment)), None)

    def _begun(self, script: Script, rung: Rung, segment: int, listener: str | None) -> DemandRun:
        wanted = [run for run in self._tasks if run.awaited_at(self._now_s())]
        of_script = sum(run.script.script_id == script.script_id for run in wanted)
        of_listener = sum(run.listener == listener for run in wanted) if listener is not None else 0
        full = len(wanted) >= self._runs_max or len(self._tasks) >= RUNS_PER_WANTED * self._runs_max
        full = full or of_script >= self._script_runs_max
        if self._stopped or full or of_listener >= LISTENER_RUNS_MAX:
            raise _busy()
        return self._start(script, rung, segment, listener=listener, warming=False)

    def _start(self, script: Script, rung: Rung, segment: int, *, listener: str | None, warming: bool) -> DemandRun:
        others = self._runs.setdefault(_track(script, rung), [])
        ends = (run.next for run in others if run.next > segment)
        end = min(script.grid.segments, segment + RUN_SEGMENTS, *ends)
        ticket = Ticket(Need.NEWCOMER, self._now_s())
        run = DemandRun(script, rung, range(segment, end), ticket=ticket, listener=listener, warming=warming)
        others.append(run)
        self._tasks[run] = asyncio.create_task(self._carry_out(run), name="demand-run")
        return run

    def _failure(self, track: _Track, segment: int) -> str | None:
        """Why the segment could not be encoded a moment ago."""
        kept = self._failed.get((track, segment))
        return kept[1] if kept is not None and self._now_s() < kept[0] else None

    async def _carry_out(self, run: DemandRun) -> None:
        """The run's whole life."""
        ended, key = "cancelled", run.key(run.next)
        try:
            ended = await self._making.carry_out(run)
        except EncoderKilled as error:
            ended = "killed"
            log.warning("An encoder was ended from outside.", action="demand_killed", key=key, detail=error.detail)
            run.failed(_busy(KILLED))
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
            log.exception("A run failed.", action="demand_run_failed", key=key)
            self._give_up_on(run, UNEXPECTED, SegmentNotNow(UNEXPECTED, FAILED_RETRY_S))
        finally:
            self._forget(run)
            run.failed(_busy())  # whatever is left of it
            self._metrics.runs.labels(ended).inc()

    def _give_up_on(self, run: DemandRun, reason: str, error: Exception) -> None:
        """What cannot be encoded is not tried again at once."""
        for segment in run.unmade:
            self._failed.put((_track(run.script, run.rung), segment), (self._now_s() + FAILED_RETRY_S, reason))
        run.failed(error)

    def _forget(self, run: DemandRun) -> None:
        track = _track(run.script, run.rung)
        self._runs[track].remove(run)
        if not self._runs[track]:
            del self._runs[track]
        del self._tasks[run]


def _track(script: Script, rung: Rung) -> _Track:
    return script.script_id, script.media_version, rung.name


def _busy(reason: str = BUSY) -> SegmentNotNow:
    return SegmentNotNow(reason, random.randint(*BUSY_RETRY_S))

"""Carries runs out: fetches the source, takes turns and claims, encodes, stores.

    source at hand ─► a turn ─► stored already? past it ─► claimed by another process? wait for what it stores
                        ▲                                  else encode one segment, store it
                        └── a turn for the next one ◄──────┘

While a run has no turn its encoder stands still, with its place in the source, and nothing of it is claimed. Only so
many are kept: of those that stand still, the one that is needed last is ended then.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from playhead.cache import BoundedMap, CacheUnavailable, Claims
from playhead.media import OUTPUT_RATE_HZ, SEGMENT_SAMPLES, Rung
from playhead.runtime.metrics import Metrics
from playhead.storage import Storage, StorageFailed, has_content
from playhead.transcode.demand_run import AHEAD_SEGMENTS, DemandRun
from playhead.transcode.demand_slots import DemandSlots
from playhead.transcode.demand_turns import Need, urgency
from playhead.transcode.encoder import Encoder, EncoderSource
from playhead.transcode.precedence import Precedence

SEGMENT_S = SEGMENT_SAMPLES / OUTPUT_RATE_HZ
ENCODERS_PER_SLOT = 50
"""Encoders that are kept for each slot, most of them standing still: each has 3 to 8 MiB that no other one shares."""
HELD_S = 1.25 * AHEAD_SEGMENTS * SEGMENT_S
"""For so long an encoder is kept of which nobody asks anything: a player plays meanwhile what was made ahead."""
CLAIM_S = 6.0
"""Longer than a turn takes; not much longer, as nobody makes what a killed process had."""
POLL_S = 0.1
"""How often it is looked for what another process makes."""
HEARD_MAX = 10_000

log = structlog.get_logger(__name__)

_Place = tuple[str, str, int]
"""Script, media version, number of a segment, in whatever rung: who changes it goes on listening."""


class _Stopped(Exception):
    """The encoder is not needed any more: how the run ended."""


class Making:
    """Encodes in turns, `slots` at once."""

    def __init__(
        self,
        encoder: Encoder,
        storage: Storage,
        claims: Claims,
        metrics: Metrics,
        slots: int,
        now_s: Callable[[], float],
        precedence: Precedence | None,
    ) -> None:
        self._encoder = encoder
        self._storage = storage
        self._claims = claims
        self._encoded = metrics.segments
        self._encoders_max = ENCODERS_PER_SLOT * slots
        self._now_s = now_s
        self.slots = DemandSlots(slots, precedence)
        self._encoding: set[DemandRun] = set()
        self._heard: BoundedMap[_Place, float] = BoundedMap(HEARD_MAX, 0, lambda _entry: 0)
        """By the segments that come next: when a listener will have played what is there."""

    def appraise(self, run: DemandRun) -> None:
        """Says in the run's ticket how much it is needed now."""
        now_s = self._now_s()
        due_s = self._heard.get(_place(run, run.next))
        if not run.awaited_at(now_s):
            run.ticket.need = Need.AHEAD
        else:
            run.ticket.need = Need.NEWCOMER if due_s is None else Need.LISTENING
        if due_s is not None:
            run.ticket.due_s = due_s

    async def carry_out(self, run: DemandRun) -> str:
        """Makes the segments, or waits until another process has; how it ended."""
        assert run.script.source_key is not None
        async with self._storage.local_file(run.script.source_key) as source:  # which may have to be fetched first
            while True:
                self.appraise(run)
                await self.slots.take(run.ticket)
                try:
                    ended = await self._in_turn(run, source)
                finally:
                    await self._let_go(run)
                if ended == "followed":
                    await self._follow(run)
                if run.next >= run.end or not run.awaited_at(self._now_s()):
                    return ended

    async def _in_turn(self, run: DemandRun, source: Path) -> str:
        if not run.wanted(self._now_s()):
            return "unneeded"
        await self._pass_stored(run)
        if run.ahead and not run.awaited:
            return "unneeded"
        if not await self._claimed(run):
            return "followed"
        return await self._with_an_encoder(run, source)

    async def _pass_stored(self, run: DemandRun) -> None:
        """What is there already, by whomever, is not made again."""
        while not run.ahead:
            body = await self._storage.get(run.key(run.next))
            if not body:  # also one that a power failure left empty
                return
            run.made(run.next, body, kept=True)

    async def _with_an_encoder(self, run: DemandRun, source: Path) -> str:
        self._make_room()
        self._encoding.add(run)
        run.evicted = False
        run.encoding = asyncio.create_task(self._encode(run, source), name="demand-encoding")
        try:
            await run.encoding
        except _Stopped as stopped:
            return str(stopped)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not run.evicted or (task is not None and task.cancelling()):
                raise
            return "gave_way"
        finally:
            run.encoding = None
            self._encoding.discard(run)
        return "encoded"

    def _make_room(self) -> None:
        """For one more encoder."""
        still = [run for run in self._encoding if not self.slots.has(run.ticket) and not run.evicted]
        if still and len(self._encoding) >= self._encoders_max:
            max(still, key=lambda run: urgency(run.ticket)).evict()

    async def _encode(self, run: DemandRun, source: Path) -> None:
        async def take(_rung: Rung, segment: int, body: bytes) -> None:
            self._encoded.labels(run.rung.name).inc()
            now_s = self._now_s()
            due_s = max(now_s, self._heard.get(_place(run, segment)) or now_s)
            self._heard.put(_place(run, segment + 1), due_s + SEGMENT_S)
            await self._store(run, segment, body)
            if run.next < run.end:
                await self._next_turn(run)

        what = EncoderSource(path=source, grid=run.script.grid, start_s=run.script.source_start_s)
        await self._encoder.encode(what, run.next, run.end, [run.rung], take)

    async def _next_turn(self, run: DemandRun) -> None:
        """Returns when the next segment is to be made. Raises _Stopped where there is no need to."""
        self.appraise(run)
        if run.ahead:
            await self._let_go(run)
            if not await run.asked(HELD_S):
                raise _Stopped("encoded")
            self.appraise(run)
        elif self.slots.is_needed_more_than_by(run.ticket):
            await self._let_go(run)
        if not self.slots.has(run.ticket):
            await self.slots.take(run.ticket)
        if not run.ahead and await has_content(self._storage, run.key(run.next)):
            await self._pass_stored(run)
            raise _Stopped("gave_way" if run.awaited else "encoded")
        if not await self._claimed(run):
            raise _Stopped("followed")

    async def _store(self, run: DemandRun, segment: int, body: bytes) -> None:
        """Everybody gets it as it is stored. One that cannot be stored is heard all the same."""
        kept = True
        try:
            if not await self._storage.put(run.key(segment), body):
                body = await self._storage.get(run.key(segment)) or body
        except StorageFailed as error:
            kept = False
            log.error("A segment could not be stored.", action="demand_unstored", error=str(error))
        run.made(segment, body, kept=kept)

    async def _claimed(self, run: DemandRun) -> bool:
        """Whether no other process makes what comes next; then others know that this one does, for CLAIM_S."""
        key, now_s = _claim_key(run), self._now_s()
        if run.claim is not None and run.claim[0] != key:
            await self._give_up_claim(run)
        if run.claim is not None and now_s - run.claim[1] < CLAIM_S / 2:
            return True
        run.claim = key, now_s  # also where no answer comes in time: it may have been taken all the same
        block = run.next // AHEAD_SEGMENTS
        try:
            if await self._claims.take(key, f"{run.next} {(block + 1) * AHEAD_SEGMENTS}".encode(), CLAIM_S):
                return True
            run.claim = None
            return run.next not in _range(await self._claims.value(key))
        except CacheUnavailable:
            return True

    async def _let_go(self, run: DemandRun) -> None:
        """Of its turn and its claim."""
        self.slots.end(run.ticket)
        await self._give_up_claim(run)

    async def _give_up_claim(self, run: DemandRun) -> None:
        """So that nobody waits for what will not come. Who is cancelled here has it still, and gives it up later."""
        if run.claim is not None and self._now_s() - run.claim[1] < CLAIM_S:
            try:
                await self._claims.give_up(run.claim[0])
            except CacheUnavailable as error:
                log.warning("A claim stays until it runs out.", action="claim_kept", error=str(error))
        run.claim = None

    async def _follow(self, run: DemandRun) -> None:
        """Waits for what another process stores, until it has given up what comes next, or nobody needs it."""
        while run.awaited_at(self._now_s()):
            try:
                held = run.next in _range(await self._claims.value(_claim_key(run)))
            except CacheUnavailable:
                held = False
            for segment in sorted({run.next, *run.awaited}):
                body = await self._storage.get(run.key(segment))
                if body:
                    run.made(segment, body, kept=True)
            if not held:
                return
            await asyncio.sleep(POLL_S)


def _place(run: DemandRun, segment: int) -> _Place:
    return run.script.script_id, run.script.media_version, segment


def _claim_key(run: DemandRun) -> str:
    block = run.next // AHEAD_SEGMENTS
    return f"audio:made-by:{run.script.script_id}:{run.script.media_version}-{run.rung.name}-{block}"


def _range(value: bytes | None) -> range:
    """What a claim is for."""
    return range(0) if value is None else range(*map(int, value.split()))

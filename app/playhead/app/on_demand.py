"""Binds the encoder to who asks for segments: players, and sessions that will soon need one."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from playhead.app.machine import programs
from playhead.cache import BoundedMap, Claims
from playhead.db import DatabaseUnavailable, Script, ScriptRepository
from playhead.http.services import NotNow
from playhead.media import FIRST_RUNG, OUTPUT_RATE_HZ, SEGMENT_SAMPLES, Rung, segment_key
from playhead.runtime.cores import usable_cores
from playhead.runtime.metrics import Metrics
from playhead.runtime.settings import Settings
from playhead.runtime.tasks import cancelled
from playhead.storage import Storage, StorageFailed, has_content
from playhead.transcode import DEMAND_TIMEOUT_S, UNREAD_BYTES_MAX, Demand, Encoder, Precedence, SegmentNotNow

WANTED_MAX = 64
"""Places that sessions went to and that were not looked at yet; more are not worth the while."""
COMPLETE_KNOWN_S = 60.0
"""For so long a script that has all its segments, or will never have any, is not looked at again."""
HURRY_EVERY_S = 30.0
"""How often workers are asked to go on with a script."""
ROW_KNOWN_S = 1.0
"""For so long another one's row is not read again."""
KNOWN_MAX = 10_000

log = structlog.get_logger(__name__)

Hurry = Callable[[str], Awaitable[None]]
"""Asks the workers to go on with a script before others. May raise DatabaseUnavailable."""
_Place = tuple[str, int]
"""A script, and the number of a segment; HURRY: the whole of it."""
HURRY = -1


class OnDemand:
    """What of a script is not there is made when it is asked for, and before, where a session says what comes next."""

    def __init__(self, scripts: ScriptRepository, storage: Storage, hurry: Hurry) -> None:
        self._scripts = scripts
        self._storage = storage
        self._hurry = hurry
        self._demand: Demand | None = None
        self._wanted: dict[_Place, None] = {}
        self._woken = asyncio.Event()
        self._known: BoundedMap[str, tuple[float, Script | None]] = BoundedMap(KNOWN_MAX, 0, lambda _known: 0)
        """Rows of scripts, None for one of which nothing is to be made, and until when they are believed."""
        self._hurried: BoundedMap[str, float] = BoundedMap(KNOWN_MAX, 0, lambda _until_s: 0)

    @asynccontextmanager
    async def running(
        self, slots: int, claims: Claims, metrics: Metrics, precedence: Precedence | None = None
    ) -> AsyncIterator[None]:
        """Encodes in the block, `slots` at once. Raises SettingsError where there is no ffmpeg."""
        encoder = Encoder(programs(), chunk_timeout_s=DEMAND_TIMEOUT_S, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
        self._demand = Demand(encoder, self._storage, claims, metrics, slots, precedence=precedence)
        warming = asyncio.create_task(self._work_for_ever(), name="on-demand")
        try:
            yield
        finally:
            await cancelled(warming)
            await self._demand.stop()

    async def segment(
        self, script: Script, rung: Rung, segment: int, wanted: Callable[[], bool], listener: str | None
    ) -> bytes | NotNow:
        assert self._demand is not None
        self._hurry_soon(script)
        try:
            return await self._demand.segment(script, rung, segment, wanted, listener)
        except SegmentNotNow as error:
            return NotNow(str(error), error.retry_after_s)

    def soon(self, script_id: str, position_ms: int) -> None:
        """For the first quality that a player asks for. Costs nothing where the script is complete."""
        until_s, script = self._known.get(script_id) or (0.0, None)
        if (script is None and time.monotonic() < until_s) or len(self._wanted) >= WANTED_MAX:
            return
        self._wanted[script_id, position_ms * OUTPUT_RATE_HZ // 1_000 // SEGMENT_SAMPLES] = None
        self._woken.set()

    def _hurry_soon(self, script: Script) -> None:
        """Somebody listens to what the workers have not made."""
        now_s = time.monotonic()
        if script.status == "ready" or now_s < (self._hurried.get(script.script_id) or 0.0):
            return
        if len(self._wanted) >= WANTED_MAX:
            return
        self._hurried.put(script.script_id, now_s + HURRY_EVERY_S)
        self._wanted[script.script_id, HURRY] = None
        self._woken.set()

    async def _work_for_ever(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._wanted:
                place = next(iter(self._wanted))
                del self._wanted[place]
                try:
                    await self._work(*place)
                except (DatabaseUnavailable, StorageFailed) as error:
                    log.debug("A script was not helped on.", action="warm_failed", error=str(error))
                except Exception:
                    log.exception("A script was not helped on.", action="warm_failed")

    async def _work(self, script_id: str, segment: int) -> None:
        await (self._hurry(script_id) if segment == HURRY else self._warm(script_id, segment))

    async def _warm(self, script_id: str, segment: int) -> None:
        script = await self._script(script_id)
        if script is None:
            return
        segment = min(segment, script.grid.segments - 1)
        key = segment_key(script.script_id, script.media_version, FIRST_RUNG.name, segment)
        if not await has_content(self._storage, key):
            assert self._demand is not None
            self._demand.warm(script, FIRST_RUNG, segment)

    async def _script(self, script_id: str) -> Script | None:
        """Its row, if something of it may have to be made."""
        until_s, script = self._known.get(script_id) or (0.0, None)
        if time.monotonic() < until_s:
            return script
        script = await self._scripts.stored(script_id)
        if script is not None and script.status in ("ready", "failed"):
            script = None
        known_s = COMPLETE_KNOWN_S if script is None else ROW_KNOWN_S
        self._known.put(script_id, (time.monotonic() + known_s, script))
        return script


def demand_slots(settings: Settings) -> int:
    """Of this process: all processes of one `serve` together have one for each core, and at least one each."""
    cores = usable_cores()
    return max(1, cores // (settings.processes or cores))

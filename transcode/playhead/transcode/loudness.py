"""Measures how loud scripts are (EBU R128), beside the encoding: once for each media version, the newest first.

    take a script whose beginning is encoded → hold it → ffmpeg reads it through → the row

Nothing waits for it: one at a time, at low priority, about 20 s of CPU for an hour of sound. Until it was measured, and
if it cannot be, a script is played as it is. What a killed worker had in hand another one measures, once the hold has
run out. Where something ends ffmpeg from outside, as the kernel that is short of memory, the attempt does not count.
"""

import asyncio
import math
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from playhead.db import DatabaseUnavailable, Unmeasured
from playhead.db.limits import LOUDNESS_ATTEMPTS_MAX
from playhead.media import Loudness, bounded_loudness
from playhead.runtime.tasks import cancelled
from playhead.storage import ObjectMissing, Storage, StorageFailed
from playhead.transcode.arguments import filter_help_arguments, loudness_arguments
from playhead.transcode.processes import NICENESS, OutputTooLong, run
from playhead.transcode.programs import Limits, Programs
from playhead.transcode.tries import EndedByOthers, ended_by_others

POLL_S = 2.0
"""How often an idle worker looks for a script to measure."""
HOLD_S = 60.0
REFUSED_HOLD_S = 60.0
"""How long a script is left alone whose source the storage did not give; others are tried meanwhile."""
KILLED_HOLD_S = 600.0
"""How long a script is left alone whose ffmpeg was ended from outside. One for which that happens each time, as it
takes more memory than there is, is tried again and again."""
HOLDS_AHEAD = 3
"""How often a hold is renewed before it would run out."""
MEASURE_TIMEOUT_S = 7_200.0
"""A day of sound takes 6 minutes of a core that does nothing else."""
MEASURE_LIMITS = Limits(cpu_s=3_600)
HELP_TIMEOUT_S = 20.0
HELP_LIMITS = Limits(cpu_s=20)
HELP_BYTES_MAX = 64 * 1024

_INTEGRATED = re.compile(r"^\s+I:\s+(\S+) LUFS$", re.MULTILINE)
_TRUE_PEAK = re.compile(r"^\s+Peak:\s+(\S+) dBFS$", re.MULTILINE)

log = structlog.get_logger(__name__)


class MeasureFailed(Exception):
    """The file's loudness cannot be told. The text is for the log."""


class LoudnessRows(Protocol):
    """Where it stands what is to be measured; playhead.db.LoudnessRepository. All may raise DatabaseUnavailable."""

    async def take(self, hold_s: float) -> Unmeasured | None: ...

    async def hold(self, taken: Unmeasured, hold_s: float) -> bool: ...

    async def give_back(self, taken: Unmeasured, hold_s: float = 0.0) -> bool: ...

    async def measured(self, taken: Unmeasured, loudness: Loudness) -> bool: ...


class LoudnessMeter:
    """Measures one script after the other."""

    def __init__(self, rows: LoudnessRows, storage: Storage, programs: Programs, *, hold_s: float = HOLD_S) -> None:
        self._rows = rows
        self._storage = storage
        self._programs = programs
        self._hold_s = hold_s
        self._refused = False
        """Whether the storage has failed since it was last read, which is told once."""

    async def run(self, poll_s: float = POLL_S) -> None:
        """Until it is cancelled; then what it measures is given back. Ends by itself where ffmpeg cannot measure."""
        if not await can_measure(self._programs):
            log.error(
                "This ffmpeg measures no loudness: its filter ebur128 is missing or too old.", action="no_loudness"
            )
            return
        while True:
            try:
                if await self.next():
                    continue
            except DatabaseUnavailable as error:
                log.warning("Loudness cannot be stored.", action="loudness_unavailable", error=str(error))
            except Exception as error:  # nobody would notice that this has ended
                log.error("A measurement broke off.", action="loudness_broke_off", exc_info=error)
            await asyncio.sleep(poll_s)

    async def next(self) -> bool:
        """Measures the next script; False: there is none, or the storage or something else on the server is in the way.

        Raises DatabaseUnavailable.
        """
        taken = await self._rows.take(self._hold_s)
        if taken is None:
            return False
        with structlog.contextvars.bound_contextvars(script_id=taken.script_id, attempt=taken.attempt):
            holding = asyncio.create_task(self._keep_holding(taken))
            try:
                found = await self._measured(taken)
            except asyncio.CancelledError:
                with suppress(DatabaseUnavailable):
                    await self._rows.give_back(taken)
                raise
            except StorageFailed as error:
                self._tell_refused(error)
                await self._rows.give_back(taken, REFUSED_HOLD_S)
                return False
            except EndedByOthers as error:
                log.warning("A loudness is measured again later.", action="loudness_killed", error=str(error))
                await self._rows.give_back(taken, KILLED_HOLD_S)
                return False
            finally:
                await cancelled(holding)
            if found is not None and await self._rows.measured(taken, found):
                log.info("A script's loudness was measured.", action="loudness_measured", lufs=found.integrated_lufs)
        return True

    async def _keep_holding(self, taken: Unmeasured) -> None:
        while True:
            await asyncio.sleep(self._hold_s / HOLDS_AHEAD)
            with suppress(DatabaseUnavailable):
                await self._rows.hold(taken, self._hold_s)

    def _tell_refused(self, error: StorageFailed) -> None:
        if not self._refused:
            log.warning("Loudness waits for the storage.", action="loudness_waits", error=str(error))
        self._refused = True

    async def _measured(self, taken: Unmeasured) -> Loudness | None:
        """None where the attempt failed for the file's sake. Raises StorageFailed and EndedByOthers."""
        try:
            async with self._storage.local_file(taken.source_key) as path:
                self._refused = False
                return await measure_loudness(self._programs, path)
        except (MeasureFailed, ObjectMissing) as error:
            again = taken.attempt < LOUDNESS_ATTEMPTS_MAX
            log.warning("A loudness was not measured.", action="loudness_failed", error=str(error), again=again)
            return None


async def can_measure(programs: Programs) -> bool:
    """Whether ffmpeg has what it takes: else every script would use its attempts up."""
    try:
        command = programs.command(filter_help_arguments(programs.ffmpeg, "ebur128"), HELP_LIMITS)
        done = await run(command, timeout_s=HELP_TIMEOUT_S, output_bytes_max=HELP_BYTES_MAX)
    except (OSError, OutputTooLong):
        return False
    return b"framelog" in done.output and b"quiet" in done.output


async def measure_loudness(programs: Programs, path: Path) -> Loudness:
    """The loudness of the file's first audio stream, as it will be heard. Raises MeasureFailed and EndedByOthers."""
    began_s = time.monotonic()
    command = programs.command(loudness_arguments(programs.ffmpeg, path), MEASURE_LIMITS, NICENESS)
    try:
        done = await run(command, timeout_s=MEASURE_TIMEOUT_S, output_bytes_max=0, niceness=NICENESS)
    except (OSError, OutputTooLong) as error:
        raise MeasureFailed(f"{type(error).__name__}: {error}") from error
    if ended_by_others(done.code, time.monotonic() - began_s, MEASURE_LIMITS):
        raise EndedByOthers(f"ffmpeg was ended from outside ({done.code})")
    if done.code != 0:
        raise MeasureFailed(f"ffmpeg ended with {done.code}: {done.last_error}")
    return loudness_told(done.errors)


def loudness_told(text: str) -> Loudness:
    """What `ebur128` says at its end. Raises MeasureFailed.

    Only what stands behind its heading is read: before it ffmpeg tells the file's tags, which may look the same.
    """
    _, heading, summary = text.rpartition("Summary:")
    integrated, true_peak = _INTEGRATED.search(summary), _TRUE_PEAK.search(summary)
    if not heading or integrated is None or true_peak is None:
        raise MeasureFailed("ffmpeg told no loudness")
    try:
        values = float(integrated[1]), float(true_peak[1])
    except ValueError:
        raise MeasureFailed("ffmpeg told no numbers") from None
    if any(math.isnan(value) for value in values):
        raise MeasureFailed("samples that are no numbers")
    return bounded_loudness(*values)

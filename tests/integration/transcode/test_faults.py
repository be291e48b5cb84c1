"""What goes wrong while segments are made, on demand and by the worker: a full disk, encoders that are killed or hang.

The encoder is real, behind a script that slows it down or lets it hang for as long as a file is there.
"""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from playhead.cache import OwnClaims
from playhead.db import Database, Script
from playhead.media import FIRST_RUNG, LADDER, Rung
from playhead.runtime.metrics import Metrics, create_metrics
from playhead.storage import LocalStorage, StorageFailed
from playhead.transcode import Demand, Encoder, EncoderSource, Programs, SegmentNotNow
from playhead.transcode.demand import BUSY_RETRY_S, KILLED, UNREAD_BYTES_MAX
from playhead.transcode.demand_run import AHEAD_SEGMENTS
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.demanding import (
    DURATION_S,
    ENDED_S,
    GRID,
    SOURCE,
    ended,
    stored,
    until_ended,
    until_stored,
)
from tests.integration.transcode.work import LONG_S, SHORT_S, SPEECH, Bench, segment_keys, working
from tests.support import boxes
from tests.support.audio import FFMPEG
from tests.support.media_files import media_files

HANGS_S = 0.3
SLOWLY = f'exec {FFMPEG} -readrate 4 "$@"'
"""A segment takes 1.4 s, of which a third has passed when the first bytes of it come."""
HANGING = "exec sleep 60"
STOPPED = "kill -STOP $$"
"""It ends by nothing but SIGKILL."""


class Faulty:
    """`programs` whose ffmpeg does `fault` for as long as `on` is not called off."""

    def __init__(self, programs: Programs, folder: Path, fault: str) -> None:
        self._fault, program = folder / "fault", folder / "ffmpeg"
        self._fault.touch()
        program.write_text(f'#!/bin/sh\n[ -e {self._fault} ] && {fault}\nexec {FFMPEG} "$@"\n')
        program.chmod(0o755)
        self.programs = replace(programs, ffmpeg=str(program))

    def mend(self) -> None:
        self._fault.unlink()


def encoders() -> list[int]:
    """ffmpegs of this process that have begun to write."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            parent = int((process / "stat").read_text().rpartition(") ")[2].split()[1])
            written = (process / "io").read_text().partition("wchar: ")[2].split()[0]
            if parent == os.getpid() and (process / "exe").samefile(FFMPEG) and int(written):
                found.append(int(process.name))
    return found


async def an_encoder() -> int:
    """The next one that has begun to write."""
    async with asyncio.timeout(ENDED_S):
        while not (found := encoders()):
            await asyncio.sleep(0.01)
    return found[0]


def children() -> list[str]:
    """Command lines of all that this process has started and that still runs."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, parent = (process / "stat").read_text().rpartition(") ")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.append((process / "cmdline").read_text())
    return sorted(found)


async def whole(programs: Programs, path: Path, first: int) -> bytes:
    """A segment as a run of its own makes it from there on."""
    made: list[bytes] = []

    async def keep(_rung: Rung, _segment: int, body: bytes) -> None:
        made.append(body)

    encoder = Encoder(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
    await encoder.encode(EncoderSource(path=path, grid=GRID, start_s=0.0), first, GRID.segments, [FIRST_RUNG], keep)
    return made[0]


async def test_what_cannot_be_stored_is_heard_all_the_same(
    programs: Programs,
    storage: LocalStorage,
    script: Script,
    metrics: Metrics,
    source: SourceMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def full(_key: str, _body: bytes) -> bool:
        raise StorageFailed("No space left on device")

    monkeypatch.setattr(storage, "put", full)
    encoder = Encoder(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
    demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1)
    with capture_logs() as lines:
        heard = await asyncio.gather(*(demand.segment(script, FIRST_RUNG, segment) for segment in (1, 1, 2)))
    assert heard[0] == heard[1] == await whole(programs, source(SOURCE, DURATION_S), 1) != heard[2]
    told = [line for line in lines if line.get("action") == "demand_unstored"]
    assert len(told) >= 2 and "No space left" in told[0]["error"]
    assert await stored(storage, script, 1) is None
    assert await demand.segment(script, FIRST_RUNG, 1) == heard[0], "who comes later"
    assert len(demand._tasks) == 1, "and is given what was made"
    await demand.stop()


async def test_who_waits_for_an_encoder_that_is_killed_is_told_when_to_ask_again_and_then_gets_it_whole(
    programs: Programs, storage: LocalStorage, script: Script, metrics: Metrics, source: SourceMaker, tmp_path: Path
) -> None:
    faulty = Faulty(programs, tmp_path, SLOWLY)
    encoder = Encoder(faulty.programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
    demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1, wait_s=ENDED_S)
    asked = asyncio.ensure_future(demand.segment(script, FIRST_RUNG, 0))
    os.kill(await an_encoder(), signal.SIGKILL)
    with pytest.raises(SegmentNotNow, match=KILLED) as told:
        await asyncio.wait_for(asked, ENDED_S / 2)
    assert told.value.retry_after_s <= max(BUSY_RETRY_S) and ended(metrics, "killed") == 1
    assert media_files(tmp_path / "media") == [script.source_key], "no half of it"
    faulty.mend()
    assert await demand.segment(script, FIRST_RUNG, 0) == await whole(programs, source(SOURCE, DURATION_S), 0)
    await demand.stop()


async def test_an_encoder_that_is_killed_while_it_stands_still_is_started_anew(
    programs: Programs, storage: LocalStorage, script: Script, metrics: Metrics, source: SourceMaker
) -> None:
    encoder = Encoder(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
    demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1, wait_s=ENDED_S)
    await demand.segment(script, FIRST_RUNG, 0)
    await until_stored(storage, script, AHEAD_SEGMENTS - 1)
    os.kill(await an_encoder(), signal.SIGKILL)
    with suppress(SegmentNotNow):
        await asyncio.wait_for(demand.segment(script, FIRST_RUNG, AHEAD_SEGMENTS), ENDED_S / 2)
    made = await demand.segment(script, FIRST_RUNG, AHEAD_SEGMENTS)
    assert made == await whole(programs, source(SOURCE, DURATION_S), AHEAD_SEGMENTS)
    await demand.stop()


async def test_an_encoder_that_hangs_is_ended_and_its_turn_is_another_ones(
    programs: Programs, storage: LocalStorage, script: Script, metrics: Metrics, tmp_path: Path
) -> None:
    faulty = Faulty(programs, tmp_path, HANGING)
    encoder = Encoder(faulty.programs, chunk_timeout_s=HANGS_S, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
    demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1, wait_s=ENDED_S)
    before = children()
    with pytest.raises(SegmentNotNow, match=r"took longer than 0\.3 s"):
        await asyncio.wait_for(demand.segment(script, FIRST_RUNG, 0), ENDED_S / 2)
    await until_ended(metrics, "failed", 1)
    assert (children(), demand._making.slots.idle) == (before, True)
    faulty.mend()
    encoder._chunk_timeout_s = ENDED_S
    assert await asyncio.wait_for(demand.segment(script, FIRST_RUNG, 2 * AHEAD_SEGMENTS), ENDED_S / 2)
    await demand.stop()


async def test_a_worker_whose_encoder_is_killed_tries_again_until_all_is_there(
    database: Database,
    programs: Programs,
    storage: LocalStorage,
    source: SourceMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("playhead.transcode.worker.RETRY_DELAY_S", 0.0)
    bench, faulty = Bench(database, storage, programs), Faulty(programs, tmp_path, SLOWLY)
    script, told = await bench.upload(source(SPEECH, LONG_S)), create_metrics(CollectorRegistry())
    async with working(bench.worker(encoder=Encoder(faulty.programs), metrics=told)):
        killed = await an_encoder()
        faulty.mend()
        os.kill(killed, signal.SIGKILL)
        await bench.until(script, lambda row: row.status == "ready")
    assert (await bench.attempts(script), told.jobs.labels("retried")._value.get()) == (2, 1)
    assert media_files(tmp_path / "media") == sorted([*segment_keys(script), str(script.source_key)])
    frames = [len(script.grid.segment_frames(segment)) for segment in range(script.grid.segments)] * len(LADDER)
    made = [boxes.fragment(await storage.get(key) or b"") for key in segment_keys(script)]
    assert [len(fragment.frames) for fragment in made] == frames


@pytest.mark.parametrize("fault", [HANGING, STOPPED], ids=["sleeps", "is stopped"])
async def test_a_worker_whose_encoder_hangs_ends_it_each_time_and_at_last_says_that_it_took_too_long(
    fault: str,
    database: Database,
    programs: Programs,
    storage: LocalStorage,
    source: SourceMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("playhead.transcode.worker.RETRY_DELAY_S", 0.0)
    bench, faulty = Bench(database, storage, programs), Faulty(programs, tmp_path, fault)
    script, told, before = await bench.upload(source(SPEECH, SHORT_S)), create_metrics(CollectorRegistry()), children()
    encoder = Encoder(faulty.programs, chunk_timeout_s=HANGS_S)
    async with working(bench.worker(encoder=encoder, metrics=told, attempts_max=2)):
        failed = await bench.until(script, lambda row: row.status == "failed")
        await bench.until_job(lambda jobs: jobs == 0)
        assert children() == before
    assert failed.error == "The audio from 0:00 to 0:11 took longer than 0.3 s to encode."
    ended_so = [told.jobs.labels(result)._value.get() for result in ("retried", "failed", "ready")]
    assert (await bench.attempts(script), ended_so) == (2, [1, 1, 0])
    assert media_files(tmp_path / "media") == [script.source_key]

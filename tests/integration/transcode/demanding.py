"""What tests of segments on demand share: a script that lies in the storage, and what became of its runs."""

import asyncio
import uuid
from datetime import UTC, datetime

from playhead.db import Script
from playhead.media import FIRST_RUNG, LADDER, Grid, segment_key
from playhead.runtime.metrics import Metrics
from playhead.storage import Storage
from tests.support.audio import Kind

DURATION_S = 70.0
"""Thirteen segments: two blocks and a part of the third."""
SOURCE = Kind("sweep.flac", "-c:a flac")
ENDED_S = 20.0
GRID = Grid(source_rate=SOURCE.rate, source_samples=round(SOURCE.rate * DURATION_S))
VERSION = "0123456789abcdef"


def script_of(source_key: str) -> Script:
    now = datetime.now(UTC)
    return Script(
        script_id=source_key.split("/")[1],
        owner_id=str(uuid.uuid4()),
        title="A script",
        visibility="listeners",
        status="queued",
        error=None,
        progress=0.0,
        source_key=source_key,
        source_bytes=1,
        source_codec="flac",
        source_rate=GRID.source_rate,
        source_samples=GRID.source_samples,
        source_start_s=0.0,
        duration_ms=GRID.duration_ms,
        total_samples=GRID.total_samples,
        media_version=VERSION,
        created_at=now,
        updated_at=now,
    )


async def stored_script(storage: Storage, content: bytes) -> Script:
    script = script_of(f"sources/{uuid.uuid4()}/upload")
    assert script.source_key is not None
    async with storage.upload(script.source_key) as upload:
        await upload.write(content)
    return script


def ended(metrics: Metrics, how: str) -> float:
    return float(metrics.demand.runs.labels(how)._value.get())


async def until_ended(metrics: Metrics, how: str, runs: float) -> None:
    async with asyncio.timeout(ENDED_S):
        while ended(metrics, how) < runs:
            await asyncio.sleep(0.01)


async def stored(storage: Storage, script: Script, segment: int) -> bytes | None:
    return await storage.get(segment_key(script.script_id, VERSION, FIRST_RUNG.name, segment))


async def until_stored(storage: Storage, script: Script, segment: int) -> bytes:
    async with asyncio.timeout(ENDED_S):
        while (body := await stored(storage, script, segment)) is None:
            await asyncio.sleep(0.01)
    return body


def encoded(*told: Metrics) -> float:
    """Segments, by all these processes."""
    return sum(float(metrics.segments.labels(rung.name)._value.get()) for metrics in told for rung in LADDER)

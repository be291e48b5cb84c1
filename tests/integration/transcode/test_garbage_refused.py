"""A database that knows too few of the storage's scripts is not believed: it may be empty, another or an old one."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from playhead.db import Database, ScriptRepository, StoredParts
from playhead.media import uploaded_key
from playhead.runtime.metrics import create_metrics
from playhead.storage import LocalStorage
from playhead.transcode import Collector, Garbage, GarbageRefused, collect_regularly
from playhead.transcode.doubt import FEW_GRACE_S, ORPHANS_FEW
from playhead.transcode.garbage import GRACE_S
from tests.integration.transcode.test_garbage import (
    OLDER,
    WAIT_S,
    collected,
    fill,
    fill_needed,
    later,
    left,
    new_id,
    script_of,
)


def much_later() -> float:
    return time.time() + FEW_GRACE_S + 60


async def refused(collector: Collector, scripts_max: int | None = None, *, dry_run: bool = False) -> list[Garbage]:
    """What went all the same."""
    gone = []
    with pytest.raises(GarbageRefused):
        async for found in collector.round(scripts_max, dry_run=dry_run):
            gone.append(found)
    return gone


async def orphans(storage: LocalStorage, count: int) -> set[str]:
    return {key for _ in range(count) for key in await fill(storage, new_id())}


@pytest.mark.parametrize("now_s", [later, much_later])
async def test_a_database_without_rows_takes_nothing_away_however_old(
    storage: LocalStorage, scripts: ScriptRepository, now_s: Callable[[], float]
) -> None:
    keys = await orphans(storage, 3)
    collector = Collector(storage, scripts, now_s=now_s)
    assert await refused(collector) == []
    assert await refused(collector) == []
    assert await left(storage) == keys


async def test_old_versions_of_scripts_with_rows_stay_as_well(storage: LocalStorage, scripts: ScriptRepository) -> None:
    script_id = new_id()
    await script_of(scripts, script_id)
    keys = {*await fill(storage, script_id), *await fill(storage, script_id, OLDER, "older")}
    keys |= await orphans(storage, 2)
    assert await refused(Collector(storage, scripts, now_s=later)) == []
    assert await left(storage) == keys


@pytest.mark.parametrize(("rows", "goes"), [(3, True), (2, False)])
async def test_half_of_the_scripts_must_have_a_row(
    storage: LocalStorage, scripts: ScriptRepository, rows: int, goes: bool
) -> None:
    kept = await fill_needed(storage, scripts, rows)
    keys = await orphans(storage, 3)
    collector = Collector(storage, scripts, now_s=later)
    assert len(await (collected(collector) if goes else refused(collector))) == (6 if goes else 0)
    assert await left(storage) == (kept if goes else kept | keys)


@pytest.mark.parametrize(("more", "goes"), [(0, True), (1, False)])
async def test_a_few_scripts_without_rows_go_after_a_month_where_one_has_a_row(
    storage: LocalStorage, scripts: ScriptRepository, more: int, goes: bool
) -> None:
    kept = await fill_needed(storage, scripts)
    keys = await orphans(storage, ORPHANS_FEW + more)
    assert await refused(Collector(storage, scripts, now_s=lambda: time.time() + FEW_GRACE_S - 60)) == []
    collector = Collector(storage, scripts, now_s=much_later)
    assert len(await (collected(collector) if goes else refused(collector))) == (2 * ORPHANS_FEW if goes else 0)
    assert await left(storage) == (kept if goes else kept | keys)


async def test_what_is_too_young_to_go_raises_no_doubt(storage: LocalStorage, scripts: ScriptRepository) -> None:
    await fill(storage, new_id())
    assert await collected(Collector(storage, scripts, now_s=lambda: time.time() + GRACE_S - 60)) == []


async def test_uploads_in_parts_need_no_rows_and_go(storage: LocalStorage, scripts: ScriptRepository) -> None:
    keys = await orphans(storage, 1)
    upload = uploaded_key(new_id(), new_id())
    await storage.put(upload, b"x")
    assert [found.key for found in await refused(Collector(storage, scripts, now_s=much_later))] == [upload]
    assert await left(storage) == keys


async def test_a_dry_run_shows_what_is_refused_and_who_insists_gets_it(
    storage: LocalStorage, scripts: ScriptRepository
) -> None:
    keys = await orphans(storage, 2)
    collector = Collector(storage, scripts, now_s=later)
    dry = await refused(collector, dry_run=True)
    assert await left(storage) == keys
    assert [found async for found in collector.round(None, dry_run=True, even_if_most=True)] == dry
    assert [found async for found in collector.round(None, even_if_most=True)] == dry
    assert await left(storage) == set()


async def test_a_round_that_is_bounded_asks_for_more_rows_than_it_looks_at_scripts(
    storage: LocalStorage, scripts: ScriptRepository
) -> None:
    """So it depends on all of them, not on who happens to stand at the end of the list."""
    kept = await fill_needed(storage, scripts, 3)
    last = "ffffffff-ffff-4fff-8fff-ffffffffffff"
    await fill(storage, last)
    collector = Collector(storage, scripts, now_s=later)
    assert [len(await collected(collector, 1)) for _ in range(4)] == [0, 0, 0, 2]
    assert await left(storage) == kept


async def test_what_was_refused_does_not_hold_up_those_behind_it(tmp_path: Path, scripts: ScriptRepository) -> None:
    looked_at: set[str] = set()

    class Listed(LocalStorage):
        async def children(self, prefix: str) -> Sequence[str]:
            looked_at.add(prefix)
            return await super().children(prefix)

    storage = Listed(tmp_path / "media")
    await orphans(storage, 3)
    collector = Collector(storage, scripts, now_s=later)
    for _ in range(3):
        await refused(collector, 1)
    assert len([prefix for prefix in looked_at if prefix.startswith("media/")]) == 3


class Vanishing:
    """Rows that are all deleted after the first look, as when a database is loaded anew."""

    def __init__(self, scripts: ScriptRepository) -> None:
        self._scripts = scripts
        self._looks = 0
        self.forget_former, self.forget_failed = scripts.forget_former, scripts.forget_failed

    async def stored_parts(self, script_ids: Sequence[str]) -> Mapping[str, StoredParts]:
        self._looks += 1
        return await self._scripts.stored_parts(script_ids) if self._looks == 1 else {}


async def test_rows_that_vanish_while_it_looks_take_nothing_with_them(
    storage: LocalStorage, scripts: ScriptRepository
) -> None:
    kept = await fill_needed(storage, scripts, 3)
    collector = Collector(storage, Vanishing(scripts), now_s=later)
    assert await collected(collector) == []
    assert await refused(collector) == [], "now there are none from the beginning"
    assert await left(storage) == kept


async def test_a_worker_says_so_counts_it_and_removes_it_once_the_rows_are_back(
    storage: LocalStorage, scripts: ScriptRepository, database: Database
) -> None:
    script_id = new_id()
    kept = set(await fill(storage, script_id))
    await fill(storage, script_id, OLDER, "older")
    registry = CollectorRegistry()
    collector = Collector(storage, scripts, now_s=later)
    with capture_logs() as lines:
        collecting = asyncio.create_task(
            collect_regularly(collector, storage, create_metrics(registry), first_after_s=0, interval_s=0.01)
        )
        async with asyncio.timeout(WAIT_S):
            while not registry.get_sample_value("playhead_garbage_refused_total"):
                await asyncio.sleep(0.01)
            assert kept < await left(storage)
            await script_of(scripts, script_id)
            while await left(storage) != kept:
                await asyncio.sleep(0.01)
        collecting.cancel()
        await asyncio.wait([collecting])
    told = next(line for line in lines if line["action"] == "garbage_refused")
    assert told["log_level"] == "error"
    assert "Of 1 scripts in the storage 0 have a row" in told["error"]
    assert "playhead gc --dry-run" in told["error"]
    assert "--even-if-most" in told["error"]

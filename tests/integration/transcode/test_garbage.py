"""What no script needs is removed, on a real database; what one needs, or may soon, is not."""

import asyncio
import os
import time
import uuid
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from playhead.db import Creation, Database, DatabaseUnavailable, Script, ScriptRepository, Source, StoredParts, Tags
from playhead.db.script_rows import NO_TAGS, SOURCE_COLUMNS
from playhead.media import cover_key, media_prefix, segment_key, source_key, uploaded_key, uploads_prefix
from playhead.runtime.metrics import create_metrics
from playhead.storage import UNFINISHED_KEPT_S, LocalStorage, Storage
from playhead.transcode import Collector, Garbage, collect_regularly
from playhead.transcode.garbage import GRACE_S

OWNER = {"sub": "00000000-0000-4000-8000-00000000000a"}
VERSION, OLDER, NEWER = "0123456789abcdef", "fedcba9876543210", "f" * 16
WAIT_S = 10.0


def later() -> float:
    """A day and a minute from now: what is written now is old enough by then."""
    return time.time() + GRACE_S + 60


def new_id() -> str:
    return str(uuid.uuid4())


async def script_of(scripts: ScriptRepository, script_id: str, upload: str = "upload", tags: Tags = NO_TAGS) -> Script:
    source = Source(
        source_key=source_key(script_id, upload),
        source_bytes=10,
        source_codec="mp3",
        source_rate=48_000,
        source_samples=480_000,
        source_start_s=0.0,
        duration_ms=10_000,
        total_samples=480_000,
        media_version=VERSION,
        tags=tags,
    )
    created = await scripts.create(OWNER, script_id=script_id, title="A script", visibility="private", source=source)
    assert created.script is not None
    return created.script


async def fill(storage: Storage, script_id: str, version: str = VERSION, upload: str = "upload") -> list[str]:
    """Two segments of that version, and a source; answers their keys."""
    keys = [*(segment_key(script_id, version, "low", n) for n in range(2)), source_key(script_id, upload)]
    for key in keys:
        await storage.put(key, b"0123456789")
    return keys


async def fill_needed(storage: Storage, scripts: ScriptRepository, count: int = 1) -> set[str]:
    """Scripts with rows and what these name, as there are beside garbage; answers their keys."""
    kept = []
    for _ in range(count):
        script_id = new_id()
        await script_of(scripts, script_id)
        kept += await fill(storage, script_id)
    return set(kept)


async def left(storage: Storage) -> set[str]:
    return {found.key for part in ("media", "sources") async for found in storage.list(part)}


async def collected(collector: Collector, scripts_max: int | None = None, *, dry_run: bool = False) -> list[Garbage]:
    return [found async for found in collector.round(scripts_max, dry_run=dry_run)]


async def test_older_versions_and_sources_go_and_what_the_row_names_stays(
    any_storage: Storage, scripts: ScriptRepository
) -> None:
    script_id = new_id()
    await script_of(scripts, script_id)
    kept = await fill(any_storage, script_id)
    await fill(any_storage, script_id, OLDER, "older")
    found = await collected(Collector(any_storage, scripts, now_s=later))
    assert [(each.kind, each.key, each.objects, each.size_bytes) for each in found] == [
        ("version", media_prefix(script_id, OLDER), 2, 20),
        ("source", source_key(script_id, "older"), 1, 10),
    ]
    assert await left(any_storage) == set(kept)


async def test_a_former_version_stays_with_its_source_until_its_time_has_come(
    any_storage: Storage, scripts: ScriptRepository, database: Database
) -> None:
    script_id = new_id()
    await script_of(scripts, script_id)
    former = await fill(any_storage, script_id)
    await another_file(scripts, script_id)
    present = await fill(any_storage, script_id, NEWER, "newer")
    collector = Collector(any_storage, scripts, now_s=later)
    assert await collected(collector) == []
    assert await left(any_storage) == {*former, *present}
    async with database.as_service_at_once() as connection:
        await connection.execute(AGED, script_id)
    dry = await collected(collector, dry_run=True)
    assert await collected(collector) == dry
    assert [(found.kind, found.key) for found in dry] == [
        ("version", media_prefix(script_id, VERSION)),
        ("source", source_key(script_id, "upload")),
    ]
    assert await left(any_storage) == set(present)
    assert await scripts.forget_former() == 0, "its row has gone with it"


# The service changes no such row: one that was kept for long enough takes its place.
AGED = """
with former as (
    delete from audio_former_versions where script_id = $1 returning *
)
insert into audio_former_versions
select script_id, repeat('0', 16), source_key, source_bytes, source_codec, source_rate, source_samples, source_start_s,
    duration_ms, total_samples, integrated_lufs, true_peak_dbtp, now() - interval '2 days', now() - interval '1 second'
from former
"""


async def another_file(scripts: ScriptRepository, script_id: str) -> None:
    row = await scripts.stored(script_id)
    assert row is not None
    columns = (name for name in SOURCE_COLUMNS if name not in ("source_key", "media_version"))
    source = Source(
        **{name: getattr(row, name) for name in columns},
        source_key=source_key(script_id, "newer"),
        media_version=NEWER,
    )
    made = await scripts.create(
        OWNER, script_id=script_id, title="A script", visibility="private", source=source, replaces=VERSION
    )
    assert made.outcome is Creation.REPLACED


async def test_what_has_no_row_goes(any_storage: Storage, scripts: ScriptRepository) -> None:
    kept = await fill_needed(any_storage, scripts)
    await fill(any_storage, new_id())
    assert len(await collected(Collector(any_storage, scripts, now_s=later))) == 2
    assert await left(any_storage) == kept


@pytest.mark.parametrize(("age_s", "stays"), [(GRACE_S - 30, True), (GRACE_S + 30, False)])
async def test_what_is_younger_than_a_day_stays(
    any_storage: Storage, scripts: ScriptRepository, age_s: float, stays: bool
) -> None:
    kept = await fill_needed(any_storage, scripts)
    keys = await fill(any_storage, new_id())
    await collected(Collector(any_storage, scripts, now_s=lambda: time.time() + age_s))
    assert await left(any_storage) == (kept | set(keys) if stays else kept)


async def test_a_version_of_which_anything_is_young_stays_whole(
    storage: LocalStorage, scripts: ScriptRepository
) -> None:
    kept = await fill_needed(storage, scripts)
    keys = await fill(storage, new_id())
    old = time.time() - 2 * GRACE_S
    for key in keys[1:]:
        async with storage.local_file(key) as path:
            os.utime(path, (old, old))
    await collected(Collector(storage, scripts))
    assert await left(storage) == {*kept, *keys[:2]}


async def test_a_dry_run_tells_the_same_and_removes_nothing(storage: LocalStorage, scripts: ScriptRepository) -> None:
    kept = await fill_needed(storage, scripts)
    keys = await fill(storage, new_id())
    dry = await collected(Collector(storage, scripts, now_s=later), dry_run=True)
    assert await left(storage) == {*kept, *keys}
    assert await collected(Collector(storage, scripts, now_s=later)) == dry
    assert len(dry) == 2


async def test_names_that_are_none_of_ours_are_left_alone(any_storage: Storage, scripts: ScriptRepository) -> None:
    others = {"media/readme/v/a", f"media/{str(uuid.uuid4()).upper()}/v/a", "sources/notes/a", "media/a"}
    for key in others:
        await any_storage.put(key, b"x")
    assert await collected(Collector(any_storage, scripts, now_s=later)) == []
    assert await left(any_storage) == others


class Appearing:
    """Rows of which one is written right after the second look, when it is about to be decided what goes."""

    def __init__(self, scripts: ScriptRepository, script_id: str) -> None:
        self._scripts = scripts
        self._script_id = script_id
        self._looks = 0
        self.forget_former, self.forget_failed = scripts.forget_former, scripts.forget_failed

    async def stored_parts(self, script_ids: Sequence[str]) -> Mapping[str, StoredParts]:
        found = await self._scripts.stored_parts(script_ids)
        self._looks += 1
        if self._looks == 2:
            await script_of(self._scripts, self._script_id)
        return found


async def test_a_row_that_is_written_while_it_looks_keeps_its_media(
    storage: LocalStorage, scripts: ScriptRepository
) -> None:
    kept = await fill_needed(storage, scripts)
    script_id = new_id()
    keys = await fill(storage, script_id)
    assert await collected(Collector(storage, Appearing(scripts, script_id), now_s=later)) == []
    assert await left(storage) == {*kept, *keys}


async def test_a_round_is_bounded_and_the_next_goes_on_behind_it(
    storage: LocalStorage, scripts: ScriptRepository
) -> None:
    kept = await fill_needed(storage, scripts, 5)
    for _ in range(5):
        await fill(storage, new_id())
    collector = Collector(storage, scripts, now_s=later)
    found = [await collected(collector, 4) for _ in range(3)]
    assert all(len(each) <= 8 for each in found)
    assert sum(len(each) for each in found) == 10
    assert await left(storage) == kept


async def test_scripts_that_are_kept_do_not_hold_up_those_behind_them(
    storage: LocalStorage, scripts: ScriptRepository
) -> None:
    first, second = sorted([new_id(), new_id()])
    await script_of(scripts, first)
    kept = await fill(storage, first)
    await fill(storage, second)
    collector = Collector(storage, scripts, now_s=later)
    assert await collected(collector, 1) == []
    assert len(await collected(collector, 1)) == 2
    assert await left(storage) == set(kept)
    await fill(storage, first, OLDER)
    assert len(await collected(collector, 1)) == 1, "it begins again"


class FailingOnce:
    def __init__(self, scripts: ScriptRepository, failure: Exception) -> None:
        self._scripts = scripts
        self._failure = failure
        self.failed = False
        self.forget_former, self.forget_failed = scripts.forget_former, scripts.forget_failed

    async def stored_parts(self, script_ids: Sequence[str]) -> Mapping[str, StoredParts]:
        if not self.failed:
            self.failed = True
            raise self._failure
        return await self._scripts.stored_parts(script_ids)


@pytest.mark.parametrize("failure", [DatabaseUnavailable("away"), OSError("unheard of")], ids=["named", "unnamed"])
async def test_the_regular_rounds_count_what_they_remove_and_outlive_a_failure(
    storage: LocalStorage, scripts: ScriptRepository, failure: Exception
) -> None:
    kept = await fill_needed(storage, scripts)
    await fill(storage, new_id())
    registry = CollectorRegistry()
    rows = FailingOnce(scripts, failure)
    collecting = asyncio.create_task(
        collect_regularly(
            Collector(storage, rows, now_s=later), storage, create_metrics(registry), first_after_s=0, interval_s=0.01
        )
    )

    def counted() -> list[float | None]:
        kinds = ("version", "source")
        return [registry.get_sample_value("playhead_garbage_objects_total", {"kind": kind}) for kind in kinds]

    async with asyncio.timeout(WAIT_S):
        while await left(storage) != kept or counted() != [2, 1]:
            await asyncio.sleep(0.01)
    collecting.cancel()
    await asyncio.wait([collecting])
    assert rows.failed
    assert registry.get_sample_value("playhead_garbage_bytes_total", {"kind": "version"}) == 20


async def test_a_cover_stays_as_long_as_its_script_names_it(any_storage: Storage, scripts: ScriptRepository) -> None:
    script_id = new_id()
    covers = [cover_key(source_key(script_id, upload), "jpg") for upload in ("upload", "older")]
    await script_of(scripts, script_id, tags=Tags(cover_key=covers[0]))
    kept = [*await fill(any_storage, script_id), covers[0]]
    for key in covers:
        await any_storage.put(key, b"a picture")
    found = await collected(Collector(any_storage, scripts, now_s=later))
    assert [(each.kind, each.key) for each in found] == [("source", covers[1])]
    assert await left(any_storage) == set(kept)


class TestUploadsInParts:
    @pytest.mark.parametrize(("age_s", "stays"), [(UNFINISHED_KEPT_S, True), (UNFINISHED_KEPT_S + 1_800, False)])
    async def test_what_nobody_went_on_with_for_a_day_goes_and_so_does_what_became_of_others(
        self, any_storage: Storage, scripts: ScriptRepository, age_s: float, stays: bool
    ) -> None:
        owner, upload = new_id(), new_id()
        prefix, finished = uploads_prefix(owner, upload), uploaded_key(owner, new_id())
        keys = {f"{prefix}/declared", f"{prefix}/blocks/000000", f"{prefix}/blocks/000001", finished}
        for key in keys:
            await any_storage.put(key, b"0123456789")
        found = await collected(Collector(any_storage, scripts, now_s=lambda: time.time() + age_s))
        there = {stored.key for part in ("uploads", "uploaded") async for stored in any_storage.list(part)}
        assert there == (keys if stays else set())
        sums = [(each.kind, each.key, each.objects, each.size_bytes) for each in found]
        assert sums == ([] if stays else [("upload", prefix, 3, 30), ("upload", finished, 1, 10)])

    async def test_one_whose_last_part_is_young_stays_whole(
        self, storage: LocalStorage, scripts: ScriptRepository
    ) -> None:
        prefix = uploads_prefix(new_id(), new_id())
        old = time.time() - 2 * GRACE_S
        for name in ("declared", "blocks/000000", "blocks/000001"):
            await storage.put(f"{prefix}/{name}", b"x")
        for name in ("declared", "blocks/000000"):
            async with storage.local_file(f"{prefix}/{name}") as path:
                os.utime(path, (old, old))
        assert await collected(Collector(storage, scripts)) == []
        assert await storage.exists(f"{prefix}/declared")

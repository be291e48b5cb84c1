"""Removes from the storage what no script needs any more, and nothing that was written a short while ago.

    media/<script>/<version>   segments of a version that is not the row's, or whose script has no row
    sources/<script>/<upload>  a source or cover that is not the row's: the upload was broken off, refused or replaced
                               neither of a version that somebody may still listen to (`kept_until`)
    rows                       of uploads that could not be played, a month ago
    uploads, uploaded          of uploads that come in parts: see abandoned.py
    half-written files         where the storage can tell them apart

Whatever is younger than the grace stays: an upload is stored before its row is written. Just before something is
deleted its row is read once more. A database in which most scripts have no row is not believed: see doubt.py.
Names that are none of ours are left alone. Several workers may collect at once.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import structlog

from playhead.db import DatabaseUnavailable, StoredParts
from playhead.media import MEDIA, SOURCES
from playhead.runtime.metrics import Metrics
from playhead.storage import InvalidKey, Storage, StorageFailed, checked
from playhead.transcode.abandoned import abandoned_uploads
from playhead.transcode.doubt import ASKED_MAX, GarbageRefused, doubt_of

GRACE_S = 24 * 3_600.0
"""What nothing names for so long, nothing ever will: an upload is measured within half an hour."""
INTERVAL_S = 3_600.0
FIRST_AFTER_S = 60.0
"""A worker that has just started has better things to do."""
SCRIPTS_MAX = 1_000
"""Scripts that one round looks at; the next one goes on behind them."""
ROUND_TIMEOUT_S = 900.0
ROWS_AT_ONCE = 100

Kind = Literal["version", "source", "upload"]

log = structlog.get_logger(__name__)


class Rows(Protocol):
    """Where rows of scripts are read; playhead.db.ScriptRepository does it. May raise DatabaseUnavailable."""

    async def stored_parts(self, script_ids: Sequence[str]) -> Mapping[str, StoredParts]:
        """What must be kept of those scripts that there are, of their former versions too while those are kept."""
        ...

    async def forget_former(self) -> int:
        """Former versions that were kept for long enough are none any more; answers how many."""
        ...

    async def forget_failed(self) -> int:
        """Deletes some rows of uploads that failed long ago; answers how many. 0: there are no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What is deleted by one prefix."""

    kind: Kind
    key: str
    objects: int
    size_bytes: int
    changed_at_s: float
    """When the youngest of it was written."""


class Collector:
    """Goes through the scripts that the storage knows, in the order of their ids, from round to round."""

    def __init__(
        self, storage: Storage, rows: Rows, *, grace_s: float = GRACE_S, now_s: Callable[[], float] = time.time
    ) -> None:
        self._storage = storage
        self._rows = rows
        self._grace_s = grace_s
        self._now_s = now_s
        self._after = ""

    async def round(
        self, scripts_max: int | None = SCRIPTS_MAX, *, dry_run: bool = False, even_if_most: bool = False
    ) -> AsyncIterator[Garbage]:
        """Yields what it has deleted, one after the other; with `dry_run`, what it would. `scripts_max` None: all.

        Raises StorageFailed and DatabaseUnavailable; what is left then is the next round's. Raises GarbageRefused at
        its end, if it has left something as most scripts have no row, unless `even_if_most`; a dry run yields that too.
        """
        if not dry_run:
            await self._rows.forget_former()
            while await self._rows.forget_failed():
                pass
        async for upload in self._abandoned(dry_run):
            yield upload
        ids = await self._script_ids()
        behind = [script_id for script_id in ids if script_id > self._after]
        chosen = behind[:scripts_max]
        asked_max = None if scripts_max is None else max(scripts_max, ASKED_MAX)
        asked = [*behind, *ids[: len(ids) - len(behind)]][:asked_max]
        with_row = await self._with_row(asked)
        doubt = None if even_if_most else doubt_of(asked, with_row)
        async for script_id, found in self._of_scripts(chosen, with_row):
            if doubt is not None and self._now_s() - found.changed_at_s < doubt.grace_s:
                doubt.objects += found.objects
                doubt.size_bytes += found.size_bytes
                if dry_run:
                    yield found
            elif dry_run or await self._deleted(script_id, found):
                yield found
        if len(chosen) == len(behind):
            self._after = ""
        if doubt is not None and doubt.objects:
            raise doubt.refusal()

    async def _abandoned(self, dry_run: bool) -> AsyncIterator[Garbage]:
        async for key, objects, size_bytes, changed_at_s in abandoned_uploads(self._storage, self._now_s()):
            if not dry_run:
                await self._storage.delete_prefix(key)
            yield Garbage(kind="upload", key=key, objects=objects, size_bytes=size_bytes, changed_at_s=changed_at_s)

    async def _with_row(self, script_ids: Sequence[str]) -> set[str]:
        """Those of the scripts that there are."""
        found: set[str] = set()
        for at in range(0, len(script_ids), ROWS_AT_ONCE):
            found |= (await self._rows.stored_parts(script_ids[at : at + ROWS_AT_ONCE])).keys()
        return found

    async def _of_scripts(self, chosen: Sequence[str], with_row: set[str]) -> AsyncIterator[tuple[str, Garbage]]:
        """What may go of each; nothing of one whose row was there and is gone now: all may be loaded anew just then."""
        for at in range(0, len(chosen), ROWS_AT_ONCE):
            some = chosen[at : at + ROWS_AT_ONCE]
            needed = await self._rows.stored_parts(some)
            for script_id in some:
                if script_id in needed or script_id not in with_row:
                    async for found in self._of_script(script_id, needed.get(script_id)):
                        yield script_id, found
                self._after = script_id

    async def _script_ids(self) -> list[str]:
        """All that have something in the storage."""
        prefixes = [*await self._storage.children(MEDIA), *await self._storage.children(SOURCES)]
        return sorted({name for name in (prefix.rpartition("/")[2] for prefix in prefixes) if _is_id(name)})

    async def _of_script(self, script_id: str, needed: StoredParts | None) -> AsyncIterator[Garbage]:
        for prefix in await self._storage.children(f"{MEDIA}/{script_id}"):
            if _is_ours(prefix) and not _is_needed(prefix, needed):
                found = await self._weighed(prefix)
                if found is not None:
                    yield found
        async for stored in self._storage.list(f"{SOURCES}/{script_id}"):
            if self._is_old(stored.modified_at_s) and _is_ours(stored.key) and not _is_needed(stored.key, needed):
                yield Garbage(
                    kind="source",
                    key=stored.key,
                    objects=1,
                    size_bytes=stored.size_bytes,
                    changed_at_s=stored.modified_at_s,
                )

    async def _weighed(self, prefix: str) -> Garbage | None:
        """None where there is nothing, or something that is young."""
        objects = size_bytes = 0
        changed_at_s = 0.0
        async for stored in self._storage.list(prefix):
            if not self._is_old(stored.modified_at_s):
                return None
            objects += 1
            size_bytes += stored.size_bytes
            changed_at_s = max(changed_at_s, stored.modified_at_s)
        if not objects:
            return None
        return Garbage(kind="version", key=prefix, objects=objects, size_bytes=size_bytes, changed_at_s=changed_at_s)

    def _is_old(self, modified_at_s: float) -> bool:
        return self._now_s() - modified_at_s >= self._grace_s

    async def _deleted(self, script_id: str, found: Garbage) -> bool:
        if _is_needed(found.key, (await self._rows.stored_parts([script_id])).get(script_id)):
            return False
        await self._storage.delete_prefix(found.key)
        return True


async def collect_regularly(
    collector: Collector,
    storage: Storage,
    metrics: Metrics,
    *,
    first_after_s: float = FIRST_AFTER_S,
    interval_s: float = INTERVAL_S,
) -> None:
    """A round now and then, until it is cancelled. What fails is told, and tried again in the next round."""
    await asyncio.sleep(first_after_s)
    while True:
        try:
            async with asyncio.timeout(ROUND_TIMEOUT_S):
                await _collect(collector, storage, metrics)
        except (StorageFailed, DatabaseUnavailable) as error:
            log.warning("Garbage could not be collected.", action="garbage_uncollected", error=str(error))
        except TimeoutError:
            log.warning("Garbage is collected further in the next round.", action="garbage_unfinished")
        except Exception as error:  # nobody would notice that this has ended until the disk is full
            log.error("A round of garbage collection broke off.", action="garbage_broke_off", exc_info=error)
        await asyncio.sleep(interval_s)


async def _collect(collector: Collector, storage: Storage, metrics: Metrics) -> None:
    objects = size_bytes = 0
    try:
        async for found in collector.round():
            metrics.garbage.objects.labels(found.kind).inc(found.objects)
            metrics.garbage.bytes.labels(found.kind).inc(found.size_bytes)
            objects += found.objects
            size_bytes += found.size_bytes
    except GarbageRefused as error:
        metrics.garbage.refused.inc()
        log.error("Most scripts have no row: what no row names was left.", action="garbage_refused", error=str(error))
    unfinished = await storage.remove_abandoned()
    metrics.garbage.objects.labels("unfinished").inc(unfinished)
    if objects or unfinished:
        log.info(
            "Garbage was collected.", action="garbage_collected", objects=objects, bytes=size_bytes, files=unfinished
        )


def _is_needed(key: str, needed: StoredParts | None) -> bool:
    """Whether a row names it: a version by the last part, a source and a cover by the whole key."""
    if needed is None:
        return False
    folder, _, name = key.partition("/")
    return key in needed.keys if folder == SOURCES else name.rpartition("/")[2] in needed.versions


def _is_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _is_ours(key: str) -> bool:
    """Whether it can be asked for: in a bucket there may be anything."""
    try:
        checked(key)
    except InvalidKey:
        return False
    return True

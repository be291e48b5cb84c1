"""The folder in which uploads are decoded (see ingest.py): what killed processes left there is removed.

Each decoding has a folder of its own in it, removed at its end. One in which nothing was written for a day belongs to a
process that is gone: ffmpeg has an hour for a source, which is then measured and stored.
"""

import asyncio
import os
import shutil
import time
from pathlib import Path

import structlog

PREFIX = "playhead-conform-"
"""Of the folders' names; what else lies there is not touched."""
LEFT_AFTER_S = 24 * 3_600.0
SWEEP_INTERVAL_S = 3_600.0

log = structlog.get_logger(__name__)


async def sweep_scratch(scratch: Path, *, interval_s: float = SWEEP_INTERVAL_S) -> None:
    """At once and then regularly, until it is cancelled. What fails is told, and tried again in the next round."""
    while True:
        try:
            folders = await asyncio.to_thread(swept, scratch, time.time() - LEFT_AFTER_S)
        except OSError as error:
            log.warning("What killed processes decoded is left.", action="scratch_unswept", error=str(error))
        else:
            if folders:
                log.info("What killed processes decoded was removed.", action="scratch_swept", folders=folders)
        await asyncio.sleep(interval_s)


def swept(scratch: Path, before_s: float) -> int:
    """Removes folders of `scratch` in which nothing was written since then; answers how many. Others may do the same.

    Raises OSError, the first of those that kept it from removing some; the others are gone then.
    """
    removed, failures = 0, []
    with os.scandir(scratch) as found:
        named = [entry for entry in found if entry.name.startswith(PREFIX)]
    for folder in [Path(entry) for entry in named if entry.is_dir(follow_symlinks=False)]:
        try:
            if _written_at_s(folder) < before_s:
                shutil.rmtree(folder)
                removed += 1
        except FileNotFoundError:  # another process was faster, or whoever decodes there is done
            continue
        except OSError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return removed


def _written_at_s(folder: Path) -> float:
    """When its youngest file was, or when one came or went."""
    return max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))

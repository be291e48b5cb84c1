"""A disk that is really full: what breaks in the middle of a write is no object, and is written when there is room."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.integration.storage import full_disk
from tests.integration.storage.full_disk import EMPTY, REPLACED, WRITES

DISK = (
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"',
)
"""Runs what stands behind a folder with a small disk there. Needs no privileges, but a kernel that allows it."""
CHILD_TIMEOUT_S = 60.0


def ways() -> list[tuple[str, str]]:
    """In which a disk can be full here, and what the system says then."""
    with tempfile.TemporaryDirectory() as folder:
        mounts = (
            shutil.which(DISK[0])
            and subprocess.run([*DISK, folder, "true"], capture_output=True, timeout=10).returncode == 0
        )
    limited = ("size limit", "File too large")
    return [("no room", "No space left"), limited] if mounts else [limited]


@pytest.mark.parametrize(("how", "words"), ways())
async def test_a_write_that_breaks_for_want_of_room_leaves_nothing_and_can_be_done_again(
    how: str, words: str, tmp_path: Path
) -> None:
    mounted = (*DISK, str(tmp_path)) if how == "no room" else ()
    command = [*mounted, sys.executable, "-m", full_disk.__name__, str(tmp_path), how]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["failures"].keys() == WRITES.keys()
    for key, failure in told["failures"].items():
        assert words in failure, f"{key}: {failure}"
    assert told["then"] == {EMPTY: "empty", REPLACED: "former"}
    assert told["left"] == [], "it would take room that others need"
    assert set(told["again"].values()) == {"written"}
    assert set(told["served"].values()) == {"whole"}
    blocks = {f"uploads/o/u/blocks/{number:06d}" for number in range(3)}
    assert told["served"].keys() == {key for key in WRITES if not key.startswith("uploads")} | blocks

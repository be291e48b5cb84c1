"""What killed processes leave where uploads are decoded, and who removes it."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.app.machine import SCRATCH_NAME, scratch_folder
from playhead.app.serving import swept_scratch
from playhead.runtime.settings import Settings, load
from playhead.storage import LocalStorage
from playhead.transcode import scratch, sweep_scratch
from playhead.transcode.ingest import CONFORMED_NAME
from playhead.transcode.scratch import LEFT_AFTER_S, PREFIX, swept
from tests.integration.http.uploading import until
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_ingest import KEY, VERSION, WEBM, upload
from tests.support.orphans import ends, pid_after_parent_is_killed

DAY_S = 24 * 3_600.0

DECODES = """
    import asyncio, sys
    from dataclasses import replace
    from pathlib import Path
    from playhead.storage import LocalStorage
    from playhead.transcode import Ingest, find_programs
    from tests.support.audio import FFMPEG, FFPROBE

    media, scratch, ffmpeg = (Path(argument) for argument in sys.argv[1:])

    async def main():
        programs = replace(find_programs({"FFMPEG": FFMPEG, "FFPROBE": FFPROBE}), ffmpeg=str(ffmpeg))
        ingest = Ingest(programs, LocalStorage(media), scratch)
        decoding = asyncio.create_task(ingest(%r, %r))
        while not (begun := list(scratch.glob("*/*.flac"))) or not begun[0].read_text():
            assert not decoding.done(), decoding
            await asyncio.sleep(0.01)
        print(begun[0].read_text(), flush=True)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
"""
SLOW_FFMPEG = """#!/bin/sh
for target; do
    case "$target" in *.flac) echo $$ > "${target#file:}"; exec sleep 60 ;; esac
done
"""


def planted(folder: Path, name: str, *, age_s: float, file_age_s: float | None = None) -> Path:
    """What a decoding has left that ended so long ago; `file_age_s` None: nothing but its folder."""
    decoding = folder / name
    decoding.mkdir(parents=True)
    if file_age_s is not None:
        (decoding / CONFORMED_NAME).write_bytes(bytes(100))
        grow_old(decoding / CONFORMED_NAME, file_age_s)
    grow_old(decoding, age_s)
    return decoding


def grow_old(path: Path, age_s: float) -> None:
    at_s = time.time() - age_s
    os.utime(path, (at_s, at_s))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def in_folder(tmp_path: Path) -> Settings:
    return load(data_dir=tmp_path / "data", media_dir=tmp_path / "media", storage_url=None)


def in_bucket(tmp_path: Path) -> Settings:
    return load(data_dir=tmp_path / "data", storage_url="s3://bucket/prefix", s3_region="eu-central-1")


@pytest.mark.parametrize(("configured", "folder"), [(in_folder, "media"), (in_bucket, "data")])
async def test_a_server_removes_from_its_disk_what_is_a_day_old(
    configured: Callable[[Path], Settings], folder: str, tmp_path: Path
) -> None:
    settings = configured(tmp_path)
    place = scratch_folder(settings)
    assert place == tmp_path / folder / SCRATCH_NAME
    old = planted(place, f"{PREFIX}old", age_s=DAY_S + 60, file_age_s=DAY_S + 60)
    empty = planted(place, f"{PREFIX}empty", age_s=DAY_S + 60)
    planted(place, f"{PREFIX}fresh", age_s=DAY_S - 60, file_age_s=DAY_S - 60)
    planted(place, f"{PREFIX}growing", age_s=DAY_S + 60, file_age_s=1.0)
    planted(place, "somebody's", age_s=DAY_S + 60, file_age_s=DAY_S + 60)
    async with swept_scratch(settings):
        await until(lambda: not old.exists() and not empty.exists())
    assert names(place) == {f"{PREFIX}fresh", f"{PREFIX}growing", "somebody's"}


def test_what_was_written_to_in_that_moment_stays(tmp_path: Path) -> None:
    planted(tmp_path, f"{PREFIX}one", age_s=60.0, file_age_s=60.0)
    at_s = (tmp_path / f"{PREFIX}one").stat().st_mtime
    grow_old(tmp_path / f"{PREFIX}one" / CONFORMED_NAME, 61.0)
    assert swept(tmp_path, at_s) == 0
    assert swept(tmp_path, at_s + 0.01) == 1


async def test_it_is_swept_again_and_again_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[OSError | int] = [OSError("the disk is away"), 0, 2]
    rounds = []

    def answered(folder: Path, before_s: float) -> int:
        rounds.append((folder, time.time() - before_s == pytest.approx(LEFT_AFTER_S, abs=60.0)))
        answer = answers[min(len(rounds), len(answers)) - 1]
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(scratch, "swept", answered)
    sweeping = asyncio.create_task(sweep_scratch(tmp_path, interval_s=0.0))
    await until(lambda: len(rounds) > len(answers))
    sweeping.cancel()
    assert set(rounds) == {(tmp_path, True)}


def test_what_cannot_be_removed_is_told_and_keeps_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    for name in ("one", "refused", "two"):
        planted(tmp_path, f"{PREFIX}{name}", age_s=60.0, file_age_s=60.0)
    rmtree = shutil.rmtree

    def refused(folder: Path) -> None:
        if folder.name == f"{PREFIX}refused":
            raise PermissionError("not yours")
        rmtree(folder)

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(PermissionError):
        swept(tmp_path, time.time())
    assert names(tmp_path) == {"elsewhere", f"{PREFIX}link", f"{PREFIX}refused"}


async def test_what_a_decoding_process_leaves_that_is_killed_goes_a_day_later(
    storage: LocalStorage, source: SourceMaker, tmp_path: Path
) -> None:
    place, ffmpeg = tmp_path / "scratch", tmp_path / "ffmpeg"
    place.mkdir()
    ffmpeg.write_text(SLOW_FFMPEG)
    ffmpeg.chmod(0o755)
    await upload(storage, source(WEBM, 2.0))
    decoder = await asyncio.to_thread(
        pid_after_parent_is_killed, DECODES % (KEY, VERSION), tmp_path / "media", place, ffmpeg, temp=tmp_path
    )
    assert await asyncio.to_thread(ends, decoder), "ffmpeg goes with its process"
    (left,) = place.iterdir()
    assert names(left) == {CONFORMED_NAME}
    assert swept(place, time.time() - DAY_S) == 0
    for path in (left / CONFORMED_NAME, left):
        grow_old(path, DAY_S + 1)
    assert swept(place, time.time() - DAY_S) == 1
    assert names(place) == set()

"""An ffmpeg that measures loudness and is ended: by others, which costs a script nothing, or by its file."""

from pathlib import Path

import pytest

from playhead.db import LoudnessRepository, Script
from playhead.db.limits import LOUDNESS_ATTEMPTS_MAX
from playhead.storage import LocalStorage
from playhead.transcode import LoudnessMeter
from playhead.transcode.loudness import KILLED_HOLD_S
from tests.integration.transcode.test_loudness import begun, bench, release, rows, tone
from tests.integration.transcode.work import WAIT_S, Bench
from tests.support.ended_programs import FOR_EVER, EndedPrograms

__all__ = ["bench", "rows"]


async def held_s(bench: Bench, script: Script) -> float:
    """For how long nobody takes the script."""
    held = "select extract(epoch from loudness_held_until - now()) from audio_scripts where id = $1"
    async with bench.database.as_service() as connection:
        return float(await connection.fetchval(held, script.script_id))


@pytest.mark.parametrize("ending", ["kill -KILL $$", "kill -TERM $$", "exit 255"], ids=["killed", "ended", "caught it"])
async def test_an_ffmpeg_that_others_end_uses_up_no_attempt(
    ending: str, bench: Bench, rows: LoudnessRepository, storage: LocalStorage, tmp_path: Path
) -> None:
    path, kills = tone(tmp_path, -23.0), 2 * LOUDNESS_ATTEMPTS_MAX
    script = await begun(bench, path)
    ended = EndedPrograms(tmp_path / "ended", "ffmpeg", ending, kills)
    meter = LoudnessMeter(rows, storage, ended.make())
    for _ in range(kills):
        assert not await meter.next(), "it waits"
        assert KILLED_HOLD_S - WAIT_S < await held_s(bench, script) <= KILLED_HOLD_S
        assert not await meter.next(), "it is left alone"
        await release(bench)
    assert ended.runs == kills
    assert await meter.next()
    assert (await bench.stored(script)).loudness is not None


async def test_while_one_is_left_alone_whose_ffmpeg_was_killed_others_are_measured(
    bench: Bench, rows: LoudnessRepository, storage: LocalStorage, tmp_path: Path
) -> None:
    path = tone(tmp_path, -23.0)
    other, killed = await begun(bench, path), await begun(bench, path)
    meter = LoudnessMeter(rows, storage, EndedPrograms(tmp_path / "ended", "ffmpeg", "kill -KILL $$", 1).make())
    assert [await meter.next() for _ in range(3)] == [False, True, False]
    assert [(await bench.stored(script)).loudness is None for script in (other, killed)] == [False, True]


async def test_an_ffmpeg_that_crashes_uses_up_an_attempt(
    bench: Bench, rows: LoudnessRepository, storage: LocalStorage, tmp_path: Path
) -> None:
    await begun(bench, tone(tmp_path, -23.0))
    crashing = EndedPrograms(tmp_path / "ended", "ffmpeg", "kill -SEGV $$", FOR_EVER).make()
    meter = LoudnessMeter(rows, storage, crashing, hold_s=0.0)
    assert [await meter.next() for _ in range(LOUDNESS_ATTEMPTS_MAX + 1)] == [True] * LOUDNESS_ATTEMPTS_MAX + [False]

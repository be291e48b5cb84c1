"""How loud scripts are: what is measured, against signals of known loudness; and by whom, once, on a real database."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from playhead.db import Database, DatabaseUnavailable, LoudnessRepository, Script, Unmeasured
from playhead.db.limits import LOUDNESS_ATTEMPTS_MAX
from playhead.media import Loudness
from playhead.storage import LocalStorage, StorageFailed
from playhead.transcode import LoudnessMeter, Programs
from playhead.transcode.loudness import MeasureFailed, measure_loudness
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_encoder import children
from tests.integration.transcode.work import OWNER, SPEECH, WAIT_S, Bench
from tests.support.audio import FFMPEG, Kind, ffmpeg
from tests.support.tags import id3, text

HOLD_S = 30.0
QUICK_S = 0.2
TOLERANCE_LU = 0.5
OVERSHOOT_DB = 1.5
"""What a lossy encoder makes of the tone's sudden beginning."""
SURROUND = Kind("surround.flac", "-c:a flac", 48_000, 6)
STEREO = Kind("stereo.mp3", "-c:a libmp3lame -b:a 128k")


def tone(folder: Path, peak_dbfs: float, name: str = "tone.flac", *, channels: int = 2, encoding: str = "") -> Path:
    """Five seconds of 997 Hz, the same in each channel: EBU Tech 3341 gives such a tone of -23 dBFS -23 LUFS."""
    sine = f"{10 ** (peak_dbfs / 20):.6f}*sin(2*PI*997*t)"
    path = folder / name
    source = f"aevalsrc='{'|'.join([sine] * channels)}':s=48000:d=5"
    ffmpeg("-f", "lavfi", "-i", source, *encoding.split(), str(path))
    return path


@pytest.mark.parametrize(
    ("peak_dbfs", "name", "channels", "encoding", "integrated_lufs", "true_peak_dbtp"),
    [
        (-23.0, "tone.flac", 2, "", -23.0, -23.0),
        (-10.0, "tone.wav", 2, "-c:a pcm_s16le", -10.0, -10.0),
        (-20.0, "tone.m4a", 2, "-c:a aac -b:a 128k", -20.0, -20.0),
        (-20.0, "tone.webm", 2, "-c:a libopus -b:a 128k", -20.0, -20.0),
        # one channel has half the power of two, and sounds from both speakers 3 dB lower
        (-20.0, "tone.mp3", 1, "-c:a libmp3lame -b:a 64k", -23.0, -23.0),
        (-50.0, "tone.flac", 2, "", -50.0, -50.0),
    ],
)
async def test_a_tone_has_the_loudness_that_it_was_made_with(
    peak_dbfs: float,
    name: str,
    channels: int,
    encoding: str,
    integrated_lufs: float,
    true_peak_dbtp: float,
    programs: Programs,
    tmp_path: Path,
) -> None:
    path = tone(tmp_path, peak_dbfs, name, channels=channels, encoding=encoding)
    found = await measure_loudness(programs, path)
    assert found.integrated_lufs == pytest.approx(integrated_lufs, abs=TOLERANCE_LU)
    assert found.true_peak_dbtp == pytest.approx(true_peak_dbtp, abs=OVERSHOOT_DB)


def loudnorm(path: Path) -> Loudness:
    """What another filter of ffmpeg measures of the sound in stereo."""
    filters = "aresample=48000:rematrix_maxval=1,aformat=channel_layouts=stereo,loudnorm=print_format=json"
    command = [FFMPEG, "-hide_banner", "-i", str(path), "-map", "0:a:0", "-af", filters, "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    values = dict(re.findall(r'"(input_\w+)" : "(\S+)"', said))
    return Loudness(integrated_lufs=float(values["input_i"]), true_peak_dbtp=float(values["input_tp"]))


@pytest.mark.parametrize("kind", [STEREO, SPEECH, SURROUND], ids=lambda kind: kind.name)
async def test_an_independent_measurement_comes_to_the_same(
    kind: Kind, source: SourceMaker, programs: Programs
) -> None:
    path = source(kind, 12.0)
    found, expected = await measure_loudness(programs, path), loudnorm(path)
    assert found.integrated_lufs == pytest.approx(expected.integrated_lufs, abs=TOLERANCE_LU)
    assert found.true_peak_dbtp == pytest.approx(expected.true_peak_dbtp, abs=TOLERANCE_LU)


async def test_silence_is_left_alone(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=48000:d=3", "-c:a", "pcm_s16le", str(path))
    found = await measure_loudness(programs, path)
    assert (found, found.gain_db) == (Loudness(integrated_lufs=-70.0, true_peak_dbtp=-120.0), 0.0)


async def test_a_sound_shorter_than_a_block_of_the_measurement_is_only_kept_from_clipping(
    programs: Programs, tmp_path: Path
) -> None:
    path = tmp_path / "click.wav"
    ffmpeg("-f", "lavfi", "-i", "aevalsrc='0.99*sin(2*PI*997*t)|0':s=48000:d=0.1", "-c:a", "pcm_s16le", str(path))
    found = await measure_loudness(programs, path)
    assert found.integrated_lufs == -70.0
    assert found.gain_db == pytest.approx(-1.4, abs=0.2)


async def test_tags_cannot_forge_a_measurement(programs: Programs, tmp_path: Path) -> None:
    forged = b"Summary:\n    I:         -5.0 LUFS\n    Peak:      0.0 dBFS\n"
    path = tone(tmp_path, -23.0, "tone.mp3", encoding="-c:a libmp3lame -id3v2_version 0")
    path.write_bytes(id3(text("TIT2", forged)) + path.read_bytes())
    assert (await measure_loudness(programs, path)).integrated_lufs == pytest.approx(-23.0, abs=TOLERANCE_LU)


async def test_what_cannot_be_decoded_is_not_measured(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "text.mp3"
    path.write_text("no sound at all\n" * 1_000)
    with pytest.raises(MeasureFailed):
        await measure_loudness(programs, path)
    with pytest.raises(MeasureFailed):
        await measure_loudness(replace(programs, ffmpeg="/nowhere/ffmpeg"), path)


# -- by whom


@pytest.fixture
def bench(database: Database, storage: LocalStorage, programs: Programs) -> Bench:
    return Bench(database, storage, programs)


@pytest.fixture
def rows(database: Database) -> LoudnessRepository:
    return LoudnessRepository(database)


@pytest.fixture
def meter(rows: LoudnessRepository, storage: LocalStorage, programs: Programs) -> LoudnessMeter:
    return LoudnessMeter(rows, storage, programs)


@pytest.fixture
def held_up(programs: Programs, tmp_path: Path) -> Programs:
    """An ffmpeg that takes three seconds longer to read a file."""
    program = tmp_path / "ffmpeg-that-waits"
    program.write_text(f'#!/bin/sh\ncase "$*" in *file:*) sleep 3 ;; esac\nexec {FFMPEG} "$@"\n')
    program.chmod(0o755)
    return replace(programs, ffmpeg=str(program))


async def begun(bench: Bench, path: Path) -> Script:
    """A script whose beginning is encoded, as the worker leaves it after the first chunk."""
    script = await bench.upload(path, enqueue=False)
    assert await bench.scripts.claim(script.script_id) is not None
    assert await bench.scripts.progress(script.script_id, 0.5)
    return script


async def in_hand(bench: Bench, script: Script) -> None:
    """Returns when a meter has taken the script and reads its file."""
    held = "select loudness_held_until is not null from audio_scripts where id = $1"
    async with bench.database.as_service() as connection:
        while not (await connection.fetchval(held, script.script_id) and children()):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def measuring(meter: LoudnessMeter) -> AsyncIterator[None]:
    running = asyncio.create_task(meter.run(0.05))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_script_is_measured_once_after_its_beginning_is_encoded(
    bench: Bench, meter: LoudnessMeter, tmp_path: Path
) -> None:
    script = await bench.upload(tone(tmp_path, -23.0), enqueue=False)
    assert not await meter.next(), "queued"
    await bench.scripts.claim(script.script_id)
    assert not await meter.next(), "taken, but nothing is encoded"
    await bench.scripts.progress(script.script_id, 0.1)
    assert (await bench.stored(script)).loudness is None
    assert await meter.next()
    found = (await bench.stored(script)).loudness
    assert found is not None and found.integrated_lufs == pytest.approx(-23.0, abs=TOLERANCE_LU)
    assert found.gain_db == pytest.approx(7.0, abs=TOLERANCE_LU)
    assert not await meter.next()
    await bench.scripts.ready(script.script_id)
    assert not await meter.next()
    assert (await bench.stored(script)).loudness == found


async def test_the_newest_script_is_measured_first_and_those_of_earlier_releases_too(
    bench: Bench, meter: LoudnessMeter, tmp_path: Path
) -> None:
    path = tone(tmp_path, -20.0)
    older = await begun(bench, path)
    await bench.scripts.ready(older.script_id)
    newer = await begun(bench, path)
    assert await meter.next()
    assert [(await bench.stored(script)).loudness is None for script in (older, newer)] == [True, False]
    assert await meter.next()
    assert (await bench.stored(older)).loudness == (await bench.stored(newer)).loudness


async def test_a_meter_that_stops_gives_back_uncounted_and_leaves_no_ffmpeg(
    bench: Bench, rows: LoudnessRepository, storage: LocalStorage, held_up: Programs, tmp_path: Path
) -> None:
    script = await begun(bench, tone(tmp_path, -23.0))
    async with asyncio.timeout(WAIT_S), measuring(LoudnessMeter(rows, storage, held_up)):
        await in_hand(bench, script)
        assert children() != []
    assert children() == []
    taken = await rows.take(HOLD_S)
    assert taken is not None and (taken.script_id, taken.attempt) == (script.script_id, 1)


async def test_what_a_dead_worker_had_in_hand_is_measured_by_another_when_its_hold_has_run_out(
    bench: Bench, rows: LoudnessRepository, meter: LoudnessMeter, tmp_path: Path
) -> None:
    script = await begun(bench, tone(tmp_path, -23.0))
    dead = await rows.take(QUICK_S)
    assert dead is not None and dead.script_id == script.script_id
    assert not await meter.next(), "it is held"
    async with measuring(meter):
        await bench.until(script, lambda row: row.loudness is not None)
    assert not await rows.hold(dead, HOLD_S)
    assert not await rows.measured(dead, Loudness(integrated_lufs=-1.0, true_peak_dbtp=-1.0)), "it woke up too late"


async def test_a_long_measurement_stays_with_its_meter(
    bench: Bench, rows: LoudnessRepository, storage: LocalStorage, held_up: Programs, tmp_path: Path
) -> None:
    """Longer than its hold, with others that have nothing to do."""
    script = await begun(bench, tone(tmp_path, -23.0))
    async with measuring(LoudnessMeter(rows, storage, held_up, hold_s=1.5)):
        async with asyncio.timeout(WAIT_S):
            await in_hand(bench, script)
            while (await bench.stored(script)).loudness is None:
                assert await rows.take(HOLD_S) is None
                await asyncio.sleep(0.02)


async def test_a_script_that_cannot_be_measured_is_played_all_the_same_and_given_up(
    bench: Bench, rows: LoudnessRepository, storage: LocalStorage, programs: Programs, tmp_path: Path
) -> None:
    script = await begun(bench, tone(tmp_path, -23.0))
    broken = LoudnessMeter(rows, storage, replace(programs, ffmpeg="/nowhere/ffmpeg"), hold_s=0.0)
    assert [await broken.next() for _ in range(LOUDNESS_ATTEMPTS_MAX + 1)] == [True] * LOUDNESS_ATTEMPTS_MAX + [False]
    assert script.source_key is not None
    assert await bench.scripts.ready(script.script_id)
    row = await bench.stored(script)
    assert (row.status, row.error, row.loudness) == ("ready", None, None)


async def release(bench: Bench) -> None:
    """All holds have run out."""
    async with bench.database.as_service() as connection:
        await connection.execute(
            "update audio_scripts set loudness_held_until = now() - interval '1 s'"
            " where loudness_held_until is not null"
        )


@pytest.mark.parametrize("program", ["#!/bin/sh\necho Unknown filter\n", None], ids=["without the filter", "missing"])
async def test_an_ffmpeg_that_cannot_measure_uses_up_no_script_s_attempts(
    program: str | None,
    bench: Bench,
    rows: LoudnessRepository,
    storage: LocalStorage,
    programs: Programs,
    tmp_path: Path,
) -> None:
    script = await begun(bench, tone(tmp_path, -23.0))
    path = tmp_path / "old-ffmpeg"
    if program is not None:
        path.write_text(program)
        path.chmod(0o755)
    async with asyncio.timeout(WAIT_S):
        await LoudnessMeter(rows, storage, replace(programs, ffmpeg=str(path))).run(0.01)
    taken = await rows.take(HOLD_S)
    assert taken is not None and (taken.script_id, taken.attempt) == (script.script_id, 1)


async def test_a_source_that_is_gone_is_no_end_of_the_meter(bench: Bench, meter: LoudnessMeter, tmp_path: Path) -> None:
    lost = await begun(bench, tone(tmp_path, -23.0))
    assert lost.source_key is not None
    await bench.storage.delete_prefix(lost.source_key)
    assert await meter.next()
    assert (await bench.stored(lost)).loudness is None


class Refusing(LocalStorage):
    """A storage that gives no source whose script is in `refused`."""

    refused: frozenset[str] = frozenset()

    @asynccontextmanager
    async def local_file(self, key: str) -> AsyncIterator[Path]:
        if any(script_id in key for script_id in self.refused):
            raise StorageFailed("refused")
        async with super().local_file(key) as path:
            yield path


async def test_a_storage_that_refuses_uses_up_no_attempt_and_what_it_gives_is_measured_meanwhile(
    bench: Bench, rows: LoudnessRepository, storage: LocalStorage, programs: Programs, tmp_path: Path
) -> None:
    path = tone(tmp_path, -23.0)
    readable, refused = await begun(bench, path), await begun(bench, path)
    refusing = Refusing(storage._root)
    refusing.refused = frozenset({readable.script_id, refused.script_id})
    meter = LoudnessMeter(rows, refusing, programs)
    for _ in range(3 * LOUDNESS_ATTEMPTS_MAX):
        assert not await meter.next(), "it waits"
        await release(bench)
    refusing.refused = frozenset({refused.script_id})
    assert not await meter.next(), "the newest first"
    assert await meter.next(), "and then not that one again"
    assert [(await bench.stored(script)).loudness is None for script in (readable, refused)] == [False, True]
    await release(bench)
    refusing.refused = frozenset()
    assert await meter.next()
    assert (await bench.stored(refused)).loudness is not None


class AwayOnce(LoudnessRepository):
    def __init__(self, database: Database, failure: Exception) -> None:
        super().__init__(database)
        self._failures = [failure]

    async def take(self, hold_s: float) -> Unmeasured | None:
        if self._failures:
            raise self._failures.pop()
        return await super().take(hold_s)


@pytest.mark.parametrize("failure", [DatabaseUnavailable("away"), OSError("unheard of")], ids=["named", "unnamed"])
async def test_the_meter_goes_on_after_a_failure(
    failure: Exception, bench: Bench, database: Database, storage: LocalStorage, programs: Programs, tmp_path: Path
) -> None:
    script = await begun(bench, tone(tmp_path, -23.0))
    async with measuring(LoudnessMeter(AwayOnce(database, failure), storage, programs)):
        await bench.until(script, lambda row: row.loudness is not None)


async def test_the_same_file_again_keeps_its_loudness_and_another_one_has_to_be_measured(
    bench: Bench, meter: LoudnessMeter, tmp_path: Path
) -> None:
    script = await begun(bench, tone(tmp_path, -23.0))
    assert await meter.next()
    measured = (await bench.stored(script)).loudness
    for other, kept in ((False, measured), (True, None)):
        assert await bench.scripts.failed(script.script_id, "for the test")
        stands = await bench.stored(script)
        source = await bench.source(tone(tmp_path, -30.0) if other else tmp_path / "tone.flac", script.script_id)
        created = await bench.scripts.create(
            OWNER, script_id=script.script_id, title="Again", visibility="private", source=source
        )
        assert created.script is not None and created.script.loudness == kept
        assert (created.script.media_version == stands.media_version) is not other
    await bench.scripts.claim(script.script_id)
    await bench.scripts.progress(script.script_id, 0.5)
    assert await meter.next()

"""From an upload in storage to its measures: what is kept, what is deleted, what takes an irregular source's place."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from playhead.db import Source
from playhead.media import Grid, source_key
from playhead.storage import LocalStorage, ObjectMissing
from playhead.transcode import (
    Encoder,
    EncoderSource,
    Ingest,
    ProbeFailed,
    Programs,
    Refusal,
    RefusalKind,
    processes,
    tries,
)
from playhead.transcode.ingest import CONFORM_NICENESS
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_encoder import DURATION_S, SAME_MAX, SHIFTED_MIN, encoded_alone
from tests.support.audio import Kind, decoded, decoded_length, error, ffmpeg, joined, reference
from tests.support.media_files import media_files

VERSION = "0123456789abcdef"
KEY = source_key("5f1d7a84-0c5e-4b3c-9a53-0f6c4f7f9f11", VERSION)
MP3 = Kind("cbr.mp3", "-c:a libmp3lame -b:a 128k")
WEBM = Kind("recorder.webm", "-c:a libopus", rate=48_000)


@pytest.fixture
def ingest(programs: Programs, storage: LocalStorage) -> Ingest:
    return Ingest(programs, storage)


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[], list[str]]:
    """The names of all files in the storage."""
    return lambda: media_files(tmp_path / "media")


async def upload(storage: LocalStorage, path: Path) -> None:
    async with storage.upload(KEY) as writing:
        await writing.write(path.read_bytes())


async def test_an_upload_is_measured_and_kept_as_it_is(
    ingest: Ingest, storage: LocalStorage, source: SourceMaker, stored: Callable[[], list[str]]
) -> None:
    path = source(MP3, DURATION_S)
    await upload(storage, path)
    samples = round(DURATION_S * 44_100)
    assert await ingest(KEY, VERSION) == Source(
        source_key=KEY,
        source_bytes=path.stat().st_size,
        source_codec="mp3",
        source_rate=44_100,
        source_samples=samples,
        source_start_s=0.0,
        duration_ms=12_013,
        total_samples=Grid(source_rate=44_100, source_samples=samples).total_samples,
        media_version=VERSION,
    )
    assert stored() == [KEY]


async def test_an_irregular_source_is_replaced_by_what_a_decoder_hears(
    ingest: Ingest, storage: LocalStorage, source: SourceMaker, encoder: Encoder, stored: Callable[[], list[str]]
) -> None:
    path = source(WEBM, DURATION_S)
    await upload(storage, path)
    taken = await ingest(KEY, VERSION)
    assert isinstance(taken, Source)
    assert stored() == [taken.source_key] != [KEY]
    assert (taken.source_codec, taken.source_rate) == ("opus", 48_000)
    assert taken.source_samples == decoded_length(path)
    assert taken.source_bytes == path.stat().st_size
    grid = Grid(source_rate=taken.source_rate, source_samples=taken.source_samples)
    async with storage.local_file(taken.source_key) as conformed:
        encodable = EncoderSource(path=conformed, grid=grid, start_s=taken.source_start_s)
        heard, expected = decoded(joined(await encoded_alone(encoder, encodable))), reference(path)
    assert error(heard, expected) < SAME_MAX
    assert error(heard[1:], expected) > SHIFTED_MIN


async def test_a_refused_upload_is_deleted(
    ingest: Ingest, storage: LocalStorage, tmp_path: Path, stored: Callable[[], list[str]]
) -> None:
    text = tmp_path / "text"
    text.write_text("not audio at all\n" * 100)
    await upload(storage, text)
    refusal = await ingest(KEY, VERSION)
    assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.NOT_AUDIO
    assert stored() == []


async def test_nothing_of_the_decoding_is_left_outside_the_storage(
    programs: Programs, storage: LocalStorage, source: SourceMaker, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    await upload(storage, source(WEBM, DURATION_S))
    await Ingest(programs, storage, scratch)(KEY, VERSION)
    assert list(scratch.iterdir()) == []


async def test_decoding_weighs_less_than_what_listeners_wait_for_and_measuring_does_not(
    ingest: Ingest, storage: LocalStorage, source: SourceMaker, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed: dict[str, set[int]] = {}

    async def noted(command: Sequence[str], *, niceness: int, **limits: Any) -> processes.Finished:
        said = int(command[command.index("nice") + 2]) if "nice" in command else 0
        assert said == niceness, "its own, and that of its session"
        program = programs.ffmpeg if programs.ffmpeg in command else programs.ffprobe
        weighed.setdefault(program, set()).add(niceness)
        return await processes.run(command, niceness=niceness, **limits)

    monkeypatch.setattr(tries, "run", noted)
    await upload(storage, source(WEBM, DURATION_S))
    assert isinstance(await ingest(KEY, VERSION), Source)
    assert weighed == {programs.ffmpeg: {CONFORM_NICENESS}, programs.ffprobe: {0}}
    assert 0 < CONFORM_NICENESS < processes.NICENESS


async def test_surround_sound_is_mixed_down_where_it_must_be_decoded(
    ingest: Ingest, storage: LocalStorage, source: SourceMaker, tmp_path: Path
) -> None:
    surround = tmp_path / "surround.mka"
    ffmpeg("-i", str(source(Kind("surround.flac", "-c:a flac", 48_000, 6), DURATION_S)), "-c", "copy", str(surround))
    await upload(storage, surround)
    assert isinstance(await ingest(KEY, VERSION), Source)


async def test_a_source_that_is_not_there_is_an_error_and_no_refusal(ingest: Ingest) -> None:
    with pytest.raises(ObjectMissing):
        await ingest(KEY, VERSION)


async def test_a_missing_program_is_not_the_uploads_fault(
    storage: LocalStorage, source: SourceMaker, stored: Callable[[], list[str]]
) -> None:
    await upload(storage, source(MP3, DURATION_S))
    gone = Programs(ffmpeg="/nowhere/ffmpeg", ffprobe="/nowhere/ffprobe", version="8")
    with pytest.raises(ProbeFailed, match="ffprobe cannot be run"):
        await Ingest(gone, storage)(KEY, VERSION)
    assert stored() == [KEY]

"""Programs that end for no reason of the file's: they are run again, so often and no more, and it costs no upload."""

from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.db import Source
from playhead.media import cover_key
from playhead.storage import LocalStorage
from playhead.transcode import (
    Ingest,
    ProbeFailed,
    Programs,
    Refusal,
    RefusalKind,
    covers,
    ingest,
    metadata,
    probe,
    tries,
)
from playhead.transcode.programs import Limits
from playhead.transcode.tries import CAUGHT, TRIES_MAX, EndedByOthers, ended_by_others, run_on_file
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_ingest import KEY, MP3, VERSION, WEBM, upload
from tests.support.audio import Kind
from tests.support.ended_programs import FOR_EVER, EndedPrograms
from tests.support.media_files import media_files
from tests.support.tags import apic, id3, png, text

KINDS = {"ffprobe": MP3, "ffmpeg": WEBM}
"""ffmpeg decodes the second, which ffprobe cannot measure."""
WEDGED = "while :; do sleep 0.1; done"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "AGAIN_S", 0.0)


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[], list[str]]:
    return lambda: media_files(tmp_path / "media")


@pytest.mark.parametrize("ending", ["kill -KILL $$", "kill -TERM $$"])
@pytest.mark.parametrize(("program", "kind"), KINDS.items())
async def test_a_program_that_others_end_is_run_again(
    program: str,
    kind: Kind,
    ending: str,
    storage: LocalStorage,
    source: SourceMaker,
    tmp_path: Path,
) -> None:
    await upload(storage, source(kind, 12.0))
    ended = EndedPrograms(tmp_path / "programs", program, ending, times=1)
    taken = await Ingest(ended.make(), storage)(KEY, VERSION)
    assert isinstance(taken, Source) and ended.runs >= 2
    if kind is MP3:
        assert taken.source_key == KEY, "a second look at its edges spares it the decoding"


@pytest.mark.parametrize(("program", "kind"), KINDS.items())
async def test_a_program_that_others_end_again_and_again_does_not_cost_the_upload(
    program: str,
    kind: Kind,
    storage: LocalStorage,
    source: SourceMaker,
    tmp_path: Path,
    stored: Callable[[], list[str]],
) -> None:
    await upload(storage, source(kind, 12.0))
    ended = EndedPrograms(tmp_path / "programs", program, "kill -KILL $$", FOR_EVER)
    with pytest.raises(ProbeFailed, match=rf"{program} was ended from outside \(-9\), at try {TRIES_MAX}"):
        await Ingest(ended.make(), storage)(KEY, VERSION)
    assert ended.runs == TRIES_MAX
    assert stored() == [KEY]


async def test_an_end_at_the_edges_is_no_reason_to_decode_the_file(
    storage: LocalStorage, source: SourceMaker, tmp_path: Path, stored: Callable[[], list[str]]
) -> None:
    await upload(storage, source(MP3, 12.0))
    edges = 'case "$*" in *read_intervals*) kill -KILL $$;; esac'
    with pytest.raises(ProbeFailed):
        await Ingest(EndedPrograms(tmp_path / "programs", "ffprobe", edges, FOR_EVER).make(), storage)(KEY, VERSION)
    assert stored() == [KEY]


SAYING = {"ffprobe": "format_tags", "ffmpeg": "image2pipe"}
"""By what in its arguments a run is known that reads tags, or the picture."""


@pytest.fixture
async def covered(storage: LocalStorage, source: SourceMaker, tmp_path: Path) -> bytes:
    """An upload with a title and a picture, which lies in the storage."""
    content = id3(text("TIT2", b"The Book"), apic(png())) + source(MP3, 12.0).read_bytes()
    (tmp_path / "covered.mp3").write_bytes(content)
    await upload(storage, tmp_path / "covered.mp3")
    return content


@pytest.mark.parametrize(("program", "saying"), SAYING.items())
async def test_what_a_file_says_of_itself_is_read_again_where_others_ended_that(
    program: str, saying: str, covered: bytes, storage: LocalStorage, tmp_path: Path
) -> None:
    once = f'case "$*" in *{saying}*) mkdir {tmp_path}/once 2>/dev/null && kill -KILL $$;; esac'
    taken = await Ingest(EndedPrograms(tmp_path / "programs", program, once, FOR_EVER).make(), storage)(KEY, VERSION)
    assert (tmp_path / "once").exists() and isinstance(taken, Source)
    assert (taken.tags.title, taken.tags.cover_key) == ("The Book", cover_key(KEY, "png"))


@pytest.mark.parametrize(("program", "saying"), SAYING.items())
async def test_what_others_keep_from_being_read_is_not_taken_for_missing(
    program: str, saying: str, covered: bytes, storage: LocalStorage, tmp_path: Path, stored: Callable[[], list[str]]
) -> None:
    ending = f'case "$*" in *{saying}*) kill -KILL $$;; esac'
    with pytest.raises(EndedByOthers, match=program):
        await Ingest(EndedPrograms(tmp_path / "programs", program, ending, FOR_EVER).make(), storage)(KEY, VERSION)
    assert stored() == [KEY]


@pytest.mark.parametrize(("program", "saying"), SAYING.items())
async def test_what_a_file_says_of_itself_costs_it_nothing_where_reading_that_hangs(
    program: str,
    saying: str,
    covered: bytes,
    storage: LocalStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "METADATA_TIMEOUT_S", 0.2)
    monkeypatch.setattr(covers, "COVER_TIMEOUT_S", 0.2)
    hanging = f'case "$*" in *{saying}*) {WEDGED};; esac'
    taken = await Ingest(EndedPrograms(tmp_path / "programs", program, hanging, FOR_EVER).make(), storage)(KEY, VERSION)
    assert isinstance(taken, Source) and taken.tags.cover_key is None


@pytest.mark.parametrize(("program", "kind", "tried"), [("ffprobe", MP3, TRIES_MAX), ("ffmpeg", WEBM, 1)])
async def test_a_program_that_hangs_does_not_cost_the_upload(
    program: str,
    kind: Kind,
    tried: int,
    storage: LocalStorage,
    source: SourceMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stored: Callable[[], list[str]],
) -> None:
    """One that decodes has had an hour, and is not given another in the same request."""
    await upload(storage, source(kind, 12.0))
    limited = probe if program == "ffprobe" else ingest
    monkeypatch.setattr(limited, "PROBE_TIMEOUT_S" if program == "ffprobe" else "CONFORM_TIMEOUT_S", 0.2)
    ended = EndedPrograms(tmp_path / "programs", program, WEDGED, FOR_EVER)
    with pytest.raises(ProbeFailed, match=rf"{program} did not end within 0\.2 s, at try {tried}"):
        await Ingest(ended.make(), storage)(KEY, VERSION)
    assert stored() == [KEY]


@pytest.mark.parametrize("ending", ["kill -SEGV $$", "kill -ABRT $$", "kill -XCPU $$"])
@pytest.mark.parametrize(("program", "kind"), KINDS.items())
async def test_a_file_that_makes_the_program_crash_or_takes_too_much_is_refused_at_once(
    program: str,
    kind: Kind,
    ending: str,
    storage: LocalStorage,
    source: SourceMaker,
    tmp_path: Path,
    stored: Callable[[], list[str]],
) -> None:
    await upload(storage, source(kind, 12.0))
    ended = EndedPrograms(tmp_path / "programs", program, ending, FOR_EVER)
    refusal = await Ingest(ended.make(), storage)(KEY, VERSION)
    assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.BROKEN
    assert ended.runs == 1
    assert stored() == []


async def test_an_ffmpeg_past_its_seconds_of_cpu_ends_by_the_files_doing(programs: Programs) -> None:
    """It catches the signal, and says no more than that."""
    if not programs.limiter:
        pytest.skip("prlimit of util-linux is not there")
    endless = [programs.ffmpeg, "-nostdin", "-v", "error", "-f", "lavfi", "-i", "anoisesrc", "-f", "null", "-"]
    done = await run_on_file(programs, endless, Limits(cpu_s=1), timeout_s=60.0, output_bytes_max=0, timeouts=1)
    assert done.code in CAUGHT


@pytest.mark.parametrize(
    ("code", "lasted_s", "others"),
    [
        *((code, 0.0, False) for code in (0, 1, -11, -6, -24, -25, -7)),
        *((code, 0.0, True) for code in (-15, -2, -1, 255, 123)),
        (-9, 100.0, True),
        (255, 24.0, True),
        (255, 25.0, False),
        (123, 100.0, False),
    ],
)
def test_whose_doing_an_end_is(code: int, lasted_s: float, others: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "usable_cores", lambda: 2)
    assert ended_by_others(code, lasted_s, Limits(cpu_s=100)) is others

"""Measures are compared with what a full decode hears; refusals with files that were really cut or made up."""

import struct
from pathlib import Path

import pytest

from playhead.transcode import Measures, Programs, Refusal, RefusalKind
from playhead.transcode.probe import SOURCE_DURATION_S_MAX, measure
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_encoder import DURATION_S, KINDS
from tests.support.audio import Kind, decoded_length, ffmpeg, long_wav

M4A_PADDING_SAMPLES = 1_024
"""A decoder plays an mp4's last frame whole; its edit list says how much of it is sound. We take its word."""

IRREGULAR = [
    Kind("recorder.webm", "-c:a libopus", rate=48_000),
    Kind("archive.mka", "-c:a flac"),
]


async def measured(programs: Programs, path: Path) -> Measures:
    measures = await measure(programs, path)
    assert isinstance(measures, Measures), measures
    return measures


async def refused(programs: Programs, path: Path) -> Refusal:
    refusal = await measure(programs, path)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def cut(path: Path, folder: Path, share: float) -> Path:
    """The first part of the file."""
    body = path.read_bytes()
    shorter = folder / path.name
    shorter.write_bytes(body[: int(len(body) * share)])
    return shorter


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_the_packets_tell_what_a_decoder_hears(kind: Kind, source: SourceMaker, programs: Programs) -> None:
    path = source(kind, DURATION_S)
    measures = await measured(programs, path)
    assert measures.samples is not None
    allowed = M4A_PADDING_SAMPLES if path.suffix == ".m4a" else 1
    assert 0 <= decoded_length(path) - measures.samples < allowed
    assert (measures.rate, measures.start_s) == (kind.rate, 0.0)


async def test_an_mp4_has_the_samples_that_were_put_into_it(source: SourceMaker, programs: Programs) -> None:
    measures = await measured(programs, source(Kind("itunes.m4a", "-c:a aac -b:a 160k"), DURATION_S))
    assert measures.samples == round(DURATION_S * 44_100)


@pytest.mark.parametrize("kind", IRREGULAR, ids=lambda kind: kind.name)
async def test_timestamps_in_milliseconds_cannot_measure_samples(
    kind: Kind, source: SourceMaker, programs: Programs
) -> None:
    assert (await measured(programs, source(kind, DURATION_S))).samples is None


async def test_a_stream_with_a_gap_is_not_regular(source: SourceMaker, programs: Programs, tmp_path: Path) -> None:
    """An mp4 with two seconds of nothing in its middle: its packets do not follow each other."""
    whole, gapped = source(Kind("itunes.m4a", "-c:a aac -b:a 160k"), DURATION_S), tmp_path / "gap.m4a"
    ffmpeg("-i", str(whole), "-c", "copy", "-bsf:a", "setts=ts='if(gt(PTS,200000),PTS+88200,PTS)'", str(gapped))
    assert (await measured(programs, gapped)).samples is None


async def test_recordings_that_never_learnt_their_length_are_taken(
    source: SourceMaker, programs: Programs, tmp_path: Path
) -> None:
    """Written into a pipe: RIFF of size 0xFFFFFFFF, FLAC without a total, webm without a duration, mp3 without Xing."""
    whole = source(Kind("cd.flac", "-c:a flac"), DURATION_S)
    for name, encoding in (
        ("a.wav", "-c:a pcm_s16le -f wav"),
        ("a.flac", "-c:a flac -f flac"),
        ("a.webm", "-c:a libopus -f webm"),
        ("a.mp3", "-c:a libmp3lame -f mp3"),
    ):
        path = tmp_path / name
        path.write_bytes(ffmpeg("-i", str(whole), *encoding.split(), "pipe:1"))
        await measured(programs, path)


async def test_a_wav_that_states_the_largest_size_there_is_was_streamed(
    source: SourceMaker, programs: Programs, tmp_path: Path
) -> None:
    body = bytearray(source(KINDS[7], DURATION_S).read_bytes())
    at = body.index(b"data") + 4
    for size in (0x7FFFFFFF, 0x80000000, 0xFFFFF000):
        body[at : at + 4] = size.to_bytes(4, "little")
        (tmp_path / "a.wav").write_bytes(body)
        assert (await measured(programs, tmp_path / "a.wav")).samples == round(DURATION_S * 48_000)


@pytest.mark.parametrize("rate", [44_100, 22_050])
async def test_mp3_files_that_were_joined_are_taken_though_the_first_one_counts_its_own_frames(
    rate: int, source: SourceMaker, programs: Programs, tmp_path: Path
) -> None:
    first = source(Kind("slow.mp3", "-c:a libmp3lame -b:a 64k", rate), DURATION_S)
    second = source(Kind("fast.mp3", "-c:a libmp3lame -b:a 128k", rate), DURATION_S)
    both = tmp_path / "both.mp3"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    measures = await measured(programs, both)
    assert measures.claimed_s == pytest.approx(DURATION_S, abs=0.1)
    refusal = await refused(programs, cut(both, tmp_path, 0.2))
    assert refusal.kind is RefusalKind.CUT_OFF and "should last 12.0 s" in refusal.reason


async def test_tags_and_a_cover_do_not_disturb(source: SourceMaker, programs: Programs, tmp_path: Path) -> None:
    whole, tagged, cover = source(KINDS[0], DURATION_S), tmp_path / "tagged.mp3", tmp_path / "cover.jpg"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64", "-frames:v", "1", "-c:v", "mjpeg", "-f", "image2", str(cover))
    attach = ["-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", "-metadata", "title=A title"]
    ffmpeg("-i", str(whole), "-i", str(cover), *attach, str(tagged))
    assert (await measured(programs, tagged)).samples == (await measured(programs, whole)).samples


CUT = [
    (Kind("cbr.mp3", "-c:a libmp3lame -b:a 128k"), "should last 12.0 s and has 7"),
    (Kind("vbr.mp3", "-c:a libmp3lame -q:a 3"), "should last"),
    (Kind("studio.wav", "-c:a pcm_s16le", rate=48_000), "end is missing"),
    (Kind("mac.aiff", "-c:a pcm_s16be"), "end is missing"),
    (Kind("cd.flac", "-c:a flac"), "should last"),
    (Kind("itunes.m4a", "-c:a aac -b:a 160k"), "lacks its index"),
    (Kind("web.m4a", "-c:a aac -b:a 160k -movflags +faststart"), "end is missing"),
    (Kind("talk.opus", "-c:a libopus", rate=48_000), "end is missing"),
    (Kind("stream.aac", "-c:a aac -b:a 160k"), "end is missing"),
    (Kind("recorder.webm", "-c:a libopus", rate=48_000), "end is missing"),
    (Kind("archive.mka", "-c:a flac"), "end is missing"),
]


@pytest.mark.parametrize(("kind", "words"), CUT, ids=lambda value: value.name if isinstance(value, Kind) else "")
async def test_a_file_that_is_cut_off_is_refused_and_says_so(
    kind: Kind, words: str, source: SourceMaker, programs: Programs, tmp_path: Path
) -> None:
    whole = source(kind, DURATION_S)
    await measured(programs, whole)
    refusal = await refused(programs, cut(whole, tmp_path, 0.6))
    assert refusal.kind is RefusalKind.CUT_OFF
    assert words in refusal.reason


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6]], ids=lambda kind: kind.name)
async def test_a_file_that_lacks_only_its_last_second_is_refused_too(
    kind: Kind, source: SourceMaker, programs: Programs, tmp_path: Path
) -> None:
    refusal = await refused(programs, cut(source(kind, DURATION_S), tmp_path, 0.92))
    assert refusal.kind is RefusalKind.CUT_OFF


async def test_an_empty_file_is_refused(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "empty.mp3"
    path.touch()
    assert (await refused(programs, path)).kind is RefusalKind.EMPTY


@pytest.mark.parametrize(
    "body",
    [
        b"Dear listeners,\n" * 500,
        bytes(range(256)) * 2_000,
        b"\x7fELF" + bytes(4_000),
        b"RIFF",
        b"\0",
        b"%PDF-1.7\n%\n",
    ],
    ids=["text", "noise", "program", "stump of a wav", "one byte", "pdf"],
)
async def test_what_is_not_audio_is_refused(body: bytes, programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "upload.mp3"
    path.write_bytes(body)
    refusal = await refused(programs, path)
    assert refusal.kind is RefusalKind.NOT_AUDIO
    assert "send mp3" in refusal.reason


async def test_a_picture_is_refused(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "cover.jpg"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64", "-frames:v", "1", "-c:v", "mjpeg", "-f", "image2", str(path))
    assert (await refused(programs, path)).kind is RefusalKind.NOT_AUDIO


async def test_a_film_without_sound_is_refused(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-c:v", "mpeg4", str(path))
    assert (await refused(programs, path)).kind is RefusalKind.NO_AUDIO_STREAM


async def test_a_sound_track_without_sound_is_refused(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "nothing.wav"
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 2, 48_000, 192_000, 4, 16, b"data", 0
    )
    path.write_bytes(header)
    assert (await refused(programs, path)).kind is RefusalKind.NO_SOUND


async def test_a_codec_that_is_not_taken_is_named(source: SourceMaker, programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "cinema.mka"
    ffmpeg("-i", str(source(KINDS[3], DURATION_S)), "-c:a", "ac3", str(path))
    refusal = await refused(programs, path)
    assert refusal.kind in (RefusalKind.UNSUPPORTED, RefusalKind.NOT_AUDIO)


@pytest.mark.parametrize(("duration_s", "taken"), [(SOURCE_DURATION_S_MAX, True), (SOURCE_DURATION_S_MAX + 1, False)])
async def test_a_day_is_taken_and_a_second_more_is_not(
    duration_s: int, taken: bool, programs: Programs, tmp_path: Path
) -> None:
    path = long_wav(tmp_path / "long.wav", duration_s)
    if taken:
        assert (await measured(programs, path)).samples == duration_s * 1_000
    else:
        assert (await refused(programs, path)).kind is RefusalKind.TOO_LONG

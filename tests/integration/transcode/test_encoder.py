"""Segments encoded alone must join as if they had been cut from one run: the same length, and no sample shifted.

The sources are sweeps, so a shift by a single sample changes the difference to the reference at least twentyfold.
"""

import asyncio
import os
from pathlib import Path

import pytest

from playhead.media import FIRST_RUNG, LADDER, Grid, Rung, media_playlist, multivariant_playlist
from playhead.media.fmp4 import init_segment
from playhead.transcode import EncodeFailed, Encoder, EncoderSource, Measures, Programs
from playhead.transcode.probe import measure
from tests.integration.transcode.conftest import SourceMaker
from tests.support import hls
from tests.support.audio import Kind, decoded, error, ffmpeg, joined, reference

DURATION_S = 12.0123
SAME_MAX = 0.005
"""Share of the energy that AAC at 128 kbit/s may change in the sweeps; seen: up to 0.0022."""
SHIFTED_MIN = 0.03
"""What a shift by one sample at 48 kHz changes at least; seen: 0.05 and more."""

KINDS = [
    Kind("cbr.mp3", "-c:a libmp3lame -b:a 128k"),
    Kind("vbr.mp3", "-c:a libmp3lame -q:a 3"),
    Kind("no-xing.mp3", "-c:a libmp3lame -b:a 128k -write_xing 0"),
    Kind("cd.flac", "-c:a flac"),
    Kind("itunes.m4a", "-c:a aac -b:a 160k"),
    Kind("stream.aac", "-c:a aac -b:a 160k"),
    Kind("talk.opus", "-c:a libopus", rate=48_000),
    Kind("studio.wav", "-c:a pcm_s16le", rate=48_000),
    Kind("high.wav", "-c:a pcm_s24le", rate=96_000),
    Kind("mac.aiff", "-c:a pcm_s16be"),
    Kind("speech.wav", "-c:a pcm_s16le", rate=22_050, channels=1),
    Kind("surround.flac", "-c:a flac", rate=48_000, channels=6),
    Kind("odd.wav", "-c:a pcm_s16le", rate=44_056),
    Kind("odder.wav", "-c:a pcm_s16le", rate=11_127, channels=1),
]


async def measured(programs: Programs, path: Path) -> EncoderSource:
    measures = await measure(programs, path)
    assert isinstance(measures, Measures) and measures.samples is not None
    grid = Grid(source_rate=measures.rate, source_samples=measures.samples)
    return EncoderSource(path=path, grid=grid, start_s=measures.start_s)


class Collect:
    """A sink that keeps what it is given, in that order."""

    def __init__(self) -> None:
        self.segments: dict[tuple[str, int], bytes] = {}

    async def __call__(self, rung: Rung, segment: int, body: bytes) -> None:
        assert (rung.name, segment) not in self.segments
        self.segments[rung.name, segment] = body

    def of(self, rung: Rung) -> list[bytes]:
        """The segments of one rung, in order."""
        return [body for (name, _), body in sorted(self.segments.items()) if name == rung.name]


async def encoded_alone(encoder: Encoder, source: EncoderSource) -> list[bytes]:
    """All segments of the first rung, each from a run of its own, in whatever order they are done."""
    collect = Collect()
    runs = (encoder.encode(source, n, n + 1, [FIRST_RUNG], collect) for n in range(source.grid.segments))
    await asyncio.gather(*runs)
    return collect.of(FIRST_RUNG)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_segments_encoded_alone_join_to_the_sample(
    kind: Kind, source: SourceMaker, programs: Programs, encoder: Encoder
) -> None:
    path = source(kind, DURATION_S)
    encodable = await measured(programs, path)
    heard, expected = decoded(joined(await encoded_alone(encoder, encodable))), reference(path)
    assert len(heard) == (encodable.grid.frames - 1) * 1_024
    assert encodable.grid.segments == 3
    assert error(heard, expected) < SAME_MAX
    for join in (276_480, 552_960):
        around = slice(join - 4_096, join + 4_096)
        assert error(heard[around], expected[around]) < SAME_MAX
    assert error(heard[1:], expected) > SHIFTED_MIN
    assert error(heard, expected[1:]) > SHIFTED_MIN


async def test_audio_that_begins_later_than_its_file_is_found_by_its_own_start(
    source: SourceMaker, programs: Programs, encoder: Encoder, tmp_path: Path
) -> None:
    """A film whose sound begins 0.3 s after the picture: seeks count from the picture's start."""
    sound, film = source(Kind("cd.flac", "-c:a flac"), DURATION_S), tmp_path / "film.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc=s=64x64:r=5:d=13", "-itsoffset", "0.3", "-i", str(sound)]
    ffmpeg(*picture, "-c:v", "mpeg4", "-c:a", "aac", "-b:a", "192k", str(film))
    encodable = await measured(programs, film)
    assert 0.2 < encodable.start_s < 0.4
    heard, expected = decoded(joined(await encoded_alone(encoder, encodable))), reference(film)
    assert error(heard, expected) < SAME_MAX
    assert error(heard[1:], expected) > SHIFTED_MIN


def damaged(path: Path, folder: Path, at_share: float) -> Path:
    """A copy with some bytes that mean nothing: a part of one mp3 frame, or several whole packets of an m4a."""
    body = bytearray(path.read_bytes())
    at, length = int(len(body) * at_share), 2_000
    if path.suffix == ".mp3":
        at, length = body.index(b"\xff\xfb", at) + 4, 300
    body[at : at + length] = b"\xa5" * length
    (folder / path.name).write_bytes(body)
    return folder / path.name


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[4]], ids=lambda kind: kind.name)
@pytest.mark.parametrize("at_share", [0.02, 0.2, 0.4], ids=lambda share: f"at {share:.0%}")
async def test_what_cannot_be_decoded_shifts_nothing_that_comes_after_it(
    kind: Kind, at_share: float, source: SourceMaker, programs: Programs, encoder: Encoder, tmp_path: Path
) -> None:
    """Wherever a run begins, before the damage or behind it, a place of the script sounds the same."""
    whole = source(kind, DURATION_S)
    encodable = await measured(programs, damaged(whole, tmp_path, at_share))
    collect = Collect()
    await encoder.encode(encodable, 0, 3, [FIRST_RUNG], collect)
    at_once, alone = decoded(joined(collect.of(FIRST_RUNG))), decoded(joined(await encoded_alone(encoder, encodable)))
    expected, behind = reference(whole), slice(int(len(at_once) * (at_share + 0.1)), None)
    assert error(at_once[behind], expected[behind]) < SAME_MAX
    assert error(alone[behind], expected[behind]) < SAME_MAX


async def test_damage_where_late_sound_begins_shifts_nothing_either(
    source: SourceMaker, programs: Programs, encoder: Encoder, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    ffmpeg(
        *("-itsoffset", "0.3", "-i", str(source(Kind("cd.flac", "-c:a flac"), DURATION_S))),
        *("-f", "lavfi", "-i", "color=s=16x16:r=1:d=13", "-c:v", "mpeg4", "-c:a", "aac", "-b:a", "192k", str(film)),
    )
    encodable = await measured(programs, film)
    assert encodable.start_s > 0.2
    expected, body = reference(film), bytearray(film.read_bytes())
    at = body.index(b"mdat") + 3_000
    body[at : at + 2_000] = bytes(2_000)
    film.write_bytes(body)
    heard = decoded(joined(await encoded_alone(encoder, encodable)))
    assert error(heard[48_000:], expected[48_000:]) < SAME_MAX


async def test_all_rungs_of_a_chunk_come_from_one_run_in_order(
    source: SourceMaker, programs: Programs, encoder: Encoder
) -> None:
    encodable = await measured(programs, source(KINDS[0], DURATION_S))
    collect = Collect()
    await encoder.encode(encodable, 0, 3, LADDER, collect, niceness=10)
    for rung in LADDER:
        assert [segment for name, segment in collect.segments if name == rung.name] == [0, 1, 2]


async def test_what_is_encoded_passes_the_validator(source: SourceMaker, programs: Programs, encoder: Encoder) -> None:
    encodable = await measured(programs, source(KINDS[0], DURATION_S))
    collect = Collect()
    await encoder.encode(encodable, 0, 1, LADDER, collect)
    await encoder.encode(encodable, 1, 3, LADDER, collect)
    files = {"master.m3u8": multivariant_playlist().encode()}
    for rung in LADDER:
        files[f"{rung.name}/index.m3u8"] = media_playlist(encodable.grid).encode()
        files[f"{rung.name}/init.mp4"] = init_segment(rung)
    files.update({f"{name}/{segment}.m4s": body for (name, segment), body in collect.segments.items()})
    assert hls.problems(files.__getitem__, "master.m3u8") == []


@pytest.mark.parametrize("samples", [1, 100, 269 * 1_024, 269 * 1_024 + 1])
async def test_the_shortest_sources_and_those_at_a_segments_edge_have_all_their_frames(
    samples: int, programs: Programs, encoder: Encoder, tmp_path: Path
) -> None:
    path = tmp_path / "short.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=r=48000:d=7", "-af", f"atrim=end_sample={samples}", str(path))
    encodable = await measured(programs, path)
    assert encodable.grid.source_samples == samples
    collect = Collect()
    await encoder.encode(encodable, 0, encodable.grid.segments, [FIRST_RUNG], collect)
    assert len(decoded(joined(collect.of(FIRST_RUNG)))) == (encodable.grid.frames - 1) * 1_024


async def test_a_source_that_has_less_than_its_grid_fails_instead_of_giving_short_segments(
    source: SourceMaker, encoder: Encoder
) -> None:
    """As when the file was replaced: the seek lands past its end, where ffmpeg writes nothing and exits with 0."""
    path = source(Kind("studio.wav", "-c:a pcm_s16le", rate=48_000), DURATION_S)
    promised = EncoderSource(path=path, grid=Grid(source_rate=48_000, source_samples=48_000 * 60), start_s=0.0)
    collect = Collect()
    with pytest.raises(EncodeFailed, match="from 0:46 to 0:51 could not be decoded"):
        await encoder.encode(promised, 8, 9, LADDER, collect)
    assert collect.segments == {}


async def test_a_source_that_is_no_audio_fails_with_what_ffmpeg_says(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "noise.mp3"
    path.write_bytes(bytes(range(256)) * 400)
    with pytest.raises(EncodeFailed, match="from 0:00 to 0:05") as failed:
        await encoder.encode(
            EncoderSource(path=path, grid=Grid(source_rate=44_100, source_samples=44_100), start_s=0.0),
            0,
            1,
            LADDER,
            Collect(),
        )
    assert "ffmpeg ended with" in failed.value.detail


async def test_a_run_that_takes_too_long_is_ended(source: SourceMaker, programs: Programs) -> None:
    encodable = await measured(programs, source(KINDS[0], DURATION_S))
    with pytest.raises(EncodeFailed, match=r"longer than 0\.01 s"):
        await Encoder(programs, chunk_timeout_s=0.01).encode(encodable, 0, 3, LADDER, Collect())


@pytest.mark.parametrize("raised", [ValueError, TimeoutError])
async def test_an_error_of_the_sink_ends_the_run_and_comes_out_as_it_is(
    raised: type[Exception], source: SourceMaker, programs: Programs, encoder: Encoder
) -> None:
    encodable = await measured(programs, source(KINDS[0], DURATION_S))

    async def sink(rung: Rung, segment: int, body: bytes) -> None:
        raise raised

    with pytest.raises(raised):
        await encoder.encode(encodable, 0, 3, LADDER, sink)
    assert children() == []


async def test_cancelling_kills_ffmpeg(source: SourceMaker, programs: Programs, encoder: Encoder) -> None:
    encodable = await measured(programs, source(KINDS[0], DURATION_S))
    reached = asyncio.Event()

    async def sink(rung: Rung, segment: int, body: bytes) -> None:
        reached.set()
        await asyncio.Event().wait()

    encoding = asyncio.create_task(encoder.encode(encodable, 0, 3, LADDER, sink))
    await reached.wait()
    assert children() == ["ffmpeg"]
    encoding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await encoding
    assert children() == []


async def test_no_file_descriptor_is_left_open(source: SourceMaker, programs: Programs, encoder: Encoder) -> None:
    encodable = await measured(programs, source(KINDS[0], DURATION_S))
    await encoder.encode(encodable, 0, 1, LADDER, Collect())
    before = set(os.listdir("/proc/self/fd"))
    await encoder.encode(encodable, 0, 1, LADDER, Collect())
    await asyncio.sleep(0)  # transports close in the next round of the loop
    assert set(os.listdir("/proc/self/fd")) == before


def children() -> list[str]:
    """Programs that are children of this process, as the kernel calls them."""
    mine = []
    for folder in Path("/proc").iterdir():
        try:
            name, _, rest = (folder / "stat").read_text().partition(" (")[2].rpartition(") ")
        except OSError:
            continue
        if int(rest.split()[1]) == os.getpid() and rest[0] != "Z" and name.startswith("ff"):
            mine.append(name.partition("-")[0])
    return mine

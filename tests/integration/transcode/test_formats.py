"""What people upload, in tiny: each kind is taken in and encoded as the worker does it, or refused with a reason.

`samples` are those that were put into the file; `missing` and `more` bound by how many the measured number may differ,
which depends on what a kind says of its encoder's padding. Kinds that come with longer sources are in test_encoder.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from playhead.db import Source
from playhead.media import Grid
from playhead.storage import LocalStorage
from playhead.transcode import Encoder, EncoderSource, Ingest, Programs, Refusal, RefusalKind
from tests.integration.transcode.test_encoder import SAME_MAX, SHIFTED_MIN, encoded_alone
from tests.support.audio import Kind, decoded, error, ffmpeg, joined, make, reference
from tests.support.media_files import media_files
from tests.support.odd_files import (
    FRAME,
    LONG_S,
    appended,
    chained,
    edited,
    flac_that_states,
    long_film,
    paused,
    wav_of,
    wav_of_channels,
)

Taking = Callable[[Path], Awaitable[Source | Refusal]]

SHORT_S = 0.1
"""Five frames."""
KEY = "sources/5f1d7a84-0c5e-4b3c-9a53-0f6c4f7f9f11/upload"
PICTURE = "testsrc=s=64x64:r=5:d=7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """How a file is made of a sound of `rate` and `channels`, and what is expected of it."""

    name: str
    made: Callable[[Path, Path], None]
    rate: int = 44_100
    channels: int = 2
    duration_s: float = LONG_S
    missing: int = 0
    more: int = 0
    kept: bool = True
    """False: it is decoded once, and kept as FLAC."""


def encoded(options: str) -> Callable[[Path, Path], None]:
    def run(sound: Path, target: Path) -> None:
        ffmpeg("-i", str(sound), *options.split(), str(target))

    return run


def film(options: str) -> Callable[[Path, Path], None]:
    """With a picture, whose track comes first."""

    def run(sound: Path, target: Path) -> None:
        tracks = ["-map", "0:v", "-map", "1:a"]
        ffmpeg("-f", "lavfi", "-i", PICTURE, "-i", str(sound), *tracks, *options.split(), str(target))

    return run


def renamed(options: str) -> Callable[[Path, Path], None]:
    """Named like another kind than it is."""

    def run(sound: Path, target: Path) -> None:
        target.write_bytes(ffmpeg("-i", str(sound), *options.split(), "pipe:1"))

    return run


def two_tracks(sound: Path, target: Path) -> None:
    """The sound, and after it silence."""
    silence = ["-f", "lavfi", "-i", "anullsrc=r=44100:d=7"]
    ffmpeg("-i", str(sound), *silence, "-map", "0:a", "-map", "1:a", "-c:a", "aac", "-b:a", "160k", str(target))


def cut_by_its_edit_list(sound: Path, target: Path) -> None:
    """An m4a whose edit list hides its first seconds, as editors write it: the packets of these are still there."""
    whole = target.with_suffix(".whole.m4a")
    ffmpeg("-i", str(sound), "-c:a", "aac", "-b:a", "160k", str(whole))
    ffmpeg("-ss", "1.5", "-i", str(whole), "-c", "copy", str(target))


MP3_FRAME = 1_152
OPUS, VORBIS = "-c:a libopus", "-c:a vorbis -strict -2"
MP3 = "-c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0 -f mp3"
TAKEN = [
    Upload(name="vorbis.ogg", made=encoded("-c:a vorbis -strict -2"), more=FRAME),
    Upload(name="voice.opus", made=encoded("-c:a libopus"), rate=48_000),
    Upload(name="film.mp4", made=film("-c:v libx264 -c:a aac -b:a 160k")),
    Upload(name="film.webm", made=film("-c:v libvpx -c:a libopus"), rate=48_000, more=FRAME, kept=False),
    Upload(name="film.mkv", made=film("-c:v libx264 -c:a libmp3lame -b:a 128k"), more=2 * MP3_FRAME, kept=False),
    Upload(name="short.mkv", made=long_film("-c:v mpeg4 -c:a flac"), kept=False),
    Upload(name="short.webm", made=long_film("-c:v libvpx -c:a libopus"), rate=48_000, more=FRAME, kept=False),
    Upload(name="late.mkv", made=long_film("-c:v mpeg4 -c:a flac", delay_s=1.5), kept=False),
    Upload(name="paused.webm", made=paused, rate=48_000, more=FRAME, kept=False),
    Upload(name="phone.wav", made=encoded("-c:a pcm_s16le"), rate=8_000, channels=1),
    Upload(name="phone.mp3", made=encoded("-c:a libmp3lame -b:a 32k"), rate=8_000, channels=1),
    Upload(name="studio.flac", made=encoded("-c:a flac -sample_fmt s32"), rate=192_000, channels=8),
    Upload(name="two.m4a", made=two_tracks),
    Upload(name="cut.m4a", made=cut_by_its_edit_list, duration_s=LONG_S + 1.5, missing=FRAME, more=FRAME),
    Upload(name="end.m4a", made=edited((7_000, 0.0)), duration_s=LONG_S + 1.5, more=FRAME),
    Upload(
        name="middle.m4a", made=edited((3_000, 0.0), (4_000, 4.5)), duration_s=LONG_S + 1.5, more=2 * FRAME, kept=False
    ),
    Upload(name="camera.mov", made=film("-c:v mpeg4 -c:a pcm_s16le"), kept=False),
    Upload(name="studio.mov", made=encoded("-c:a pcm_s24le"), rate=48_000),
    Upload(
        name="fragmented.mp4", made=encoded("-c:a aac -b:a 160k -movflags +frag_keyframe+empty_moov"), more=2 * FRAME
    ),
    Upload(name="flac.mp3", made=renamed("-c:a flac -f flac"), kept=False),
    Upload(name="mp3.wav", made=renamed("-c:a libmp3lame -b:a 128k -f mp3"), more=2 * MP3_FRAME),
    Upload(name="wider.mp3", made=appended(MP3, 1, 2), rate=48_000, more=2 * 3 * MP3_FRAME, kept=False),
    Upload(name="advert.mp3", made=appended(MP3, 1, 2, 1), rate=48_000, more=3 * 3 * MP3_FRAME, kept=False),
    Upload(name="narrower.aac", made=appended("-c:a aac -f adts", 2, 1), rate=48_000, more=2 * 2 * FRAME, kept=False),
    Upload(name="wider.aac", made=appended("-c:a aac -f adts", 1, 2), rate=48_000, more=2 * 2 * FRAME, kept=False),
    Upload(name="alike.mp3", made=appended(MP3, 2, 2), rate=48_000, more=2 * 3 * MP3_FRAME),
    Upload(name="states_none.flac", made=flac_that_states(0), kept=False),
    Upload(name="states_less.flac", made=flac_that_states(44_100 * 3)),
    Upload(name="moment.wav", made=encoded("-c:a pcm_s16le"), duration_s=SHORT_S),
    Upload(name="moment.mp3", made=encoded("-c:a libmp3lame -b:a 128k"), duration_s=SHORT_S),
    Upload(name="moment.m4a", made=encoded("-c:a aac -b:a 128k"), duration_s=SHORT_S),
    Upload(name="moment.opus", made=encoded("-c:a libopus"), rate=48_000, duration_s=SHORT_S),
    Upload(name="moment.ogg", made=encoded("-c:a vorbis -strict -2"), duration_s=SHORT_S, more=FRAME, kept=False),
    Upload(name="moment.webm", made=encoded("-c:a libopus"), rate=48_000, duration_s=SHORT_S, more=FRAME, kept=False),
]


@pytest.fixture
def take_in(programs: Programs, storage: LocalStorage) -> Taking:
    async def run(path: Path) -> Source | Refusal:
        async with storage.upload(KEY) as writing:
            await writing.write(path.read_bytes())
        return await Ingest(programs, storage)(KEY, "0123456789abcdef")

    return run


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Upload], Path]:
    """The sound that an upload is made of."""
    made: dict[tuple[int, int, float], Path] = {}

    def get(upload: Upload) -> Path:
        which = (upload.rate, upload.channels, upload.duration_s)
        if which not in made:
            kind = Kind("sound.flac", "-c:a flac", upload.rate, upload.channels)
            made[which] = make(tmp_path_factory.mktemp("sound"), kind, upload.duration_s)
        return made[which]

    return get


@pytest.mark.parametrize("upload", TAKEN, ids=lambda upload: upload.name)
async def test_what_is_taken_has_the_samples_that_were_put_in_and_joins_to_the_sample(
    upload: Upload,
    sounds: Callable[[Upload], Path],
    take_in: Taking,
    storage: LocalStorage,
    encoder: Encoder,
    tmp_path: Path,
) -> None:
    path = tmp_path / upload.name
    upload.made(sounds(upload), path)
    taken = await take_in(path)
    assert isinstance(taken, Source), taken
    put_in = round((LONG_S if upload.duration_s > LONG_S else upload.duration_s) * upload.rate)
    assert taken.source_rate == upload.rate
    assert -upload.missing <= taken.source_samples - put_in <= upload.more
    assert (taken.source_key == KEY) == upload.kept
    grid = Grid(source_rate=taken.source_rate, source_samples=taken.source_samples)
    async with storage.local_file(taken.source_key) as stored:
        source = EncoderSource(path=stored, grid=grid, start_s=taken.source_start_s)
        heard, expected = decoded(joined(await encoded_alone(encoder, source))), reference(path)
    assert len(heard) == (grid.frames - 1) * FRAME
    assert grid.segments == (2 if upload.duration_s >= LONG_S else 1)
    assert error(heard, expected) < SAME_MAX, error(heard, expected)
    if grid.segments == 2:
        around = slice(276_480 - 4_096, 276_480 + 4_096)
        assert error(heard[around], expected[around]) < SAME_MAX
        assert error(heard[1:], expected) > SHIFTED_MIN


ENCRYPTED = (
    "-c:a aac -b:a 128k -encryption_scheme cenc-aes-ctr"
    " -encryption_key 76a6c65c5ea762046bd749a2e632ccbb -encryption_kid a7e61c373e219033c21091fa607bf3b8"
)


def first_half(options: str) -> Callable[[Path, Path], None]:
    def run(sound: Path, target: Path) -> None:
        film(options)(sound, target)
        body = target.read_bytes()
        target.write_bytes(body[: len(body) // 2])

    return run


def bought_long_ago(sound: Path, target: Path) -> None:
    """The sample entry that FairPlay used in m4p files."""
    ffmpeg("-i", str(sound), "-c:a", "aac", str(target))
    target.write_bytes(target.read_bytes().replace(b"mp4a", b"drms", 1))


def of_bytes(body: bytes) -> Callable[[Path, Path], None]:
    def run(_sound: Path, target: Path) -> None:
        target.write_bytes(body)

    return run


def silent_film(_sound: Path, target: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", PICTURE, "-c:v", "libx264", str(target))


REFUSED = [
    ("bought.mp4", encoded(ENCRYPTED), RefusalKind.PROTECTED, "protected against copying (DRM)"),
    ("streamed.mp4", encoded(f"{ENCRYPTED} -movflags +frag_keyframe+empty_moov"), RefusalKind.PROTECTED, "(DRM)"),
    ("old.m4a", bought_long_ago, RefusalKind.PROTECTED, "(DRM)"),
    ("states_more.flac", flac_that_states(44_100 * 60), RefusalKind.CUT_OFF, "should last 60.0 s and has 7.0 s"),
    (
        "half.mp4",
        first_half("-c:v libx264 -c:a aac -movflags +faststart"),
        RefusalKind.CUT_OFF,
        "Upload the whole file",
    ),
    ("wider.opus", chained(f"{OPUS} -ac 1", OPUS), RefusalKind.UNSUPPORTED, "another sample rate, number of channels"),
    ("faster.ogg", chained(VORBIS, f"{VORBIS} -ar 48000"), RefusalKind.UNSUPPORTED, "several recordings in one"),
    ("mixed.ogg", chained(VORBIS, OPUS, VORBIS), RefusalKind.UNSUPPORTED, "several recordings in one"),
    ("nan.wav", wav_of(math.nan), RefusalKind.BROKEN, "values that are no numbers"),
    ("infinite.wav", wav_of(-math.inf), RefusalKind.BROKEN, "values that are no numbers"),
    ("huge.wav", wav_of(1e30), RefusalKind.BROKEN, "far beyond full scale"),
    ("nine.wav", wav_of_channels(9), RefusalKind.UNSUPPORTED, "does not say what its channels are"),
    ("half.mov", first_half("-c:v mpeg4 -c:a pcm_s16le -movflags +faststart"), RefusalKind.CUT_OFF, "end is missing"),
    ("half.mkv", first_half("-c:v libx264 -c:a libmp3lame"), RefusalKind.CUT_OFF, "Upload the whole file"),
    ("half.webm", first_half("-c:v libvpx -c:a libopus"), RefusalKind.CUT_OFF, "Upload the whole file"),
    ("silent.mp4", silent_film, RefusalKind.NO_AUDIO_STREAM, "no sound track"),
    ("letter.mp3", of_bytes(b"Dear listeners,\n" * 500), RefusalKind.NOT_AUDIO, "not audio"),
    ("nothing.mp3", of_bytes(b""), RefusalKind.EMPTY, "The file is empty"),
    ("header.mp3", of_bytes(b"ID3\x04\0\0\0\0\0\0"), RefusalKind.NOT_AUDIO, "not audio"),
]


@pytest.mark.parametrize(("name", "made", "kind", "words"), REFUSED, ids=[row[0] for row in REFUSED])
async def test_what_is_refused_says_why_in_words_and_leaves_nothing(
    name: str,
    made: Callable[[Path, Path], None],
    kind: RefusalKind,
    words: str,
    sounds: Callable[[Upload], Path],
    take_in: Taking,
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    made(sounds(TAKEN[0]), path)
    refusal = await take_in(path)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.kind is kind
    assert words in refusal.reason and refusal.reason.endswith(".")
    assert media_files(tmp_path / "media") == []


@pytest.mark.parametrize("made", [wav_of(0.5), wav_of(2.0), wav_of_channels(6), wav_of_channels(10)])
async def test_what_only_looks_odd_is_taken(
    made: Callable[[Path, Path], None], take_in: Taking, tmp_path: Path
) -> None:
    made(tmp_path, tmp_path / "odd.wav")
    assert isinstance(await take_in(tmp_path / "odd.wav"), Source)


@pytest.mark.parametrize("links", [(OPUS, OPUS), ("-c:a flac -ac 1", "-c:a flac")], ids=["opus", "flac that changes"])
async def test_a_chain_that_can_be_decoded_is_taken_with_all_its_links(
    links: tuple[str, ...], sounds: Callable[[Upload], Path], take_in: Taking, storage: LocalStorage, tmp_path: Path
) -> None:
    path, sound = tmp_path / "radio.ogg", sounds(replace(TAKEN[0], rate=48_000))
    chained(*links)(sound, path)
    taken = await take_in(path)
    assert isinstance(taken, Source), taken
    assert taken.source_samples == round(LONG_S * 48_000)
    async with storage.local_file(taken.source_key) as stored:
        heard, behind = reference(stored), slice(round(0.6 * LONG_S * 48_000), None)
    assert error(heard[behind], reference(sound)[behind]) < SAME_MAX


async def test_a_film_whose_picture_alone_is_encrypted_is_heard(
    sounds: Callable[[Upload], Path], take_in: Taking, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    film("-c:v libx264 -c:a aac -b:a 160k")(sounds(TAKEN[0]), path)
    path.write_bytes(path.read_bytes().replace(b"avc1\0\0\0\0\0\0", b"encv\0\0\0\0\0\0", 1))
    assert isinstance(await take_in(path), Source)

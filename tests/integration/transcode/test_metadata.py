"""What real files say of themselves, from their upload to what is stored: tags, covers, chapters, and evil ones."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.db import Mark, Source, Tags
from playhead.db.limits import MARKS_MAX, TITLE_CHARS_MAX
from playhead.media import cover_key, source_key
from playhead.storage import LocalStorage
from playhead.transcode import Ingest, Programs
from playhead.transcode.covers import COVER_BYTES_MAX
from playhead.transcode.metadata import read_metadata
from tests.integration.transcode.conftest import SourceMaker
from tests.support.audio import Kind, ffmpeg
from tests.support.media_files import media_files
from tests.support.tags import (
    apic,
    chap,
    commented,
    cued,
    ffmetadata,
    flac_picture,
    id3,
    jpeg,
    marked,
    png,
    sheeted,
    text,
)

VERSION = "0123456789abcdef"
KEY = source_key("5f1d7a84-0c5e-4b3c-9a53-0f6c4f7f9f11", VERSION)
SOUND = Kind("sound.wav", "-c:a pcm_s16le", rate=48_000, channels=1)
FLAC = Kind("sound.flac", "-c:a flac", rate=48_000, channels=1)
AIFF = Kind("sound.aiff", "-c:a pcm_s16be", rate=48_000, channels=1)
BARE = Kind("bare.mp3", "-c:a libmp3lame -b:a 64k -id3v2_version 0 -write_id3v1 0", channels=1)
DURATION_S = 6.0
CHAPTERS = ((0, 2_000, "One"), (2_000, 4_400, "Zwei: ä"), (4_400, 6_000, "Three"))
MARKS = (Mark(0, "One"), Mark(2_000, "Zwei: ä"), Mark(4_400, "Three"))
"""ffmpeg rounds the seconds of what it writes into ogg, so these stand where it rounds down."""
COVERS = "-c:v copy -disposition:v attached_pic"


@pytest.fixture
def taken(programs: Programs, storage: LocalStorage) -> Callable[[bytes], Source]:
    """`taken(upload)`: what ingest makes of it."""

    async def take(upload: bytes) -> Source:
        async with storage.upload(KEY) as writing:
            await writing.write(upload)
        source = await Ingest(programs, storage)(KEY, VERSION)
        assert isinstance(source, Source)
        return source

    return lambda upload: asyncio.run(take(upload))


def stored(storage: LocalStorage, key: str) -> bytes | None:
    return asyncio.run(storage.get(key))


@pytest.mark.parametrize(
    ("name", "encoding", "with_cover", "with_chapters"),
    [
        ("book.m4b", f"-c:a aac {COVERS}", True, True),
        ("tagged.mp3", f"-c:a libmp3lame {COVERS}", True, True),
        ("tagged.aac", "-c:a aac -write_id3v2 1", False, True),
        ("tagged.aiff", "-c:a pcm_s16be -write_id3v2 1", False, True),
        ("tagged.flac", f"-c:a flac {COVERS}", True, False),
        ("tagged.opus", "-c:a libopus", False, True),
        ("tagged.mka", "-c:a libopus", False, True),
        ("tagged.webm", "-c:a libopus", False, True),
    ],
)
def test_a_file_says_its_title_its_artist_its_chapters_and_shows_its_cover(
    name: str,
    encoding: str,
    with_cover: bool,
    with_chapters: bool,
    source: SourceMaker,
    taken: Callable[[bytes], Source],
    storage: LocalStorage,
    tmp_path: Path,
) -> None:
    """In each container that can hold it; mka and webm are decoded at ingest, and the result holds none of it."""
    tags, picture, upload = tmp_path / "tags.txt", tmp_path / "cover.jpg", tmp_path / name
    tags.write_text(ffmetadata("The Book", "Ann Author", CHAPTERS if with_chapters else ()))
    picture.write_bytes(jpeg())
    inputs = ["-i", str(source(SOUND, DURATION_S)), "-i", str(tags), *(["-i", str(picture)] if with_cover else [])]
    maps = ["-map", "0", "-map_metadata", "1", "-map_chapters", "1", *(["-map", "2"] if with_cover else [])]
    ffmpeg(*inputs, *maps, *encoding.split(), str(upload))
    found = taken(upload.read_bytes())
    assert (found.tags.title, found.tags.artist) == ("The Book", "Ann Author")
    assert found.tags.marks == (MARKS if with_chapters else ())
    assert found.tags.cover_key == (cover_key(KEY, "jpg") if with_cover else None)
    if found.tags.cover_key is not None:
        assert stored(storage, found.tags.cover_key) == jpeg()
    assert found.keys == {key for key in (found.source_key, found.tags.cover_key) if key is not None}


def test_the_cover_of_an_ogg_file_stands_in_a_comment(
    source: SourceMaker, taken: Callable[[bytes], Source], storage: LocalStorage, tmp_path: Path
) -> None:
    """As every program writes it there: a picture block of FLAC, in base64."""
    upload = tmp_path / "covered.opus"
    comment = f"METADATA_BLOCK_PICTURE={base64.b64encode(flac_picture(png())).decode()}"
    ffmpeg("-i", str(source(SOUND, DURATION_S)), "-c:a", "libopus", "-metadata", comment, str(upload))
    assert taken(upload.read_bytes()).tags.cover_key == cover_key(KEY, "png")
    assert stored(storage, cover_key(KEY, "png")) == png()


def test_chapters_of_a_flac_stand_in_comments_as_in_ogg(source: SourceMaker, taken: Callable[[bytes], Source]) -> None:
    comments = ("TITLE=The Book", "CHAPTER001=00:00:00.000", "CHAPTER001NAME=One", "CHAPTER002=00:00:02.500")
    found = taken(commented(source(FLAC, DURATION_S).read_bytes(), *comments)).tags
    assert found == Tags(title="The Book", marks=(Mark(0, "One"), Mark(2_500, None)))


def test_tracks_of_a_flac_s_cue_sheet_are_chapters_by_their_isrc(
    source: SourceMaker, taken: Callable[[bytes], Source]
) -> None:
    upload = sheeted(source(FLAC, DURATION_S).read_bytes(), (0, b"DEAB12600001"), (120_000, b""))
    assert taken(upload).tags == Tags(marks=(Mark(0, "DEAB12600001"), Mark(2_500, None)))


def test_cue_points_of_a_wav_are_chapters(source: SourceMaker, taken: Callable[[bytes], Source]) -> None:
    upload = cued(source(SOUND, DURATION_S).read_bytes(), (0, b"One"), (120_000, b"Two"))
    assert taken(upload).tags == Tags(marks=(Mark(0, "One"), Mark(2_500, "Two")))


def test_markers_of_an_aiff_are_not_read(source: SourceMaker, taken: Callable[[bytes], Source]) -> None:
    assert taken(marked(source(AIFF, DURATION_S).read_bytes(), 48_000, b"One")).tags == Tags()


def test_a_file_that_says_nothing_has_no_tags(source: SourceMaker, taken: Callable[[bytes], Source]) -> None:
    assert taken(source(BARE, DURATION_S).read_bytes()).tags == Tags()


def test_the_front_cover_is_taken_before_other_pictures(
    source: SourceMaker, taken: Callable[[bytes], Source], storage: LocalStorage
) -> None:
    back, front = png(5, 5), png(7, 7)
    tag = id3(apic(back, kind=b"\x04"), apic(front, kind=b"\x03"))
    found = taken(tag + source(BARE, DURATION_S).read_bytes())
    assert found.tags.cover_key == cover_key(KEY, "png")
    assert stored(storage, cover_key(KEY, "png")) == front


@pytest.mark.parametrize(
    "picture",
    [
        apic(jpeg()[:-2], b"image/jpeg"),
        apic(png()[:-3]),
        apic(b"<svg onload='alert(1)'/>", b"image/png"),
        apic(b"", b"image/jpeg"),
        apic(b"\xff\xd8\xff" + b"\0" * COVER_BYTES_MAX + b"\xff\xd9", b"image/jpeg"),
        apic(png(100_000, 100_000)),
        apic(b"GIF89a" + b"\0" * 100, b"image/gif"),
    ],
    ids=["cut jpeg", "cut png", "svg", "empty", "too many bytes", "too many pixels", "gif"],
)
def test_a_broken_cover_is_left_out_and_the_rest_is_taken(
    picture: bytes, source: SourceMaker, taken: Callable[[bytes], Source], storage: LocalStorage, tmp_path: Path
) -> None:
    tag = id3(text("TIT2", b"Still here"), picture, chap(0, 1_000, 2_000, b"A chapter"))
    found = taken(tag + source(BARE, DURATION_S).read_bytes())
    assert found.tags == Tags(title="Still here", marks=(Mark(1_000, "A chapter"),))
    assert [Path(name).name for name in media_files(tmp_path / "media")] == [VERSION]


def test_an_evil_title_is_a_harmless_line(source: SourceMaker, taken: Callable[[bytes], Source]) -> None:
    evil = b'\x1b]0;owned\x07 <img src=x>\r\nX: 1\t"\xe2\x80\xae' + b"\xff\xfe" + b"';--" + b"A" * 100_000
    tag = id3(text("TIT2", evil), text("TPE1", b"\xff\xff\xff"))
    found = taken(tag + source(BARE, DURATION_S).read_bytes()).tags
    assert found.title is not None and len(found.title) == TITLE_CHARS_MAX
    assert found.title.isprintable() and found.title.startswith(']0;owned <img src=x> X: 1 "\ufffd')
    assert found.artist is None


@pytest.mark.parametrize(("title", "kept"), [(b"c", MARKS_MAX), (b"t" * 100, 0)], ids=["short titles", "absurd titles"])
def test_of_ten_thousand_chapters_the_first_thousand_are_kept_and_none_of_too_many_bytes(
    title: bytes, kept: int, source: SourceMaker, taken: Callable[[bytes], Source]
) -> None:
    chapters = [chap(number, number, number + 1, title) for number in range(10_000)]
    found = taken(id3(text("TIT2", b"Many"), *chapters) + source(BARE, DURATION_S * 2).read_bytes()).tags
    assert found.title == "Many"
    assert [mark.position_ms for mark in found.marks] == list(range(kept))


def test_chapters_past_the_end_are_dropped(source: SourceMaker, taken: Callable[[bytes], Source]) -> None:
    places = (0, 5_999, 6_000, 600_000, 0xFFFFFFF0)
    chapters = [chap(number, place, place + 1, b"c") for number, place in enumerate(places)]
    found = taken(id3(*chapters) + source(BARE, DURATION_S).read_bytes()).tags
    assert [mark.position_ms for mark in found.marks] == [0, 5_999]


async def test_a_missing_program_costs_the_tags_alone(tmp_path: Path) -> None:
    gone = Programs(ffmpeg="/nowhere/ffmpeg", ffprobe="/nowhere/ffprobe", version="8")
    told = await read_metadata(gone, tmp_path / "none")
    assert (told.title, told.artist, told.cover_track, list(told.chapters)) == (None, None, None, [])

"""An upload is one file and stays one: nothing in it makes ffmpeg open another file, a URL, or an unlisted format."""

from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.media import FIRST_RUNG, Grid
from playhead.transcode import EncodeFailed, Encoder, EncoderSource, Measures, Programs, Refusal, RefusalKind
from playhead.transcode.covers import read_cover
from playhead.transcode.loudness import MeasureFailed, measure_loudness
from playhead.transcode.metadata import read_metadata
from playhead.transcode.probe import measure
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_encoder import Collect
from tests.support.audio import Kind, ffmpeg

SECRET = Kind("secret.wav", "-c:a pcm_s16le", rate=48_000)


def hls(target: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n"


def dash(target: str) -> str:
    representation = f'<Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT5S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period>'
        f'<AdaptationSet mimeType="audio/mp4">{representation}</AdaptationSet></Period></MPD>'
    )


DISGUISES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "hls by path": ("upload.m3u8", lambda secret: hls(str(secret))),
    "hls by url": ("upload.m3u8", lambda secret: hls(f"file://{secret}")),
    "hls called mp3": ("upload.mp3", lambda secret: hls(str(secret))),
    "hls to the network": ("upload.m3u8", lambda _: hls("http://127.0.0.1:9/secret.wav")),
    "ffconcat": ("upload.ffconcat", lambda secret: f"ffconcat version 1.0\nfile '{secret}'\n"),
    "ffconcat called mp3": ("upload.mp3", lambda secret: f"ffconcat version 1.0\nfile '{secret}'\n"),
    "dash": ("upload.mpd", lambda secret: dash(str(secret))),
    "sdp": ("upload.sdp", lambda _: "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n"),
}


@pytest.mark.parametrize("disguise", DISGUISES)
async def test_a_file_that_points_at_another_one_is_refused(
    disguise: str, source: SourceMaker, programs: Programs, encoder: Encoder, tmp_path: Path
) -> None:
    secret = source(SECRET, 5.0)
    name, write = DISGUISES[disguise]
    upload = tmp_path / name
    upload.write_text(write(secret))
    refusal = await measure(programs, upload)
    assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.NOT_AUDIO
    claimed = EncoderSource(path=upload, grid=Grid(source_rate=48_000, source_samples=48_000 * 5), start_s=0.0)
    collect = Collect()
    with pytest.raises(EncodeFailed):
        await encoder.encode(claimed, 0, 1, [FIRST_RUNG], collect)
    assert collect.segments == {}
    with pytest.raises(MeasureFailed):
        await measure_loudness(programs, upload)
    told = await read_metadata(programs, upload)
    assert (told.title, told.cover_track) == (None, None)
    assert await read_cover(programs, upload, 0) is None


async def test_without_our_limits_the_same_files_do_open_the_other_one(source: SourceMaker, tmp_path: Path) -> None:
    """So that the refusals above are known to come from the limits."""
    secret, upload = source(SECRET, 5.0), tmp_path / "upload.ffconcat"
    upload.write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    assert len(ffmpeg("-safe", "0", "-i", str(upload), "-f", "s16le", "pipe:1")) > 400_000


async def test_the_name_of_a_file_is_never_a_protocol(programs: Programs, source: SourceMaker, tmp_path: Path) -> None:
    """`concat:…` is a file's name here, not ffmpeg's way of reading several files."""
    upload = tmp_path / "concat:one|two"
    upload.write_bytes(source(SECRET, 5.0).read_bytes())
    assert isinstance(await measure(programs, upload), Measures)


@pytest.mark.parametrize(
    ("muxer", "encoding"), [("mpegts", "-c:a aac"), ("avi", "-c:a pcm_s16le"), ("nut", "-c:a flac")]
)
async def test_formats_that_are_not_on_the_list_are_not_opened(
    muxer: str, encoding: str, source: SourceMaker, programs: Programs, tmp_path: Path
) -> None:
    upload = tmp_path / "upload.mp3"
    ffmpeg("-i", str(source(SECRET, 5.0)), *encoding.split(), "-f", muxer, str(upload))
    refusal = await measure(programs, upload)
    assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.NOT_AUDIO

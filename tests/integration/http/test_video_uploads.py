"""A film is taken for its sound, under the type that a browser gives it: in one request, in a form and in parts."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import FormData

from tests.integration.http.resuming import BLOCK_BYTES, begun
from tests.integration.http.world import World
from tests.support.audio import Kind, make
from tests.support.odd_files import long_film

SOUND_S = 3.0
FRAME_S = 0.022
"""How much longer a codec may make the sound."""
VIDEO_TYPES = ["video/mp4", "video/webm"]
ENCODINGS = {
    "video/mp4": ("film.mp4", "-c:v libx264 -c:a aac -b:a 64k"),
    "video/webm": ("film.webm", "-c:v libvpx -c:a libopus -b:a 64k"),
}


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Three seconds of sound under ten of pictures, by type."""
    folder = tmp_path_factory.mktemp("films")
    sound = make(folder, Kind("sound.wav", "-c:a pcm_s16le"), SOUND_S)
    return {video_type: _film(sound, folder / name, options) for video_type, (name, options) in ENCODINGS.items()}


def _film(sound: Path, path: Path, options: str) -> bytes:
    long_film(options)(sound, path)
    return path.read_bytes()


@pytest.mark.parametrize("video_type", VIDEO_TYPES)
async def test_a_film_is_taken_in_one_request(world: World, films: Mapping[str, bytes], video_type: str) -> None:
    film = films[video_type]
    anna = world.listener()
    raw = await anna.call("POST", "/scripts?title=A%20film", data=film, headers={"Content-Type": video_type})
    assert (raw.status, raw.json["status"]) == (201, "queued"), raw.body
    assert raw.json["duration"] == pytest.approx(SOUND_S, abs=FRAME_S), "the picture does not count"
    assert (await anna.get(f"/stream/{raw.json['script_id']}")).status == 200
    form = FormData()
    form.add_field("file", BytesIO(film), filename="film", content_type=video_type)
    assert (await anna.call("POST", "/scripts", data=form)).json == raw.json


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("video_type", VIDEO_TYPES)
async def test_a_film_is_taken_in_parts(world: World, films: Mapping[str, bytes], video_type: str) -> None:
    film, statuses = films[video_type], []
    anna = world.listener()
    upload_id = await begun(anna, film)
    for start in range(0, len(film), 4 * BLOCK_BYTES):
        part = film[start : start + 4 * BLOCK_BYTES]
        said = {"Content-Type": video_type, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(film)}"}
        reply = await anna.call("PUT", f"/uploads/{upload_id}", data=part, headers=said)
        statuses.append(reply.status)
    assert len(statuses) > 1 and statuses == [202] * (len(statuses) - 1) + [201], reply.body
    assert reply.json["duration"] == pytest.approx(SOUND_S, abs=FRAME_S)


async def test_pictures_without_a_sound_are_no_audio(world: World, tmp_path: Path) -> None:
    sound = make(tmp_path, Kind("sound.wav", "-c:a pcm_s16le"), 1.0)
    silent = _film(sound, tmp_path / "silent.mp4", "-c:v libx264 -an")
    reply = await world.listener().call("POST", "/scripts", data=silent, headers={"Content-Type": "video/mp4"})
    assert (reply.status, reply.code) == (422, "not_audio")

"""Uploads that could not be measured for a reason of the server's: the file is not refused, and may come again."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from playhead.app.serving import UploadIngest
from playhead.http import Services
from playhead.transcode import Ingest, tries
from playhead.transcode.tries import TRIES_MAX
from tests.integration.http.resuming import another_server, asked, begun, owned, put
from tests.integration.http.uploading import AUDIO, files
from tests.integration.http.world import Reply, World
from tests.support.ended_programs import EndedPrograms


@pytest.fixture
async def short_of_memory(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A server whose first ffprobe is killed as often as it is tried."""
    monkeypatch.setattr(tries, "AGAIN_S", 0.0)
    killed = EndedPrograms(tmp_path / "programs", "ffprobe", "kill -KILL $$", TRIES_MAX)
    ingest = UploadIngest(Ingest(killed.make(), services.storage))
    async with another_server(replace(services, ingest=ingest)) as world:
        yield world


def is_told_to_come_again(reply: Reply) -> bool:
    detail = reply.json["detail"]
    assert "ffprobe" not in detail and "could not be measured now" in detail
    return (reply.status, reply.code, reply.json["retry"], "Retry-After" in reply.headers) == (
        503,
        "unavailable",
        True,
        True,
    )


async def test_a_file_in_one_request_is_sent_again(short_of_memory: World, mp3: bytes, media_folder: Path) -> None:
    anna = short_of_memory.listener()
    assert is_told_to_come_again(await anna.call("POST", "/scripts", data=mp3, headers=AUDIO))
    assert await owned(anna) == [] and files(media_folder) == []
    reply = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
    assert (reply.status, reply.json["status"]) == (201, "queued")


async def test_another_file_for_a_script_leaves_it_as_it_was(short_of_memory: World, mp3: bytes) -> None:
    anna = short_of_memory.listener()
    before = await short_of_memory.script(anna)
    path = f"/scripts?script_id={before.script_id}"
    assert is_told_to_come_again(await anna.call("POST", path, data=mp3, headers=AUDIO))
    assert await short_of_memory.scripts.stored(before.script_id) == before


@pytest.mark.usefixtures("small_blocks")
async def test_a_file_in_parts_stays_and_is_measured_when_it_is_asked_for(short_of_memory: World, mp3: bytes) -> None:
    anna = short_of_memory.listener()
    upload_id = await begun(anna, mp3)
    assert is_told_to_come_again(await put(anna, upload_id, mp3))
    kept = (await anna.get(f"/uploads/{upload_id}")).json
    assert (kept["offset"], kept["status"]) == (len(mp3), "receiving")
    reply = await asked(anna, upload_id, len(mp3))
    assert (reply.status, reply.json["status"]) == (201, "queued")
    assert await owned(anna) == [reply.json["script_id"]]

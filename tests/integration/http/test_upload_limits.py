"""What one listener may hold: places, time, disk and the worker's work."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from playhead.db import Script
from playhead.http import Services, create_app, upload_checks
from playhead.http.decoding import Pace
from playhead.http.intake import LISTENER_UPLOADS_MAX
from playhead.http.upload_checks import UNFINISHED_MAX
from playhead.http.uploads import UPLOADS, Uploads
from playhead.storage import DISK_RESERVE_BYTES
from tests.integration.http.resuming import another_server, begun, put
from tests.integration.http.uploading import AUDIO, DEADLINE_S, Disk, Interrupted, files, form_of
from tests.integration.http.world import UPLOAD_BYTES_MAX, Caller, World, new_id
from tests.support.counted import requests_counted

FORM_HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
ENCODINGS = ["gzip", "deflate", "br", "zstd", "GZIP", "nonsense"]


async def surface(services: Services, pace: Pace | None = None) -> World:
    app = create_app(services)
    if pace is not None:
        app[UPLOADS] = Uploads(services, pace)
    client: TestClient[Any, Any] = TestClient(TestServer(app))
    await client.start_server()
    return World(client=client, services=services)


class TestPlaces:
    async def test_a_listener_has_so_many_uploads_at_once_and_others_are_not_kept_waiting(
        self, world: World, mp3: bytes
    ) -> None:
        anna, boris = world.listener(), world.listener()
        sender = Interrupted(world, anna)
        writers = [await sender.send("audio/mpeg", 1_000, b"x") for _ in range(LISTENER_UPLOADS_MAX)]

        async def status(caller: Caller) -> int:
            return (await caller.call("POST", "/scripts", data=mp3, headers=AUDIO)).status

        async with asyncio.timeout(DEADLINE_S):
            while (reply := await anna.call("POST", "/scripts", data=b"", headers=AUDIO)).status != 503:
                pass
        assert reply.code == "overloaded" and "of yours" in reply.json["detail"]
        assert await status(boris) == 201
        for writer in writers:
            writer.close()
        async with asyncio.timeout(DEADLINE_S):
            while await status(anna) != 201:
                pass

    async def test_who_has_many_unfinished_scripts_waits_and_others_do_not(self, world: World, mp3: bytes) -> None:
        anna, boris = world.listener(), world.listener()
        made: list[Script] = [await world.script(anna) for _ in range(UNFINISHED_MAX)]
        reply = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
        assert (reply.status, reply.code) == (503, "overloaded")
        assert (await boris.call("POST", "/scripts", data=mp3, headers=AUDIO)).status == 201
        await world.fail(made[0].script_id)
        assert (await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)).status == 201

    async def test_who_sent_many_files_that_cannot_be_played_is_told_when_to_go_on(
        self, world: World, mp3: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upload_checks, "UNPLAYABLE_MAX", 2)
        anna = world.listener()
        for _ in range(2):
            failed = await anna.call("POST", "/scripts", data=b"", headers=AUDIO)
            assert (failed.status, failed.code) == (422, "not_audio")
        for reply in (
            await anna.call("POST", "/scripts", data=mp3, headers=AUDIO),
            await anna.post("/uploads", {"size": len(mp3)}),
        ):
            assert (reply.status, reply.code, reply.json["retry"]) == (429, "too_fast", True)
            assert int(reply.headers["Retry-After"]) == pytest.approx(24 * 3_600, abs=60)
            assert "could not be played" in reply.json["detail"]
        why = (await anna.get(f"/scripts/{failed.json['script_id']}")).json
        assert (why["status"], why["error"]) == ("failed", failed.json["detail"])
        assert (await world.listener().call("POST", "/scripts", data=mp3, headers=AUDIO)).status == 201


class TestKept:
    """Bytes that one listener may keep."""

    @pytest.fixture
    async def limited(self, services: Services, mp3: bytes) -> AsyncIterator[World]:
        async with another_server(replace(services, owner_bytes_max=2 * len(mp3))) as world:
            yield world

    async def test_so_much_and_no_more(self, limited: World, mp3: bytes, media_folder: Path) -> None:
        anna, body = limited.listener(), mp3[:-1]
        for number, sent in enumerate((mp3, body)):
            assert (await anna.call("POST", "/scripts", data=sent, headers=AUDIO)).status == 201, number
        kept = files(media_folder)
        for reply in (
            await anna.call("POST", "/scripts", data=mp3[:-2], headers=AUDIO),
            await anna.call("POST", "/scripts", data=form_of(mp3[:-2])),
            await anna.post("/uploads", {"size": 2}),
        ):
            assert (reply.status, reply.code) == (413, "too_large")
            assert str(2 * len(mp3)) in reply.json["detail"]
        assert files(media_folder) == kept
        assert (await anna.post("/uploads", {"size": 1})).status == 201
        assert (await limited.listener().call("POST", "/scripts", data=mp3, headers=AUDIO)).status == 201

    async def test_who_may_publish_may_keep_more(self, limited: World, mp3: bytes) -> None:
        studio = limited.listener(scopes=("scripts:write",))
        for cut in range(1, 4):
            assert (await studio.call("POST", "/scripts", data=mp3[:-cut], headers=AUDIO)).status == 201

    async def test_the_same_file_again_takes_no_more(self, limited: World, mp3: bytes) -> None:
        anna, script_id = limited.listener(), new_id()
        for status in (201, 200):
            reply = await anna.call("POST", f"/scripts?script_id={script_id}", data=mp3, headers=AUDIO)
            assert reply.status == status
            await anna.call("POST", "/scripts", data=mp3[:-1], headers=AUDIO)

    async def test_it_is_asked_again_when_an_upload_in_parts_is_whole(
        self, limited: World, mp3: bytes, small_blocks: None
    ) -> None:
        anna = limited.listener()
        ids = [await begun(anna, mp3[:-cut], script_id=new_id()) for cut in (1, 2, 3)]
        replies = [await put(anna, upload_id, mp3[: -cut - 1]) for cut, upload_id in enumerate(ids)]
        assert [reply.status for reply in replies] == [201, 201, 413]
        assert (await anna.get(f"/uploads/{ids[2]}")).json["status"] == "receiving", "nothing of it is lost"


class TestPace:
    @pytest.mark.parametrize(
        ("content_type", "head"), [("audio/mpeg", b""), ("multipart/form-data; boundary=x", FORM_HEAD)]
    )
    async def test_a_body_that_trickles_is_408_and_leaves_nothing(
        self, services: Services, media_folder: Path, content_type: str, head: bytes
    ) -> None:
        slow = await surface(services, Pace(grace_s=0.3, bytes_per_s=10_000_000))

        def counted() -> float:
            return requests_counted(services.metrics, "POST", "/api/v1/audio/scripts", "408")

        before = counted()
        writer = await Interrupted(slow, slow.listener()).send(content_type, UPLOAD_BYTES_MAX, head + b"x" * 1_500_000)
        async with asyncio.timeout(DEADLINE_S):
            while counted() == before:
                writer.write(b"x")  # so that no single wait is ever long
                await asyncio.sleep(0.02)
        assert files(media_folder) == []
        writer.close()
        await slow.client.close()


class TestDisk:
    @pytest.mark.parametrize(("short_of_bytes", "status"), [(1, 503), (0, 201)])
    async def test_an_upload_that_would_use_up_the_reserve_is_refused_before_it_comes(
        self, services: Services, media_folder: Path, mp3: bytes, short_of_bytes: int, status: int
    ) -> None:
        disk = Disk(media_folder, [DISK_RESERVE_BYTES + len(mp3) - short_of_bytes])
        full = await surface(replace(services, storage=disk))
        reply = await full.listener().call("POST", "/scripts", data=mp3, headers=AUDIO)
        assert reply.status == status
        if status == 503:
            assert reply.code == "overloaded" and "disk" in reply.json["detail"]
            assert files(media_folder) == []
        await full.client.close()

    async def test_a_disk_that_fills_up_meanwhile_ends_the_upload_and_nothing_is_left(
        self, services: Services, media_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upload_checks, "FREE_CHECK_BYTES", 1_000_000)
        full = await surface(replace(services, storage=Disk(media_folder, [10**12, DISK_RESERVE_BYTES - 1])))
        reply = await full.listener().call("POST", "/scripts", data=form_of(bytes(UPLOAD_BYTES_MAX)))
        assert (reply.status, reply.code) == (503, "overloaded")
        assert files(media_folder) == []
        await full.client.close()


@pytest.mark.usefixtures("nothing_is_left")
class TestContentEncoding:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize(
        ("path", "content_type"),
        [
            ("/scripts", "audio/mpeg"),
            ("/scripts", "multipart/form-data; boundary=x"),
            ("/play", "application/json"),
        ],
    )
    async def test_an_encoded_body_is_415_and_no_error_of_ours(
        self, world: World, encoding: str, path: str, content_type: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        headers = {"Content-Type": content_type, "Content-Encoding": encoding}
        with capture_logs() as logs:
            reply = await world.listener().call("POST", path, data=b"not encoded at all", headers=headers)
        assert (reply.status, reply.code, reply.json["retry"]) == (415, "unsupported_media_type", False)
        assert "Content-Encoding" in reply.json["detail"]
        assert logs == [] and caplog.records == []

    async def test_a_body_that_says_it_is_as_it_is_is_taken(self, world: World) -> None:
        headers = {"Content-Type": "application/json", "Content-Encoding": "identity"}
        assert (await world.listener().call("POST", "/play", data=b"{}", headers=headers)).code == "invalid"

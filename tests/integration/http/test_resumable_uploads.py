"""Uploads that come in parts: what breaks off goes on, through whichever server, and ends as a plain upload does."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from playhead.http.resumable import PARTS
from playhead.http.route import API
from playhead.media import media_version
from playhead.runtime.limits import Rate
from playhead.storage import LocalStorage, StorageFailed
from tests.integration.http.resuming import (
    BLOCK_BYTES,
    Sender,
    another_server,
    asked,
    at,
    awaited,
    begun,
    offset,
    owned,
    put,
    silence,
    stored,
)
from tests.integration.http.uploading import AUDIO, BYTES, until
from tests.integration.http.world import Caller, World, new_id
from tests.support.counted import requests_counted

pytestmark = pytest.mark.usefixtures("small_blocks")


class TestWholeWay:
    async def test_parts_become_a_script_as_one_upload_does(self, world: World, mp3: bytes, media_folder: Path) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3, title="In parts")
        for start in range(0, len(mp3), 2 * BLOCK_BYTES):
            end = min(start + 2 * BLOCK_BYTES, len(mp3))
            reply = await put(anna, upload_id, mp3, start, end)
            if end < len(mp3):
                assert (reply.status, reply.json["offset"]) == (202, end)
        assert reply.status == 201, reply.body
        assert (reply.json["title"], reply.json["status"], reply.json["duration"]) == ("In parts", "queued", 3.0)
        row = await world.scripts.stored(reply.json["script_id"])
        assert row is not None and row.source_key is not None
        assert (row.owner_id, row.source_bytes, row.source_samples) == (anna.listener_id, len(mp3), 132_300)
        async with world.services.storage.local_file(row.source_key) as path:
            assert path.read_bytes() == mp3
        assert stored(media_folder) == [row.source_key], "blocks go when the file is whole"

    async def test_what_has_become_of_it_can_be_asked_for_again(self, world: World, mp3: bytes) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        first = await put(anna, upload_id, mp3)
        for again in (await put(anna, upload_id, mp3), await asked(anna, upload_id, len(mp3))):
            assert (again.status, again.json) == (201, first.json)
        state = (await anna.get(f"/uploads/{upload_id}")).json
        assert (state["status"], state["offset"]) == ("finished", len(mp3))
        assert state["script_id"] == first.json["script_id"]
        assert (await anna.get("/uploads")).json["uploads"] == []

    async def test_an_app_s_own_id_and_visibility_are_kept(self, world: World, mp3: bytes) -> None:
        studio, script_id = world.listener(scopes=("scripts:write",)), new_id()
        upload_id = await begun(studio, mp3, script_id=script_id)
        reply = await put(studio, upload_id, mp3)
        assert (reply.json["script_id"], reply.json["visibility"]) == (script_id, "listeners")

    async def test_what_is_no_audio_is_422_as_often_as_it_is_asked(self, world: World, media_folder: Path) -> None:
        anna, body = world.listener(), b"no audio at all, " * 500
        upload_id = await begun(anna, body)
        first = await put(anna, upload_id, body)
        assert (first.status, first.code) == (422, "not_audio")
        again = await asked(anna, upload_id, len(body))
        assert (again.status, again.json) == (422, first.json)
        assert (await anna.get(f"/scripts/{first.json['script_id']}")).json["status"] == "failed"
        assert stored(media_folder) == []


class TestBrokenOff:
    async def test_it_goes_on_with_the_first_block_that_is_missing(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        place = f"{API}/uploads/{{upload_id}}"
        sender = Sender(world, anna, upload_id, mp3)
        await sender.begin(2 * BLOCK_BYTES + 1_000)
        await until(lambda: len(stored(media_folder)) == 3)
        sender.break_off()
        await until(lambda: requests_counted(world.services.metrics, "PUT", place, "408") == 1)
        assert await offset(anna, upload_id) == 2 * BLOCK_BYTES
        assert (await put(anna, upload_id, mp3, 2 * BLOCK_BYTES)).status == 201

    async def test_who_comes_back_need_not_wait_until_its_broken_connection_is_noticed(
        self, world: World, mp3: bytes
    ) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        silent = Sender(world, anna, upload_id, mp3)
        await silent.begin(1_000)
        await until(lambda: awaited(world, upload_id))
        assert (await put(anna, upload_id, mp3)).status == 201
        assert await silent.status() == 409

    async def test_another_server_goes_on(self, world: World, mp3: bytes) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        await put(anna, upload_id, mp3, 0, BLOCK_BYTES)
        async with another_server(world.services) as other:
            assert await offset(at(other, anna), upload_id) == BLOCK_BYTES
            assert (await put(at(other, anna), upload_id, mp3, BLOCK_BYTES)).status == 201

    async def test_of_two_who_send_at_once_through_two_servers_one_wins_and_nothing_is_mixed(
        self, world: World
    ) -> None:
        anna, bodies = world.listener(), (silence(1), silence(2))
        upload_id = await begun(anna, bodies[0])
        async with another_server(world.services) as other:
            senders = [
                Sender(server, anna, upload_id, body) for server, body in zip((world, other), bodies, strict=True)
            ]
            for sender in senders:
                await sender.begin(1_000)
            await until(lambda: awaited(world, upload_id) and awaited(other, upload_id))
            await asyncio.gather(*(sender.send() for sender in senders))
            statuses = [await sender.status() for sender in senders]
        assert sorted(statuses) == [201, 409]
        [script_id] = await owned(anna)
        won = bodies[statuses.index(201)]
        assert (await anna.get(f"/scripts/{script_id}")).json["media_version"] == media_version(
            hashlib.sha256(won).hexdigest()
        )

    async def test_a_server_that_dies_when_the_script_is_made_costs_nothing(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        """It dies between the row and the note of it: the file is joined and taken in once more."""

        class Dying(LocalStorage):
            async def put(self, key: str, body: bytes) -> bool:
                if key.startswith("uploaded/"):
                    raise StorageFailed("the process is gone")
                return await super().put(key, body)

        anna = world.listener()
        upload_id = await begun(anna, mp3)
        async with another_server(replace(world.services, storage=Dying(media_folder))) as dying:
            assert (await put(at(dying, anna), upload_id, mp3)).status == 503
        assert await offset(anna, upload_id) == len(mp3)
        reply = await asked(anna, upload_id, len(mp3))
        assert (reply.status, [reply.json["script_id"]]) == (200, await owned(anna))
        row = await world.scripts.stored(reply.json["script_id"])
        assert row is not None
        assert stored(media_folder) == [row.source_key]

    async def test_two_servers_that_finish_it_at_once_make_one_script(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        await put(anna, upload_id, mp3, 0, 5 * BLOCK_BYTES)
        upload = await world.client.app[PARTS]._uploads.find(anna.listener_id, upload_id)
        assert upload is not None

        async def rest() -> AsyncIterator[bytes]:
            yield mp3[5 * BLOCK_BYTES :]

        await upload.blocks.append(5 * BLOCK_BYTES, rest())
        async with another_server(world.services) as other:
            replies = await asyncio.gather(*(asked(at(server, anna), upload_id, len(mp3)) for server in (world, other)))
        assert {reply.status for reply in replies} <= {200, 201}
        assert {reply.json["script_id"] for reply in replies} == set(await owned(anna))
        row = await world.scripts.stored(replies[0].json["script_id"])
        assert row is not None
        assert stored(media_folder) == [row.source_key]


class TestOffsets:
    async def test_what_is_there_already_is_no_error_and_what_is_elsewhere_is_409_with_the_right_place(
        self, world: World, mp3: bytes
    ) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        await put(anna, upload_id, mp3, 0, 2 * BLOCK_BYTES)
        for start, end in ((0, BLOCK_BYTES), (0, 2 * BLOCK_BYTES), (BLOCK_BYTES, 2 * BLOCK_BYTES)):
            reply = await put(anna, upload_id, mp3, start, end)
            assert (reply.status, reply.json["offset"]) == (202, 2 * BLOCK_BYTES)
        for start, end in ((BLOCK_BYTES, 3 * BLOCK_BYTES), (3 * BLOCK_BYTES, len(mp3)), (0, len(mp3))):
            reply = await put(anna, upload_id, mp3, start, end)
            assert (reply.status, reply.code, reply.json["offset"]) == (409, "wrong_offset", 2 * BLOCK_BYTES)
        assert (await put(anna, upload_id, mp3, 2 * BLOCK_BYTES)).status == 201

    @pytest.mark.parametrize(
        "content_range",
        [
            None,
            "",
            "bytes",
            "bytes 0-4095",
            "bytes 0-4095/*",
            "bytes 0-4095/20000",
            "bytes 4095-0/{size}",
            "bytes 0-4094/{size}",
            "bytes 1-4096/{size}",
            "bytes 0-{size}/{size}",
            "bytes -4095/{size}",
            "bytes 0-8191/{size}",
            "octets 0-4095/{size}",
            "bytes 00-4095/{size}",
            "bytes */{size}",
            "bytes 0-4095/{size}, bytes 0-4095/{size}",
            "bytes 0-" + "9" * 40 + "/{size}",
        ],
    )
    async def test_a_range_that_is_none_of_the_file_s_is_422_and_nothing_comes(
        self, world: World, mp3: bytes, content_range: str | None
    ) -> None:
        """The body has 4,096 bytes."""
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        said = {} if content_range is None else {"Content-Range": content_range.format(size=len(mp3))}
        reply = await anna.call("PUT", f"/uploads/{upload_id}", data=mp3[:BLOCK_BYTES], headers={**AUDIO, **said})
        assert (reply.status, reply.code) == (422, "invalid")
        assert "Content-" in reply.json["detail"]
        assert await offset(anna, upload_id) == 0

    @pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {**BYTES, "Content-Encoding": "gzip"}])
    async def test_a_body_that_is_said_to_be_something_else_is_415(
        self, world: World, mp3: bytes, headers: dict[str, str]
    ) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        said = {**headers, "Content-Range": f"bytes 0-{len(mp3) - 1}/{len(mp3)}"}
        reply = await anna.call("PUT", f"/uploads/{upload_id}", data=mp3, headers=said)
        assert (reply.status, reply.code) == (415, "unsupported_media_type")
        assert await offset(anna, upload_id) == 0


class TestHash:
    async def test_a_file_that_is_there_already_need_not_come_again(self, world: World, mp3: bytes) -> None:
        anna = world.listener()
        first = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
        declared = {"size": len(mp3), "sha256": hashlib.sha256(mp3).hexdigest()}
        known = await anna.post("/uploads", declared)
        assert (known.status, known.json) == (200, first.json)
        assert (await anna.get("/uploads")).json["uploads"] == []
        assert (await world.listener().post("/uploads", declared)).status == 201, "it is another one's"
        assert (await anna.post("/uploads", {**declared, "script_id": new_id()})).status == 201, "another is wanted"

    async def test_another_file_than_was_declared_is_422_and_forgotten(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3, sha256="0" * 64)
        reply = await put(anna, upload_id, mp3)
        assert (reply.status, reply.code) == (422, "invalid")
        assert "sha256" in reply.json["detail"]
        assert (await asked(anna, upload_id, len(mp3))).json == reply.json
        assert (stored(media_folder), await owned(anna)) == ([], [])


async def _restless(servers: list[World], anna: Caller, upload_id: str, body: bytes, random: Random) -> None:
    """A client that sends what it believes to be next, breaks off when it likes, and ends when the file is a script."""
    while True:
        server = random.choice(servers)
        state = await at(server, anna).get(f"/uploads/{upload_id}")
        assert state.status == 200, state.body
        if state.json["status"] == "finished":
            return
        start = state.json["offset"]
        if start == len(body):
            assert (await asked(at(server, anna), upload_id, len(body))).status in (200, 201, 503)
        elif random.random() < 0.4:
            sender = Sender(server, anna, upload_id, body, start)
            await sender.begin(random.randrange(2 * BLOCK_BYTES))
            sender.break_off()
        else:
            end = min(len(body), start + random.randrange(1, 3) * BLOCK_BYTES)
            assert (await put(at(server, anna), upload_id, body, start, end)).status in (200, 201, 202, 409, 503)


@pytest.mark.parametrize("seed", range(3))
async def test_restless_clients_at_several_servers_end_with_one_whole_file(
    world: World, mp3: bytes, media_folder: Path, seed: int
) -> None:
    anna, random = world.listener(), Random(seed)
    services = replace(world.services, rate=Rate(per_s=10_000, burst=10_000))
    async with another_server(services) as one, another_server(services) as other:
        upload_id = await begun(at(one, anna), mp3)
        async with asyncio.timeout(60):
            await asyncio.gather(*(_restless([one, other], anna, upload_id, mp3, random) for _ in range(3)))
        [script_id] = await owned(at(one, anna))
    row = await world.scripts.stored(script_id)
    assert row is not None and row.source_key is not None
    async with world.services.storage.local_file(row.source_key) as path:
        assert path.read_bytes() == mp3
    assert stored(media_folder) == [row.source_key]

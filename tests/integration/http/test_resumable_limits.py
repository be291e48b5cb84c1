"""Uploads that come in parts: whose they are, how large, how many, and for how long."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from playhead.http import Services, resumable
from playhead.http.resumable import PARTS
from playhead.media import uploads_prefix
from playhead.storage import DISK_RESERVE_BYTES, UNFINISHED_KEPT_S
from tests.integration.http.resuming import BLOCK_BYTES, Sender, another_server, asked, awaited, begun, owned, put
from tests.integration.http.uploading import AUDIO, Disk, files, until
from tests.integration.http.world import UPLOAD_BYTES_MAX, Caller, World, new_id, token

pytestmark = pytest.mark.usefixtures("small_blocks")


class TestOwners:
    async def test_another_listener_s_upload_is_not_there(self, world: World, mp3: bytes) -> None:
        anna, boris = world.listener(), world.listener()
        upload_id = await begun(anna, mp3)
        nobodys = new_id()
        for asked_for in (upload_id, nobodys):
            replies = [
                await boris.get(f"/uploads/{asked_for}"),
                await boris.delete(f"/uploads/{asked_for}"),
                await put(boris, asked_for, mp3),
                await asked(boris, asked_for, len(mp3)),
            ]
            assert [(reply.status, reply.code) for reply in replies] == [(404, "not_found")] * 4
        assert (await boris.get("/uploads")).json["uploads"] == []
        assert [row["upload_id"] for row in (await anna.get("/uploads")).json["uploads"]] == [upload_id]
        assert (await put(anna, upload_id, mp3)).status == 201
        assert (await boris.get(f"/uploads/{upload_id}")).status == 404

    async def test_nobody_else_ends_who_sends_it(self, world: World, mp3: bytes) -> None:
        anna, boris = world.listener(), world.listener()
        upload_id = await begun(anna, mp3)
        sender = Sender(world, anna, upload_id, mp3)
        await sender.begin(1_000)
        await until(lambda: awaited(world, upload_id))
        for reply in (await boris.delete(f"/uploads/{upload_id}"), await put(boris, upload_id, mp3)):
            assert (reply.status, reply.code) == (404, "not_found")
        assert awaited(world, upload_id)
        await sender.send()
        assert await sender.status() == 201

    async def test_an_id_of_another_owner_is_409_at_once(self, world: World, mp3: bytes) -> None:
        anna, boris = world.listener(), world.listener()
        script_id = (await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)).json["script_id"]
        reply = await boris.post("/uploads", {"size": len(mp3), "script_id": script_id})
        assert (reply.status, reply.code) == (409, "script_exists")

    async def test_publishing_without_the_scope_is_403(self, world: World) -> None:
        reply = await world.listener().post("/uploads", {"size": 10, "visibility": "listeners"})
        assert (reply.status, reply.code) == (403, "forbidden")

    @pytest.mark.parametrize("arrived", [0, BLOCK_BYTES, None])
    async def test_who_may_publish_no_longer_ends_no_upload_for_every_listener(
        self, world: World, mp3: bytes, media_folder: Path, arrived: int | None
    ) -> None:
        """`arrived`: with the right; None: all of it, but that no script was made of it."""
        studio = world.listener()
        allowed = replace(studio, token=token(studio.listener_id, scopes=("scripts:write",)))
        upload_id = await begun(allowed, mp3)
        if arrived is None:
            await _all_but_taken_in(world, allowed, upload_id, mp3)
        elif arrived:
            await put(allowed, upload_id, mp3, 0, arrived)
        kept = files(media_folder)
        for reply in (
            await put(studio, upload_id, mp3, arrived or 0),
            await put(studio, upload_id, mp3),
            await asked(studio, upload_id, len(mp3)),
        ):
            assert (reply.status, reply.code) == (403, "forbidden")
        assert (files(media_folder), await owned(studio)) == (kept, [])
        done = await (asked(allowed, upload_id, len(mp3)) if arrived is None else put(allowed, upload_id, mp3, arrived))
        assert (done.status, done.json["visibility"]) == (201, "listeners")

    async def test_a_private_upload_goes_on_without_the_right(self, world: World, mp3: bytes) -> None:
        anna = world.listener()
        allowed = replace(anna, token=token(anna.listener_id, scopes=("scripts:write",)))
        upload_id = await begun(allowed, mp3, visibility="private")
        assert (await put(anna, upload_id, mp3)).status == 201


async def _all_but_taken_in(world: World, caller: Caller, upload_id: str, body: bytes) -> None:
    """Sends the whole file to a server whose process is gone as soon as the last byte is there."""
    upload = await world.client.app[PARTS]._uploads.find(caller.listener_id, upload_id)
    assert upload is not None

    async def all_of_it() -> AsyncIterator[bytes]:
        yield body

    await upload.blocks.append(0, all_of_it())


class TestLimits:
    @pytest.mark.parametrize(("size", "status"), [(UPLOAD_BYTES_MAX, 201), (UPLOAD_BYTES_MAX + 1, 413), (0, 422)])
    async def test_a_file_may_be_so_large(self, world: World, size: int, status: int) -> None:
        assert (await world.listener().post("/uploads", {"size": size})).status == status

    @pytest.mark.parametrize(("short_of_bytes", "status"), [(1, 503), (0, 201)])
    async def test_there_must_be_room_for_two_copies_beside_the_reserve(
        self, services: Services, media_folder: Path, short_of_bytes: int, status: int
    ) -> None:
        disk = Disk(media_folder, [DISK_RESERVE_BYTES + 2 * 1_000 - short_of_bytes])
        async with another_server(replace(services, storage=disk)) as full:
            reply = await full.listener().post("/uploads", {"size": 1_000})
        assert reply.status == status
        assert len(files(media_folder)) == (status == 201)

    async def test_so_many_may_be_open_and_one_that_is_given_up_makes_room(
        self, world: World, media_folder: Path
    ) -> None:
        anna = world.listener()
        ids = [await begun(anna, b"x" * 10) for _ in range(resumable.OPEN_MAX)]
        kept = files(media_folder)
        reply = await anna.post("/uploads", {"size": 10})
        assert (reply.status, reply.code) == (503, "overloaded")
        assert files(media_folder) == kept
        await begun(world.listener(), b"x")
        assert (await anna.delete(f"/uploads/{ids[0]}")).status == 204
        assert (await anna.delete(f"/uploads/{ids[0]}")).status == 404
        await begun(anna, b"x")

    async def test_together_they_may_be_as_large_as_one_file(self, world: World) -> None:
        anna = world.listener()
        assert (await anna.post("/uploads", {"size": UPLOAD_BYTES_MAX - 10})).status == 201
        assert (await anna.post("/uploads", {"size": 11})).code == "overloaded"
        assert (await anna.post("/uploads", {"size": 10})).status == 201

    async def test_many_that_begin_at_once_are_not_too_many(self, world: World) -> None:
        anna = world.listener()
        await asyncio.gather(*(anna.post("/uploads", {"size": 10}) for _ in range(3 * resumable.OPEN_MAX)))
        assert len((await anna.get("/uploads")).json["uploads"]) <= resumable.OPEN_MAX

    async def test_parts_take_the_places_of_uploads(self, world: World, mp3: bytes) -> None:
        anna = world.listener()
        ids = [await begun(anna, mp3) for _ in range(3)]
        senders = [Sender(world, anna, upload_id, mp3) for upload_id in ids[:2]]
        for sender in senders:
            await sender.begin(100)
        await until(lambda: all(awaited(world, upload_id) for upload_id in ids[:2]))
        reply = await put(anna, ids[2], mp3)
        assert (reply.status, reply.code) == (503, "overloaded")
        for sender in senders:
            sender.break_off()

    async def test_one_that_is_given_up_while_it_is_sent_leaves_nothing(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        sender = Sender(world, anna, upload_id, mp3)
        await sender.begin(BLOCK_BYTES + 100)
        await until(lambda: [name for name in files(media_folder) if name.endswith("blocks/000000")])
        assert (await anna.delete(f"/uploads/{upload_id}")).status == 204
        assert await sender.status() == 409
        assert files(media_folder) == []

    async def test_after_a_day_without_a_part_it_is_not_there_any_more(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        await put(anna, upload_id, mp3, 0, BLOCK_BYTES)
        now_s = world.services.clock.now_ms() / 1_000

        async def after(age_s: float) -> int:
            for path in (media_folder / uploads_prefix(anna.listener_id)).rglob("*"):
                if path.is_file():
                    os.utime(path, (now_s - age_s, now_s - age_s))
            return (await anna.get(f"/uploads/{upload_id}")).status

        assert await after(UNFINISHED_KEPT_S - 60) == 200
        assert await after(UNFINISHED_KEPT_S + 1) == 404
        assert (await put(anna, upload_id, mp3, BLOCK_BYTES)).status == 404

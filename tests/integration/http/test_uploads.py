"""Uploads: a file becomes a script, or nothing of it is left."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from playhead.db import Database
from playhead.transcode import PrepareQueue
from tests.integration.http.uploading import AUDIO, BYTES, files, form_of
from tests.integration.http.world import UPLOAD_BYTES_MAX, World, new_id


async def _jobs(database: Database) -> list[str]:
    queue = PrepareQueue(database.jobs())
    taken = []
    while (job := await queue.take()) is not None:
        taken.append(job.script_id)
        await queue.done(job)
    return taken


class TestAccepted:
    async def test_a_raw_body_becomes_a_queued_script_of_exact_length_with_a_job(
        self, world: World, mp3: bytes, database: Database, media_folder: Path
    ) -> None:
        anna = world.listener()
        reply = await anna.call("POST", "/scripts?title=A%20sound", data=mp3, headers=AUDIO)
        assert reply.status == 201, reply.body
        assert (reply.json["title"], reply.json["status"], reply.json["visibility"]) == ("A sound", "queued", "private")
        assert reply.json["duration"] == 3.0
        row = await world.scripts.stored(reply.json["script_id"])
        assert row is not None
        assert (row.owner_id, row.source_bytes, row.source_samples) == (anna.listener_id, len(mp3), 132_300)
        assert row.source_key is not None
        async with world.services.storage.local_file(row.source_key) as path:
            assert path.read_bytes() == mp3
        assert files(media_folder) == [row.source_key]
        assert row.script_id in await _jobs(database)
        assert (await anna.get(f"/stream/{row.script_id}")).status == 200

    async def test_a_form_names_the_script_and_its_file_names_what_is_not_named(self, world: World, mp3: bytes) -> None:
        named = await world.listener().call("POST", "/scripts", data=form_of(mp3, title="In the form"))
        unnamed = await world.listener().call("POST", "/scripts", data=form_of(mp3, filename="My sound.v2.mp3"))
        bare = await world.listener().call("POST", "/scripts", data=mp3, headers=BYTES)
        assert [reply.json["title"] for reply in (named, unnamed, bare)] == ["In the form", "My sound.v2", "Untitled"]

    @pytest.mark.parametrize(
        ("filename", "title"),
        [
            (b'filename="caf\xe9.mp3"', "caf\ufffd"),
            (b'filename="\x83\xe9.mp3"', "Untitled"),
            (b"filename*=utf-7''half%2B2AA-.mp3", "half\ufffd"),
            (b"filename*=ISO-8859-1''caf%E9.mp3", "caf\xe9"),
        ],
    )
    async def test_a_file_s_name_that_is_not_utf_8_is_shown_as_far_as_it_is(
        self, world: World, mp3: bytes, filename: bytes, title: str
    ) -> None:
        body = b'--x\r\nContent-Disposition: form-data; name="file"; ' + filename + b"\r\n\r\n" + mp3 + b"\r\n--x--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        reply = await world.listener().call("POST", "/scripts", data=body, headers=headers)
        assert (reply.status, reply.json["title"]) == (201, title)

    async def test_fields_may_follow_the_file_in_aform_of(self, world: World, mp3: bytes) -> None:
        form = form_of(mp3)
        form.add_field("title", "Said last")
        reply = await world.listener().call("POST", "/scripts", data=form)
        assert (reply.status, reply.json["title"]) == (201, "Said last")

    async def test_a_body_sent_without_its_length_is_taken(self, world: World, mp3: bytes) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(mp3), 1_000):
                yield mp3[at : at + 1_000]

        reply = await world.listener().call("POST", "/scripts", data=pieces(), headers=AUDIO)
        assert (reply.status, reply.json["duration"]) == (201, 3.0)

    async def test_an_app_s_own_id_is_kept_and_the_same_file_again_changes_nothing(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        anna, script_id = world.listener(), new_id()
        first = await anna.call("POST", f"/scripts?script_id={script_id}&title=One", data=mp3, headers=AUDIO)
        kept = files(media_folder)
        again = await anna.call("POST", f"/scripts?script_id={script_id}&title=Two", data=mp3, headers=AUDIO)
        assert (first.status, again.status) == (201, 200)
        assert first.json["script_id"] == script_id
        assert again.json == first.json
        assert files(media_folder) == kept

    async def test_an_upload_that_failed_is_replaced_by_a_good_one_under_the_same_id(
        self, world: World, mp3: bytes
    ) -> None:
        anna, script_id = world.listener(), new_id()
        path = f"/scripts?script_id={script_id}"
        assert (await anna.call("POST", path, data=b"no audio", headers=AUDIO)).code == "not_audio"
        good = await anna.call("POST", path, data=mp3, headers=AUDIO)
        assert (good.status, good.json["status"], good.json["error"]) == (201, "queued", None)

    async def test_the_same_file_again_after_it_failed_leaves_one_copy(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        anna = world.listener()
        made = (await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)).json
        await world.fail(made["script_id"])
        again = await anna.call("POST", f"/scripts?script_id={made['script_id']}", data=mp3, headers=AUDIO)
        row = await world.scripts.stored(made["script_id"])
        assert row is not None and again.status == 201
        assert files(media_folder) == [row.source_key]

    async def test_with_the_scope_uploads_are_for_every_listener_unless_they_say_otherwise(
        self, world: World, mp3: bytes
    ) -> None:
        studio = world.listener(scopes=("scripts:write",))
        default = await studio.call("POST", "/scripts", data=mp3, headers=AUDIO)
        private = await studio.call("POST", "/scripts", data=form_of(mp3, visibility="private"))
        assert [reply.json["visibility"] for reply in (default, private)] == ["listeners", "private"]
        assert (await world.listener().get(f"/scripts/{default.json['script_id']}")).status == 200


@pytest.mark.usefixtures("nothing_is_left")
class TestRefused:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [(b"", "empty"), (b"no audio at all, " * 500, ""), (b"ID3" + b"\0" * 2_000, ""), (b"RIFF", "")],
    )
    async def test_what_is_no_audio_is_422_and_leaves_a_failed_script_with_the_reason(
        self, world: World, body: bytes, reason: str, database: Database
    ) -> None:
        anna = world.listener()
        reply = await anna.call("POST", "/scripts?title=Noise", data=body, headers=AUDIO)
        assert (reply.status, reply.code) == (422, "not_audio")
        assert reason in reply.json["detail"]
        script = (await anna.get(f"/scripts/{reply.json['script_id']}")).json
        assert (script["status"], script["error"], script["title"]) == ("failed", reply.json["detail"], "Noise")
        assert reply.json["script_id"] not in await _jobs(database)

    async def test_an_empty_file_in_a_form_is_422(self, world: World) -> None:
        reply = await world.listener().call("POST", "/scripts", data=form_of(b""))
        assert (reply.status, reply.code) == (422, "not_audio")

    async def test_a_file_that_was_cut_off_is_422(self, world: World, mp3: bytes) -> None:
        reply = await world.listener().call("POST", "/scripts", data=mp3[: len(mp3) // 2], headers=AUDIO)
        assert (reply.status, reply.code) == (422, "not_audio")

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/json", "image/png", "multipart/mixed; boundary=x"]
    )
    async def test_a_body_that_is_said_to_be_something_else_is_415(self, world: World, content_type: str) -> None:
        reply = await world.listener().call("POST", "/scripts", data=b"x", headers={"Content-Type": content_type})
        assert (reply.status, reply.code) == (415, "unsupported_media_type")

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("title=", "title"),
            ("title=" + "x" * 301, "title"),
            ("script_id=mine", "script_id"),
            ("visibility=everybody", "visibility"),
            ("owner=me", "owner"),
        ],
    )
    async def test_wrong_fields_are_422(self, world: World, mp3: bytes, query: str, field: str) -> None:
        reply = await world.listener().call("POST", f"/scripts?{query}", data=mp3, headers=AUDIO)
        assert (reply.status, reply.code) == (422, "invalid")
        assert [row["field"] for row in reply.json["errors"]] == [field]

    async def test_wrong_fields_of_a_form_are_422_before_and_after_the_file(self, world: World, mp3: bytes) -> None:
        before = await world.listener().call("POST", "/scripts", data=form_of(mp3, visibility="everybody"))
        form = form_of(mp3)
        form.add_field("visibility", "everybody")
        after = await world.listener().call("POST", "/scripts", data=form)
        assert [(reply.status, reply.code) for reply in (before, after)] == [(422, "invalid")] * 2

    async def test_publishing_without_the_scope_is_403(self, world: World, mp3: bytes) -> None:
        raw = await world.listener().call("POST", "/scripts?visibility=listeners", data=mp3, headers=AUDIO)
        form = form_of(mp3)
        form.add_field("visibility", "listeners")
        late = await world.listener().call("POST", "/scripts", data=form)
        assert [(reply.status, reply.code) for reply in (raw, late)] == [(403, "forbidden")] * 2

    @pytest.mark.parametrize("how", ["raw", "form"])
    @pytest.mark.parametrize("announced", [True, False])
    async def test_a_file_one_byte_past_the_limit_is_413(self, world: World, how: str, announced: bool) -> None:
        body = bytes(UPLOAD_BYTES_MAX + 1)

        async def pieces() -> AsyncIterator[bytes]:
            yield body[:-1]
            yield body[-1:]

        data: Any = BytesIO(body) if announced else pieces()
        options: dict[str, Any] = {"data": data, "headers": BYTES}
        if how != "raw":
            options = {"data": form_of(body)}
        reply = await world.listener().call("POST", "/scripts", **options)
        assert (reply.status, reply.code) == (413, "too_large")

    async def test_a_file_at_the_limit_is_read_to_its_end(self, world: World) -> None:
        for options in (
            {"data": BytesIO(bytes(UPLOAD_BYTES_MAX)), "headers": BYTES},
            {"data": form_of(bytes(UPLOAD_BYTES_MAX))},
        ):
            reply = await world.listener().call("POST", "/scripts", **options)
            assert (reply.status, reply.code) == (422, "not_audio")


class TestIds:
    async def test_another_owner_s_id_is_409_and_their_source_stays(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        """Also with the very same file, and for an upload of theirs that failed."""
        anna, boris = world.listener(), world.listener()
        first = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
        script_id, kept = first.json["script_id"], files(media_folder)
        for status in ("queued", "failed"):
            for body in (mp3, b"no audio"):
                reply = await boris.call("POST", f"/scripts?script_id={script_id}", data=body, headers=AUDIO)
                assert (reply.status, reply.code) == (409, "script_exists"), status
            if status == "queued":
                await world.fail(script_id)
        assert files(media_folder) == kept
        assert (await anna.get(f"/scripts/{script_id}")).json["error"] == "It went wrong."

    async def test_another_owner_s_id_is_refused_before_the_file_has_come(self, world: World, mp3: bytes) -> None:
        anna, boris = world.listener(), world.listener()
        script_id = (await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)).json["script_id"]
        may_end = asyncio.Event()

        async def never_ending() -> AsyncIterator[bytes]:
            yield mp3[:1_000]
            await may_end.wait()

        path = f"/scripts?script_id={script_id}"
        reply = await boris.call("POST", path, data=never_ending(), headers=AUDIO)
        assert (reply.status, reply.code) == (409, "script_exists")
        may_end.set()

    async def test_a_form_names_its_script_before_the_file(self, world: World, mp3: bytes, media_folder: Path) -> None:
        anna, script_id = world.listener(), new_id()
        good = await anna.call("POST", "/scripts", data=form_of(mp3, script_id=script_id))
        assert (good.status, good.json["script_id"]) == (201, script_id)
        kept = files(media_folder)
        form = form_of(mp3)
        form.add_field("script_id", new_id())
        late = await anna.call("POST", "/scripts", data=form)
        assert (late.status, late.code) == (422, "invalid")
        assert files(media_folder) == kept

    async def test_two_uploads_under_one_new_id_at_once_make_one_script(
        self, world: World, mp3: bytes, media_folder: Path
    ) -> None:
        anna, boris, script_id = world.listener(), world.listener(), new_id()
        replies = await asyncio.gather(
            *(
                caller.call("POST", f"/scripts?script_id={script_id}", data=mp3, headers=AUDIO)
                for caller in (anna, boris)
            )
        )
        assert sorted(reply.status for reply in replies) == [201, 409]
        row = await world.scripts.stored(script_id)
        assert row is not None
        assert files(media_folder) == [row.source_key]

"""What a script's file says of itself, over REST: title, artist, chapters, cover; and how loud it is."""

from pathlib import Path

import pytest

from playhead.db import Database, LoudnessRepository, Mark, Tags
from playhead.media import Loudness
from tests.integration.http.uploading import AUDIO, files, form_of
from tests.integration.http.world import Caller, World, new_id
from tests.support.tags import apic, chap, id3, png, text

MARKS = (Mark(0, None), Mark(61_500, "The turn"))


@pytest.fixture
def tagged(mp3: bytes) -> bytes:
    """Three seconds that say what they are."""
    frames = (text("TIT2", b"The Book"), text("TPE1", b"Ann"), apic(png()), chap(0, 1_500, 3_000, b"The turn"))
    return id3(*frames) + mp3


async def test_an_upload_says_what_its_file_says(world: World, tagged: bytes) -> None:
    anna = world.listener()
    made = (await anna.call("POST", "/scripts", data=tagged, headers=AUDIO)).json
    assert (made["title"], made["artist"], made["has_cover"], made["loudness"]) == ("The Book", "Ann", True, None)
    script = (await anna.get(f"/scripts/{made['script_id']}")).json
    assert script == {**made, "marks": [{"position": 1.5, "title": "The turn"}]}
    assert (await anna.get("/scripts")).json["scripts"][0] == made, "chapters are not listed"
    assert (await anna.get(f"/scripts/{made['script_id']}/cover")).body == png()


async def test_a_title_that_is_given_goes_before_the_file_s_and_that_before_its_name(
    world: World, tagged: bytes, mp3: bytes
) -> None:
    anna, boris = world.listener(), world.listener()
    given = await anna.call("POST", "/scripts", data=form_of(tagged, title="Mine", filename="name.mp3"))
    said = await boris.call("POST", "/scripts", data=form_of(tagged, filename="name.mp3"))
    named = await anna.call("POST", "/scripts", data=form_of(mp3, filename="name.mp3"))
    assert [reply.json["title"] for reply in (given, said, named)] == ["Mine", "The Book", "name"]


async def test_an_upload_in_parts_is_called_what_its_file_says_too(world: World, tagged: bytes) -> None:
    anna = world.listener()
    begun = (await anna.post("/uploads", {"size": len(tagged)})).json
    headers = {**AUDIO, "Content-Range": f"bytes 0-{len(tagged) - 1}/{len(tagged)}"}
    made = await anna.call("PUT", f"/uploads/{begun['upload_id']}", data=tagged, headers=headers)
    assert (made.status, made.json["title"], made.json["has_cover"]) == (201, "The Book", True)


async def test_the_same_file_again_leaves_one_cover_and_another_file_has_what_it_says_itself(
    world: World, tagged: bytes, mp3: bytes, media_folder: Path
) -> None:
    anna, script_id = world.listener(), new_id()
    path = f"/scripts?script_id={script_id}"
    await anna.call("POST", path, data=tagged, headers=AUDIO)
    kept = files(media_folder)
    assert [Path(name).suffix for name in kept] == ["", ".png"]
    assert (await anna.call("POST", path, data=tagged, headers=AUDIO)).status == 200
    assert files(media_folder) == kept
    other = await anna.call("POST", path, data=mp3, headers=AUDIO)
    assert (other.status, other.json["title"]) == (201, "The Book"), "what the new file does not say stays"
    details = (await anna.get(f"/scripts/{script_id}")).json
    assert (details["has_cover"], details["artist"], details["marks"]) == (False, None, [])
    back = await anna.call("POST", path, data=tagged + b"\0", headers=AUDIO)
    details = (await anna.get(f"/scripts/{script_id}")).json
    assert (back.status, details["has_cover"], bool(details["marks"])) == (201, True, True)


class TestCover:
    async def test_a_cover_is_a_picture_and_nothing_else(self, world: World) -> None:
        anna = world.listener()
        made = await world.script(anna, cover=png())
        reply = await anna.get(f"/scripts/{made.script_id}/cover")
        assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, png(), "image/png")
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert reply.headers["Cache-Control"] == "private, no-cache"

    async def test_a_copy_at_hand_is_not_sent_again(self, world: World) -> None:
        anna = world.listener()
        made = await world.script(anna, cover=png())
        path = f"/scripts/{made.script_id}/cover"
        etag = (await anna.get(path)).headers["ETag"]
        again = await anna.get(path, headers={"If-None-Match": etag})
        assert (again.status, again.body) == (304, b"")
        assert (await anna.get(path, headers={"If-None-Match": '"another"'})).status == 200
        head = await anna.call("HEAD", path)
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(png())))

    async def test_who_may_not_hear_the_script_does_not_see_its_cover_even_with_its_tag(self, world: World) -> None:
        anna, boris = world.listener(), world.listener()
        private = await world.script(anna, cover=png())
        shared = await world.script(anna, cover=png(), visibility="listeners")
        etag = (await anna.get(f"/scripts/{private.script_id}/cover")).headers["ETag"]
        reply = await boris.get(f"/scripts/{private.script_id}/cover", headers={"If-None-Match": etag})
        assert reply.code == "not_found"
        assert (await boris.get(f"/scripts/{shared.script_id}/cover")).status == 200

    async def test_a_script_without_a_cover_or_whose_cover_is_gone_has_none(self, world: World) -> None:
        anna = world.listener()
        bare, lost = await world.script(anna), await world.script(anna, cover=png())
        assert lost.cover_key is not None
        await world.services.storage.delete_prefix(lost.cover_key)
        for script in (bare, lost):
            assert (await anna.get(f"/scripts/{script.script_id}/cover")).code == "not_found"


async def test_chapters_are_those_of_the_script_for_everybody_who_may_hear_it(world: World) -> None:
    anna, boris = world.listener(), world.listener()
    made = await world.script(anna, visibility="listeners", tags=Tags(artist="Ann", marks=MARKS))
    for caller in (anna, boris):
        script = (await caller.get(f"/scripts/{made.script_id}")).json
        assert script["artist"] == "Ann"
        assert script["marks"] == [{"position": 0.0, "title": None}, {"position": 61.5, "title": "The turn"}]


async def test_loudness_is_told_as_soon_as_it_is_measured_though_the_stream_is_cached(
    world: World, database: Database
) -> None:
    anna, rows = world.listener(), LoudnessRepository(database)
    made = await world.script(anna, ready=True)

    async def told(caller: Caller) -> list[object]:
        stream = (await caller.get(f"/stream/{made.script_id}")).json
        return [stream["loudness"], (await caller.get(f"/scripts/{made.script_id}")).json["loudness"]]

    assert await told(anna) == [None, None]
    taken = await rows.take(60.0)
    assert taken is not None and taken.script_id == made.script_id
    assert await rows.measured(taken, Loudness(integrated_lufs=-23.5, true_peak_dbtp=-4.0))
    loudness = {"integrated_lufs": -23.5, "true_peak_dbtp": -4.0, "gain_db": 2.5}
    assert await told(anna) == [loudness, loudness]
    assert (await anna.get(f"/stream/{made.script_id}")).json["cached"]

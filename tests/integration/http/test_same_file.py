"""The same file again: its owner gets the script that it has become, and nothing is stored twice."""

from pathlib import Path

from tests.integration.http.uploading import AUDIO, files, form_of
from tests.integration.http.world import World, new_id


async def test_the_same_file_again_is_the_script_that_stands(world: World, mp3: bytes, media_folder: Path) -> None:
    anna = world.listener()
    first = await anna.call("POST", "/scripts?title=One", data=mp3, headers=AUDIO)
    kept = files(media_folder)
    raw = await anna.call("POST", "/scripts?title=Two", data=mp3, headers=AUDIO)
    form = await anna.call("POST", "/scripts", data=form_of(mp3, title="Three"))
    assert (first.status, raw.status, form.status) == (201, 200, 200)
    assert raw.json == form.json == first.json
    assert files(media_folder) == kept
    assert len([row for row in (await anna.get("/scripts")).json["scripts"] if row["owned"]]) == 1


async def test_another_owner_another_id_and_other_listeners_make_another_script(world: World, mp3: bytes) -> None:
    studio, boris = world.listener(scopes=("scripts:write",)), world.listener()
    replies = [
        await studio.call("POST", "/scripts", data=mp3, headers=AUDIO),
        await boris.call("POST", "/scripts", data=mp3, headers=AUDIO),
        await studio.call("POST", f"/scripts?script_id={new_id()}", data=mp3, headers=AUDIO),
        await studio.call("POST", "/scripts?visibility=private", data=mp3, headers=AUDIO),
    ]
    assert [reply.status for reply in replies] == [201] * 4
    assert len({reply.json["script_id"] for reply in replies}) == 4


async def test_a_script_that_failed_is_no_reason_not_to_try_again(world: World, mp3: bytes) -> None:
    anna = world.listener()
    first = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
    await world.fail(first.json["script_id"])
    again = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
    assert again.status == 201
    assert again.json["script_id"] != first.json["script_id"]

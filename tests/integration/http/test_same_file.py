"""The same file again: its owner gets the script that it has become, and nothing is stored twice."""

import asyncio
from dataclasses import replace
from pathlib import Path

from playhead.db import Source
from playhead.http import Services, Unplayable
from tests.integration.http.resuming import another_server, asked, at, begun, owned, put, stored
from tests.integration.http.uploading import AUDIO, files, form_of
from tests.integration.http.world import Reply, World, new_id
from tests.support.tags import id3, text

AT_ONCE, ROUNDS = 4, 10
DEADLINE_S = 30.0


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


class MeasuredTogether:
    """Measures only when so many files are there to be measured: each upload has found no script then."""

    def __init__(self, services: Services) -> None:
        self._ingest = services.ingest
        self._all_there = asyncio.Barrier(AT_ONCE)

    async def __call__(self, source_key: str, source_bytes: int, media_version: str) -> Source | Unplayable:
        async with asyncio.timeout(DEADLINE_S):
            await self._all_there.wait()
        return await self._ingest(source_key, source_bytes, media_version)


async def test_the_same_file_at_the_same_moment_through_two_servers_is_one_script(
    world: World, mp3: bytes, media_folder: Path
) -> None:
    services = replace(world.services, ingest=MeasuredTogether(world.services))
    async with another_server(services) as first, another_server(services) as second:
        for number in range(ROUNDS):
            anna, file = world.listener(), id3(text("TIT2", b"%d" % number)) + mp3
            upload_id = await begun(anna, file)
            replies = await asyncio.gather(
                at(first, anna).call("POST", "/scripts?title=One", data=file, headers=AUDIO),
                at(first, anna).call("POST", "/scripts", data=form_of(file, title="Two")),
                at(second, anna).call("POST", "/scripts", data=file, headers=AUDIO),
                put(at(second, anna), upload_id, file),
            )
            assert sorted(reply.status for reply in replies) == [200] * (AT_ONCE - 1) + [201]
            assert len({reply.body for reply in replies}) == 1, "what a second upload is answered at any time"
            assert await owned(anna) == [replies[0].json["script_id"]]
            assert (await asked(anna, upload_id, len(file))).json["script_id"] == replies[0].json["script_id"]
            await _nothing_else_is_stored(world, replies[0], media_folder, number + 1)


async def _nothing_else_is_stored(world: World, reply: Reply, media_folder: Path, sources: int) -> None:
    row = await world.scripts.stored(reply.json["script_id"])
    assert row is not None
    assert row.source_key in stored(media_folder) and len(stored(media_folder)) == sources

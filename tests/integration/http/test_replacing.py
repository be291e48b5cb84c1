"""Another file under the script of one's own: who may, which wins, and what those hear who began with the former."""

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from yarl import URL

from playhead.auth.media_paths import MediaSigner
from playhead.db import Script, Visibility
from playhead.db.limits import FORMER_VERSIONS_MAX
from playhead.media import Grid, media_playlist, media_version, segment_key
from tests.integration.http.resuming import another_server, asked, at, begun, put
from tests.integration.http.uploading import AUDIO
from tests.integration.http.world import Caller, Reply, World, read, source_of, token

TWENTY_S = Grid(source_rate=48_000, source_samples=48_000 * 20)
"""What the former file has; that of `mp3` has three seconds."""


@pytest.fixture
def anna(world: World) -> Caller:
    return world.listener()


@pytest.fixture
async def script(world: World, anna: Caller) -> Script:
    """Ready, with one segment stored."""
    made = await world.script(anna, grid=TWENTY_S, ready=True)
    await world.services.storage.put(segment_key(made.script_id, made.media_version, "low", 0), b"the former sound")
    return made


async def send(caller: Caller, script: Script, body: bytes, **fields: str) -> Reply:
    query = "".join(f"&{name}={value}" for name, value in fields.items())
    return await caller.call("POST", f"/scripts?script_id={script.script_id}{query}", data=body, headers=AUDIO)


async def fetch(world: World, path: str) -> Reply:
    url = world.client.make_url("/").with_path(path, encoded=True)
    async with world.client.session.get(URL(str(url), encoded=True)) as response:
        return await read(response)


async def below(world: World, stream_url: str, name: str) -> Reply:
    """What lies beside the multivariant playlist."""
    return await fetch(world, urlsplit(stream_url).path.rpartition("/")[0] + f"/{name}")


def version_of(body: bytes) -> str:
    return media_version(hashlib.sha256(body).hexdigest())


class TestReplaced:
    async def test_the_script_has_the_new_file_at_once_and_keeps_its_place_title_and_audience(
        self, world: World, anna: Caller, script: Script, mp3: bytes
    ) -> None:
        reply = await send(anna, script, mp3)
        assert (reply.status, reply.json["script_id"]) == (201, script.script_id)
        assert (reply.json["status"], reply.json["duration"]) == ("queued", 3.0)
        assert reply.json["media_version"] == version_of(mp3)
        assert (reply.json["title"], reply.json["visibility"]) == (script.title, script.visibility)
        listed = (await anna.get("/scripts")).json["scripts"]
        assert [row["created_at"] for row in listed] == [reply.json["created_at"]]
        assert (await anna.get(f"/stream/{script.script_id}")).json["media_version"] == version_of(mp3)
        again = await send(anna, script, mp3)
        assert (again.status, again.json) == (200, reply.json)

    async def test_who_has_an_address_of_the_former_file_hears_it_to_its_end(
        self, world: World, anna: Caller, script: Script, mp3: bytes
    ) -> None:
        url = (await anna.get(f"/stream/{script.script_id}")).json["stream_url"]
        await send(anna, script, mp3)
        assert (await below(world, url, "low/0.m4s")).body == b"the former sound"
        assert (await below(world, url, "low/index.m3u8")).body.decode() == media_playlist(TWENTY_S)
        assert (await below(world, url, "grid.json")).json["media_version"] == script.media_version
        assert (await below(world, url, f"low/{TWENTY_S.segments}.m4s")).status == 404

    async def test_what_of_the_former_file_was_never_encoded_is_made_of_its_source(
        self, world: World, anna: Caller, script: Script, mp3: bytes
    ) -> None:
        asked_for = list[tuple[str, str | None, int]]()

        class Making:
            async def segment(self, script: Script, rung: Any, segment: int, wanted: Any, listener: Any) -> bytes:
                asked_for.append((script.media_version, script.source_key, segment))
                return b"made"

            def soon(self, script_id: str, position_ms: int) -> None: ...

        await send(anna, script, mp3)
        async with another_server(replace(world.services, on_demand=Making())) as other:
            answer = await at(other, anna).get(f"/stream/{script.script_id}?media_version={script.media_version}")
            assert (await below(other, answer.json["stream_url"], "low/2.m4s")).body == b"made"
        assert asked_for == [(script.media_version, script.source_key, 2)]
        assert await world.services.storage.exists(script.source_key or "")

    async def test_a_session_s_file_is_answered_while_it_is_kept_and_else_the_script_s(
        self, world: World, anna: Caller, script: Script, mp3: bytes
    ) -> None:
        await send(anna, script, mp3)
        path = f"/stream/{script.script_id}?media_version="
        former = (await anna.get(path + script.media_version)).json
        assert (former["media_version"], former["duration"], former["ready"]) == (script.media_version, 20.0, True)
        token = urlsplit(former["stream_url"]).path.split("/")[2]
        [kept] = await world.scripts.former_versions(script.script_id)
        below_path = urlsplit(former["stream_url"]).path.partition(token)[2]
        claims = MediaSigner.verify(world.services.signer, token, below_path, 0)
        assert claims.expires_at_s <= kept.kept_until.timestamp(), "no address outlives what it leads to"
        assert (await anna.get(path + "1" * 16)).json["media_version"] == version_of(mp3)
        assert (await anna.get(path + "former")).status == 422

    async def test_a_former_file_is_for_those_alone_who_may_hear_the_script(
        self, world: World, anna: Caller, script: Script, mp3: bytes
    ) -> None:
        await send(anna, script, mp3)
        path = f"/stream/{script.script_id}?media_version={script.media_version}"
        assert (await world.listener().get(path)).status == 404

    @pytest.mark.parametrize(
        ("before", "after"), [("private", "listeners"), ("listeners", "listeners"), ("listeners", "private")]
    )
    async def test_a_former_file_is_heard_by_those_who_might_hear_it_then(
        self, world: World, mp3: bytes, before: Visibility, after: Visibility
    ) -> None:
        studio, boris = world.listener(scopes=("scripts:write",)), world.listener()
        script = await world.script(studio, grid=TWENTY_S, visibility=before)
        assert (await send(studio, script, mp3, visibility=after)).status == 201
        path, present = f"/stream/{script.script_id}?media_version={script.media_version}", version_of(mp3)
        if after == "listeners":
            theirs = script.media_version if before == "listeners" else present
            assert (await boris.get(path)).json["media_version"] == theirs
        else:
            assert (await boris.get(path)).status == 404
        assert (await studio.get(path)).json["media_version"] == script.media_version

    @pytest.mark.parametrize("status", ["queued", "processing", "failed"])
    async def test_it_may_come_before_the_former_file_was_prepared_or_after_that_failed(
        self, world: World, anna: Caller, mp3: bytes, status: str
    ) -> None:
        made = await world.script(anna, grid=TWENTY_S)
        url = (await anna.get(f"/stream/{made.script_id}")).json["stream_url"]
        if status == "processing":
            await world.scripts.claim(made.script_id)
        elif status == "failed":
            await world.fail(made.script_id)
        assert (await send(anna, made, mp3)).json["status"] == "queued"
        assert (await below(world, url, "low/index.m3u8")).status == 200

    async def test_a_play_by_script_or_by_session_has_the_new_file(
        self, anna: Caller, script: Script, mp3: bytes
    ) -> None:
        first = await anna.play(script.script_id, position=15.0)
        assert f"/{script.media_version}/" in first["stream_url"]
        await send(anna, script, mp3)
        paused = await anna.post("/pause", {"session_id": first["session_id"]})
        assert (paused.json["duration"], paused.json["media_version"]) == (20.0, script.media_version)
        reply = await anna.post("/play", {"session_id": first["session_id"]})
        state = reply.json["state"]
        assert (state["duration"], state["media_version"], state["position"]) == (3.0, version_of(mp3), 0.0)
        assert f"/{version_of(mp3)}/" in reply.json["stream_url"]

    async def test_a_bookmark_behind_the_new_end_stays(self, anna: Caller, script: Script, mp3: bytes) -> None:
        made = await anna.post("/bookmark", {"script_id": script.script_id, "position": 15.0, "title": "There"})
        await send(anna, script, mp3)
        [listed] = (await anna.get(f"/bookmarks/{script.script_id}")).json["bookmarks"]
        assert listed == made.json
        renamed = await anna.call("PATCH", f"/bookmark/{listed['bookmark_id']}", json={"title": "Gone"})
        assert (renamed.status, renamed.json["position"]) == (200, 15.0)


class TestRefused:
    async def test_what_is_no_audio_leaves_the_script_as_it_is(
        self, world: World, anna: Caller, script: Script
    ) -> None:
        reply = await send(anna, script, b"no audio at all")
        assert (reply.status, reply.code) == (422, "not_audio")
        assert await world.scripts.stored(script.script_id) == script

    async def test_nobody_but_its_owner_may(self, world: World, script: Script, mp3: bytes) -> None:
        reply = await send(world.listener(scopes=("scripts:write",)), script, mp3)
        assert (reply.status, reply.code) == (409, "script_exists")
        assert await world.scripts.stored(script.script_id) == script

    async def test_what_everybody_hears_is_replaced_with_the_scope_alone(self, world: World, mp3: bytes) -> None:
        studio = world.listener(scopes=("scripts:write",))
        made = await world.script(studio, visibility="listeners", ready=True)
        reply = await send(_as(world, studio.listener_id), made, mp3)
        assert (reply.status, reply.code) == (403, "forbidden")
        assert (await send(studio, made, mp3)).json["visibility"] == "listeners"

    async def test_of_two_at_once_one_wins_and_the_other_is_told_so(
        self, world: World, anna: Caller, script: Script, mp3: bytes, media_folder: Path
    ) -> None:
        bodies = (mp3, mp3 + bytes(1))
        replies = await asyncio.gather(*(send(anna, script, body) for body in bodies))
        assert sorted(reply.status for reply in replies) == [201, 409]
        [lost] = [reply for reply in replies if reply.status == 409]
        assert lost.code == "conflict" and "another upload came first" in lost.json["detail"]
        row = await world.scripts.stored(script.script_id)
        assert row is not None
        sources = sorted(str(path.relative_to(media_folder)) for path in media_folder.glob("sources/*/*"))
        assert sources == sorted((str(row.source_key), str(script.source_key)))

    async def test_so_many_former_files_are_kept_and_no_more(self, world: World, anna: Caller, mp3: bytes) -> None:
        made = standing = await world.script(anna)
        for number in range(FORMER_VERSIONS_MAX):
            source = replace(source_of(made.script_id, TWENTY_S), media_version=f"{number:016x}")
            created = await world.scripts.create(
                anna.claims,
                script_id=made.script_id,
                title="A script",
                visibility="private",
                source=source,
                replaces=standing.media_version,
            )
            assert created.script is not None
            standing = created.script
        reply = await send(anna, made, mp3)
        assert (reply.status, reply.code) == (503, "overloaded")
        assert await world.scripts.stored(made.script_id) == standing


@pytest.mark.usefixtures("small_blocks")
class TestInParts:
    async def test_an_upload_in_parts_replaces_what_was_there_when_it_began(
        self, anna: Caller, script: Script, mp3: bytes
    ) -> None:
        digest = hashlib.sha256(mp3).hexdigest()
        upload_id = await begun(anna, mp3, script_id=script.script_id, sha256=digest)
        reply = await put(anna, upload_id, mp3)
        assert (reply.status, reply.json["media_version"]) == (201, version_of(mp3))
        assert (reply.json["title"], reply.json["visibility"]) == (script.title, "private")
        assert (await asked(anna, upload_id, len(mp3))).status == 201
        known = await anna.post("/uploads", {"size": len(mp3), "script_id": script.script_id, "sha256": digest})
        assert (known.status, known.json["script_id"]) == (200, script.script_id)

    async def test_one_that_another_came_before_is_told_so_as_often_as_it_asks(
        self, anna: Caller, script: Script, mp3: bytes
    ) -> None:
        other = mp3 + bytes(1)
        upload_id = await begun(anna, other, script_id=script.script_id)
        assert (await send(anna, script, mp3)).status == 201
        for reply in (await put(anna, upload_id, other), await asked(anna, upload_id, len(other))):
            assert (reply.status, reply.code) == (409, "conflict")
        assert (await anna.get(f"/scripts/{script.script_id}")).json["media_version"] == version_of(mp3)


def _as(world: World, listener_id: str) -> Caller:
    """That listener with a token that lets nothing be published."""
    return Caller(client=world.client, listener_id=listener_id, token=token(listener_id))

"""Scripts: what one may hear, where its media are, and seeing to it that they are made."""

from datetime import datetime
from typing import Any

import pytest

from playhead.auth.media_paths import VALID_BEYOND_DURATION_S, media_prefix
from playhead.cache import RedisBackend
from playhead.db import Database
from playhead.http.scripts import PREPARE_TTL_S, STREAM_TTL_S
from playhead.sessions.redis_store import RedisStore
from playhead.transcode import PrepareQueue
from tests.integration.http.world import MEDIA_URL, Caller, World, new_id


async def test_scripts_are_listed_newest_first_page_by_page(world: World) -> None:
    anna = world.listener()
    ids = [(await world.script(anna)).script_id for _ in range(5)]
    seen: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        reply = await anna.get("/scripts", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        seen += [row["script_id"] for row in reply.json["scripts"] if row["script_id"] in ids]
        cursor, pages = reply.json["next_cursor"], pages + 1
    assert seen == list(reversed(ids))


async def test_a_script_says_what_it_is(world: World) -> None:
    anna = world.listener()
    made = await world.script(anna, ready=True)
    reply = await anna.get(f"/scripts/{made.script_id}")
    assert reply.status == 200
    assert {name: value for name, value in reply.json.items() if not name.endswith("_at")} == {
        "script_id": made.script_id,
        "title": "A script",
        "visibility": "private",
        "owned": True,
        "status": "ready",
        "error": None,
        "progress": 1.0,
        "duration": 3600.0,
        "media_version": made.media_version,
        "artist": None,
        "has_cover": False,
        "loudness": None,
        "marks": [],
    }
    assert datetime.fromisoformat(reply.json["created_at"]).utcoffset() is not None


async def test_why_a_script_failed_is_told_to_its_owner_alone(world: World) -> None:
    anna, boris = world.listener(), world.listener()
    made = await world.script(anna, visibility="listeners")
    await world.fail(made.script_id, "The encoder ended with code 1.")
    assert (await anna.get(f"/scripts/{made.script_id}")).json["error"] == "The encoder ended with code 1."
    others = (await boris.get(f"/scripts/{made.script_id}")).json
    assert (others["status"], others["error"], others["owned"]) == ("failed", None, False)


async def test_a_script_that_failed_is_listed_for_its_owner_alone(world: World) -> None:
    anna, boris = world.listener(), world.listener()
    good, bad = [(await world.script(anna, visibility="listeners")).script_id for _ in range(2)]
    await world.fail(bad)

    async def listed(caller: Caller) -> set[str]:
        rows = (await caller.get("/scripts?limit=50")).json["scripts"]
        return {row["script_id"] for row in rows} & {good, bad}

    assert await listed(anna) == {good, bad}
    assert await listed(boris) == {good}


class TestStream:
    @pytest.mark.parametrize(
        ("query", "playlist", "bitrate"),
        [
            ("", "master.m3u8", 128_000),
            ("?quality=auto", "master.m3u8", 128_000),
            ("?quality=low", "low/index.m3u8", 64_000),
            ("?quality=medium", "medium/index.m3u8", 128_000),
            ("?quality=high", "high/index.m3u8", 256_000),
        ],
    )
    async def test_each_quality_has_its_playlist(self, world: World, query: str, playlist: str, bitrate: int) -> None:
        anna = world.listener()
        made = await world.script(anna, ready=True)
        before_s = world.services.clock.now_ms() // 1000
        reply = await anna.get(f"/stream/{made.script_id}{query}")
        assert reply.status == 200
        prefix = media_prefix(made.script_id, made.media_version)
        assert reply.json["stream_url"].startswith(f"{MEDIA_URL}/p/")
        assert reply.json["stream_url"].endswith(prefix + playlist)
        expires_s = datetime.fromisoformat(reply.json["expires_at"]).timestamp()
        assert before_s <= expires_s - 3_600 - VALID_BEYOND_DURATION_S <= before_s + 60
        assert {name: reply.json[name] for name in ("duration", "bitrate", "format", "ready", "media_version")} == {
            "duration": 3600.0,
            "bitrate": bitrate,
            "format": "hls",
            "ready": True,
            "media_version": made.media_version,
        }
        assert set(reply.json) == {
            *("stream_url", "duration", "bitrate", "format", "cached", "expires_at", "ready", "media_version"),
            "loudness",
        }

    async def test_the_second_answer_is_cached_and_signed_anew(self, world: World, store: RedisStore) -> None:
        anna = world.listener()
        made = await world.script(anna, ready=True)
        first, second = [(await anna.get(f"/stream/{made.script_id}")).json for _ in range(2)]
        assert (first["cached"], second["cached"]) == (False, True)
        key = f"audio:stream:{made.script_id}:auto"
        kept = await store.client.get(key)
        assert isinstance(kept, bytes)
        assert b"/p/" not in kept and b"token" not in kept
        assert 0 < await store.client.ttl(key) <= STREAM_TTL_S
        assert not (await anna.get(f"/stream/{made.script_id}?quality=low")).json["cached"]

    async def test_visibility_is_asked_before_the_cache_answers(self, world: World) -> None:
        anna, boris = world.listener(), world.listener()
        made = await world.script(anna, ready=True)
        await anna.get(f"/stream/{made.script_id}")
        assert (await anna.get(f"/stream/{made.script_id}")).json["cached"]
        assert (await boris.get(f"/stream/{made.script_id}")).code == "not_found"

    async def test_a_cached_answer_never_says_less_than_the_row(self, world: World) -> None:
        anna = world.listener()
        made = await world.script(anna)
        assert not (await anna.get(f"/stream/{made.script_id}")).json["ready"]
        await world.scripts.claim(made.script_id)
        await world.scripts.ready(made.script_id)
        reply = await anna.get(f"/stream/{made.script_id}")
        assert (reply.json["ready"], reply.json["cached"]) == (True, False)
        assert (await anna.get(f"/stream/{made.script_id}")).json["cached"]

    async def test_what_another_release_has_cached_is_not_believed(self, world: World, store: RedisStore) -> None:
        anna = world.listener()
        made = await world.script(anna, ready=True)
        backend = RedisBackend(store.client, timeout_s=5.0)
        for value in (b"not json", b"[]", b'{"duration": 1}', b'{"other": 1}'):
            await backend.put(f"audio:stream:{made.script_id}:high", value, 60)
            reply = await anna.get(f"/stream/{made.script_id}?quality=high")
            assert (reply.status, reply.json["cached"], reply.json["duration"]) == (200, False, 3600.0)
            await world.services.cache.drop(f"audio:stream:{made.script_id}:high")

    async def test_a_script_that_failed_has_no_stream(self, world: World) -> None:
        anna = world.listener()
        made = await world.script(anna)
        await world.fail(made.script_id)
        reply = await anna.get(f"/stream/{made.script_id}")
        assert (reply.status, reply.code) == (409, "script_failed")


class TestPrepare:
    @pytest.fixture
    def queue(self, database: Database) -> PrepareQueue:
        return PrepareQueue(database.jobs())

    @staticmethod
    async def _taken(queue: PrepareQueue) -> list[str]:
        """The scripts of all jobs that wait."""
        taken = []
        while (job := await queue.take()) is not None:
            taken.append(job.script_id)
            await queue.done(job)
        return taken

    async def test_it_asks_a_worker_once_however_often_it_is_repeated(self, world: World, queue: PrepareQueue) -> None:
        anna = world.listener()
        made = await world.script(anna)
        for _ in range(3):
            reply = await anna.post(f"/prepare/{made.script_id}")
            assert reply.status == 202
            assert reply.json == {
                "script_id": made.script_id,
                "status": "queued",
                "progress": 0.0,
                "duration": 3600.0,
                "media_version": made.media_version,
            }
        assert (await self._taken(queue)).count(made.script_id) == 1
        await anna.post(f"/prepare/{made.script_id}")
        assert made.script_id not in await self._taken(queue)

    async def test_a_body_is_not_needed_and_not_looked_at(self, world: World) -> None:
        anna = world.listener()
        made = await world.script(anna)
        assert (await anna.post(f"/prepare/{made.script_id}", {})).status == 202

    async def test_progress_is_never_older_than_the_row(self, world: World) -> None:
        anna = world.listener()
        made = await world.script(anna)
        await anna.post(f"/prepare/{made.script_id}")
        await world.scripts.claim(made.script_id)
        for fraction in (0.25, 0.5):
            await world.scripts.progress(made.script_id, fraction)
            reply = await anna.post(f"/prepare/{made.script_id}")
            assert (reply.json["status"], reply.json["progress"]) == ("processing", fraction)

    async def test_a_ready_script_is_left_alone(self, world: World, queue: PrepareQueue) -> None:
        anna = world.listener()
        made = await world.script(anna, ready=True)
        reply = await anna.post(f"/prepare/{made.script_id}")
        assert (reply.status, reply.json["status"], reply.json["progress"]) == (202, "ready", 1.0)
        assert made.script_id not in await self._taken(queue)

    async def test_a_failed_script_whose_source_is_kept_goes_back_to_work(
        self, world: World, queue: PrepareQueue
    ) -> None:
        anna = world.listener()
        made = await world.script(anna)
        await world.fail(made.script_id)
        reply = await anna.post(f"/prepare/{made.script_id}")
        assert (reply.status, reply.json["status"]) == (202, "queued")
        assert made.script_id in await self._taken(queue)

    async def test_a_script_that_fails_again_and_again_is_not_tried_more_than_once_in_five_minutes(
        self, world: World, queue: PrepareQueue, store: RedisStore
    ) -> None:
        anna = world.listener()
        made = await world.script(anna)
        await world.fail(made.script_id)
        await anna.post(f"/prepare/{made.script_id}")
        await world.fail(made.script_id)
        await self._taken(queue)
        reply = await anna.post(f"/prepare/{made.script_id}")
        assert (reply.status, reply.code) == (409, "script_failed")
        assert made.script_id not in await self._taken(queue)
        assert 0 < await store.client.ttl(f"audio:prepare:{made.script_id}:status") <= PREPARE_TTL_S

    async def test_a_failed_script_whose_source_is_gone_is_409(self, world: World) -> None:
        anna = world.listener()
        made = await world.script(anna)
        assert made.source_key is not None
        await world.services.storage.delete_prefix(made.source_key)
        await world.fail(made.script_id)
        reply = await anna.post(f"/prepare/{made.script_id}")
        assert (reply.status, reply.code) == (409, "script_failed")
        assert (await anna.get(f"/scripts/{made.script_id}")).json["status"] == "failed"

    async def test_an_upload_that_was_no_audio_is_409(self, world: World) -> None:
        anna = world.listener()
        script_id = new_id()
        await world.scripts.create_failed(
            anna.claims, script_id=script_id, title="Noise", visibility="private", error="It is no audio."
        )
        reply: Any = await anna.post(f"/prepare/{script_id}")
        assert (reply.status, reply.code) == (409, "script_failed")

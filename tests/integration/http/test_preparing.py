"""Where somebody will listen is encoded beforehand, and work that nobody wants is ended."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from playhead.db import Database, Script
from playhead.http.scripts import CANCELLED
from playhead.http.upload_checks import UNFINISHED_MAX
from playhead.media import FIRST_RUNG, LADDER, OUTPUT_RATE_HZ, SEGMENT_SAMPLES, Rung, segment_key
from playhead.transcode import Demand, PrepareQueue
from tests.integration.http.uploading import AUDIO
from tests.integration.http.world import Caller, World, new_id
from tests.support.audio import long_wav

DEADLINE_S = 10.0
SEGMENT_S = SEGMENT_SAMPLES / OUTPUT_RATE_HZ
MINUTES = 3
PHONE = "phone-1"


@pytest.fixture
def demand(world: World) -> Demand:
    found: Demand = world.services.on_demand._demand  # type: ignore[attr-defined]
    return found


async def _uploaded(caller: Caller, mp3: bytes, **params: str) -> Any:
    reply = await caller.call("POST", "/scripts", data=mp3, headers=AUDIO, params={"title": "Sound", **params})
    assert reply.status == 201
    return reply.json


def _key(script: Any, segment: int) -> str:
    return segment_key(script["script_id"], script["media_version"], FIRST_RUNG.name, segment)


async def _until_encoded(world: World, script: Any, segment: int = 0) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await world.services.storage.exists(_key(script, segment)):
            await asyncio.sleep(0.02)


async def _until_idle(demand: Demand) -> None:
    """Nothing is made beforehand while anything else is made."""
    async with asyncio.timeout(DEADLINE_S):
        while not demand._making.slots.idle:
            await asyncio.sleep(0.01)


class TestBeforehand:
    async def test_a_place_that_is_named_with_prepare(self, world: World, mp3: bytes) -> None:
        anna = world.listener()
        script = await _uploaded(anna, mp3)
        reply = await anna.post(f"/prepare/{script['script_id']}", params={"position": "2.5"})
        assert reply.status == 202
        await _until_encoded(world, script)
        for rung in LADDER:
            there = segment_key(script["script_id"], script["media_version"], rung.name, 0)
            assert await world.services.storage.exists(there) == (rung is FIRST_RUNG)

    async def test_where_a_session_begins_and_where_it_is_sent(
        self, world: World, demand: Demand, tmp_path: Path
    ) -> None:
        anna, body = world.listener(), long_wav(tmp_path / "long.wav", MINUTES * 60).read_bytes()
        script = await _uploaded(anna, body)
        played = await anna.play(script["script_id"], position=8 * SEGMENT_S)
        await _until_encoded(world, script, 8)
        await _until_idle(demand)
        seek = {"session_id": played["session_id"], "position": 25 * SEGMENT_S}
        assert (await anna.post("/seek", seek)).status == 200
        await _until_encoded(world, script, 25)
        assert not await world.services.storage.exists(_key(script, 0))
        assert not await world.services.storage.exists(_key(script, 24))

    async def test_a_place_must_be_one(self, world: World, mp3: bytes) -> None:
        anna = world.listener()
        script = await _uploaded(anna, mp3)
        for wrong in ("-1", "nan", "soon"):
            reply = await anna.post(f"/prepare/{script['script_id']}", params={"position": wrong})
            assert (reply.status, reply.code) == (422, "invalid")


class TestPlaces:
    """Which place a command has made beforehand. Nothing is made here, so that no place is left out."""

    @pytest.fixture
    def begun(self, demand: Demand, monkeypatch: pytest.MonkeyPatch) -> "asyncio.Queue[int]":
        begun: asyncio.Queue[int] = asyncio.Queue()

        def warm(_script: Script, _rung: Rung, segment: int) -> None:
            begun.put_nowait(segment)

        monkeypatch.setattr(demand, "warm", warm)
        return begun

    async def _next(self, begun: "asyncio.Queue[int]") -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await begun.get()

    async def test_play_seek_transfer_and_restore_name_theirs_and_no_other_command_does(
        self, world: World, begun: "asyncio.Queue[int]"
    ) -> None:
        anna, connection_id = world.listener(), new_id()
        assert await world.services.presence.attach(anna.listener_id, connection_id, PHONE, "Phone", "phone")
        script = await world.script(anna)
        session = {"session_id": (await anna.play(script.script_id, position=100 * SEGMENT_S))["session_id"]}
        assert await self._next(begun) == 100

        async def told(path: str, **fields: Any) -> int:
            for before, others in (("/pause", {}), ("/rate", {"rate": 1.0}), (path, fields)):
                reply = await anna.post(before, {**session, **others})
                assert reply.status == 200, reply.body
            return await self._next(begun)

        assert await told("/seek", position=200 * SEGMENT_S + 1) == 200
        assert await told("/transfer", device_id=PHONE) == 200
        assert await told("/seek", position=300 * SEGMENT_S + 1) == 300
        entry = (await anna.get(f"/sessions/{session['session_id']}/history")).json["entries"][0]
        assert await told("/restore", entry_id=entry["entry_id"]) == 200
        assert await told("/play") == 200
        assert begun.empty()
        await world.services.presence.detach(anna.listener_id, connection_id)


class TestCancelling:
    async def test_ends_the_work_until_it_is_asked_for_again(
        self, world: World, mp3: bytes, database: Database
    ) -> None:
        anna = world.listener()
        script = await _uploaded(anna, mp3)
        path, queue = f"/prepare/{script['script_id']}", PrepareQueue(database.jobs())
        claimed = await world.scripts.claim(script["script_id"])
        assert claimed is not None
        for _ in range(2):
            reply = await anna.delete(path)
            assert (reply.status, reply.json["status"]) == (200, "failed")
        assert not await world.scripts.progress(script["script_id"], 0.5, attempt=claimed.attempts)
        assert (await anna.get(f"/scripts/{script['script_id']}")).json["error"] == CANCELLED
        while (job := await queue.take()) is not None:
            await queue.done(job)
        again = await anna.post(path)
        assert (again.status, again.json["status"]) == (202, "queued")
        assert (await queue.take() or claimed.script).script_id == script["script_id"]

    async def test_makes_no_room_for_more_scripts_than_a_listener_may_have_in_preparation(self, world: World) -> None:
        anna = world.listener(scopes=("scripts:write",))
        ended = [await world.script(anna, visibility="listeners") for _ in range(2)]
        for script in ended:
            assert (await anna.delete(f"/prepare/{script.script_id}")).status == 200
        others = [await world.script(anna) for _ in range(UNFINISHED_MAX - 1)]
        assert (await anna.post(f"/prepare/{ended[0].script_id}")).json["status"] == "queued"
        reply = await anna.post(f"/prepare/{ended[1].script_id}")
        assert (reply.status, reply.code, reply.json["retry"]) == (503, "overloaded", True)
        assert str(UNFINISHED_MAX) in reply.json["detail"]
        await world.fail(others[0].script_id)
        assert (await anna.post(f"/prepare/{ended[1].script_id}")).json["status"] == "queued"

    async def test_is_its_owner_s_right_alone(self, world: World, mp3: bytes) -> None:
        anna, boris = world.listener(scopes=("scripts:write",)), world.listener()
        private = await _uploaded(anna, mp3, visibility="private")
        public = await _uploaded(anna, mp3 + b"\0", visibility="listeners")
        assert (await boris.delete(f"/prepare/{private['script_id']}")).code == "not_found"
        assert (await boris.delete(f"/prepare/{public['script_id']}")).code == "forbidden"
        assert (await anna.get(f"/scripts/{public['script_id']}")).json["status"] == "queued"

    async def test_is_nothing_that_somebody_else_takes_back(self, world: World, mp3: bytes) -> None:
        anna, boris = world.listener(scopes=("scripts:write",)), world.listener()
        path = f"/prepare/{(await _uploaded(anna, mp3, visibility='listeners'))['script_id']}"
        await anna.delete(path)
        reply = await boris.post(path)
        assert (reply.status, reply.code, reply.json["detail"]) == (409, "script_failed", CANCELLED)
        assert (await anna.post(path)).json["status"] == "queued"

    async def test_leaves_a_script_that_failed_for_other_reasons_to_everybody(self, world: World, mp3: bytes) -> None:
        anna, boris = world.listener(scopes=("scripts:write",)), world.listener()
        script = await _uploaded(anna, mp3, visibility="listeners")
        await world.fail(script["script_id"])
        assert (await boris.post(f"/prepare/{script['script_id']}")).json["status"] == "queued"

    async def test_is_too_late_when_all_is_there(self, world: World) -> None:
        anna = world.listener()
        script = await world.script(anna, ready=True)
        assert (await anna.delete(f"/prepare/{script.script_id}")).code == "conflict"

"""A script gets another file while somebody listens: two server processes, a worker, two devices of one listener."""

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from playhead.db.migrate import owner_connection
from playhead.media import FIRST_RUNG
from tests.support.audio import Kind, Samples, error, heard, make, reference
from tests.support.sockets import Client
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem

API = "/api/v1/audio"
SPEECH = "-c:a libmp3lame -b:a 128k"
FORMER_S, NEWER_S = 90.0, 40.0
SAME_MAX = 0.005
"""Share of the energy that AAC changes (see integration/transcode)."""
ASKED_MAX = 60
TIMEOUT_S = 30.0


@pytest.fixture
async def system(make_system: StartSystem, valkey_url: str) -> RunningSystem:
    system = make_system(valkey_url, servers=2)
    await asyncio.to_thread(system.start)
    return system


class Listener:
    """The owner, over REST."""

    def __init__(self, system: RunningSystem, http: aiohttp.ClientSession) -> None:
        self._system = system
        self._http = http
        self._headers = {"Authorization": f"Bearer {system.token()}"}

    async def upload(self, file: Path, server: int, **fields: str) -> dict[str, Any]:
        url = f"{self._system.base_urls[server]}{API}/scripts"
        headers = {**self._headers, "Content-Type": "audio/mpeg"}
        async with self._http.post(url, params=fields, headers=headers, data=BytesIO(file.read_bytes())) as reply:
            answer: dict[str, Any] = await reply.json()
            assert reply.status == 201, answer
            return answer

    async def get(self, path: str, server: int = 0) -> dict[str, Any]:
        async with self._http.get(f"{self._system.base_urls[server]}{API}{path}", headers=self._headers) as reply:
            answer: dict[str, Any] = await reply.json()
            assert reply.status == 200, answer
            return answer

    async def segment(self, url: str, number: int) -> int:
        """Its status at last, as a player asks: again after `Retry-After`."""
        for _ in range(ASKED_MAX):
            async with self._http.get(f"{_folder(url)}/{FIRST_RUNG.name}/{number}.m4s") as reply:
                if reply.status != 503:
                    return reply.status
                await asyncio.sleep(float(reply.headers["Retry-After"]))
        raise AssertionError("the segment never came")

    async def whole(self, url: str) -> Samples:
        """What a player of that address hears, once all of it can be had."""
        number = 0
        while await self.segment(url, number) == 200:
            number += 1
        return await asyncio.to_thread(heard, f"{_folder(url)}/{FIRST_RUNG.name}/index.m3u8")

    async def opened(self, path: str) -> dict[str, Any]:
        """The first answer whose address opens its media: asked for again and again, as a player does."""
        async with asyncio.timeout(TIMEOUT_S):
            while await self.segment((answer := await self.get(path))["stream_url"], 0) != 200:
                await asyncio.sleep(0.1)
        return answer

    async def refused(self, url: str) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while await self.segment(url, 0) != 403:
                await asyncio.sleep(0.05)


def _folder(url: str) -> str:
    return url.rpartition("/")[0]


def at(system: RunningSystem, server: int, url: str) -> str:
    """The same address at that server."""
    return system.base_urls[server] + "/p/" + url.partition("/p/")[2]


async def taken_back_hours_later(system: RunningSystem, script_id: str) -> None:
    """As if so much time had passed that the next address of the former file ends when all of them do."""
    moved = "replaced_at = replaced_at - interval '5 hours', kept_until = kept_until - interval '5 hours'"
    async with owner_connection(system.database_url) as owner:
        await owner.execute(f"update audio_former_versions set {moved} where script_id = $1", script_id)
    done = await asyncio.to_thread(system.playhead, "revoke", "--script", script_id)
    assert (done.returncode, done.stderr) == (0, "")


async def test_who_listens_goes_on_with_the_former_file_and_after_play_hears_the_new_one(
    system: RunningSystem, tmp_path: Path
) -> None:
    former, newer = (
        make(tmp_path, Kind(name, SPEECH), seconds)
        for name, seconds in (("former.mp3", FORMER_S), ("newer.mp3", NEWER_S))
    )
    async with aiohttp.ClientSession() as http:
        listener = Listener(system, http)
        made = await listener.upload(former, 0, title="A talk")
        script_id, old = made["script_id"], made["media_version"]
        phone = await Client.open(system.base_urls[0], system.token(), "phone")
        desk = await Client.open(system.base_urls[1], system.token(), "desk")
        played = await phone.call("play", {"script_id": script_id, "position": 60.0})
        session_id, address = played["state"]["session_id"], played["stream_url"]
        assert (played["state"]["media_version"], played["state"]["duration"]) == (old, FORMER_S)
        looped = {"session_id": session_id, "start": 30.0, "end": 70.0, "enabled": True}
        assert (await phone.call("loop", looped))["ok"]
        assert await listener.segment(address, 10) == 200

        replaced = await listener.upload(newer, 1, script_id=script_id)
        new = replaced["media_version"]
        assert (replaced["title"], replaced["duration"]) == ("A talk", NEWER_S) and new != old

        # the former file: all of it, at both servers, for both devices, whatever is done but `play`
        for server in (0, 1):
            assert error(await listener.whole(at(system, server, address)), reference(former)) < SAME_MAX
        joined = (await desk.call("join", {"script_id": script_id}))["state"]
        moved = (await desk.call("transfer", {"session_id": session_id, "device_id": "desk"}))["state"]
        sought = (await desk.call("seek", {"session_id": session_id, "position": 65.0}))["state"]
        assert [(state["media_version"], state["duration"]) for state in (joined, moved, sought)] == [(old, 90.0)] * 3
        stream = await listener.get(f"/stream/{script_id}?media_version={old}", server=1)
        assert (stream["media_version"], stream["duration"]) == (old, FORMER_S)
        assert await listener.segment(stream["stream_url"], 15) == 200

        # the new one
        again = await phone.call("play", {"session_id": session_id, "device_id": "phone"})
        state = again["state"]
        assert (state["media_version"], state["duration"], state["position"]) == (new, NEWER_S, 30.0)
        assert state["playing"] and state["loop"] == {"start": 30.0, "end": NEWER_S, "enabled": True}
        told = await desk.expect_event("state", media_version=new)
        assert (told["revision"], told["duration"]) == (state["revision"], NEWER_S)
        assert error(await listener.whole(again["stream_url"]), reference(newer)) < SAME_MAX
        report = {"session_id": session_id, "position": 30.5, "revision": state["revision"], "seq": 1}
        assert (await phone.call("progress", report))["ok"]
        async with asyncio.timeout(TIMEOUT_S):
            while (row := await listener.get(f"/scripts/{script_id}"))["status"] != "ready":
                await asyncio.sleep(0.1)
        assert row["media_version"] == new
        assert await listener.segment(address, 3) == 200, "still, for whoever has it"

        await taken_back_hours_later(system, script_id)
        for url in (address, stream["stream_url"], again["stream_url"]):
            await listener.refused(url)
        for version, seconds in ((old, FORMER_S), (new, NEWER_S)):
            stream = await listener.opened(f"/stream/{script_id}?media_version={version}")
            assert (stream["media_version"], stream["duration"]) == (version, seconds), "each goes on with its own file"
        await phone.close()
        await desk.close()

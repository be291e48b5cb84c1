"""A file that is sent twice at the same moment, to two server processes: one script, whoever was first."""

import asyncio
from io import BytesIO
from pathlib import Path

import aiohttp

from tests.support.audio import Kind, make
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem
from tests.support.tags import id3, text

ROUNDS = 20
SOUND = Kind("sound.mp3", "-c:a libmp3lame -b:a 64k")


class Listener:
    def __init__(self, system: RunningSystem, http: aiohttp.ClientSession) -> None:
        self._system = system
        self._http = http
        self._headers = {"Authorization": f"Bearer {system.token()}", "Content-Type": "audio/mpeg"}

    async def upload(self, file: bytes, server: int) -> tuple[int, str]:
        url = f"{self._system.base_urls[server]}/api/v1/audio/scripts"
        async with self._http.post(url, headers=self._headers, data=BytesIO(file)) as reply:
            return reply.status, (await reply.json())["script_id"]


async def test_two_processes_make_one_script_of_it(make_system: StartSystem, valkey_url: str, tmp_path: Path) -> None:
    system, sound = make_system(valkey_url, servers=2, helper_commands=()), make(tmp_path, SOUND, 2.0).read_bytes()
    await asyncio.to_thread(system.start)
    made = set()
    async with aiohttp.ClientSession() as http:
        anna = Listener(system, http)
        for number in range(ROUNDS):
            file = id3(text("TIT2", b"%d" % number)) + sound
            answers = await asyncio.gather(*(anna.upload(file, server) for server in (0, 1)))
            assert sorted(status for status, _ in answers) == [200, 201], number
            assert len({script_id for _, script_id in answers}) == 1
            made.add(answers[0][1])
    assert len(made) == ROUNDS

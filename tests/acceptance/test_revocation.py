"""An address that was given out ends everywhere: two server processes on one Valkey, an operator, the only process."""

import asyncio
from typing import Any

import aiohttp

from tests.support.sockets import Client
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem, add_script

API = "/api/v1/audio"
TIMEOUT_S = 20.0


class Listener:
    """One who asks the servers over REST."""

    def __init__(self, system: RunningSystem, http: aiohttp.ClientSession) -> None:
        self._system = system
        self._http = http
        self._headers = {"Authorization": f"Bearer {system.token()}"}

    async def play(self, server: int = 0) -> tuple[str, str]:
        """The session's id, and the path of its playlist."""
        url = f"{self._system.base_urls[server]}{API}/play"
        async with self._http.post(url, json={"script_id": self._system.script_id}, headers=self._headers) as response:
            answer = await response.json()
            assert response.status in (200, 201), answer
            stream_url: str = answer["stream_url"]
            return answer["session_id"], "/p/" + stream_url.partition("/p/")[2]

    async def end(self, session_id: str, server: int = 0) -> None:
        url = f"{self._system.base_urls[server]}{API}/session/{session_id}"
        async with self._http.delete(url, headers=self._headers) as response:
            assert response.status == 200

    async def fetch(self, path: str, server: int) -> int:
        async with self._http.get(self._system.base_urls[server] + path) as response:
            return response.status

    async def refused(self, path: str, *servers: int) -> None:
        """Returns when each of these servers answers 403."""
        async with asyncio.timeout(TIMEOUT_S):
            for server in servers:
                while (status := await self.fetch(path, server)) == 200:
                    await asyncio.sleep(0.02)
                assert status == 403


async def test_an_address_ends_at_every_server_with_its_session_or_by_an_operator(
    make_system: StartSystem, valkey_url: str
) -> None:
    system = make_system(valkey_url, servers=2, helper_commands=("flush",))
    await asyncio.to_thread(system.start)
    system.script_id = await add_script(system)
    async with aiohttp.ClientSession() as http:
        listener = Listener(system, http)
        session_id, path = await listener.play()
        assert [await listener.fetch(path, server) for server in (0, 1)] == [200, 200]
        await listener.end(session_id, server=0)
        await listener.refused(path, 1, 0)

        session_id, path = await listener.play()
        device = await Client.open(system.base_urls[1], system.token(), "phone")
        done = await asyncio.to_thread(system.playhead, "revoke", session_id)
        assert (done.returncode, done.stderr) == (0, ""), done
        await device.expect_event("session_ended", session_id=session_id)
        await device.close()
        await listener.refused(path, 0, 1)

        next_id, other_path = await listener.play()
        assert next_id != session_id
        assert [await listener.fetch(other_path, server) for server in (0, 1)] == [200, 200]
        done = await asyncio.to_thread(system.playhead, "revoke", "--script", system.script_id)
        assert (done.returncode, done.stderr) == (0, ""), done
        await listener.refused(other_path, 0, 1)

        unknown = "00000000-0000-4000-8000-000000000000"
        for arguments, message in ((unknown,), "no session"), (("--script", unknown), "no script"):
            done = await asyncio.to_thread(system.playhead, "revoke", *arguments)
            assert done.returncode == 1 and message in done.stderr

        await asyncio.to_thread(system.servers[1].stop)
        system.servers[1].start()
        await asyncio.to_thread(system.wait_ready, 1)
        assert await listener.fetch(path, 1) == 403, "known from the first request on"


async def test_the_only_process_remembers_after_a_crash_what_has_ended(make_system: StartSystem) -> None:
    system = make_system(None, helper_commands=())
    await asyncio.to_thread(system.start)
    system.script_id = await add_script(system)
    async with aiohttp.ClientSession() as http:
        listener = Listener(system, http)
        session_id, path = await listener.play()
        assert await listener.fetch(path, 0) == 200
        await listener.end(session_id)
        assert await listener.fetch(path, 0) == 403, "at once"
        await asyncio.to_thread(system.servers[0].kill)
        system.servers[0].start()
        await asyncio.to_thread(system.wait_ready, 0)
        assert await listener.fetch(path, 0) == 403
    done: Any = await asyncio.to_thread(system.playhead, "revoke", session_id)
    assert done.returncode == 1 and "DELETE" in done.stderr

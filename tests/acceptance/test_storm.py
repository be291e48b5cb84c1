"""Thousands of devices that come at one moment: smoothed, none for good, and nobody else waits for them."""

import asyncio
import json
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.sockets import Client
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem

DEVICES = 3_000
PER_S = 300
BURST = 200
AT_ONCE = 500
"""Connections under way at one moment, for the test's own sake."""
TIMEOUT_S = 120.0


@pytest.fixture
async def system(make_system: StartSystem, valkey_url: str) -> RunningSystem:
    settings = {"PLAYHEAD_PROCESS_SOCKETS_PER_S": str(PER_S), "PLAYHEAD_PROCESS_SOCKETS_BURST": str(BURST)}
    system = make_system(valkey_url, helper_commands=(), settings=settings)
    await asyncio.to_thread(system.start)
    return system


def counted(system: RunningSystem, name: str, label: str) -> float:
    """The value of a metric with one label, 0 where it has none yet."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.metrics_ports[0]}/metrics", timeout=5) as response:
        rows = [line.decode().rsplit(" ", 1) for line in response]
    return next((float(value) for row, value in rows if row == f"{name}{{{label}}}"), 0.0)


@dataclass
class Storm:
    system: RunningSystem
    http: aiohttp.ClientSession
    gate: asyncio.Semaphore
    refusals: int = 0
    late: int = 0

    async def device(self) -> aiohttp.ClientWebSocketResponse:
        """Comes back as it is told until it is let in."""
        while True:
            async with self.gate:
                wait_s = await self._connect()
            if not isinstance(wait_s, int):
                return wait_s
            await asyncio.sleep(wait_s)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse | int:
        address = f"{self.system.base_url}/socket.io/?EIO=4&transport=websocket"
        try:
            websocket = await self.http.ws_connect(address)
        except aiohttp.WSServerHandshakeError as error:
            assert error.status == 503 and error.headers is not None
            self.refusals += 1
            return int(error.headers["Retry-After"])
        assert (await websocket.receive_str()).startswith("0")
        device = {"id": "phone", "name": "Phone", "kind": "phone"}
        auth = {"token": self.system.token(str(uuid.uuid4())), "device": device, "protocol": 1}
        await websocket.send_str("40" + json.dumps(auth))
        async with asyncio.timeout(TIMEOUT_S):
            while not (text := await websocket.receive_str()).startswith("40"):
                if text.startswith("44"):  # on a machine that is busy with others the store may be late
                    await websocket.close()
                    return self._store_is_late(json.loads(text[2:])["data"])
        return websocket

    def _store_is_late(self, refusal: dict[str, Any]) -> int:
        assert (refusal["code"], refusal["retry"]) == ("unavailable", True), refusal
        self.late += 1
        return 1


async def test_all_of_a_storm_get_in_at_the_pace_of_the_server_and_rest_is_answered_meanwhile(
    system: RunningSystem,
) -> None:
    listening = await Client.open(system.base_url, system.token(), "desk")
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.timeout(TIMEOUT_S):
        storm = Storm(system, http, asyncio.Semaphore(AT_ONCE))
        coming = [asyncio.create_task(storm.device()) for _ in range(DEVICES)]
        answers = []
        while not all(task.done() for task in coming):
            async with http.get(f"{system.base_url}/healthz") as answer:
                answers.append(answer.status)
            await listening.call("clock", {"t0": 0})
            await asyncio.wait(coming, timeout=0.5)
        opened = [task.result() for task in coming]
        assert set(answers) == {200}
        assert storm.refusals > 0, "it was no storm"
        assert counted(system, "playhead_sockets_refused_total", 'reason="rate"') == storm.refusals
        assert counted(system, "playhead_sockets_refused_total", 'reason="half_open"') == 0
        assert counted(system, "playhead_sockets_refused_total", 'reason="unavailable"') == storm.late
        assert system.metric("playhead_sockets_admitted_total") == DEVICES + 1
        assert system.metric("playhead_sockets") == DEVICES + 1
        assert all(not websocket.closed for websocket in opened)
        assert storm.refusals <= 3 * DEVICES
    await listening.close()

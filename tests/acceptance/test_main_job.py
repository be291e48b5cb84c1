"""The main job, end to end: upload a file, play it on two devices of one listener, on two server processes.

Every part is the real one: PostgreSQL, Valkey, ffmpeg, the `playhead` processes, real HTTP and Socket.IO clients.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.audio import Kind, decoded_length, ffmpeg, make
from tests.support.sockets import Client
from tests.support.system import RunningSystem

API = "/api/v1/audio"
SOURCE_S = 31.7
OUTPUT_RATE_HZ = 48_000
READY_TIMEOUT_S = 30.0


class Rest:
    """An app of the listener that speaks REST."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, token: str) -> None:
        self._session = session
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, expected: int, **request: Any) -> Any:
        headers = {**self._headers, **request.pop("headers", {})}
        url = f"{self._base_url}{API}{path}"
        async with self._session.request(method, url, headers=headers, **request) as response:
            body = await response.text()
            assert response.status == expected, f"{method} {path} answered {response.status}: {body}"
            return await response.json(content_type=None) if body else None


@pytest.fixture
def listener_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
async def rest(running_system: RunningSystem, listener_id: str) -> AsyncIterator[Rest]:
    async with aiohttp.ClientSession() as session:
        yield Rest(session, running_system.base_urls[1], running_system.token(listener_id))


@pytest.fixture
async def devices(running_system: RunningSystem, listener_id: str) -> AsyncIterator[tuple[Client, Client]]:
    """Two devices of one listener, on different server processes."""
    token = running_system.token(listener_id)
    first = await Client.open(running_system.base_urls[0], token, device_id="phone")
    second = await Client.open(running_system.base_urls[1], token, device_id="desk")
    yield first, second
    await first.close()
    await second.close()


async def until_ready(rest: Rest, script_id: str) -> dict[str, Any]:
    async with asyncio.timeout(READY_TIMEOUT_S):
        while True:
            script: dict[str, Any] = await rest.call("GET", f"/scripts/{script_id}", 200)
            assert script["status"] != "failed", script["error"]
            if script["status"] == "ready":
                return script
            await asyncio.sleep(0.1)


async def test_an_upload_becomes_hls_of_its_exact_length_in_every_rung(rest: Rest, tmp_path: Path) -> None:
    source = make(tmp_path, Kind("speech.mp3", "-c:a libmp3lame -b:a 96k"), SOURCE_S)
    body = {"data": source.read_bytes(), "headers": {"Content-Type": "audio/mpeg"}}
    made = await rest.call("POST", "/scripts?title=Speech", 201, **body)
    script = await until_ready(rest, made["script_id"])
    source_samples = decoded_length(source)
    assert script["duration"] == pytest.approx(source_samples / 44_100, abs=0.001)

    expected_samples = -(-source_samples * OUTPUT_RATE_HZ // 44_100)
    for quality in ("low", "medium", "high", "auto"):
        stream = await rest.call("GET", f"/stream/{script['script_id']}?quality={quality}", 200)
        assert stream["ready"] and stream["format"] == "hls"
        heard = ffmpeg("-i", stream["stream_url"], "-map", "0:a:0", "-f", "s16le", "-ac", "1", "pipe:1")
        # the last frame is whole: what is more than the source is less than one frame of silence
        assert 0 <= len(heard) // 2 - expected_samples < 1_024, quality


async def test_two_devices_on_two_servers_drive_the_same_playhead(
    running_system: RunningSystem, devices: tuple[Client, Client], rest: Rest
) -> None:
    phone, desk = devices
    script_id = running_system.script_id
    for device in devices:
        joined = await device.call("join", {"script_id": script_id})
        assert joined["ok"] and joined["state"] is None

    played = await phone.call("play", {"script_id": script_id, "position": 5.0})
    assert played["ok"] and played["created"]
    session_id = played["state"]["session_id"]
    seen = await desk.expect_event("state", revision=played["state"]["revision"])
    assert seen == played["state"] and seen["playing"] and seen["active_device"] == "phone"

    sought = await desk.call("seek", {"session_id": session_id, "position": 20.5})
    assert await phone.expect_event("state", revision=sought["state"]["revision"]) == sought["state"]

    loop = {"start": 20.0, "end": 22.0, "enabled": True}
    looped = await phone.call("loop", {"session_id": session_id, **loop})
    assert (await desk.expect_event("state", revision=looped["state"]["revision"]))["loop"] == loop

    over_rest = await rest.call("POST", "/seek", 200, json={"session_id": session_id, "position": 21.0})
    for device in devices:
        moved = await device.expect_event("state", revision=over_rest["revision"])
        assert moved["position"] == 21.0 and moved["cause"]["device_id"] == "rest" and moved["loop"] == loop


async def test_a_bookmark_made_on_one_server_is_told_and_listed_by_the_other(
    running_system: RunningSystem, devices: tuple[Client, Client], rest: Rest, listener_id: str
) -> None:
    script_id = running_system.script_id
    body = {"script_id": script_id, "position": 12.25, "title": "Here"}
    made = await rest.call("POST", "/bookmark", 201, json=body)
    for device in devices:
        assert await device.expect_event("bookmark", action="created") == {"action": "created", "bookmark": made}
    async with aiohttp.ClientSession() as session:
        other = Rest(session, running_system.base_urls[0], running_system.token(listener_id))
        listed = await other.call("GET", f"/bookmarks/{script_id}", 200)
    assert [row["bookmark_id"] for row in listed["bookmarks"]] == [made["bookmark_id"]]
    await rest.call("DELETE", f"/bookmark/{made['bookmark_id']}", 204)
    assert (await rest.call("GET", f"/bookmarks/{script_id}", 200))["bookmarks"] == []


async def test_both_devices_recover_their_place_when_a_server_dies_and_comes_back(
    running_system: RunningSystem, devices: tuple[Client, Client]
) -> None:
    phone, desk = devices
    played = await phone.call("play", {"script_id": running_system.script_id, "position": 7.0})
    session_id = played["state"]["session_id"]
    paused = await phone.call("pause", {"session_id": session_id, "position": played["state"]["position"]})
    await desk.expect_event("state", revision=paused["state"]["revision"])

    running_system.servers[0].kill()
    sought = await desk.call("seek", {"session_id": session_id, "position": 33.25})
    assert sought["ok"]
    running_system.servers[0].start()
    await asyncio.to_thread(running_system.wait_ready, 0)

    back = await Client.open(running_system.base_urls[0], running_system.token(phone.listener_id), device_id="phone")
    seen = {"epoch": paused["state"]["epoch"], "revision": paused["state"]["revision"]}
    recovered = await back.call("join", {"session_id": session_id, "seen": seen})
    assert recovered["state"] == {**sought["state"], "cause": None}
    moved = await back.call("seek", {"session_id": session_id, "position": 34.0})
    assert (await desk.expect_event("state", revision=moved["state"]["revision"]))["position"] == 34.0
    await back.close()


async def test_a_session_that_the_store_has_lost_comes_back_from_postgresql(
    running_system: RunningSystem, devices: tuple[Client, Client]
) -> None:
    phone, _ = devices
    played = await phone.call("play", {"script_id": running_system.script_id, "position": 9.0})
    session_id = played["state"]["session_id"]
    sought = await phone.call("seek", {"session_id": session_id, "position": 41.5})
    await until_stored(running_system, session_id, sought["state"]["revision"])
    empty_store(running_system)
    recovered = await phone.call("join", {"session_id": session_id})
    assert recovered["ok"] and recovered["state"]["position"] == 41.5
    moved = await phone.call("seek", {"session_id": session_id, "position": 2.0})
    assert moved["ok"]
    assert (moved["state"]["epoch"], moved["state"]["revision"]) > (
        sought["state"]["epoch"],
        sought["state"]["revision"],
    )


async def until_stored(system: RunningSystem, session_id: str, revision: int) -> None:
    """Waits until PostgreSQL has the session at that revision or a later one."""
    import asyncpg

    connection = await asyncpg.connect(system.database_url)
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while True:
                stored = await connection.fetchval("select revision from audio_sessions where id = $1", session_id)
                if stored is not None and stored >= revision:
                    return
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


def empty_store(system: RunningSystem) -> None:
    import redis

    with redis.Redis.from_url(system.redis_url) as client:
        client.flushall()


async def test_metrics_are_on_a_port_of_their_own_and_count_what_was_done(
    running_system: RunningSystem, devices: tuple[Client, Client]
) -> None:
    phone, _ = devices
    await phone.call("join", {"script_id": running_system.script_id})
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{running_system.metrics_ports[0]}/metrics") as response:
            text = await response.text()
        async with session.get(f"{running_system.base_url}/metrics") as response:
            assert response.status == 404
    assert 'playhead_commands_total{command="join",result="ok",surface="socket"}' in text
    for name in ("sockets", "ack_seconds_count", "delivery_seconds_count", "loop_lag_seconds_count", "store_up"):
        assert f"playhead_{name}" in text, name
    assert phone.listener_id not in text and phone.device_id not in text


async def test_every_server_knows_server_time_and_says_how_well(
    running_system: RunningSystem, devices: tuple[Client, Client]
) -> None:
    first, second = [(await device.call("clock", {"t0": 0, "rtt_ms": 1}))["t1"] for device in devices]
    uncertain_ms = 0.0
    async with aiohttp.ClientSession() as session:
        for base_url, metrics_port in zip(running_system.base_urls, running_system.metrics_ports, strict=True):
            async with session.get(f"{base_url}/readyz") as response:
                assert (await response.json())["checks"]["clock"] == "ok"
            async with session.get(f"http://127.0.0.1:{metrics_port}/metrics") as response:
                text = await response.text()
            uncertainty_s = gauge(text, "playhead_server_time_uncertainty_seconds")
            assert 0 < uncertainty_s <= 0.05
            uncertain_ms += uncertainty_s * 1000
            # store and servers are on one machine here
            assert 0 < abs(gauge(text, "playhead_wall_clock_offset_seconds")) <= uncertainty_s + 0.05
    # the second was asked after the first
    assert first <= second + uncertain_ms + 1


def gauge(text: str, name: str) -> float:
    """The value of a metric without labels."""
    (value,) = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(value)

"""The main job, end to end: upload a file, play it on two devices of one listener, on two server processes.

`test_the_main_job` is all of it in one line; what follows it are the system's other signs of life.
Every part is the real one: PostgreSQL, Valkey, ffmpeg, the `playhead` processes, real HTTP and Socket.IO clients.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from playhead.client import Joined, Loop, ServerEvent, State, Status, StatusChanged
from playhead.media.grid import FRAME_SAMPLES, OUTPUT_RATE_HZ
from tests.support.audio import Kind, decoded_length, error, heard, make, reference
from tests.support.players import Player
from tests.support.sockets import Client
from tests.support.system import RunningSystem

API = "/api/v1/audio"
SOURCE_S, SOURCE_RATE_HZ = 31.7, 44_100
SHIFT_FACTOR = 1.5
"""A shift by one sample at 48 kHz changes so much more than the encoder does; seen: 2 (low), 200 (medium)."""
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
async def devices(running_system: RunningSystem, listener_id: str) -> AsyncIterator[tuple[Player, Player]]:
    """Two devices of one listener, on different server processes."""
    token = running_system.token(listener_id)
    async with (
        Player(running_system.base_urls[0], token, "phone") as phone,
        Player(running_system.base_urls[1], token, "desk") as desk,
    ):
        yield phone, desk


async def until_ready(rest: Rest, script_id: str) -> dict[str, Any]:
    async with asyncio.timeout(READY_TIMEOUT_S):
        while True:
            script: dict[str, Any] = await rest.call("GET", f"/scripts/{script_id}", 200)
            assert script["status"] != "failed", script["error"]
            if script["status"] == "ready":
                return script
            await asyncio.sleep(0.1)


async def upload(rest: Rest, source: Path) -> dict[str, Any]:
    body = {"data": source.read_bytes(), "headers": {"Content-Type": "audio/mpeg"}}
    made = await rest.call("POST", "/scripts?title=Speech", 201, **body)
    return await until_ready(rest, made["script_id"])


async def check_media(rest: Rest, script: dict[str, Any], source: Path) -> None:
    """Every rung is the source, to the sample: of the script's length, filled up to a whole frame (decision 4)."""
    total_samples = -(-decoded_length(source) * OUTPUT_RATE_HZ // SOURCE_RATE_HZ)
    assert script["duration"] == -(-total_samples * 1_000 // OUTPUT_RATE_HZ) / 1_000
    expected = reference(source)
    assert len(expected) == total_samples
    for quality in ("low", "medium", "high", "auto"):
        stream = await rest.call("GET", f"/stream/{script['script_id']}?quality={quality}", 200)
        assert stream["ready"] and stream["format"] == "hls" and stream["duration"] == script["duration"]
        sound = heard(stream["stream_url"])
        assert len(sound) == -(-total_samples // FRAME_SAMPLES) * FRAME_SAMPLES, quality
        shifted = min(error(sound[1:], expected), error(sound, expected[1:]))
        assert error(sound[:total_samples], expected) < shifted / SHIFT_FACTOR, f"{quality} is not in its place"


async def drive(phone: Player, desk: Player, rest: Rest, script_id: str) -> State:
    """Each device, and an app, move the one playhead and the others see it. Answers the last state: it plays a loop."""
    for device in (phone, desk):
        assert (await device.join(script_id=script_id)).state is None
    played = (await phone.play(script_id=script_id, position=5.0)).state
    assert played.playing and played.active_device == "phone"
    assert await desk.expect_state(revision=played.revision) == played

    session_id = played.session_id
    sought = (await desk.seek(session_id, 20.5)).state
    assert await phone.expect_state(revision=sought.revision) == sought

    looped = (await phone.loop(session_id, 20.0, 22.0)).state
    assert looped.loop == Loop(start=20.0, end=22.0, enabled=True)
    assert await desk.expect_state(revision=looped.revision) == looped

    moved = await rest.call("POST", "/seek", 200, json={"session_id": session_id, "position": 21.0})
    states = [await device.expect_state(revision=moved["revision"]) for device in (phone, desk)]
    assert states[0] == states[1] and states[0].cause is not None and states[0].cause.device_id == "rest"
    assert (states[0].position, states[0].loop, states[0].playing) == (21.0, looped.loop, True)
    return states[0]


async def bookmark(phone: Player, desk: Player, rest: Rest, script_id: str) -> None:
    """Made by an app: both devices are told, and it is in the list."""
    body = {"script_id": script_id, "position": 12.25, "title": "Here"}
    made = await rest.call("POST", "/bookmark", 201, json=body)
    for device in (phone, desk):
        await device.expect(ServerEvent, name="bookmark", data={"action": "created", "bookmark": made})
    listed = await rest.call("GET", f"/bookmarks/{script_id}", 200)
    assert listed["bookmarks"] == [made]


async def come_back(system: RunningSystem, number: int, device: Player, state: State) -> None:
    """The server is started again, and the device comes back: it finds the playhead where it was, still moving."""
    await device.expect(StatusChanged, status=Status.RECONNECTING)
    device.seen.clear()
    system.servers[number].start()
    joined = await device.expect(Joined, timeout_s=READY_TIMEOUT_S)
    assert joined.state == replace(state, cause=None)
    assert device.state(state.session_id) == state
    await asyncio.to_thread(system.wait_ready, number)


@pytest.mark.timeout(180)  # of all that it does, the machine's speed decides how long
async def test_the_main_job(
    running_system: RunningSystem, devices: tuple[Player, Player], rest: Rest, tmp_path: Path
) -> None:
    """A file goes up by REST, becomes HLS, and is played on two devices in sync, through the end of either server."""
    phone, desk = devices
    source = make(tmp_path, Kind("speech.mp3", "-c:a libmp3lame -b:a 96k", rate=SOURCE_RATE_HZ), SOURCE_S)
    script = await upload(rest, source)
    await check_media(rest, script, source)
    state = await drive(phone, desk, rest, script["script_id"])
    await bookmark(phone, desk, rest, script["script_id"])

    running_system.servers[0].kill()  # a crash: nobody says goodbye
    still_there = await desk.join(session_id=state.session_id)
    assert still_there.state == replace(state, cause=None)
    await come_back(running_system, 0, phone, state)

    assert await asyncio.to_thread(running_system.servers[1].stop) == 0  # a release: in order
    await come_back(running_system, 1, desk, state)

    paused = (await phone.pause(state.session_id)).state
    assert await desk.expect_state(revision=paused.revision) == paused
    assert not paused.playing and 20.0 <= paused.position < 22.0
    assert paused.order == (state.epoch, state.revision + 1)
    listed = await rest.call("GET", f"/bookmarks/{script['script_id']}", 200)
    assert [row["title"] for row in listed["bookmarks"]] == ["Here"]


async def test_a_session_that_the_store_has_lost_comes_back_from_postgresql(
    running_system: RunningSystem, devices: tuple[Player, Player]
) -> None:
    phone, _ = devices
    played = await phone.play(script_id=running_system.script_id, position=9.0)
    session_id = played.state.session_id
    sought = (await phone.seek(session_id, 41.5)).state
    await until_stored(running_system, session_id, sought.revision)
    empty_store(running_system)
    recovered = await phone.join(session_id=session_id)
    assert recovered.state is not None and recovered.state.position == 41.5
    moved = (await phone.seek(session_id, 2.0)).state
    assert moved.order > sought.order


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

    assert system.redis_url is not None
    with redis.Redis.from_url(system.redis_url) as client:
        client.flushall()


async def test_metrics_are_on_a_port_of_their_own_and_count_what_was_done(
    running_system: RunningSystem, devices: tuple[Player, Player], listener_id: str
) -> None:
    phone, _ = devices
    await phone.join(script_id=running_system.script_id)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{running_system.metrics_ports[0]}/metrics") as response:
            text = await response.text()
        async with session.get(f"{running_system.base_url}/metrics") as response:
            assert response.status == 404
    assert 'playhead_commands_total{command="join",result="ok",surface="socket"}' in text
    for name in ("sockets", "ack_seconds_count", "delivery_seconds_count", "loop_lag_seconds_count", "store_up"):
        assert f"playhead_{name}" in text, name
    assert 0 <= gauge(text, "playhead_bus_silent_seconds") < 25
    assert 0 <= gauge(text, "playhead_bus_ping_seconds") < 1
    assert listener_id not in text and phone.device.id not in text


async def test_every_server_knows_server_time_and_says_how_well(
    running_system: RunningSystem, listener_id: str
) -> None:
    sockets = [await Client.open(url, running_system.token(listener_id)) for url in running_system.base_urls]
    first, second = [(await socket.call("clock", {"t0": 0, "rtt_ms": 1}))["t1"] for socket in sockets]
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
    for socket in sockets:
        await socket.close()


def gauge(text: str, name: str) -> float:
    """The value of a metric without labels."""
    (value,) = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(value)

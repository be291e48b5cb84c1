"""How far a script is prepared, as its listener's devices are told: a real worker, two servers, a private upload."""

import asyncio
import contextlib
import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from playhead.app.embedded import EmbeddedValkey
from playhead.client import Prepared, Refused
from tests.support.audio import Kind, make
from tests.support.players import Player
from tests.support.system import Process, RunningSystem
from tests.support.systems import StartSystem

SOURCE = Kind("private.mp3", "-c:a libmp3lame -b:a 128k")
SOURCE_S = 40.0
READY_TIMEOUT_S = 60.0


@pytest.fixture(params=["redis", "memory"])
async def system(
    request: pytest.FixtureRequest, make_system: StartSystem, start_valkey: Callable[[], EmbeddedValkey]
) -> RunningSystem:
    """Servers without a worker, so that a script which is uploaded stays in the queue; with its owner's script."""
    redis_url = start_valkey().url if request.param == "redis" else None
    servers = 1 if redis_url is None else 2
    helpers = () if redis_url is None else ("flush",)
    system = make_system(redis_url, servers=servers, helper_commands=helpers)
    await asyncio.to_thread(system.start)
    system.script_id = await uploaded(system, await asyncio.to_thread(make, system.folder, SOURCE, SOURCE_S))
    return system


async def uploaded(system: RunningSystem, path: Path) -> str:
    """A script of the system's listener alone."""
    headers = {"Authorization": f"Bearer {system.token()}", "Content-Type": "audio/mpeg"}
    url = f"{system.base_url}/api/v1/audio/scripts?title=Mine"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=io.BytesIO(path.read_bytes()), headers=headers) as response:
            body = await response.json()
            assert response.status == 201 and body["visibility"] == "private", body
            return str(body["script_id"])


@contextlib.contextmanager
def working(system: RunningSystem) -> Iterator[Process]:
    """While a worker runs."""
    worker = Process("worker", ("worker",), system.environment(), system.folder / "worker.log")
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def player(system: RunningSystem, device_id: str, server: int = -1, listener_id: str | None = None) -> Player:
    return Player(system.base_urls[server], system.token(listener_id), device_id)


def heard(device: Player) -> list[Prepared]:
    return [event for event in device.seen if isinstance(event, Prepared)]


async def test_a_device_is_told_how_far_its_script_is_from_the_queue_to_the_end_and_nobody_else_is(
    system: RunningSystem,
) -> None:
    async with player(system, "phone") as phone, player(system, "other", -1, str(uuid.uuid4())) as other:
        await phone.join(script_id=system.script_id)
        with pytest.raises(Refused, match="no such thing"):
            await other.join(script_id=system.script_id)
        await phone.expect(Prepared, status="queued", progress=0.0)
        with working(system):
            ready = await phone.expect(Prepared, READY_TIMEOUT_S, status="ready")
        assert (ready.script_id, ready.progress, round(ready.duration)) == (system.script_id, 1.0, SOURCE_S)
        told = heard(phone)
        assert "processing" in [event.status for event in told] and told[-1] == ready
        assert [event.progress for event in told] == sorted(event.progress for event in told)
        async with player(system, "desk", 0) as desk:
            await desk.join(script_id=system.script_id)
            assert await desk.expect(Prepared) == ready
        assert heard(other) == [] and heard(phone) == told


@pytest.mark.parametrize("system", ["redis"], indirect=True)
async def test_a_device_whose_server_dies_meanwhile_is_told_the_end_by_another_one(system: RunningSystem) -> None:
    phone = Player(list(system.base_urls), system.token(), "phone")
    async with phone:
        await phone.join(script_id=system.script_id)
        await phone.expect(Prepared, status="queued")
        with working(system):
            system.servers[0].kill()
            await phone.expect(Prepared, READY_TIMEOUT_S, status="ready")

"""The whole program without Redis: one server process with its sessions in memory, over a real PostgreSQL."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from socketio.exceptions import ConnectionError as Refused

from playhead.app.embedded import EmbeddedPostgres
from playhead.db import SessionRepository, open_database, stored_logins
from tests.integration.http.uploading import until
from tests.support.seekers import Ack, seekers
from tests.support.sockets import Client
from tests.support.system import Process, RunningSystem
from tests.support.systems import StartSystem, add_script

HANGING_STOP_S = 20.0
NOTICED_S = 20.0
"""The drain, a command's timeout, and what is left of the server's own."""
API = "/api/v1/audio"


@pytest.fixture
async def system(make_system: StartSystem) -> RunningSystem:
    """One server, ready, with a script; nothing runs beside it."""
    return await started(make_system(None, helper_commands=()))


async def started(system: RunningSystem) -> RunningSystem:
    await asyncio.to_thread(system.start)
    system.script_id = await add_script(system)
    return system


async def played(client: Client, system: RunningSystem, **fields: Any) -> dict[str, Any]:
    answer = await client.call("play", {"script_id": system.script_id, **fields})
    assert answer["ok"], answer
    state: dict[str, Any] = answer["state"]
    return state


async def opened(url: str, token: str, device_id: str) -> Client:
    """As soon as a server is there."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await Client.open(url, token, device_id)
            except Refused:
                await asyncio.sleep(0.05)


async def test_two_devices_and_an_app_over_rest_drive_one_playhead_without_redis(system: RunningSystem) -> None:
    assert system.readiness() == {
        "status": "ready",
        "store": "memory",
        "checks": {"process": "ok", "postgresql": "ok", "lease": "ok"},
    }
    assert system.metric("playhead_store_up") == 1
    token = system.token()
    phone = await Client.open(system.base_url, token, "phone")
    desk = await Client.open(system.base_url, token, "desk")
    state = await played(phone, system, position=5.0)
    assert await desk.expect_event("state", revision=state["revision"]) == state
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        body = {"session_id": state["session_id"], "position": 20.5}
        async with session.post(f"{system.base_url}{API}/seek", json=body) as response:
            sought = await response.json()
        for device in (phone, desk):
            assert (await device.expect_event("state", revision=sought["revision"]))["position"] == 20.5
        for _ in range(2):
            async with session.get(f"{system.base_url}{API}/stream/{system.script_id}") as response:
                assert response.status == 200
                assert (await response.json())["duration"] == 3600.0
        body = {"script_id": system.script_id, "position": 3.0}
        async with session.post(f"{system.base_url}{API}/bookmark", json=body) as response:
            assert response.status == 201
    await desk.expect_event("bookmark")
    for device in (phone, desk):
        await device.close()


async def test_after_kill_9_under_traffic_everything_acknowledged_is_there_at_once(system: RunningSystem) -> None:
    async with seekers(system) as listeners:
        for _ in range(3):
            await listeners.until_acked(10)
            system.servers[0].kill()
            system.servers[0].start()
        await listeners.until_acked(10)
        await listeners.stop()
        assert all(seeker.reconnects for seeker in listeners)
        await listeners.assert_nothing_acknowledged_is_missing()
        assert all(seeker.last.epoch > seeker.acks[0].epoch for seeker in listeners)


async def test_a_server_that_is_told_to_stop_leaves_its_sessions_to_the_next_one(system: RunningSystem) -> None:
    phone = await Client.open(system.base_url, system.token(), "phone")
    state = await played(phone, system, position=7.0)
    assert await asyncio.to_thread(system.servers[0].stop) == 0
    await phone.ended()
    system.servers[0].start()
    await asyncio.to_thread(system.wait_ready, 0)
    again = await Client.open(system.base_url, system.token(), "phone")
    joined = await again.call("join", {"session_id": state["session_id"]})
    assert joined["state"]["playing"] and joined["state"]["revision"] == state["revision"]
    await again.close()


async def test_a_server_that_starts_removes_what_a_killed_one_had_decoded(make_system: StartSystem) -> None:
    system = make_system(None, helper_commands=())
    left = system.folder / "media" / ".scratch" / "playhead-conform-left"
    left.mkdir(parents=True)
    os.utime(left, (0.0, 0.0))
    await asyncio.to_thread(system.start)
    await until(lambda: not left.exists())


async def test_servers_that_are_stopped_in_the_middle_of_commits_lose_nothing_that_was_acknowledged(
    system: RunningSystem,
) -> None:
    async with seekers(system, count=20) as listeners:
        for _ in range(2):
            await listeners.until_acked(10)
            assert await asyncio.to_thread(system.servers[0].stop) == 0, system.servers[0].log()
            system.servers[0].start()
        await listeners.until_acked(5)
        await listeners.stop()
        assert all(seeker.reconnects for seeker in listeners)
        await listeners.assert_nothing_acknowledged_is_missing()
    log = system.servers[0].log_path.read_text()
    assert "Traceback" not in log, log


async def test_a_server_stops_in_time_though_postgresql_hangs(
    make_system: StartSystem, start_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    postgres = start_postgres()
    system = await started(make_system(None, helper_commands=(), database_url=postgres.url()))
    async with seekers(system) as listeners:
        await listeners.until_acked(5)
        children = Path(f"/proc/{postgres.pid}/task/{postgres.pid}/children").read_text().split()
        frozen = [postgres.pid, *map(int, children)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        server = system.servers[0].popen
        assert server is not None
        try:
            server.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait, HANGING_STOP_S) == 0, system.servers[0].log()
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        system.servers[0].start()
        await listeners.until_acked(5)
        await listeners.stop()
        await listeners.assert_nothing_acknowledged_is_missing()


async def test_while_postgresql_is_dead_sockets_stay_and_commands_are_unavailable(
    make_system: StartSystem, start_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    postgres = start_postgres()
    system = await started(make_system(None, helper_commands=(), database_url=postgres.url()))
    async with seekers(system) as listeners:
        await listeners.until_acked(5)
        postgres.kill()
        await listeners.until_refused(5)
        async with asyncio.timeout(NOTICED_S):  # it is kept for a moment
            while (readiness := await asyncio.to_thread(system.readiness))["status"] == "ready":
                await asyncio.sleep(0.1)
        assert (readiness["status"], readiness["store"]) == ("not_ready", "memory")
        postgres.start()
        await listeners.until_acked(5)
        await listeners.stop()
        assert not any(seeker.reconnects for seeker in listeners)
        await listeners.assert_nothing_acknowledged_is_missing()
    await asyncio.to_thread(system.wait_ready, 0)


async def test_it_starts_while_postgresql_is_away_and_takes_its_sessions_over_when_that_is_back(
    make_system: StartSystem, start_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    postgres = start_postgres()
    system = await started(make_system(None, helper_commands=(), database_url=postgres.url()))
    phone = await Client.open(system.base_url, system.token(), "phone")
    state = await played(phone, system, position=7.0)
    system.servers[0].kill()
    await phone.ended()
    postgres.stop()
    system.servers[0].start()
    phone = await opened(system.base_url, system.token(), "phone")
    refused = await phone.call("pause", {"session_id": state["session_id"]})
    assert (refused["error"]["code"], refused["error"]["retry"]) == ("unavailable", True)
    readiness = await asyncio.to_thread(system.readiness)
    assert readiness["checks"]["lease"].startswith("PostgreSQL does not answer")
    postgres.start()
    await asyncio.to_thread(system.wait_ready, 0)
    paused = await phone.call("pause", {"session_id": state["session_id"]})
    assert paused["ok"] and paused["state"]["revision"] == state["revision"] + 1
    await phone.close()


async def test_a_session_goes_from_redis_into_memory_and_back_though_redis_has_never_stopped(
    make_system: StartSystem, valkey_url: str
) -> None:
    system = await started(make_system(valkey_url, helper_commands=("flush",)))
    phone = await Client.open(system.base_url, system.token(), "phone")
    state = await played(phone, system, position=7.0)
    await until_stored(system, state)
    for redis_url, place in ((None, 20.0), (valkey_url, 30.0)):
        system.stop()
        await phone.ended()
        system.servers.clear()
        system.helpers.clear()
        system.redis_url, system.helper_commands = redis_url, () if redis_url is None else ("flush",)
        await asyncio.to_thread(system.start)
        phone = await Client.open(system.base_url, system.token(), "phone")
        sought = await phone.call("seek", {"session_id": state["session_id"], "position": place})
        assert sought["state"]["revision"] == state["revision"] + 1, sought
        assert sought["state"]["epoch"] > state["epoch"]
        state = sought["state"]
    await until_stored(system, state)
    await phone.close()


async def until_stored(system: RunningSystem, state: dict[str, Any]) -> None:
    """PostgreSQL has that very state."""
    logins = stored_logins(system.database_url, system.folder)
    async with asyncio.timeout(30), open_database(logins.app_url, logins.service_url) as database:
        rows = SessionRepository(database)
        while (row := await rows.get(state["session_id"])) is None or row.order != Ack.of(state).order:
            await asyncio.sleep(0.05)
    assert row.position_ms == state["position"] * 1000


# a second server


def another(system: RunningSystem, ports: Callable[[], int], folder: Path | None = None) -> tuple[Process, int]:
    """A second server on the same database, in the same folder or in one of its own; its port."""
    port = ports()
    environment = system.environment(port, ports())
    if folder is not None:
        (folder / "logins.json").write_bytes((system.folder / "logins.json").read_bytes())
        environment["PLAYHEAD_DATA_DIR"] = str(folder)
        environment["PLAYHEAD_MEDIA_DIR"] = str(system.folder / "media")
    return Process("second server", ("serve",), environment, system.folder / "second.log"), port


async def test_a_second_server_is_refused_in_words(
    system: RunningSystem, free_ports: Callable[[], int], tmp_path: Path
) -> None:
    for folder, told in ((None, "and there may be only one"), (tmp_path, "there may be only one. Stop it first")):
        second, _ = another(system, free_ports, folder)
        second.start()
        assert second.popen is not None
        code = await asyncio.to_thread(second.popen.wait, 60)
        assert code == 1 and told in second.log() and "Traceback" not in second.log()
    assert system.readiness()["status"] == "ready"


async def refused(server: Process) -> str:
    """What a server says that does not start."""
    server.start()
    assert server.popen is not None
    assert await asyncio.to_thread(server.popen.wait, 60) == 1
    assert "Traceback" not in server.log()
    return server.log()


async def test_a_server_with_redis_is_refused_beside_it(
    system: RunningSystem, free_ports: Callable[[], int], valkey_url: str
) -> None:
    phone = await Client.open(system.base_url, system.token(), "phone")
    state = await played(phone, system, position=7.0)
    second, _ = another(system, free_ports)
    second.environment.pop("PLAYHEAD_STORE")
    second.environment["PLAYHEAD_REDIS_URL"] = valkey_url
    assert "Stop it before servers with Redis are started" in await refused(second)
    assert (await phone.call("pause", {"session_id": state["session_id"]}))["ok"]
    await phone.close()


async def test_beside_servers_with_redis_none_may_keep_sessions_in_its_memory(
    make_system: StartSystem, free_ports: Callable[[], int], valkey_url: str
) -> None:
    system = await started(make_system(valkey_url, servers=2, helper_commands=()))
    second, _ = another(system, free_ports)
    second.environment.pop("PLAYHEAD_REDIS_URL")
    second.environment["PLAYHEAD_STORE"] = "memory"
    assert "Stop them before you use PLAYHEAD_STORE=memory" in await refused(second)
    # one that stops leaves the lease to the other
    assert await asyncio.to_thread(system.servers[1].stop) == 0
    assert "Stop them before you use PLAYHEAD_STORE=memory" in await refused(second)
    assert await asyncio.to_thread(system.servers[0].stop) == 0
    second.start()
    try:
        async with asyncio.timeout(60):
            while "Serving." not in second.log():
                await asyncio.sleep(0.05)
    finally:
        await asyncio.to_thread(second.stop)


async def test_a_frozen_server_that_was_replaced_acknowledges_nothing_any_more_and_ends(
    system: RunningSystem, free_ports: Callable[[], int], tmp_path: Path
) -> None:
    phone = await Client.open(system.base_url, system.token(), "phone")
    state = await played(phone, system, position=7.0)
    first = system.servers[0]
    os.kill(first.pid, signal.SIGSTOP)
    second, port = another(system, free_ports, tmp_path)
    second.start()
    try:
        desk = await opened(f"http://127.0.0.1:{port}", system.token(), "desk")
        moved = await desk.call("seek", {"session_id": state["session_id"], "position": 33.0})
        assert moved["ok"]
        os.kill(first.pid, signal.SIGCONT)
        late = asyncio.create_task(phone.call("seek", {"session_id": state["session_id"], "position": 1.0}))
        assert first.popen is not None
        assert await asyncio.to_thread(first.popen.wait, 30) == 1
        assert "Another process has taken the sessions over" in first.log()
        answer = (await asyncio.gather(late, return_exceptions=True))[0]
        assert isinstance(answer, BaseException) or answer["error"]["code"] == "unavailable"
        now = await desk.call("join", {"session_id": state["session_id"]})
        assert Ack.of(now["state"]) == Ack.of(moved["state"])
        await desk.close()
        await phone.abandon()
    finally:
        with suppress(ProcessLookupError):
            os.kill(first.pid, signal.SIGCONT)
        await asyncio.to_thread(second.stop)

"""A Valkey that is away, or that another takes the place of, and a PostgreSQL that is away while media are fetched:
what listeners and operators of a whole system meet.

What is kept of acknowledged commands when it is killed under traffic is in test_faults.py.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio
from socketio.exceptions import ConnectionError as Refused

from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from playhead.auth.tokens import UPLOAD_SCOPE
from playhead.db import SessionRepository, open_database, stored_logins
from playhead.http.script_copies import COPY_MS
from tests.support.audio import make
from tests.support.proxies import Proxy, proxying
from tests.support.running import API, SAMPLE, SAMPLE_S
from tests.support.seekers import until
from tests.support.sentinels import guarded
from tests.support.sockets import Client
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem, add_script

RENEWED_WITHIN_S = 20.0
"""Well before a server's own time to renew comes, 30 s after its start; it takes milliseconds."""
StartValkey = Callable[..., EmbeddedValkey]


async def begun(system: RunningSystem) -> RunningSystem:
    await asyncio.to_thread(system.begin)
    system.script_id = await add_script(system)
    return system


async def ready(system: RunningSystem) -> None:
    for number in range(len(system.servers)):
        await asyncio.to_thread(system.wait_ready, number)


async def pair(system: RunningSystem) -> tuple[Client, Client]:
    """Two devices of one listener, each on a server of its own."""
    phone = await Client.open(system.base_urls[0], system.token(), "phone")
    desk = await Client.open(system.base_urls[-1], system.token(), "desk")
    return phone, desk


async def played(system: RunningSystem, client: Client, **fields: Any) -> dict[str, Any]:
    answer = await client.call("play", {"script_id": system.script_id, **fields})
    assert answer["ok"], answer
    state: dict[str, Any] = answer["state"]
    return state


async def sought(client: Client, state: dict[str, Any], position: float) -> dict[str, Any]:
    answer = await client.call("seek", {"session_id": state["session_id"], "position": position})
    assert answer["ok"], answer
    after: dict[str, Any] = answer["state"]
    return after


async def later_life(client: Client, state: dict[str, Any]) -> dict[str, Any]:
    """The first state of a higher epoch that the device was told of, without having asked."""

    def seen() -> dict[str, Any] | None:
        rows = [data for event, data in client.events if event == "state"]
        return next((row for row in rows if row["epoch"] > state["epoch"]), None)

    await until(lambda: seen() is not None)
    found = seen()
    assert found is not None
    return found


async def test_servers_that_start_while_the_store_is_away_say_so_and_serve_when_it_comes(
    make_system: StartSystem, start_valkey: StartValkey
) -> None:
    valkey = start_valkey(append_sync="always")
    valkey.stop()
    system = await begun(make_system(valkey.url, servers=2, helper_commands=("flush",)))
    await until(lambda: all("Serving." in server.log() for server in system.servers))
    for number in range(2):
        readiness = await asyncio.to_thread(system.readiness, number)
        assert (readiness["status"], readiness["store"]) == ("not_ready", "redis")
        assert readiness["checks"]["valkey"] != "ok" and readiness["checks"]["postgresql"] == "ok"
    assert await asyncio.to_thread(system.metric, "playhead_store_up") == 0
    with pytest.raises(Refused):
        await Client.open(system.base_url, system.token())
    valkey.start()
    await ready(system)
    phone, desk = await pair(system)
    state = await played(system, phone, position=5.0)
    assert await desk.expect_event("state", revision=state["revision"]) == state
    await until(lambda: system.metric("playhead_store_up") == 1)
    for client in (phone, desk):
        await client.close()


async def test_while_the_store_is_away_sockets_stay_and_when_it_is_back_everybody_is_told_and_nobody_paused(
    make_system: StartSystem, start_valkey: StartValkey
) -> None:
    valkey = start_valkey(append_sync="always")
    system = await begun(make_system(valkey.url, servers=2, helper_commands=()))
    await ready(system)
    phone, desk = await pair(system)
    state = await played(system, phone, position=5.0)
    await desk.expect_event("state", revision=state["revision"])
    valkey.kill()
    for _ in range(2):
        for client in (phone, desk):
            error = (await client.call("pause", {"session_id": state["session_id"]}))["error"]
            assert (error["code"], error["retry"]) == ("unavailable", True)
            assert (await client.call("clock", {"t0": 0}))["ok"]
    await until(lambda: system.metric("playhead_store_up") == 0)
    await until(lambda: system.readiness()["status"] == "not_ready")  # an answer is kept for a moment
    assert (await asyncio.to_thread(system.readiness))["checks"]["valkey"] != "ok"
    valkey.start()
    for client in (phone, desk):
        told = await later_life(client, state)
        assert {**told, "epoch": 0, "cause": None} == {**state, "epoch": 0, "cause": None}
    # subscriptions are back: what one does the other sees, in both directions
    moved = await sought(phone, state, 33.0)
    assert (await desk.expect_event("state", revision=moved["revision"]))["position"] == 33.0
    moved = await sought(desk, state, 44.0)
    assert (await phone.expect_event("state", revision=moved["revision"]))["playing"]
    await until(lambda: system.metric("playhead_store_up") == 1)
    await ready(system)
    for client in (phone, desk):
        assert client.connected
        await client.close()


async def test_leases_are_renewed_as_soon_as_the_store_is_back(
    make_system: StartSystem, start_valkey: StartValkey
) -> None:
    valkey = start_valkey(append_sync="always")
    system = await begun(make_system(valkey.url, servers=1, helper_commands=()))
    await ready(system)
    phone, desk = await pair(system)
    state = await played(system, phone, position=5.0)
    presence = await run_out(valkey)
    valkey.kill()
    valkey.start()
    store: Any = redis.asyncio.Redis.from_url(valkey.url)
    async with store, asyncio.timeout(RENEWED_WITHIN_S):
        while not all(json.loads(row)["expires_at_ms"] > 1 for row in (await store.hgetall(presence)).values()):
            await asyncio.sleep(0.02)
        while await store.hlen(presence) < 2:
            await asyncio.sleep(0.02)
    moved = await phone.call("transfer", {"session_id": state["session_id"], "device_id": "desk"})
    assert moved["ok"], "the desk is known to be there"
    for client in (phone, desk):
        await client.close()


async def run_out(valkey: EmbeddedValkey) -> str:
    """As an outage that outlasted them leaves leases: run out, and one is forgotten. Answers the key."""
    store: Any = redis.asyncio.Redis.from_url(valkey.url)
    async with store:
        (presence,) = [key async for key in store.scan_iter("audio:presence:*")]
        for connection_id, row in (await store.hgetall(presence)).items():
            await store.hset(presence, connection_id, json.dumps({**json.loads(row), "expires_at_ms": 1}))
        await store.hdel(presence, connection_id)
    return str(presence.decode())


# PostgreSQL


async def test_with_postgresql_killed_who_has_an_address_hears_on_what_is_stored_and_what_is_not(
    make_system: StartSystem, start_postgres: Callable[..., EmbeddedPostgres], valkey_url: str, tmp_path: Path
) -> None:
    postgres = start_postgres()
    system = await begun(make_system(valkey_url, database_url=postgres.url(), helper_commands=()))
    await ready(system)
    headers = {"Authorization": f"Bearer {system.token(scopes=(UPLOAD_SCOPE,))}", "Content-Type": "audio/mpeg"}
    async with aiohttp.ClientSession(system.base_url, headers=headers) as http:

        async def media_of(script_id: str) -> str:
            async with http.get(f"{API}/stream/{script_id}") as answer:
                return "/p/" + str((await answer.json())["stream_url"]).partition("/p/")[2].removesuffix("master.m3u8")

        async def status(folder: str, tail: str) -> int:
            async with http.get(folder + tail) as answer:
                return answer.status

        sample = await asyncio.to_thread(make, tmp_path, SAMPLE, SAMPLE_S)
        async with http.post(f"{API}/scripts", params={"title": "A talk"}, data=BytesIO(sample.read_bytes())) as answer:
            heard = await media_of((await answer.json())["script_id"])
        unheard = await media_of(system.script_id)
        assert await status(heard, "low/0.m4s") == 200
        postgres.kill()
        await asyncio.sleep(2 * COPY_MS / 1000)
        for tail in ("master.m3u8", "low/index.m3u8", "low/init.mp4", "low/0.m4s", "low/8.m4s"):
            assert await status(heard, tail) == 200, tail
        assert await status(unheard, "master.m3u8") == 503, "which this server knows nothing of"
        postgres.start()
        async with asyncio.timeout(30):
            while await status(unheard, "master.m3u8") != 200:
                await asyncio.sleep(0.05)


# failover


@asynccontextmanager
async def replicated(
    start_valkey: StartValkey, free_ports: Callable[[], int]
) -> AsyncIterator[tuple[EmbeddedValkey, EmbeddedValkey, Proxy, Proxy]]:
    """A primary, its replica, the address that clients have, and the way that replication takes."""
    client: Any
    primary = start_valkey(append_sync="always", settings={"port": str(free_ports()), "repl-diskless-sync-delay": "0"})
    async with proxying(primary.socket_path) as address, proxying(primary.socket_path) as link:
        replica = start_valkey(append_sync="always", settings={"replicaof": f"127.0.0.1 {link.port}"})
        async with redis.asyncio.Redis.from_url(replica.url) as client:
            async with asyncio.timeout(30):
                while (await client.info("replication"))["master_link_status"] != "up":
                    await asyncio.sleep(0.02)
        yield primary, replica, address, link


async def in_step(primary: EmbeddedValkey, replica: EmbeddedValkey) -> None:
    """The replica has all that the primary has acknowledged."""
    async with (
        redis.asyncio.Redis.from_url(primary.url) as one,
        redis.asyncio.Redis.from_url(replica.url) as other,
        asyncio.timeout(30),
    ):
        wanted = (await one.info("replication"))["master_repl_offset"]
        while (await other.info("replication"))["slave_repl_offset"] < wanted:
            await asyncio.sleep(0.02)


async def promote(replica: EmbeddedValkey) -> None:
    async with redis.asyncio.Redis.from_url(replica.url) as client:
        await client.replicaof("NO", "ONE")


async def until_stored(system: RunningSystem, state: dict[str, Any]) -> None:
    logins = stored_logins(system.database_url, system.folder)
    async with asyncio.timeout(30), open_database(logins.app_url, logins.service_url) as database:
        rows = SessionRepository(database)
        while (row := await rows.get(state["session_id"])) is None or row.revision < state["revision"]:
            await asyncio.sleep(0.02)


async def test_after_a_failover_to_a_replica_that_is_behind_the_rows_win_and_every_device_is_told(
    make_system: StartSystem, start_valkey: StartValkey, free_ports: Callable[[], int]
) -> None:
    async with replicated(start_valkey, free_ports) as (primary, replica, address, link):
        system = await begun(make_system(address.url, servers=2, helper_commands=("flush",)))
        await ready(system)
        phone, desk = await pair(system)
        state = await sought(phone, await played(system, phone), 10.0)
        await in_step(primary, replica)
        link.target = None
        link.cut()
        stored = await sought(phone, state, 20.0)
        await until_stored(system, stored)
        os.kill(system.helpers[0].pid, signal.SIGSTOP)
        lost = await sought(phone, state, 30.0)
        await desk.expect_event("state", revision=lost["revision"])

        primary.kill()
        await promote(replica)
        # after those of the dead one have ended: the proxy cuts none that leads to the new one
        address.target = replica.socket_path
        for client in (phone, desk):
            told = await later_life(client, lost)
            assert (told["position"], told["revision"]) == (20.0, stored["revision"]), "the row, not the replica's"
        moved = await sought(desk, state, 40.0)
        assert (moved["revision"], moved["epoch"]) == (stored["revision"] + 1, told["epoch"])
        assert (await phone.expect_event("state", revision=moved["revision"]))["position"] == 40.0
        os.kill(system.helpers[0].pid, signal.SIGCONT)
        await until_stored(system, moved)
        for client in (phone, desk):
            await client.close()


async def test_a_primary_that_was_demoted_and_lives_on_is_left_for_the_new_one(
    make_system: StartSystem, start_valkey: StartValkey, free_ports: Callable[[], int]
) -> None:
    """The address leads to the new one, but whoever is connected stays with the old one, which closes nothing."""
    async with replicated(start_valkey, free_ports) as (primary, replica, address, _):
        system = await begun(make_system(address.url, servers=2, helper_commands=("flush",)))
        await ready(system)
        phone, desk = await pair(system)
        state = await sought(phone, await played(system, phone), 10.0)
        await in_step(primary, replica)
        await promote(replica)
        address.target = replica.socket_path
        async with redis.asyncio.Redis.from_url(primary.url) as client:
            await client.replicaof("127.0.0.1", str(free_ports()))
        for client_ in (phone, desk):
            told = await later_life(client_, state)
            assert (told["position"], told["playing"]) == (10.0, True)
        moved = await sought(phone, state, 20.0)
        assert (await desk.expect_event("state", revision=moved["revision"]))["position"] == 20.0
        await until_stored(system, moved)
        for client_ in (phone, desk):
            await client_.close()


async def test_when_sentinels_promote_a_replica_the_system_goes_on_with_the_settings_that_it_has(
    make_system: StartSystem, start_valkey: StartValkey, free_ports: Callable[[], int], tmp_path: Path
) -> None:
    with guarded(start_valkey, free_ports, tmp_path) as found:
        system = await begun(make_system(found.url, servers=2, helper_commands=("flush",)))
        await ready(system)
        phone, desk = await pair(system)
        state = await sought(phone, await played(system, phone), 10.0)
        await until_stored(system, state)
        found.primary.kill()
        for client in (phone, desk):
            told = await later_life(client, state)
            assert (told["position"], told["playing"]) == (10.0, True)
        moved = await sought(phone, state, 20.0)
        assert (await desk.expect_event("state", revision=moved["revision"]))["position"] == 20.0
        moved = await sought(desk, state, 30.0)
        assert (await phone.expect_event("state", revision=moved["revision"]))["position"] == 30.0
        await until_stored(system, moved)
        await ready(system)
        for client in (phone, desk):
            assert client.connected
            await client.close()

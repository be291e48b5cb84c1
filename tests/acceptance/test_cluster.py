"""Two servers and a flusher on a real cluster: what listeners meet of it while one of its primaries is replaced."""

import asyncio
import uuid
from typing import Any

from playhead.db import SessionRepository, open_database, stored_logins
from playhead.runtime.slots import slot_of
from playhead.sessions.keys import ListenerKeys
from tests.support.clusters import REPLICA, Cluster
from tests.support.seekers import until
from tests.support.sockets import Client
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem, add_script


def listener_at(cluster: Cluster, number: int) -> str:
    """One whose partition is there."""
    while True:
        listener_id = str(uuid.uuid4())
        if cluster.primary_of(slot_of(ListenerKeys(listener_id).epoch)) == number:
            return listener_id


async def pair(system: RunningSystem, listener_id: str) -> tuple[Client, Client]:
    """Two devices of the listener, each on a server of its own."""
    token = system.token(listener_id)
    phone = await Client.open(system.base_urls[0], token, "phone")
    desk = await Client.open(system.base_urls[1], token, "desk")
    return phone, desk


async def moved(first: Client, second: Client, command: str, **fields: Any) -> dict[str, Any]:
    """What the first one's command has come to; the second one is told the same."""
    answer = await first.call(command, fields)
    assert answer["ok"], answer
    state: dict[str, Any] = answer["state"]
    assert await second.expect_event("state", revision=state["revision"], epoch=state["epoch"]) == state
    return state


async def until_stored(system: RunningSystem, state: dict[str, Any]) -> None:
    logins = stored_logins(system.database_url, system.folder)
    async with asyncio.timeout(30), open_database(logins.app_url, logins.service_url) as database:
        rows = SessionRepository(database)
        while (row := await rows.get(state["session_id"])) is None or row.revision < state["revision"]:
            await asyncio.sleep(0.02)


async def test_a_failover_in_a_cluster_is_noticed_by_its_own_listeners_alone_who_go_on_with_the_replica(
    make_system: StartSystem, cluster: Cluster
) -> None:
    system = make_system(cluster.url, servers=2, helper_commands=("flush",))
    await asyncio.to_thread(system.start)
    script: dict[str, Any] = {"script_id": await add_script(system)}
    phone, desk = await pair(system, listener_at(cluster, 0))
    near, far = elsewhere = await pair(system, listener_at(cluster, 1))
    state = await moved(phone, desk, "play", **script, position=5.0)
    other = await moved(near, far, "play", **script, position=7.0)
    session: dict[str, Any] = {"session_id": state["session_id"]}
    others_session: dict[str, Any] = {"session_id": other["session_id"]}
    for each in (state, other):
        await until_stored(system, each)
    await asyncio.to_thread(cluster.replicated)

    cluster.hurry()
    await asyncio.to_thread(cluster.kill, 0)
    error = (await phone.call("seek", {**session, "position": 9.0}))["error"]
    assert (error["code"], error["retry"]) == ("unavailable", True)
    other = await moved(near, far, "seek", **others_session, position=11.0)

    devices = (phone, desk)
    await until(lambda: all(any(row["epoch"] > state["epoch"] for row in states(device)) for device in devices))
    assert cluster.primary_of(slot_of(ListenerKeys(phone.listener_id).epoch)) == REPLICA
    after = await moved(desk, phone, "seek", **session, position=33.0)
    assert after["playing"] and after["revision"] == state["revision"] + 1
    await moved(phone, desk, "seek", **session, position=44.0)
    other = await moved(far, near, "seek", **others_session, position=22.0)
    assert all(row["epoch"] == other["epoch"] for row in states(near)), "no word of it to them"
    for each in (after, other):
        await until_stored(system, each)
    await until(lambda: system.metric("playhead_store_up") == 1)
    assert (await asyncio.to_thread(system.readiness))["status"] == "ready"
    for device in (phone, desk, *elsewhere):
        assert device.connected
        await device.close()


def states(device: Client) -> list[dict[str, Any]]:
    return [data for event, data in device.events if event == "state"]

"""What an operator and a listener meet when a server stops, and when a token runs out."""

import asyncio
import uuid

import pytest
from socketio.exceptions import ConnectionError as Refused

from tests.support.sockets import END_TIMEOUT_S, Client
from tests.support.system import RunningSystem


async def test_a_server_with_open_sockets_stops_in_order_and_its_devices_are_told_by_a_closed_transport(
    running_system: RunningSystem,
) -> None:
    token = running_system.token(str(uuid.uuid4()))
    phone = await Client.open(running_system.base_urls[0], token, device_id="phone")
    played = await phone.call("play", {"script_id": running_system.script_id, "position": 3.0})
    session_id = played["state"]["session_id"]

    try:
        code = await asyncio.to_thread(running_system.servers[0].stop)
    finally:
        running_system.servers[0].start()
    assert code == 0, running_system.servers[0].log()
    await phone.ended()
    # not "server disconnect", after which clients do not reconnect by themselves
    assert phone.end_reason in ("transport close", "transport error")

    desk = await Client.open(running_system.base_urls[1], token, device_id="desk")
    joined = await desk.call("join", {"session_id": session_id})
    assert joined["state"]["playing"] and joined["state"]["revision"] == played["state"]["revision"]
    await desk.close()
    await asyncio.to_thread(running_system.wait_ready, 0)


async def test_a_connection_does_not_outlive_its_token(running_system: RunningSystem) -> None:
    await asyncio.to_thread(running_system.wait_ready, 0)
    listener_id = str(uuid.uuid4())
    # inside the leeway for the issuer's clock: accepted now, over in a moment
    phone = await Client.open(running_system.base_url, running_system.token(listener_id, valid_s=-3))
    assert (await phone.call("join", {"script_id": running_system.script_id}))["ok"]
    told = await phone.expect_event("closing", timeout_s=END_TIMEOUT_S)
    assert (told["code"], told["retry"]) == ("token_expired", False)
    await phone.ended()
    assert phone.end_reason == "server disconnect"
    with pytest.raises(Refused):
        await Client.open(running_system.base_url, running_system.token(listener_id, valid_s=-10))

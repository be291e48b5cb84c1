"""The official JavaScript client on playhead's own server, by each way that it may take."""

import asyncio
from pathlib import Path

import pytest

from tests.support.javascript import run_client
from tests.support.messages import check_ack, check_event
from tests.support.nodes import Node, make_token
from tests.support.sockets import Client
from tests.support.states import SCRIPT_ID

PHONE = Path(__file__).with_name("phone.mjs")


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_the_official_client_plays_and_hears_the_other_device(node: Node, transport: str) -> None:
    desk = await Client.open(node.url, make_token(), "desk")
    async with asyncio.TaskGroup() as tasks:
        phone = tasks.create_task(run_client(PHONE, node.url, transport, make_token(), SCRIPT_ID))
        state = await desk.expect_event("state", playing=True)
        session_id = state["session_id"]
        assert (await desk.call("pause", {"session_id": session_id}))["ok"]
    seen = phone.result()
    for event, answer in (("join", "joined"), ("play", "played"), ("seek", "refused")):
        check_ack(event, seen[answer])
    check_event("state", seen["told"])
    assert seen["joined"]["state"] is None
    assert (state["position"], state["active_device"]) == (1.5, "phone")
    assert seen["played"]["state"] == state
    assert seen["refused"]["error"]["code"] == "invalid"
    assert (seen["told"]["session_id"], seen["told"]["revision"]) == (session_id, 2)
    assert seen["transport"] == transport
    await desk.close()

"""A store that takes longer than a command may: its device hears in time, and of what has become of it."""

import time
from typing import Any

import pytest

from playhead.realtime import dispatch
from tests.support.nodes import Node, make_token
from tests.support.sessions import new_id
from tests.support.sockets import Client
from tests.support.states import SCRIPT_ID

LIMIT_S, PAUSE_S = 0.2, 0.8


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "HANDLER_TIMEOUT_S", LIMIT_S)
    monkeypatch.setattr(dispatch, "SETTLED_S", 2 * PAUSE_S)


@pytest.mark.parametrize("event", ["seek", "transfer", "play"])
async def test_a_late_command_is_answered_in_time_done_once_and_told_to_the_device_that_sent_it(
    node: Node, event: str
) -> None:
    phone = await Client.open(node.url, make_token(), "phone")
    desk = await Client.open(node.url, make_token(), "desk")
    state = (await phone.call("play", {"script_id": SCRIPT_ID, "position": 50.0}))["state"]
    fields: dict[str, dict[str, Any]] = {
        "seek": {"position": 77.0},
        "transfer": {"device_id": "desk"},
        "play": {"position": 77.0},
    }
    command = {"session_id": state["session_id"], **fields[event], "command_id": new_id()}
    await node.store.client.client_pause(round(PAUSE_S * 1_000))
    began_s = time.monotonic()
    answer = await phone.call(event, command)
    assert (answer["error"]["code"], answer["error"]["retry"]) == ("unavailable", True)
    assert LIMIT_S <= time.monotonic() - began_s < PAUSE_S
    assert (await phone.call("clock", {"t0": 1}))["ok"]
    told = await phone.expect_event("state", revision=state["revision"] + 1)
    assert (await desk.expect_event("state", revision=state["revision"] + 1))["position"] == told["position"]
    again = await phone.call(event, command)
    assert again["state"]["revision"] == state["revision"] + 1
    for client in (phone, desk):
        await client.close()


async def test_while_the_store_is_slow_the_time_is_told_at_once_whatever_the_round_trip_was(node: Node) -> None:
    phone = await Client.open(node.url, make_token(), "phone")
    await node.store.client.client_pause(round(PAUSE_S * 1_000))
    began_s = time.monotonic()
    assert (await phone.call("clock", {"t0": 1, "rtt_ms": 900}))["ok"]
    assert time.monotonic() - began_s < LIMIT_S
    await phone.close()

"""The places where somebody will listen next, as they are told to who makes them beforehand."""

import pytest

from tests.support.nodes import Node, make_token
from tests.support.sockets import Client
from tests.support.states import SCRIPT_ID


async def test_play_seek_transfer_and_restore_tell_where_they_lead_and_what_is_refused_does_not(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(node.service, "_on_jump", lambda *place: told.append(place))
    phone = await Client.open(node.url, make_token(), "phone")
    desk = await Client.open(node.url, make_token(), "desk")
    state = (await phone.call("play", {"script_id": SCRIPT_ID, "position": 50.0}))["state"]
    session = {"session_id": state["session_id"]}
    await phone.call("pause", {**session, "position": 52.0})
    moved = (await phone.call("seek", {**session, "position": 1_000.0}))["state"]
    await phone.call("transfer", {**session, "device_id": "desk"})
    await phone.call_with("transfer", {**session, "device_id": "nowhere"})
    await phone.call("restore", {**session, "entry_id": f"{moved['epoch']}-{moved['revision']}"})
    assert told == [(SCRIPT_ID, position_ms) for position_ms in (50_000, 1_000_000, 1_000_000, 52_000)]
    for client in (phone, desk):
        await client.close()

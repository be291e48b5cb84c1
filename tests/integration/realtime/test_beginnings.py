"""Whoever begins sessions too fast over sockets is told when to go on, whichever server the socket is at."""

import pytest

from playhead.sessions import redis_store
from tests.integration.realtime.raw import open_raw
from tests.support.nodes import Node
from tests.support.states import OTHER_SCRIPT_ID, SCRIPT_ID


async def test_one_session_past_the_burst_is_refused_on_all_sockets_of_the_listener(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "SESSION_BURST", 5)
    monkeypatch.setattr(redis_store, "SESSION_APART_MS", 3_600_000)
    async with open_raw(nodes[0].url, "phone") as phone, open_raw(nodes[1].url, "desk") as desk:
        live = await desk.call("play", {"script_id": OTHER_SCRIPT_ID})
        for _ in range(2):
            for socket in (phone, desk):
                state = (await socket.call("play", {"script_id": SCRIPT_ID}))["state"]
                assert (await socket.call("end", {"session_id": state["session_id"]}))["ok"]
        for socket in (phone, desk):
            error = (await socket.call("play", {"script_id": SCRIPT_ID}))["error"]
            assert (error["code"], error["retry"]) == ("overloaded", True)
            assert 3_500_000 < error["retry_after_ms"] <= 3_600_000 and "new sessions faster" in error["message"]
        again = await phone.call("play", {"script_id": OTHER_SCRIPT_ID})
        assert again["state"]["session_id"] == live["state"]["session_id"]

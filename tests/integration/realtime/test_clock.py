"""The `clock` event: server time for a device, and what it tells of its way to the server."""

import pytest

from playhead.sessions.requests import RTT_MS_MAX
from tests.support.nodes import Node, make_token
from tests.support.sockets import Client
from tests.support.states import LISTENER_ID


def told(node: Node) -> float | None:
    """The round trip that the server holds for the listener's one connection."""
    (connection_id,) = node.connections.of_listener(LISTENER_ID)
    connection = node.connections.get(connection_id)
    assert connection is not None
    return connection.rtt_ms


async def test_a_device_is_told_server_time_at_arrival_and_at_the_answer(node: Node) -> None:
    phone = await Client.open(node.url, make_token())
    answer = await phone.call("clock", {"t0": -1.5})
    assert answer["ok"] and answer["t0"] == -1.5
    assert answer["t1"] <= answer["t2"] <= answer["server_time"]
    await phone.close()


async def test_the_last_round_trip_that_a_device_told_is_kept_for_its_connection(node: Node) -> None:
    phone = await Client.open(node.url, make_token())
    assert told(node) is None
    for rtt_ms in (0, 12.75, RTT_MS_MAX):
        assert (await phone.call("clock", {"t0": 1, "rtt_ms": rtt_ms}))["ok"]
        assert told(node) == rtt_ms
    assert (await phone.call("clock", {"t0": 1}))["ok"]
    assert told(node) == RTT_MS_MAX, "nothing new was told"
    await phone.close()


@pytest.mark.parametrize("rtt_ms", [-0.001, RTT_MS_MAX + 0.001, float("nan"), float("inf"), "1", True, [1]])
async def test_a_round_trip_that_cannot_be_is_refused_and_the_last_one_stays(node: Node, rtt_ms: object) -> None:
    phone = await Client.open(node.url, make_token())
    await phone.call("clock", {"t0": 1, "rtt_ms": 3})
    answer = await phone.call("clock", {"t0": 1, "rtt_ms": rtt_ms})
    assert answer["error"]["code"] == "invalid"
    assert told(node) == 3
    await phone.close()
